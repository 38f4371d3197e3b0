"""What the upstream's own sidecars say about an artifact (Maven's `.sha1` and its kin).

Purpose: asked beside the artifact, not before it: the verdict is needed for the last byte only, and
a round trip less counts. A sidecar that the upstream does not have promises nothing; one that could
not be had, or not be understood, is no such absence: the artifact is not served without it.

They are not kept as entries of their own: what was compared stands with the artifact. An
answer is remembered for a minute only, for clients that ask for the sidecar before the artifact.

Reading: the checksum files of Maven repositories. Non-goals: what a sidecar looks like (`locate` of
the ecosystem), computing what is known to be wanted (`transfer`).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from typing import final

from proxy.cache.decisions import Decisions
from proxy.cache.entry import ArtifactFacts, Compared
from proxy.cache.found import Stored
from proxy.cache.keys import beside
from proxy.cache.singleflight import SingleFlight
from proxy.cache.threads import in_thread
from proxy.cache.whole import receive
from proxy.ecosystems.base import Ecosystem
from proxy.errors import Malformed, NotFound, NotListed, ProxyError, Unavailable
from proxy.model import Algorithm, ArtifactTarget, Digest, Document, DocumentTarget, Source
from proxy.storage.base import Body, Storage
from proxy.upstream.base import Upstream, UpstreamRequest

REMEMBERED = 60.0
COMPUTED = 3600.0
_CHUNK = 1 << 20
MAX_SIDECAR = 8 << 10


def not_before(storage: Storage, key: str, target: ArtifactTarget | None) -> float:
    """When what a statement (`about`) is about has come, in epoch seconds: it must not be older."""
    if target is None or not target.about:
        return 0.0
    record = storage.lookup(beside(key, target.about))
    facts = ArtifactFacts.of_record(record) if record is not None else None
    return facts.fetched_at if facts is not None else 0.0


@final
class Checksums:
    """Asks for sidecars. `clock`: seconds since the epoch."""

    def __init__(self, upstream: Upstream, *, clock: Callable[[], float]) -> None:
        self._upstream = upstream
        self._clock = clock
        self._asking: SingleFlight[Digest | None] = SingleFlight()
        self._known: Decisions[Digest] = Decisions()
        self._absent: Decisions[bool] = Decisions()
        self._computed: Decisions[Digest] = Decisions()  # by SHA-256 and algorithm

    async def close(self) -> None:
        """End every question."""
        await self._asking.close()

    async def every(
        self, ecosystem: Ecosystem, target: ArtifactTarget, *, no_cache: bool = False
    ) -> Compared:
        """What all sidecars that count say (`checksum_of`), asked at once.

        `no_cache`: ask anew, past caches in between. Raises what asking one of them raised.
        """
        found = await asyncio.gather(
            *(
                self.one(ecosystem, target, sidecar, no_cache=no_cache)
                for sidecar in target.checksum_of
            ),
            return_exceptions=True,
        )
        pairs = []
        for sidecar, digest in zip(target.checksum_of, found, strict=True):
            if isinstance(digest, BaseException):
                raise digest
            if digest is not None:
                pairs.append((sidecar.path, digest))
        paths = " ".join(path for path, _ in pairs)
        digests = tuple(digest for _, digest in pairs)
        return Compared(digests, paths) if pairs else Compared()

    async def current(
        self, ecosystem: Ecosystem, target: ArtifactTarget, compared: str
    ) -> Digest | None:
        """What one sidecar says now: of those that there were (`compared`) the first, else the
        last that there could be. None: the upstream has none. Raises as `every`."""
        paths = compared.split()
        there = [sidecar for sidecar in target.checksum_of if sidecar.path in paths]
        for sidecar in (*there, *target.checksum_of[-1:])[:1]:
            return await self.one(ecosystem, target, sidecar, no_cache=True)
        return None

    async def one(
        self,
        ecosystem: Ecosystem,
        target: ArtifactTarget,
        sidecar: DocumentTarget,
        *,
        no_cache: bool = False,
    ) -> Digest | None:
        """What one sidecar of an artifact says; None: the upstream does not have it.

        Raises what asking raises; Malformed for what is no checksum.
        """
        key, now = f"{ecosystem.name}\0{sidecar.path}", self._clock()
        if not no_cache:
            if self._absent.find(key, now):
                return None
            if (known := self._known.find(key, now)) is not None:
                return known

        async def ask() -> Digest | None:
            return await self._ask(ecosystem, target, sidecar, key, no_cache=no_cache)

        task, _ = self._asking.join(f"{key}\0{no_cache}", ask)
        try:
            return await asyncio.shield(task)
        except ProxyError as error:
            raise error.with_traceback(None) from None

    async def computed(self, found: Stored, algorithm: Algorithm) -> Digest:
        """The digest of a stored body by an algorithm that was not computed when it came.

        Raises Unavailable when the body cannot be read.
        """
        key = f"{found.record.sha256}\0{algorithm}"
        known = self._computed.find(key, self._clock())
        if known is not None:
            return known
        try:
            digest = await in_thread(lambda: _digest(found.body, algorithm))
        except OSError as error:
            found.heal()
            raise Unavailable("The stored copy could not be read; try again.") from error
        self._computed.remember(key, digest, self._clock(), COMPUTED)
        return digest

    async def _ask(
        self,
        ecosystem: Ecosystem,
        target: ArtifactTarget,
        sidecar: DocumentTarget,
        key: str,
        *,
        no_cache: bool,
    ) -> Digest | None:
        request = UpstreamRequest(
            ecosystem.name, sidecar.path, accept=sidecar.accept, no_cache=no_cache
        )
        self._known.forget(key)
        self._absent.forget(key)
        try:
            document = await self._read(request)
        except NotFound:
            self._absent.remember(key, value=True, now=self._clock(), seconds=REMEMBERED)
            return None
        try:
            found = ecosystem.locate(target, document)
        except NotListed:
            found = None
        digest = found.digest if isinstance(found, Source) else None
        if digest is None:
            raise Malformed("The upstream's checksum file holds no checksum; nothing was kept.")
        self._known.remember(key, digest, self._clock(), REMEMBERED)
        return digest

    async def _read(self, request: UpstreamRequest) -> Document:
        response = await self._upstream.open(request)
        try:
            too_large = "The upstream's checksum file is far too long to be one."
            body = await receive(response, MAX_SIDECAR, too_large)
            return Document(body, response.head.media_type, response.head.url)
        finally:
            await response.close()


def _digest(body: Body, algorithm: Algorithm) -> Digest:
    """Hash a whole body. Raises OSError, also when it is shorter than it was."""
    made, offset = hashlib.new(algorithm, usedforsecurity=False), 0
    while offset < body.size:
        piece = os.pread(body.fileno(), min(_CHUNK, body.size - offset), offset)
        if not piece:
            raise OSError("the body is shorter than it was")
        made.update(piece)
        offset += len(piece)
    return Digest(algorithm, made.hexdigest())
