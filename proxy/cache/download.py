"""The leader's work: upstream to body file, hashed on the way, committed only when right.

Purpose: nothing incomplete and nothing wrong is ever finished or stored. Size and digest come from
the listing where it has them; the upstream's own claims about its bytes prove nothing.

Reading: design rules 6 to 10; pypi/support 5879 and nodejs/build 3194 (caches in between that
served wrong or cut bytes: one more try past them). Non-goals: who is waiting (`flight` knows).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from proxy.cache.entry import ArtifactFacts
from proxy.cache.flight import Flight
from proxy.errors import DigestMismatch, Malformed, ProxyError, StorageFailed, Unavailable
from proxy.model import Source
from proxy.observe.metrics import Metrics
from proxy.storage.base import Record, Storage, Writer
from proxy.storage.memory import MemoryWriter
from proxy.upstream.base import Head, Upstream, UpstreamRequest

LOG = logging.getLogger(__name__)
COMMIT_IN_THREAD = 1 << 20


@dataclass(frozen=True, slots=True)
class Order:
    """What to fetch: under which key, from where, and the facts to keep with it."""

    ecosystem: str
    key: str
    source: Source
    facts: Callable[[], ArtifactFacts]


@final
class _Verifier:
    """Hashes what passes and says at the end whether it was right."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._sha256 = hashlib.sha256()
        self._other = None
        if source.digest is not None and source.digest.algorithm != "sha256":
            self._other = hashlib.new(source.digest.algorithm)
        self.received = 0

    def update(self, piece: bytes) -> None:
        self.received += len(piece)
        self._sha256.update(piece)
        if self._other is not None:
            self._other.update(piece)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def check(self, size: int | None) -> None:
        """Raise DigestMismatch unless everything received is what was promised."""
        wanted = self._source.digest
        if size is not None and self.received != size:
            raise DigestMismatch(
                f"The upstream sent {self.received} bytes where {size} belong; nothing was kept."
            )
        if wanted is None:
            return
        found = self._other.hexdigest() if self._other is not None else self.sha256
        if found != wanted.hex:
            raise DigestMismatch(
                f"The upstream's bytes do not have the {wanted.algorithm} that its listing"
                " promises; nothing was kept."
            )


@final
class Download:
    """Runs flights. One instance serves all ecosystems."""

    def __init__(self, storage: Storage, upstream: Upstream, metrics: Metrics) -> None:
        self._metrics = metrics
        self._storage = storage
        self._upstream = upstream

    async def run(self, flight: Flight, order: Order) -> None:
        """Fetch, verify, commit; every end is told to the flight. Never raises a ProxyError."""
        try:
            flight.finish(await self._try_twice(flight, order))
        except ProxyError as error:
            flight.fail(error)
        except asyncio.CancelledError:
            flight.fail(Unavailable("The transfer was stopped; try again.", retry_after=1))
            raise
        except BaseException:
            flight.fail(Unavailable("The transfer failed inside the proxy.", retry_after=1))
            raise

    async def _try_twice(self, flight: Flight, order: Order) -> Record | None:
        try:
            return await self._once(flight, order, no_cache=False)
        except DigestMismatch as error:
            self._metrics.digest_mismatch(order.ecosystem)
            if flight.headed:
                raise
            # A cache in between may hold a wrong copy: ask once more, past it.
            LOG.warning("%s; asking once more past caches", error.detail)
        return await self._once(flight, order, no_cache=True)

    async def _once(self, flight: Flight, order: Order, *, no_cache: bool) -> Record | None:
        request = UpstreamRequest(order.ecosystem, order.source.location, no_cache=no_cache)
        response = await self._upstream.open(request)
        writer: Writer = self._writer(order.key)
        try:
            size = _agreed_size(response.head, order.source)
            verifier = _Verifier(order.source)
            flight.begin(writer.open(), size)
            async for piece in response.pieces():
                verifier.update(piece)
                if size is not None and verifier.received > size:
                    break
                writer = self._write(flight, writer, piece)
                flight.advance(verifier.received)
            verifier.check(size)
            _check_whole(response.head, order.source, verifier.received)
            return await self._commit(writer, verifier, response.head, order)
        finally:
            writer.close()
            await response.close()

    def _writer(self, key: str) -> Writer:
        try:
            return self._storage.create(key)
        except StorageFailed as error:
            self._metrics.cache_write_error()
            LOG.warning("the store takes nothing (%s); passing through", error)
            return MemoryWriter()

    def _write(self, flight: Flight, writer: Writer, piece: bytes) -> Writer:
        """Write a piece; when the disk fails the flight goes on in memory, unstored."""
        try:
            writer.write(piece)
        except StorageFailed as error:
            self._metrics.cache_write_error()
            LOG.warning("the store takes no more (%s); passing through", error)
            spool = MemoryWriter()
            _copy(writer, spool, flight.received)
            spool.write(piece)
            flight.moved(spool.open())
            writer.close()
            return spool
        return writer

    async def _commit(
        self, writer: Writer, verifier: _Verifier, head: Head, order: Order
    ) -> Record | None:
        if order.source.digest is None and not head.framed:
            return None  # its end cannot be told from a cut: passed on, never stored
        fields = order.facts().fields()
        try:
            if verifier.received > COMMIT_IN_THREAD:
                return await asyncio.to_thread(writer.commit, verifier.sha256, fields)
            return writer.commit(verifier.sha256, fields)
        except StorageFailed as error:
            self._metrics.cache_write_error()
            LOG.warning("a verified artifact could not be stored (%s)", error)
            return None


def _agreed_size(head: Head, source: Source) -> int | None:
    if head.size is not None and source.size is not None and head.size != source.size:
        raise DigestMismatch(
            f"The upstream sends {head.size} bytes where its listing promises {source.size}."
        )
    return head.size if head.size is not None else source.size


def _check_whole(head: Head, source: Source, received: int) -> None:
    """Without a digest, an empty body or an HTML page in place of a file is never believed."""
    if source.digest is not None:
        return
    if received == 0 or head.media_type.lower().startswith("text/html"):
        raise Malformed("The upstream sent a page or nothing in place of the file.")


def _copy(source: Writer, target: Writer, size: int) -> None:
    body = source.open()
    try:
        offset = 0
        while offset < size and (
            piece := os.pread(body.fileno(), min(1 << 20, size - offset), offset)
        ):
            target.write(piece)
            offset += len(piece)
    finally:
        body.close()
