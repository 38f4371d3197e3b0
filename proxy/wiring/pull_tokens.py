"""Where each ecosystem's credentials come from, in the terms of the upstream room.

Purpose: a stanza of `[credentials]` becomes a source of pairs (files, a Docker configuration,
netrc) or of short-lived tokens for the workload's own identity. Non-goals: reading any of them.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from proxy.config import LIBRARIES, CredentialSettings, Settings
from proxy.ecosystems import ECOSYSTEMS
from proxy.upstream.credentials import KeylessSource, PairSource, Source
from proxy.upstream.keyless import AUDIENCES
from proxy.wiring.upstreams import further_credentials


def credential_sources(settings: Settings) -> dict[str, list[Source]]:
    """The sources of each ecosystem, one or two, the first one preferred."""
    keys = dict.fromkeys(LIBRARIES, "libraries") | {item.name: item.upstream for item in ECOSYSTEMS}
    found: dict[str, list[Source]] = {}
    for name, held in settings.credentials.items():
        key = keys.get(name, "")  # an ecosystem that is not built yet may have no upstream
        host = urlsplit(getattr(settings.upstream, key)).netloc if key else ""
        made = (_source(given, key, host) for given in held)
        if sources := [source for source in made if source is not None]:
            found[name] = sources
    for name, credential, host in further_credentials(settings):
        found[name] = [_pair_source(credential, host, vendors=False)]
    return found


def _source(given: CredentialSettings, key: str, host: str) -> Source | None:
    """`key`: of the upstream that is asked; `host`: its host and port. None: no use."""
    if given.identity:
        if not (given.identity_token_file and key):
            return None
        return KeylessSource(given.identity, given.identity_token_file, AUDIENCES[key])
    return _pair_source(given, host)


def _pair_source(given: CredentialSettings, host: str, *, vendors: bool = True) -> PairSource:
    return PairSource(
        username=given.username,
        username_file=given.username_file,
        password=given.password,
        password_file=given.password_file,
        pair_file=given.pair_file,
        docker_config=given.docker_config,
        netrc=given.netrc,
        host=host,
        vendors=vendors,
    )
