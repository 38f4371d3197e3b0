"""One artifact on its way from the upstream: what the leader has, and what followers may see.

Purpose: the flight belongs to no client. Its leader (`download`) appends to a body file; any number
of followers read that file by position, each at its own pace. What they may see ends `HOLD` bytes
before what was received until the whole is verified: whoever got the last byte got right bytes.

A flight has a strong ETag of its own (never the artifact's): a client that resumes a broken
transfer must not be able to splice it to other bytes (measured with pip's Range and If-Range).

Reading: cachew, varnish's busy objects. Non-goals: fetching, storing.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from typing import final

from proxy.errors import ProxyError
from proxy.storage.base import Body, Record

SMALL = 256 << 10  # verified before the head goes out
HOLD = 64 << 10  # of a larger one, held back until it is verified
LEAVE_PAUSE = 5.0  # seconds a flight goes on that nobody waits for
ALWAYS_FINISH = 1 << 30


@final
class Flight:
    """The shared state. Only the leader calls `begin`, `advance`, `finish` and `fail`."""

    def __init__(self, size: int | None) -> None:
        self.etag = f'"f-{secrets.token_urlsafe(12)}"'
        self.size = size
        self.visible = 0
        self.record: Record | None = None
        self.error: ProxyError | None = None
        self.done = False
        self.received = 0
        self._headed = False
        self._body: Body | None = None
        self._followers = 0
        self._waiters: list[asyncio.Future[None]] = []
        self._stop: Callable[[], object] | None = None
        self._leaving: asyncio.TimerHandle | None = None

    # --- the leader's side -------------------------------------------------------------------

    def stoppable(self, stop: Callable[[], object]) -> None:
        """Say how to stop the leader when nobody is left."""
        self._stop = stop

    @property
    def headed(self) -> bool:
        """Tell whether followers may have sent a head already: there is no second try then."""
        return self._headed

    def begin(self, body: Body, size: int | None) -> None:
        """Start (again) with a body file; the head is out at once when the body is a large one."""
        if self._body is not None:
            self._body.close()
        self._body = body
        self.received = 0
        self.size = size
        if size is not None and size > SMALL:
            self._headed = True
        self._wake()

    def moved(self, body: Body) -> None:
        """Go on in another file that holds the same bytes: the disk has failed."""
        old, self._body = self._body, body
        if old is not None:
            old.close()

    def advance(self, received: int) -> None:
        """`received` bytes are in the body file."""
        self.received = received
        if not self._headed and received > SMALL:
            self._headed = True
        if self._headed:
            self.visible = max(self.visible, received - HOLD)
            self._wake()

    def finish(self, record: Record | None) -> None:
        """All is verified; `record` None: but it could not be stored."""
        self.record = record
        self.size = self.visible = self.received
        self._headed = True
        self._end()

    def fail(self, error: ProxyError) -> None:
        """It came to nothing: every follower hears the same."""
        self.error = error
        self._end()

    # --- a follower's side -------------------------------------------------------------------

    def attach(self) -> None:
        """Join; whoever joins MUST detach."""
        self._followers += 1
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None

    def detach(self) -> None:
        """Leave. The last one's leaving stops a flight that is not worth finishing."""
        self._followers -= 1
        if self._followers:
            return
        if self.done:
            self._release()
        elif self._stop is not None and not self._worth_finishing():
            loop = asyncio.get_running_loop()
            self._leaving = loop.call_later(LEAVE_PAUSE, self._abandon)

    async def head(self) -> None:
        """Wait until a head may be sent. Raises the flight's failure if it came first."""
        while not self._headed and not self.done:
            await self._change()
        if self.error is not None and not self._headed:
            raise self.error.with_traceback(None)

    async def settled(self, seconds: float) -> bool:
        """Wait for the end, at most so long; tell whether it came. Raises the failure."""
        try:
            async with asyncio.timeout(seconds):
                while not self.done:
                    await self._change()
        except TimeoutError:
            return False
        if self.error is not None:
            raise self.error.with_traceback(None)
        return True

    async def more(self, offset: int) -> int:
        """Wait until there is something to see after `offset`; how much. 0: that was all.

        Raises the flight's failure.
        """
        while self.visible <= offset and not self.done:
            await self._change()
        if self.visible > offset:
            return self.visible - offset
        if self.error is not None:
            raise self.error.with_traceback(None)
        return 0

    def read(self, offset: int, count: int) -> bytes:
        """Bytes that `more` said are there."""
        if self._body is None:
            return b""
        return os.pread(self._body.fileno(), min(count, self.visible - offset), offset)

    # --- inside ------------------------------------------------------------------------------

    def _worth_finishing(self) -> bool:
        if self.size is None:
            return False
        return self.size <= ALWAYS_FINISH or self.received * 2 > self.size

    def _abandon(self) -> None:
        if not self._followers and not self.done and self._stop is not None:
            self._stop()

    def _end(self) -> None:
        self.done = True
        self._stop = None
        self._wake()
        if not self._followers:
            self._release()

    def _release(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    async def _change(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
