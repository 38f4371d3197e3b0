"""Pieces of a large body on their way into the body file and the hash, in a thread of their own.

Purpose: writing and hashing take longer than receiving and sending; done in the event loop they
add up, and everybody else waits for each piece (measured: 1.4 s of 2.4 s a GiB, and small hits
beside it waited for them). Here the loop only hands pieces over, and the thread goes on for as long
as it finds any: what came while one batch was worked on is the next batch, so a slow upstream's
bytes are not kept waiting and a fast one's come in large batches. What is in neither file nor hash
is bounded.

A body that pours (`UpstreamResponse.pours`) is received into blocks that are used again and again:
memory that is made for each piece costs more than what is put there. They are mapped, not taken
from the heap: when the body is here they are the machine's again.

Small bodies, and what goes on in memory after the disk failed, are taken in at once.

Reading: performance notes of varnish's fetch threads. Non-goals: judging the whole (`transfer`).
"""

from __future__ import annotations

import asyncio
import mmap
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, final

from proxy.cache.leader import Leader
from proxy.cache.threads import in_thread, outlast
from proxy.errors import StorageFailed

AT_ONCE: Final = 1 << 20  # bytes of a body that is not worth a thread
BACKLOG: Final = 5 << 20  # bytes; with 4 MiB who receives stalls more often (a tenth slower)
BLOCK: Final = 512 << 10
Piece = bytes | memoryview


class _Failed(NamedTuple):
    """What the disk did not take, and why."""

    error: StorageFailed
    rest: list[Piece]


@final
class Intake:
    """Takes in one answer of the upstream. MUST be ended, whatever happened: the thread works on
    the body file until then. `leave_disk` is told when the disk fails, and may raise it."""

    def __init__(self, leader: Leader, leave_disk: Callable[[Leader, StorageFailed], None]) -> None:
        self._leader = leader
        self._leave_disk = leave_disk
        self._waiting: deque[Piece] = deque()
        self._blocks: list[mmap.mmap] = []  # those that are free
        self._drawn: mmap.mmap | None = None  # the one that is being filled
        self._made = 0
        self._pending = 0  # bytes that wait or are being worked on
        self._total = leader.transfer.received  # with all that was put
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def blocks(self) -> int:
        """Blocks that were made."""
        return self._made

    async def draw(self, read_into: Callable[[memoryview], Awaitable[int]]) -> memoryview:
        """The next bytes of an answer that pours, which `read_into` reads; none: that was all.

        They are in a block of ours: MUST be `put`, or be forgotten, before more is drawn.
        """
        if self._drawn is None:
            self._drawn = self._blocks.pop() if self._blocks else self._block()
        view = memoryview(self._drawn)
        return view[: await read_into(view)]

    def _block(self) -> mmap.mmap:
        self._made += 1
        return mmap.mmap(-1, BLOCK, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    async def put(self, piece: Piece) -> None:
        """Take a piece in, or at least take note of it.

        Raises DigestMismatch when it is more than belongs, what `leave_disk` raises, Unavailable
        when the body is in memory only and nobody wants it any more.
        """
        leader = self._leader
        self._total += len(piece)
        leader.transfer.expect(self._total)
        if self._task is None and (leader.spool is not None or self._is_small()):
            await self._take(bytes(piece))
            return
        if isinstance(piece, memoryview):
            self._drawn = None  # free again when it is in
        self._waiting.append(piece)
        self._pending += len(piece)
        task = self._task
        if task is None or task.done():
            if task is not None:
                task.result()
            self._task = task = asyncio.get_running_loop().create_task(self._work())
        while self._is_full() and not task.done():
            self._moved.clear()
            await self._moved.wait()

    async def end(self) -> None:
        """Wait until all that was put is in, also when cancelled. Raises what `put` raises."""
        if self._task is None:
            return
        try:
            await asyncio.shield(self._task)
        except asyncio.CancelledError:
            await outlast(self._task)
            raise

    def _is_full(self) -> bool:
        free = bool(self._blocks) or self._drawn is not None or self._made * BLOCK < BACKLOG
        return self._pending > BACKLOG or not free

    def _is_small(self) -> bool:
        size = self._leader.transfer.size
        return size is not None and size <= AT_ONCE

    async def _work(self) -> None:
        """Batch by batch, until nothing waits."""
        leader, loop = self._leader, asyncio.get_running_loop()
        try:
            while self._waiting:
                if leader.spool is not None:
                    await self._take_all(self._batch())
                elif (failed := await in_thread(lambda: self._work_off(loop))) is not None:
                    self._leave_disk(leader, failed.error)
                    await self._take_all(failed.rest)
        finally:
            self._moved.set()

    def _work_off(self, loop: asyncio.AbstractEventLoop) -> _Failed | None:
        """In the thread: all that waits, and what comes meanwhile, until the disk fails."""
        leader = self._leader
        while batch := self._batch():
            for number, piece in enumerate(batch):
                try:
                    leader.writer.write(piece)
                except StorageFailed as error:
                    loop.call_soon_threadsafe(self._show, batch[:number])
                    return _Failed(error, batch[number:])
                leader.transfer.update(piece)
            loop.call_soon_threadsafe(self._show, batch)
        return None

    def _batch(self) -> list[Piece]:
        """All that waits. Others may put meanwhile."""
        return [self._waiting.popleft() for _ in range(len(self._waiting))]

    async def _take_all(self, batch: list[Piece]) -> None:
        for piece in batch:
            await self._take(bytes(piece))
            self._done([piece])

    def _show(self, batch: list[Piece]) -> None:
        self._leader.advance()
        self._done(batch)

    def _done(self, batch: list[Piece]) -> None:
        """Pieces are in: there is room for others."""
        for piece in batch:
            self._pending -= len(piece)
            if isinstance(piece, memoryview) and isinstance(piece.obj, mmap.mmap):
                self._blocks.append(piece.obj)
        self._moved.set()

    async def _take(self, piece: bytes) -> None:
        """At once. When the disk fails it goes on in memory, unstored."""
        leader = self._leader
        try:
            leader.writer.write(piece)
        except StorageFailed as error:
            self._leave_disk(leader, error)
            leader.writer.write(piece)
        leader.transfer.update(piece)
        leader.keep(piece)
        leader.advance()
        await leader.bound()
