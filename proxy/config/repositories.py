"""The sections [repositories.NAME]: further upstreams of an ecosystem that can have several.

Purpose: read each of them. The pull token of the vendor is never shown to one: a section without a
credential of its own has none.

Reading: contract of the configuration in the README. Non-goals: which of them a request means (the
ecosystem says so), container registries (`proxy.config.registries`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from proxy.config import values
from proxy.config.mistakes import Mistakes
from proxy.config.registries import own_credential
from proxy.config.schema import REPOSITORY, Key, Shape
from proxy.config.settings import RepositorySettings
from proxy.config.stanzas import Stanza, read_stanzas

_NAME = Key("name", Shape.TEXT, "", values.alias, "What stands in the brackets.")


def read_repositories(
    stanzas: Sequence[object], file: Path, mistakes: Mistakes
) -> tuple[RepositorySettings, ...]:
    """Read all of them; wrong ones are noted and mark `repositories` as broken."""
    before = len(mistakes)
    keys = (_NAME, *REPOSITORY)
    read = list(read_stanzas("repositories", keys, stanzas, file, mistakes))
    found = tuple(_checked(stanza, mistakes) for stanza in read)
    seen: set[str] = set()
    for repository, stanza in zip(found, read, strict=True):
        # What is kept of one address must not be given under the name of another credential.
        if repository.upstream and repository.upstream in seen:
            mistakes.add(f"{stanza.place}.upstream", "is that of an earlier repository too")
        seen.add(repository.upstream)
    if len(mistakes) > before:
        mistakes.broken.add("repositories")
    return found


def _checked(stanza: Stanza, mistakes: Mistakes) -> RepositorySettings:
    found = dict(stanza.found)
    name, ecosystem, upstream = (found.pop(key) for key in ("name", "ecosystem", "upstream"))
    for key, value in (("ecosystem", ecosystem), ("upstream", upstream)):
        if not value and key not in stanza.broken:
            mistakes.add(f"{stanza.place}.{key}", "is missing")
    return RepositorySettings(name, ecosystem, upstream, own_credential(stanza, found, mistakes))
