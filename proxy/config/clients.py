"""The stanzas of [[clients]]: who may come, with which token or certificate, from where, for what.

Purpose: read each stanza by the table of keys and check what one stanza, or two together, must
not say: a client that nobody could be, a client that could use nothing, the same name or the same
token twice.

Reading: the README's part on clients. Non-goals: matching requests (that is `proxy.access`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from proxy.config.mistakes import Mistakes
from proxy.config.schema import CLIENT
from proxy.config.settings import ClientSettings
from proxy.config.stanzas import Stanza, read_stanzas


def read_clients(
    stanzas: Sequence[object], file: Path, mistakes: Mistakes
) -> tuple[ClientSettings, ...]:
    """Read all stanzas; wrong ones are noted and mark `clients` as broken."""
    before = len(mistakes)
    read = list(read_stanzas("clients", CLIENT, stanzas, file, mistakes))
    clients = [_checked(stanza, mistakes) for stanza in read]
    _refuse_twins(clients, [stanza.place for stanza in read], mistakes)
    if len(mistakes) > before:
        mistakes.broken.add("clients")
    return tuple(clients)


def _checked(stanza: Stanza, mistakes: Mistakes) -> ClientSettings:
    client = ClientSettings(**stanza.found)
    place, broken = stanza.place, stanza.broken
    if "name" not in stanza.given:
        mistakes.add(f"{place}.name", "is missing: every client needs a name")
    if not client.ecosystems and "ecosystems" not in broken:
        mistakes.add(f"{place}.ecosystems", "is empty: this client could use nothing")
    who = {"token_hashes": client.token_hashes, "subjects": client.subjects}
    if not any(who.values()) and not client.networks and not {*who, "networks"} & broken:
        mistakes.add(place, "needs token_hashes, subjects or networks: nobody could be this client")
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
