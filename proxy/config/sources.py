"""Where values come from: the file, the environment and the command line, as `Given` values.

Purpose: find the file, read it, flatten all three sources to dotted names, refuse unknown keys
(with the nearest known one) and anything that looks like a literal secret. No value is understood
here.

Search order of the file: the path that was asked for, `$CGR_PROXY_CONFIG`, `cgr-proxy.toml` in
the current folder, `/etc/cgr-proxy/cgr-proxy.toml`, none.

Reading: TOML 1.0. Non-goals: merging into settings (see `proxy.config.loading`).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy.config.mistakes import ConfigError, Mistakes, looks_secret, masked, shown
from proxy.config.schema import (
    ARRAYS,
    DEFAULT_CREDENTIAL,
    NAMED,
    SECTIONS,
    credential_section,
    file_keys,
    scalar_keys,
)
from proxy.config.settings import ECOSYSTEMS, MAX_LIVE

ENVIRONMENT_PREFIX = "CGR_PROXY_"
_LARGEST_FILE = 4 * 1024 * 1024  # bytes; a configuration of thousands of clients is far below
_NEARBY = ("cgr-proxy.toml", "/etc/cgr-proxy/cgr-proxy.toml")
_LIKE, _MISSPELT = 0.6, 0.9
"""How like each other two names are (`difflib`) so that one may be meant by the other; so that it
must be: `token_hash` is `token_hashes` misspelt, `password` is not `password_file`."""
_SECRET_NAME = re.compile(r"passw|token|secret|api_?key", re.IGNORECASE)
_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


@dataclass(frozen=True, slots=True)
class Given:
    """A value somebody gave. `place`: for mistakes. `base`: what a relative path starts from.

    `typed` tells whether TOML gave it a type; from environment and command line all is text.
    """

    value: object
    place: str
    base: Path
    typed: bool = True


def find_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Choose the configuration file; None means built-in defaults.

    A file that was asked for is returned unseen, so that its absence becomes a mistake.
    """
    if path is not None:
        return path
    if asked := environ.get("CGR_PROXY_CONFIG"):
        return Path(asked)
    return next((found for name in _NEARBY if _exists(found := Path(name))), None)


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # there, but not for us: reading it says so, better than passing over it
    return True


