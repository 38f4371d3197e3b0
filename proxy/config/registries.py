"""The stanzas of [[registries]]: further upstreams of container images, each with its credential.

Purpose: read each stanza and refuse two that a client could not tell apart. The pull token of the
vendor is never shown to one of them: a stanza without a credential of its own has none.

Reading: containerd's `docs/hosts.md` (`ns`). Non-goals: which of them a request means
(`proxy.ecosystems.oci_paths`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from proxy.config.credentials import mismatch
from proxy.config.mistakes import Mistakes
from proxy.config.schema import REGISTRY
from proxy.config.settings import CredentialSettings, RegistrySettings
from proxy.config.stanzas import Stanza, read_stanzas


def read_registries(
    stanzas: Sequence[object], file: Path, mistakes: Mistakes
) -> tuple[RegistrySettings, ...]:
    """Read all stanzas; wrong ones are noted and mark `registries` as broken."""
    before = len(mistakes)
    read = list(read_stanzas("registries", REGISTRY, stanzas, file, mistakes))
    registries = tuple(_checked(stanza, mistakes) for stanza in read)
    for key in ("alias", "url"):
        seen: set[str] = set()
        for registry, stanza in zip(registries, read, strict=True):
            value = getattr(registry, key)
            if value and value in seen:
                mistakes.add(f"{stanza.place}.{key}", "is that of an earlier registry too")
            seen.add(value)
    if len(mistakes) > before:
        mistakes.broken.add("registries")
    return registries


def _checked(stanza: Stanza, mistakes: Mistakes) -> RegistrySettings:
    found = dict(stanza.found)
    alias, url = found.pop("alias"), found.pop("url")
    for key, value in (("alias", alias), ("url", url)):
        if not value and key not in stanza.broken:
            mistakes.add(f"{stanza.place}.{key}", "is missing")
    return RegistrySettings(alias, url, own_credential(stanza, found, mistakes))


def own_credential(
    stanza: Stanza, found: Mapping[str, Any], mistakes: Mistakes
) -> CredentialSettings | None:
    """The credential of a further upstream: `found` are its keys. None: it is asked as nobody."""
    given = {key: value for key, value in found.items() if value}
    if not given:
        return None
    if not stanza.broken and (wrong := mismatch(frozenset(given))):
        mistakes.add(stanza.place, wrong)
    return CredentialSettings(source=stanza.place, **given)
