"""Which upstreams there are, by name: one for each ecosystem, and further ones (`[[registries]]`,
`[repositories.NAME]`) for those that can have several.

Purpose: one table for everybody who needs to know of them: origins, credentials, paths.
Non-goals: asking any of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from proxy.config import CredentialSettings, Settings
from proxy.ecosystems import ECOSYSTEMS
from proxy.ecosystems.base import Ecosystem, Federated
from proxy.model import upstream_name

# The keys of `[upstream]` that are asked with bearer tokens, had for the pull token.
CHALLENGING = frozenset({"registry"})
OCI = "oci"  # what `[[registries]]` are of


@dataclass(frozen=True, slots=True)
class Further:
    """An upstream besides the vendor's. `name`: in tables; `alias`: in paths."""

    name: str
    ecosystem: str
    alias: str
    url: str
    credential: CredentialSettings | None

    @property
    def host(self) -> str:
        """With its port, where that is not the usual one."""
        return urlsplit(self.url).netloc


def ecosystems_of(settings: Settings) -> tuple[Ecosystem, ...]:
    """The ecosystems, each with the upstreams that its paths may mean."""
    every = _further(settings)
    return tuple(
        item.knowing(
            urlsplit(getattr(settings.upstream, item.upstream)).netloc,
            {one.alias: one.host for one in every if one.ecosystem == item.name},
        )
        if isinstance(item, Federated)
        else item
        for item in ECOSYSTEMS
    )


def origins_of(settings: Settings) -> dict[str, str]:
    """The base URL of each upstream, by its name."""
    own = {item.name: getattr(settings.upstream, item.upstream) for item in ECOSYSTEMS}
    return own | {one.name: one.url for one in _further(settings)}


def challenging(settings: Settings) -> frozenset[str]:
    """The names of those that are asked with bearer tokens."""
    own = {item.name for item in ECOSYSTEMS if item.upstream in CHALLENGING}
    return frozenset(name for name in origins_of(settings) if name.partition(":")[0] in own)


def further_credentials(settings: Settings) -> Iterator[tuple[str, CredentialSettings, str]]:
    """Name, credential and host of each further upstream that has one."""
    for one in _further(settings):
        if one.credential is not None:
            yield one.name, one.credential, one.host


def _further(settings: Settings) -> list[Further]:
    registries = [(OCI, item.alias, item.url, item.credential) for item in settings.registries]
    repositories = [
        (item.ecosystem, item.name, item.upstream, item.credential)
        for item in settings.repositories
    ]
    return [
        Further(upstream_name(ecosystem, alias), ecosystem, alias, url, credential)
        for ecosystem, alias, url, credential in registries + repositories
    ]
