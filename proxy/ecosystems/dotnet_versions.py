"""Identifiers and versions of NuGet packages. Pure.

Purpose: the one place that knows when two spellings mean the same. Identifiers are the same in any
case; versions are, when they are after normalising: without leading zeros, a fourth number that is
zero and build metadata, in small letters, so that `1.0`, `1.0.0.0` and `1.0.0+abc` are `1.0.0`.

Reading: NuGet's documentation, "Package versioning" (normalised version numbers) and "Package
base address"; semantic versioning 2.0.0 (precedence). Non-goals: ranges.
"""

from __future__ import annotations

import re

LONGEST_ID = 100
_ID = re.compile(r"[A-Za-z0-9_]+(?:[._-][A-Za-z0-9_]+)*")
_VERSION = re.compile(
    r"(?P<numbers>[0-9]{1,10}(?:\.[0-9]{1,10}){0,3})"
    r"(?:-(?P<label>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_LONGEST_VERSION = 128

Key = tuple[tuple[int, ...], int, tuple[tuple[int, int, str], ...]]


def identifier(text: str) -> str | None:
    """The normal spelling of a package's identifier; None: it can be none."""
    return text.lower() if len(text) <= LONGEST_ID and _ID.fullmatch(text) else None


def normalise(text: str) -> str | None:
    """The normal spelling of a version; None: it is none."""
    found = _VERSION.fullmatch(text) if len(text) <= _LONGEST_VERSION else None
    if found is None:
        return None
    numbers = _numbers(found["numbers"])
    kept = numbers[:3] if numbers[3] == 0 else numbers
    label = f"-{found['label'].lower()}" if found["label"] else ""
    return ".".join(map(str, kept)) + label


def key(version: str) -> Key:
    """What normalised versions are ordered by."""
    numbers, _, label = version.partition("-")
    words = tuple(
        (0, int(word), "") if word.isdigit() else (1, 0, word)
        for word in (label.split(".") if label else ())
    )
    return _numbers(numbers), 0 if label else 1, words


def split_file(stem: str) -> tuple[str, str] | None:
    """Split `identifier.version`; None: it is no such thing, or two of them."""
    found = []
    for dot in re.finditer(r"\.(?=[0-9])", stem):
        package, version = stem[: dot.start()], stem[dot.end() :]
        if identifier(package) == package and normalise(version) == version:
            found.append((package, version))
    return found[0] if len(found) == 1 else None


def _numbers(text: str) -> tuple[int, ...]:
    numbers = [int(number) for number in text.split(".")]
    return (*numbers, 0, 0, 0)[:4]
