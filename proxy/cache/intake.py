"""Pieces of a large body on their way into the body file and the hash, in a thread of their own.

Purpose: writing and hashing take longer than receiving and sending; done in the event loop they
add up, and everybody else waits for each piece (measured: 1.4 s of 2.4 s a GiB, and small hits
beside it waited for them). Here the loop only hands pieces over; what came while one batch was
worked on is the next batch, so a slow upstream's bytes are not kept waiting and a fast one's come
in large batches. What is in neither file nor hash is bounded.

Small bodies, and what goes on in memory after the disk failed, are taken in at once.

Reading: performance notes of varnish's fetch threads. Non-goals: judging the whole (`transfer`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, final

from proxy.cache.leader import Leader
from proxy.cache.threads import in_thread, outlast
from proxy.errors import StorageFailed

AT_ONCE: Final = 1 << 20  # bytes of a body that is not worth a thread
BACKLOG: Final = 4 << 20


@final
class Intake:
    """Takes in one answer of the upstream. MUST be ended, whatever happened: the thread works on
    the body file until then. `leave_disk` is told when the disk fails, and may raise it."""

    def __init__(self, leader: Leader, leave_disk: Callable[[Leader, StorageFailed], None]) -> None:
        self._leader = leader
        self._leave_disk = leave_disk
        self._waiting: list[bytes] = []
        self._pending = 0  # bytes that wait or are being worked on
        self._total = leader.transfer.received  # with all that was put
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def put(self, piece: bytes) -> None:
        """Take a piece in, or at least take note of it.

        Raises DigestMismatch when it is more than belongs, what `leave_disk` raises, Unavailable
        when the body is in memory only and nobody wants it any more.
        """
        leader = self._leader
        self._total += len(piece)
        leader.transfer.expect(self._total)
        if self._task is None and (leader.spool is not None or self._is_small()):
            await self._take(piece)
            return
        self._waiting.append(piece)
        self._pending += len(piece)
        task = self._task
        if task is None or task.done():
            if task is not None:
                task.result()
            self._task = task = asyncio.get_running_loop().create_task(self._work())
        while self._pending > BACKLOG and not task.done():
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

    def _is_small(self) -> bool:
        size = self._leader.transfer.size
        return size is not None and size <= AT_ONCE

    async def _work(self) -> None:
        """Batch by batch, until nothing waits."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._take_all(batch)
        finally:
            self._moved.set()

    async def _take_all(self, batch: list[bytes]) -> None:
        leader = self._leader
        taken, failure = 0, None
        if leader.spool is None:
            taken, failure = await in_thread(lambda: _write_and_hash(leader, batch))
            self._show(sum(map(len, batch[:taken])))
        if failure is not None:
            self._leave_disk(leader, failure)
        for piece in batch[taken:]:
            await self._take(piece)
            self._pending -= len(piece)
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

    def _show(self, count: int) -> None:
        self._pending -= count
        self._leader.advance()
        self._moved.set()


def _write_and_hash(leader: Leader, batch: list[bytes]) -> tuple[int, StorageFailed | None]:
    """How many pieces of a batch are in, and why not more. In a thread."""
    for number, piece in enumerate(batch):
        try:
            leader.writer.write(piece)
        except StorageFailed as error:
            return number, error
        leader.transfer.update(piece)
    return len(batch), None