def parse_file(path: Path, content: bytes) -> dict[str, object]:
    """Parse what a TOML file holds. Raises ConfigError with one mistake, the line in it where TOML
    says so."""
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError((f"{masked(str(path))}:line {line}: is not UTF-8",)) from None
    except RecursionError:
        raise ConfigError((f"{masked(str(path))}: is nested too deeply",)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError((_syntax_mistake(path, str(error), content.count(b"\n")),)) from None
    except ValueError:
        # Python refuses integers of more than 4300 digits with its own words.
        raise ConfigError((f"{masked(str(path))}: holds a number that is too long",)) from None


def read_content(path: Path) -> bytes:
    """What a file holds. Raises ConfigError where it cannot be read, or is far too large."""
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError((f"{masked(str(path))}: cannot be read: {error.strerror}",)) from None
    if len(content) > _LARGEST_FILE:
        raise ConfigError((f"{masked(str(path))}: larger than 4 MiB",))
    return content


def _syntax_mistake(path: Path, message: str, newlines: int) -> str:
    found = _LINE.search(message)
    line = int(found[1]) if found and found[1] else newlines + 1
    # The message may name a key or a sign of the file, and the file may hold a secret.
    return f"{masked(str(path))}:line {line}: is not TOML: {masked(_LINE.sub('', message))}"


def from_table(
    table: Mapping[str, object], path: Path, mistakes: Mistakes
) -> tuple[dict[str, Given], dict[str, list[object]]]:
    """Flatten a file: scalar keys by dotted name, and stanzas by their section, as they are."""
    for name in _secret_places(table, ""):
        # The first of several credentials is called as if it were alone.
        mistakes.add(f"{path}:{name}", _LITERAL, key=name.replace("[0].", "."))
    given: dict[str, Given] = {}
    known = file_keys()
    for name, value in _leaves(table, path, mistakes):
        if name in known:
            given[name] = Given(value, f"{path}:{name}", path.parent)
        else:
            mistakes.add(f"{path}:{_plain(name)}", unknown_key(name, known))
    stanzas = {name: table.get(name, []) for name in ARRAYS}
    for name, found in stanzas.items():
        if not isinstance(found, list):
            mistakes.add(f"{path}:{name}", f"is written as [[{name}]], once for each", key=name)
    lists = {name: list(s) if isinstance(s, list) else [] for name, s in stanzas.items()}
    return given, lists | {name: _named(name, table, path, mistakes) for name in NAMED}


def _named(
    section: str, table: Mapping[str, object], path: Path, mistakes: Mistakes
) -> list[object]:
    """The sections below a name as stanzas that hold it."""
    found = table.get(section, {})
    if not isinstance(found, dict) or not all(isinstance(body, dict) for body in found.values()):
        mistakes.add(f"{path}:{section}", f"is written as [{section}.NAME], once for each")
        return []
    for name, body in found.items():
        if "name" in body:
            mistakes.add(f"{path}:{section}.{_plain(name)}.name", "its name stands in the brackets")
    return [{**body, "name": name} for name, body in found.items()]


_LITERAL = "looks like a token; a literal secret is refused: put it into a file and name that file"


def _leaves(
    table: Mapping[str, object], path: Path, mistakes: Mistakes
) -> Iterator[tuple[str, object]]:
    """Walk the sections to their keys, noting those that are no tables."""
    for section, body in table.items():
        if section not in SECTIONS:
            mistakes.add(f"{path}:{_plain(section)}", _unknown("section", section, SECTIONS))
        elif section in (*ARRAYS, *NAMED):
            continue
        elif not isinstance(body, dict):
            mistakes.add(f"{path}:{section}", f"is a section: write [{section}]", key=section)
        elif section == "credentials":
            yield from _credential_leaves(body, path, mistakes)
        else:
            yield from ((f"{section}.{key}", value) for key, value in body.items())


def _credential_leaves(
    body: Mapping[str, object], path: Path, mistakes: Mistakes
) -> Iterator[tuple[str, object]]:
    owners = (*ECOSYSTEMS, DEFAULT_CREDENTIAL)
    for owner, keys in body.items():
        place = f"{path}:credentials.{_plain(owner)}"
        if owner not in owners and not isinstance(keys, dict | list) and _SECRET_NAME.search(owner):
            mistakes.add(place, unknown_key(f"credentials.{owner}", {}))
        elif owner not in owners:
            mistakes.add(place, _unknown("ecosystem", owner, owners))
        elif isinstance(keys, list):
            yield from _live_leaves(owner, keys, place, mistakes)
        elif not isinstance(keys, dict):
            mistakes.add(place, f"is a section: write [credentials.{owner}]")
        else:
            yield from ((f"credentials.{owner}.{key}", value) for key, value in keys.items())


def _live_leaves(
    owner: str, stanzas: list[object], place: str, mistakes: Mistakes
) -> Iterator[tuple[str, object]]:
    if not 1 <= len(stanzas) <= MAX_LIVE or not all(isinstance(item, dict) for item in stanzas):
        mistakes.add(place, f"is written as [[credentials.{owner}]], twice at most")
        return
    for number, stanza in enumerate(stanzas):
        if not isinstance(stanza, dict) or not stanza:
            mistakes.add(f"{place}[{number}]", "is empty: name where the pull token is")
            continue
        section = credential_section(owner, number)
        yield from ((f"{section}.{key}", value) for key, value in stanza.items())


def from_environment(environ: Mapping[str, str], mistakes: Mistakes) -> dict[str, Given]:
    """Take `CGR_PROXY_<SECTION>__<KEY>`. Names without `__` belong to others (Kubernetes)."""
    given: dict[str, Given] = {}
    known = {variable(name): name for name in scalar_keys()}
    for name in sorted(environ):
        if not name.startswith(ENVIRONMENT_PREFIX) or "__" not in name:
            continue
        place = f"environment:{_plain(name)}"
        if name not in known:
            mistakes.add(place, _unknown_variable(name, known))
        elif looks_secret(environ[name]):
            mistakes.add(place, _LITERAL, key=known[name])
        else:
            given[known[name]] = Given(environ[name], place, Path(), typed=False)
    return given


def from_options(overrides: Mapping[str, str], mistakes: Mistakes) -> dict[str, Given]:
    """Take what the command line gave, by dotted name."""
    given: dict[str, Given] = {}
    for name, text in overrides.items():
        place = f"command line:--{name.rpartition('.')[2].replace('_', '-')}"
        if looks_secret(text):
            mistakes.add(place, _LITERAL, key=name)
        else:
            given[name] = Given(text, place, Path(), typed=False)
    return given


def variable(name: str) -> str:
    """The environment variable of a dotted name."""
    return ENVIRONMENT_PREFIX + name.upper().replace(".", "__")


def unknown_key(name: str, known: Iterable[str]) -> str:
    """Word an unknown key: the nearest known one, or how to give a secret."""
    section, _, last = name.rpartition(".")
    siblings = [key.rpartition(".")[2] for key in known if key.rpartition(".")[0] == section]
    secret = _SECRET_NAME.search(last) and not last.endswith(("_file", "_hashes"))
    near = _nearest(last, siblings, _MISSPELT if secret else _LIKE)
    if secret and not near:
        return "unknown key; a literal secret is refused: name a file with password_file"
    near = near or [key for key in known if key.rpartition(".")[2] == last]
    return f'unknown key; did you mean "{near[0]}"?' if near else "unknown key in this version"


def _unknown_variable(name: str, known: Mapping[str, str]) -> str:
    for section in (*ARRAYS, *NAMED):
        if name.startswith(variable(f"{section}.")):
            return f"{section} can only be given in the file"
    if _SECRET_NAME.search(name) and not name.endswith("_FILE"):
        return "unknown key; a literal secret is refused: name a file with ..__PASSWORD_FILE"
    near = _nearest(name, known)
    return f'unknown key; did you mean "{near[0]}"?' if near else "unknown key in this version"


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    near = _nearest(name, known)
    return f'unknown {kind}; did you mean "{near[0]}"?' if near else f"unknown {kind}"


def _nearest(name: str, known: Iterable[str], likeness: float = _LIKE) -> list[str]:
    from difflib import get_close_matches  # noqa: PLC0415  # late: few configurations need it

    return get_close_matches(name, list(known), n=1, cutoff=likeness)


def _plain(name: str) -> str:
    """Show a name bare where it is one, quoted where somebody wrote something odd."""
    return name if re.fullmatch(r"[]A-Za-z0-9_.[-]{1,80}", name) else shown(name)


def _secret_places(value: object, name: str) -> Iterator[str]:
    """Dotted names of every text in a table that looks like a secret, however deep."""
    if isinstance(value, str):
        if looks_secret(value):
            yield name
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _secret_places(item, f"{name}.{_plain(key)}" if name else _plain(key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            here = f"{name}[{number}]" if isinstance(item, dict) else name
            yield from _secret_places(item, here)
