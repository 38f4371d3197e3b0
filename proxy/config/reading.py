"""From a given value to a parsed one, by the row of its key.

Purpose: check the shape (environment and command line give only text: `true`, `64`, lists with
commas), resolve paths, run the key's parser, and turn a ValueError into a mistake at the right
place. The result of a wrong value is the key's default, so that reading goes on and finds the
rest; the key is marked as broken.

Non-goals: deciding which source wins (`proxy.config.loading`).
"""

from __future__ import annotations

import re
from pathlib import Path

from proxy.config.mistakes import Mistakes
from proxy.config.schema import Key, Shape
from proxy.config.sources import Given

_WORDS = {"true": True, "false": False}
_INTEGER = re.compile(r"[0-9]{1,15}")


def read(key: Key, given: Given | None, mistakes: Mistakes, *, name: str) -> object:
    """Parse one value; note what is wrong under `name`. None given: the default."""
    if given is None or name in mistakes.broken:
        return default_of(key)
    try:
        value = _shaped(key, given)
    except ValueError as error:
        mistakes.add(given.place, str(error), key=name)
        return default_of(key)
    if isinstance(value, list):
        return _read_list(key, value, given.place, mistakes, name)
    try:
        return _path(str(value), given.base) if key.shape is Shape.PATH else key.parse(value)
    except ValueError as error:
        mistakes.add(given.place, str(error), key=name)
        return default_of(key)


def default_of(key: Key) -> object:
    """The parsed default of a key."""
    if isinstance(key.default, tuple):
        return key.gather(tuple(key.parse(item) for item in key.default))
    if key.shape is Shape.PATH or key.default == "":
        return None if key.shape is Shape.PATH else _empty(key)
    return key.parse(key.default)


def _empty(key: Key) -> object:
    """What an empty text means to a key; one that must be given has no empty form."""
    try:
        return key.parse("")
    except ValueError:
        return ""


def _read_list(key: Key, items: list[str], place: str, mistakes: Mistakes, name: str) -> object:
    parsed: list[object] = []
    for item in items:
        try:
            parsed.append(key.parse(item))
        except ValueError as error:
            mistakes.add(place, str(error), key=name)
    if len(set(parsed)) != len(parsed):
        mistakes.add(place, "names the same thing twice", key=name)
    return key.gather(tuple(parsed))


def _shaped(key: Key, given: Given) -> object:
    """Give the value in the key's shape. Raises ValueError where it has another."""
    value = given.value if given.typed else _from_text(key.shape, str(given.value))
    match key.shape:
        case Shape.INTEGER:
            fits = isinstance(value, int) and not isinstance(value, bool)
        case Shape.BOOLEAN:
            fits = isinstance(value, bool)
        case Shape.LIST:
            fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
        case Shape.TABLE:
            fits = isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
        case _:
            fits = isinstance(value, str)
    if fits:
        return value
    unit = isinstance(key.default, str) and key.default[:1].isdigit() and isinstance(value, int)
    example = f', such as "{key.default}"' if unit else ""
    raise ValueError(f"must be {key.shape.value}{example}")


def _from_text(shape: Shape, text: str) -> object:
    """Read what came without a type. What does not fit stays a text and is refused as such."""
    match shape:
        case Shape.INTEGER:
            return int(text) if _INTEGER.fullmatch(text) else text
        case Shape.BOOLEAN:
            return _WORDS.get(text.lower(), text)
        case Shape.LIST:
            return [item.strip() for item in text.split(",")] if text.strip() else []
        case _:
            return text


def _path(text: str, base: Path) -> Path | None:
    """An absolute path; relative ones start at the folder of the file that names them."""
    if not text:
        return None
    if text.startswith("~"):
        raise ValueError("~ is not expanded: write the whole path")
    if not text.isprintable():
        raise ValueError("a path must not hold a control character")
    return (base / text).absolute()
