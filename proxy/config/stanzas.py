"""Arrays of tables: the part of reading a stanza that is the same for every kind of them.

Purpose: keys by the table of keys, unknown ones noted, a place that a person finds again:
`FILE:clients[name].key`, with the number where the name is missing or unusable.

Non-goals: what a stanza must not say (`proxy.config.clients`, `proxy.config.oidc`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.config import values
from proxy.config.mistakes import Mistakes
from proxy.config.reading import read
from proxy.config.schema import Key
from proxy.config.sources import Given, unknown_key


@dataclass(frozen=True, slots=True)
class Stanza:
    """One stanza as read. `found`: every key; `given`: those that stand there; `broken`: those
    that could not be read and hold their default."""

    place: str
    found: dict[str, Any]
    given: frozenset[str]
    broken: frozenset[str]


def read_stanzas(
    section: str, keys: Sequence[Key], stanzas: Sequence[object], file: Path, mistakes: Mistakes
) -> Iterator[Stanza]:
    """Read each stanza of `[[section]]`; mistakes are noted, not raised."""
    for number, stanza in enumerate(stanzas):
        if isinstance(stanza, dict):
            yield _read(section, keys, stanza, number, file, mistakes)
        else:
            mistakes.add(f"{file}:{section}[{number}]", f"is written as [[{section}]], once each")


def _read(  # noqa: PLR0913, PLR0917  # what it takes to say where something is wrong
    section: str,
    keys: Sequence[Key],
    stanza: dict[str, object],
    number: int,
    file: Path,
    mistakes: Mistakes,
) -> Stanza:
    place = _place(section, file, stanza, number)
    known = {f"{section}.{key.name}" for key in keys}
    for name in stanza:
        if f"{section}.{name}" not in known:
            mistakes.add(f"{place}.{name}", unknown_key(f"{section}.{name}", sorted(known)))
    found: dict[str, Any] = {}
    for key in keys:
        given = (
            Given(stanza[key.name], f"{place}.{key.name}", file.parent)
            if key.name in stanza
            else None
        )
        # A literal secret in a stanza was noted under its number: see sources.from_table.
        found[key.name] = read(key, given, mistakes, name=f"{section}[{number}].{key.name}")
    broken = {key.name for key in keys if f"{section}[{number}].{key.name}" in mistakes.broken}
    return Stanza(place, found, frozenset(stanza), frozenset(broken))


def _place(section: str, file: Path, stanza: dict[str, object], number: int) -> str:
    try:
        return f"{file}:{section}[{values.client_name(str(stanza.get('name', '')))}]"
    except ValueError:
        return f"{file}:{section}[{number}]"
