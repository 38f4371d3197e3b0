"""The stanzas of [[clients]]: who may come, with which token, from where, for what.

Purpose: read each stanza by the table of keys and check what one stanza, or two together, must
not say: a client that nobody could be, a client that could use nothing, the same name or the same
token twice. A place is `FILE:clients[name].key`, with the number where the name is unusable.

Reading: the README's part on clients. Non-goals: matching requests (that is `proxy.access`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proxy.config import values
from proxy.config.mistakes import Mistakes
from proxy.config.reading import read
from proxy.config.schema import CLIENT
from proxy.config.settings import ClientSettings
from proxy.config.sources import Given, unknown_key

_NAMES = {f"clients.{key.name}": key for key in CLIENT}


def read_clients(
    stanzas: Sequence[object], file: Path, mistakes: Mistakes
) -> tuple[ClientSettings, ...]:
    """Read all stanzas; wrong ones are noted and mark `clients` as broken."""
    before = len(mistakes)
    clients: list[ClientSettings] = []
    places: list[str] = []
    for number, stanza in enumerate(stanzas):
        if isinstance(stanza, dict):
            places.append(_place(file, stanza, number))
            clients.append(_read_stanza(stanza, number, places[-1], file, mistakes))
        else:
            mistakes.add(f"{file}:clients[{number}]", "is written as [[clients]], once for each")
    _refuse_twins(clients, places, mistakes)
    if len(mistakes) > before:
        mistakes.broken.add("clients")
    return tuple(clients)


def _place(file: Path, stanza: dict[str, object], number: int) -> str:
    try:
        return f"{file}:clients[{values.client_name(str(stanza.get('name', '')))}]"
    except ValueError:
        return f"{file}:clients[{number}]"


def _read_stanza(
    stanza: dict[str, object], number: int, place: str, file: Path, mistakes: Mistakes
) -> ClientSettings:
    for name in stanza:
        if f"clients.{name}" not in _NAMES:
            mistakes.add(f"{place}.{name}", unknown_key(f"clients.{name}", _NAMES))
    found: dict[str, Any] = {}
    for key in CLIENT:
        given = (
            Given(stanza[key.name], f"{place}.{key.name}", file.parent)
            if key.name in stanza
            else None
        )
        # A literal secret in a stanza was noted under its number: see sources.from_table.
        found[key.name] = read(key, given, mistakes, name=f"clients[{number}].{key.name}")
    client = ClientSettings(**found)
    if "name" not in stanza:
        mistakes.add(f"{place}.name", "is missing: every client needs a name")
    broken = {key.name for key in CLIENT if f"clients[{number}].{key.name}" in mistakes.broken}
    if not client.ecosystems and "ecosystems" not in broken:
        mistakes.add(f"{place}.ecosystems", "is empty: this client could use nothing")
    if (
        not client.token_hashes
        and not client.networks
        and not {"token_hashes", "networks"} & broken
    ):
        mistakes.add(place, "needs token_hashes or networks: nobody could be this client")
    return client


def _refuse_twins(
    clients: Sequence[ClientSettings], places: Sequence[str], mistakes: Mistakes
) -> None:
    names: set[str] = set()
    owners: dict[str, str] = {}
    for client, place in zip(clients, places, strict=True):
        if client.name and client.name in names:
            mistakes.add(f"{place}.name", "is the name of an earlier client too")
        names.add(client.name)
        for token in client.token_hashes:
            if token in owners:
                mistakes.add(
                    f"{place}.token_hashes",
                    f"the same token belongs to the client {owners[token]}: give each its own",
                )
            owners.setdefault(token, client.name or place)
