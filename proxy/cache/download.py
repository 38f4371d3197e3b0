"""The leader's work: upstream to body file, hashed on the way, committed only when right.

Purpose: nothing incomplete and nothing wrong is ever finished or stored. Size and digest come from
the listing where it has them; the upstream's own claims about its bytes prove nothing. A broken
transfer is resumed where a digest will tell whether the rest belongs to it. When another process
already fetches the same body, its progress is followed instead, and its place taken if it dies.

Reading: design rules 5 to 10; pypi/support 5879 and nodejs/build 3194 (caches in between that
served wrong or cut bytes: one more try past them). Non-goals: who is waiting (`flight` knows).
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import final

from proxy.cache.entry import ArtifactFacts
from proxy.cache.flight import Flight
from proxy.cache.transfer import Rate, Transfer
from proxy.cache.verdicts import from_text, to_text
from proxy.errors import DigestMismatch, ProxyError, StorageFailed, Unavailable
from proxy.model import Source
from proxy.observe.metrics import Metrics
from proxy.storage.base import Foreign, Record, Storage, Writer
from proxy.storage.memory import MemoryWriter
from proxy.upstream.base import Upstream, UpstreamRequest

LOG = logging.getLogger(__name__)
COMMIT_IN_THREAD = 1 << 20
FOREIGN_TICK = 0.02
ADOPT_EVERY = 25  # ticks
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Order:
    """What to fetch: under which key, from where, and the facts to keep with it.

    `name`: key and digest, what makes two flights the same one.
    """

    ecosystem: str
    key: str
    name: str
    source: Source
    facts: Callable[[], ArtifactFacts]


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """`max_object`: bytes; a larger one is passed through. `min_rate`: bytes a second."""

    max_object: int = 1 << 62
    min_rate: int = 0


@final
class Download:
    """Runs flights. One instance serves all ecosystems. `clock`: monotonic seconds."""

    def __init__(  # noqa: PLR0913  # the composition root's one call
        self,
        storage: Storage,
        upstream: Upstream,
        metrics: Metrics,
        limits: DownloadLimits,
        *,
        clock: Callable[[], float],
        make_room: Callable[[], object] = lambda: None,
    ) -> None:
        self._storage = storage
        self._upstream = upstream
        self._metrics = metrics
        self._limits = limits
        self._clock = clock
        self._make_room = make_room

    async def run(self, flight: Flight, order: Order) -> None:
        """Fetch, verify, commit; every end is told to the flight. Never raises a ProxyError."""
        try:
            await self._run(flight, order)
        except ProxyError as error:
            flight.fail(error)
        except asyncio.CancelledError:
            flight.fail(Unavailable("The transfer was stopped; try again.", retry_after=1))
            raise
        except BaseException:
            flight.fail(Unavailable("The transfer failed inside the proxy.", retry_after=1))
            raise

    async def _run(self, flight: Flight, order: Order) -> None:
        try:
            claimed = self._storage.claim(order.key, order.name)
        except StorageFailed as error:
            self._unstorable(error)
            claimed = MemoryWriter()
        if isinstance(claimed, Foreign):
            await self._follow(flight, order, claimed)
        else:
            await self._lead(flight, order, claimed)

    # --- leading -----------------------------------------------------------------------------

    async def _lead(self, flight: Flight, order: Order, writer: Writer) -> None:
        leader = _Leader(flight, writer, Transfer(order.source))
        try:
            if writer.size:
                await leader.reread()
            await self._pull_all(leader, order)
            flight.finish(await self._commit(leader, order))
            leader.tell()
        except ProxyError as error:
            leader.writer.tell(replace(flight.progress(), state="failed", error=to_text(error)))
            raise
        finally:
            leader.writer.close()

    async def _pull_all(self, leader: _Leader, order: Order) -> None:
        transfer = leader.transfer
        while True:
            try:
                await self._pull(leader, order)
                transfer.check()
            except DigestMismatch as error:
                self._metrics.digest_mismatch(order.ecosystem)
                if leader.flight.headed or transfer.no_cache:
                    raise
                # A cache in between may hold a wrong copy: ask once more, past it.
                LOG.warning("%s; asking once more past caches", error.detail)
                transfer.no_cache = True
                transfer.restart()
                leader.writer.rewind()
            except Unavailable as error:
                if not leader.answered or not transfer.may_resume():
                    raise
                LOG.info("a transfer broke off at %d bytes: %s", transfer.received, error.detail)
                await asyncio.sleep(random.uniform(0.05, 0.2) * transfer.resumes)  # noqa: S311
            else:
                return

    async def _pull(self, leader: _Leader, order: Order) -> None:
        """One answer of the upstream, into the body file."""
        transfer = leader.transfer
        leader.answered = False
        request = UpstreamRequest(
            order.ecosystem,
            order.source.location,
            start=transfer.received,
            if_range=transfer.etag if order.source.digest is None else "",
            no_cache=transfer.no_cache,
        )
        response = await self._upstream.open(request)
        try:
            leader.answered = True
            skip = transfer.accept(response.head)
            leader.begin()
            rate = Rate(self._limits.min_rate, self._clock())
            async for piece in response.pieces():
                if not rate.keeps(len(piece), self._clock()):
                    leader.answered = False  # too slow: the rest would be, too
                    raise Unavailable("The upstream sends too slowly; try again.", retry_after=5)
                fresh = piece[skip:] if skip else piece
                skip = max(0, skip - len(piece))
                if fresh:
                    await self._write(leader, fresh)
                if transfer.size is not None and transfer.received > transfer.size:
                    return
        finally:
            await response.close()

    async def _write(self, leader: _Leader, piece: bytes) -> None:
        """Write a piece; when the disk fails the flight goes on in memory, unstored."""
        transfer, flight = leader.transfer, leader.flight
        try:
            leader.writer.write(piece)
        except StorageFailed as error:
            self._unstorable(error)
            leader.move(transfer.received)
            leader.writer.write(piece)
        transfer.update(piece)
        flight.advance(transfer.received)
        leader.tell()
        if not flight.joinable and isinstance(leader.writer, MemoryWriter):
            leader.writer.discard(await flight.room())

    async def _commit(self, leader: _Leader, order: Order) -> Record | None:
        transfer, writer = leader.transfer, leader.writer
        too_large = transfer.received > self._limits.max_object
        if not transfer.provable or too_large or isinstance(writer, MemoryWriter):
            return None  # passed on, never stored
        fields = order.facts().fields()
        try:
            if transfer.received > COMMIT_IN_THREAD:
                return await asyncio.to_thread(writer.commit, transfer.sha256, fields)
            return writer.commit(transfer.sha256, fields)
        except StorageFailed as error:
            self._unstorable(error)
            return None

    def _unstorable(self, error: StorageFailed) -> None:
        LOG.warning("the store takes nothing (%s); passing through", error)
        self._metrics.cache_write_error()
        self._make_room()

    # --- following another process -----------------------------------------------------------

    async def _follow(self, flight: Flight, order: Order, foreign: Foreign) -> None:
        """Tell the flight what another process notes; take over when that one is gone."""
        ticks, opened = 0, False
        try:
            while True:
                progress = foreign.progress()
                if progress.state == "failed":
                    raise from_text(progress.error)
                if progress.state == "landed":
                    return self._landed(flight, order, foreign, opened=opened)
                if progress.headed and not opened and (body := foreign.open()) is not None:
                    opened = True
                    flight.begin(body, progress.size)
                if opened:
                    flight.advance(progress.received)
                ticks += 1
                writer = foreign.adopt() if ticks % ADOPT_EVERY == 0 else None
                if writer is not None:
                    LOG.warning("another process died while it fetched; going on in its place")
                    return await self._lead(flight, order, writer)
                await asyncio.sleep(FOREIGN_TICK)
        except StorageFailed as error:
            # The claim ended between two looks; what it brought, if anything, is in the store.
            if foreign.progress().state == "failed":
                raise from_text(foreign.progress().error) from error
            self._landed(flight, order, foreign, opened=opened)
        finally:
            foreign.close()
        return None

    def _landed(self, flight: Flight, order: Order, foreign: Foreign, *, opened: bool) -> None:
        record = self._storage.lookup(order.key)
        facts = ArtifactFacts.of_record(record) if record is not None else None
        if record is not None and facts is not None and facts.digest == order.source.digest:
            body = self._storage.open(record) if not opened else None
            if body is not None:
                flight.begin(body, record.size)
            flight.received = record.size
            flight.finish(record)
        elif opened:
            flight.received = foreign.progress().received
            flight.finish(None)
        else:
            raise Unavailable("Another process could not store it; try again.", retry_after=1)


@final
class _Leader:
    """A flight with its books and its pen."""

    def __init__(self, flight: Flight, writer: Writer, transfer: Transfer) -> None:
        self.flight = flight
        self.writer = writer
        self.transfer = transfer
        self.answered = False

    def begin(self) -> None:
        """Open the flight's view of the body, unless it has one that grows on."""
        if self.transfer.received == 0:
            self.flight.begin(self.writer.open(), self.transfer.size)
        self.tell()

    def tell(self) -> None:
        """Note the progress for other processes."""
        self.writer.tell(self.flight.progress())

    def move(self, received: int) -> None:
        """Copy what is there to memory and go on there."""
        spool = MemoryWriter()
        for piece in _pieces(self.writer, received):
            spool.write(piece)
        old, self.writer = self.writer, spool
        self.flight.moved(spool.open())
        old.tell(replace(self.flight.progress(), state="failed", error=""))
        old.close()

    async def reread(self) -> None:
        """Take an adopted body into the books: what a dead process had already written."""
        size = self.writer.size

        def take() -> None:
            for piece in _pieces(self.writer, size):
                self.transfer.update(piece)

        await asyncio.to_thread(take)
        if not self.flight.headed:
            self.flight.begin(self.writer.open(), self.transfer.size)
        self.flight.advance(max(self.flight.received, self.transfer.received))


def _pieces(writer: Writer, size: int) -> Iterator[bytes]:
    """The first `size` bytes of a body in the making."""
    body = writer.open()
    offset = 0
    try:
        while piece := os.pread(body.fileno(), min(_CHUNK, size - offset), offset):
            yield piece
            offset += len(piece)
    finally:
        body.close()
