"""A flight with its books and its pen: what the one who fetches holds in hand.

Purpose: the body file, the hash over it and the flight's view of it stay in step, also when the
body was begun by a process that is gone, and when the disk fails half-way.

Non-goals: the upstream, deciding (`download`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import final

from proxy.cache.comparison import Ask, Comparison
from proxy.cache.flight import SMALL, Flight
from proxy.cache.threads import in_thread
from proxy.cache.transfer import Transfer
from proxy.errors import StorageFailed, Unavailable
from proxy.storage.base import Writer
from proxy.storage.memory import MemoryWriter

_CHUNK = 1 << 20


@final
class Leader:
    """`writer` None: the store takes nothing, go on in memory from the start. `compare`: asks for
    what the body is to be compared with."""

    def __init__(
        self,
        flight: Flight,
        writer: Writer | None,
        transfer: Transfer,
        compare: Ask | None = None,
    ) -> None:
        self.flight = flight
        self.transfer = transfer
        self.comparison = Comparison(compare, transfer)
        self.answered = False  # by the upstream, at least with a head
        self.dripping = False  # too slow to be resumed: the rest would come as slowly
        self.passed = False  # in memory only, and its beginning has gone already
        self.said: Mapping[str, str] = {}  # of its neighbours: SHA-256 by path
        self.spool: MemoryWriter | None = None
        self._kept: list[bytes] = []
        if writer is None:
            writer = self.spool = MemoryWriter()
            flight.spooling = True
        self.writer: Writer = writer

    def show(self) -> None:
        """Open the flight's view of the body, unless it has one that grows on.

        Raises StorageFailed.
        """
        if self.transfer.received == 0:
            self.flight.begin(self.writer.open(), self.transfer.size)
        self.tell()

    def tell(self) -> None:
        """Note the progress for other processes, once there is some that they can make use of."""
        flight = self.flight
        if flight.headed or flight.done:
            self.writer.tell(flight.progress())

    def advance(self) -> None:
        """Show what the books have: to followers, and to other processes."""
        self.flight.advance(self.transfer.received)
        self.tell()

    def keep(self, piece: bytes) -> None:
        """Hold a piece of a small body that was taken in: whoever waits for it needs no file."""
        if self.transfer.received <= SMALL:
            self._kept.append(piece)

    @property
    def content(self) -> bytes | None:
        """All of a small body; None: it is large, or came in part from somebody else."""
        if sum(map(len, self._kept)) != self.transfer.received:
            return None
        return b"".join(self._kept) if len(self._kept) != 1 else self._kept[0]

    def resign(self, error: str) -> None:
        """See `resign`."""
        resign(self.flight, self.writer, error)

    def rewind(self) -> None:
        """Begin again from zero. Raises StorageFailed."""
        self.transfer.restart()
        self._kept.clear()
        if self.spool is None:
            self.writer.rewind()
        else:
            self.spool.rewind()

    def leave_disk(self, *, caught_up: bool = True) -> None:
        """Go on in memory with the next byte. Raises StorageFailed when that fails, too.

        `caught_up` False: which byte that is, `catch_up` finds out.
        """
        old = self.writer
        self.writer = self.spool = MemoryWriter()
        self.flight.spooling = True
        if caught_up and self.flight.begun:
            self.flight.extend(self.spool.open())
        old.tell(replace(self.flight.progress(), state="failed"))
        old.close()

    async def bound(self) -> None:
        """Keep what is in memory bounded: wait for the slowest follower, free what all have."""
        if self.spool is not None and (passed := await self.flight.room()):
            self.spool.discard(passed)
            self.passed = True

    async def catch_up(self) -> None:
        """Take into the books what is here already: an adopted body, or the flight's own view of
        a body that another process has stopped writing. May be called again on another disk.

        Raises Unavailable when that cannot be gone on with, StorageFailed.
        """
        self.transfer.restart()
        flight, adopted = self.flight, self.writer.size
        here = adopted or (flight.received if flight.headed else 0)
        if not here:
            return
        if not self.transfer.resumable:
            if flight.headed:
                raise Unavailable("Another process stopped fetching it; try again.", retry_after=1)
            self.writer.rewind()
            return
        if adopted and not flight.headed:
            flight.begin(self.writer.open(), self.transfer.size)
        flight.received = here
        write = not adopted and self.spool is None
        try:
            await in_thread(lambda: self._reread(here, write=write))
        except OSError as error:
            raise StorageFailed(type(error).__name__) from error
        if write:
            flight.begin(self.writer.open(), self.transfer.size)
        elif self.spool is not None:
            flight.extend(self.spool.open())
        flight.advance(here)

    def _reread(self, count: int, *, write: bool) -> None:
        offset = 0
        while offset < count:
            piece = self.flight.copy(offset, min(_CHUNK, count - offset))
            if not piece:
                raise OSError("the body is shorter than it was")
            if write:
                self.writer.write(piece)
            self.transfer.update(piece)
            offset += len(piece)


def resign(flight: Flight, writer: Writer, error: str) -> None:
    """Tell other processes that nothing comes any more, and why; empty: they may go on."""
    writer.tell(replace(flight.progress(), state="failed", error=error))
    writer.close()
