"""Following a flight that another process leads.

Purpose: one body for all processes that share a store. The other's progress is told to the own
flight, its body file is what the own followers read. Its failure is theirs, too. When it dies, the
claim and what it wrote are taken over; when it stops without a verdict (its clients left, its disk
failed, it shut down), the own flight goes on by itself. Never is a body ended here that the other
has not said to be whole.

Reading: `proxy.storage.claim`. Non-goals: fetching (`download`).
"""

from __future__ import annotations

import asyncio
import logging
from enum import Enum
from typing import final

from proxy.cache.entry import ArtifactFacts
from proxy.cache.flight import Flight
from proxy.cache.order import Order
from proxy.cache.verdicts import from_text
from proxy.errors import StorageFailed, Unavailable
from proxy.storage.base import Foreign, Progress, Storage, Writer

LOG = logging.getLogger(__name__)
TICK = 0.02
ADOPT_EVERY = 25  # ticks


class End(Enum):
    """How following ended, unless with a claim to go on with."""

    LANDED = "the flight has heard all it needs"
    ABANDONED = "nobody fetches it any more: claim it anew"


@final
class Relay:
    """Tells flights what other processes note."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def follow(self, flight: Flight, order: Order, foreign: Foreign) -> Writer | End:
        """Follow to the end. A Writer: its owner is gone, go on in its place.

        Raises the other's failure; Unavailable where its bytes cannot be gone on with.
        """
        if flight.headed and not order.source.verifiable:
            # What this flight's followers have may differ from what the other one fetches now.
            raise Unavailable("Another process fetches it anew; try again.", retry_after=1)
        try:
            return await self._follow(flight, order, foreign)
        finally:
            foreign.close()

    async def _follow(self, flight: Flight, order: Order, foreign: Foreign) -> Writer | End:
        shown, ticks = False, 0
        while True:
            progress = foreign.progress()
            if progress.state != "running":
                return self._ended(flight, order, progress, shown=shown)
            if not shown and progress.headed and progress.received >= flight.visible:
                shown = self._show(flight, foreign, progress)
            if shown:
                flight.advance(progress.received)
            ticks += 1
            if ticks % ADOPT_EVERY == 0:
                try:
                    writer = foreign.adopt()
                except StorageFailed:
                    # It ended between two looks; its last word counts, if it left one.
                    return self._ended(flight, order, foreign.progress(), shown=shown)
                if writer is not None:
                    LOG.warning("another process died while it fetched; going on in its place")
                    return writer
            await asyncio.sleep(TICK)

    @staticmethod
    def _show(flight: Flight, foreign: Foreign, progress: Progress) -> bool:
        body = foreign.open()
        if body is not None:
            flight.begin(body, progress.size)
        return body is not None

    def _ended(self, flight: Flight, order: Order, progress: Progress, *, shown: bool) -> End:
        if progress.state == "failed" and progress.error:
            raise from_text(progress.error)
        landed = progress.received if progress.state == "landed" else -1
        if self.take_stored(flight, order, size=landed):
            return End.LANDED
        if progress.state == "landed" and shown:
            flight.advance(progress.received)
            flight.finish(None)
            return End.LANDED
        return End.ABANDONED

    def take_stored(self, flight: Flight, order: Order, *, size: int | None = None) -> bool:
        """Finish with what is in the store by now, if it is what is being fetched.

        `size`: where no digest tells, it must have this one.
        """
        record = self._storage.lookup(order.key)
        facts = ArtifactFacts.of_record(record) if record is not None else None
        if record is None or facts is None or record.suspect:
            return False
        promise, seal = order.source.promise, order.source.seal
        if not facts.fulfils(promise, record.sha256, seal):
            return False
        if facts.fetched_at < order.not_before:
            return False
        if not order.source.verifiable and size not in (None, record.size):
            return False
        body = self._storage.open(record)
        if body is None:
            return False
        flight.begin(body, record.size)
        flight.advance(record.size)
        flight.finish(record)
        return True
