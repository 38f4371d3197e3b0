"""What a flight is to bring. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

from proxy.cache.entry import ArtifactFacts, Compared
from proxy.cache.judging import Judge
from proxy.ecosystems.base import Verifier
from proxy.model import Algorithm, Source
from proxy.storage.base import Body
from proxy.upstream.base import UpstreamRequest


class Order(NamedTuple):
    """What to fetch: under which key, from where, and the facts to keep with it.

    `name`: key and digest, what makes two flights the same one. `no_cache`: ask past caches in
    between, because the last answer was wrong. `fetch_whole`: brings what an artifact is to be
    extracted from, verified and stored; whoever gets the body MUST close it. `compare`: asks for
    what it is to be compared with, told whether to ask past caches. `digests`: to be computed.
    `not_before`: epoch seconds; what was fetched earlier is not what is wanted. `verifier`: makes
    what judges a sealed artifact, anew for each try. `judge`: looks at all of it (`judging`).
    `shared`: other packages may be given the stored bytes (`Storage.share`).
    """

    ecosystem: str
    key: str
    name: str
    source: Source
    facts: Callable[[], ArtifactFacts]
    no_cache: bool = False
    fetch_whole: Callable[[], Awaitable[Body]] | None = None
    compare: Callable[[bool], Coroutine[Any, Any, Compared]] | None = None
    digests: tuple[Algorithm, ...] = ()
    not_before: float = 0.0
    verifier: Callable[[], Verifier] | None = None
    judge: Judge | None = None
    shared: bool = False

    def request(self, start: int = 0, *, no_cache: bool = False) -> UpstreamRequest:
        """What to ask the upstream, from a byte on. `no_cache`: past caches in any case."""
        return UpstreamRequest(
            self.ecosystem,
            self.source.location,
            start=start,
            no_cache=no_cache or self.no_cache,
            upstream=self.source.upstream,
            package=self.source.package,
        )
