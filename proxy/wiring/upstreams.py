"""Which upstreams there are, by name: one for each ecosystem, and further ones (`[[registries]]`)
for those that can have several.

Purpose: one table for everybody who needs to know of them: origins, credentials, paths.
Non-goals: asking any of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from proxy.config import CredentialSettings, Settings
from proxy.ecosystems import ECOSYSTEMS
from proxy.ecosystems.base import Ecosystem, Federated
from proxy.model import upstream_name

# The keys of `[upstream]` that are asked with bearer tokens, had for the pull token.
CHALLENGING = frozenset({"registry"})


def ecosystems_of(settings: Settings) -> tuple[Ecosystem, ...]:
    """The ecosystems, each with the upstreams that its paths may mean."""
    further = {item.alias: urlsplit(item.url).netloc for item in settings.registries}
    return tuple(
        item.knowing(urlsplit(getattr(settings.upstream, item.upstream)).netloc, further)
        if isinstance(item, Federated)
        else item
        for item in ECOSYSTEMS
    )


def origins_of(settings: Settings) -> dict[str, str]:
    """The base URL of each upstream, by its name."""
    own = {item.name: getattr(settings.upstream, item.upstream) for item in ECOSYSTEMS}
    return own | {
        upstream_name(name, item.alias): item.url
        for name in _federated()
        for item in settings.registries
    }


def challenging(settings: Settings) -> frozenset[str]:
    """The names of those that are asked with bearer tokens."""
    own = {item.name for item in ECOSYSTEMS if item.upstream in CHALLENGING}
    return frozenset(name for name in origins_of(settings) if name.partition(":")[0] in own)


def further_credentials(settings: Settings) -> Iterator[tuple[str, CredentialSettings, str]]:
    """Name, credential and host of each further upstream that has one."""
    for name in _federated():
        for item in settings.registries:
            if item.credential is not None:
                host = urlsplit(item.url).netloc
                yield upstream_name(name, item.alias), item.credential, host


def _federated() -> list[str]:
    return [item.name for item in ECOSYSTEMS if isinstance(item, Federated)]
