"""One artifact on its way from the upstream: what its leader has, and what followers may see.

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

from proxy.errors import ProxyError, Unavailable
from proxy.storage.base import Body, Progress, Record

SMALL = 256 << 10  # verified before the head goes out
HOLD = 64 << 10  # of a larger one, held back until it is verified
LEAVE_PAUSE = 5.0  # seconds a flight goes on that nobody waits for
ALWAYS_FINISH = 1 << 30
WINDOW = 32 << 20  # of an unstorable one in memory, beyond its slowest follower


@final
class Flight:
    """The shared state. Only the leader calls `begin`, `advance`, `finish` and `fail`."""

    def __init__(self, size: int | None) -> None:
        self.etag = f'"f-{secrets.token_urlsafe(12)}"'
        self.size = size
        self.received = 0
        self.visible = 0
        self.headed = False  # followers may have sent a head: there is no second try from zero
        self.record: Record | None = None
        self.error: ProxyError | None = None
        self.done = False
        self.joinable = True
        self._body: Body | None = None
        self._followers: set[Follower] = set()
        self._waiters: list[asyncio.Future[None]] = []
        self._stop: Callable[[], object] | None = None
        self._leaving: asyncio.TimerHandle | None = None

    # --- the leader's side -------------------------------------------------------------------

    def stoppable(self, stop: Callable[[], object]) -> None:
        """Say how to stop the leader when nobody is left."""
        self._stop = stop

    def begin(self, body: Body, size: int | None) -> None:
        """Start (again, while no head is out) with a body file of a body of `size` bytes."""
        self._replace(body)
        self.received = 0
        self.size = size
        if size is not None and size > SMALL:
            self.headed = True
        self._wake()

    def advance(self, received: int) -> None:
        """`received` bytes are in the body file."""
        self.received = received
        if received > SMALL:
            self.headed = True
        if self.headed and received - HOLD > self.visible:
            self.visible = received - HOLD
            self._wake()

    def finish(self, record: Record | None) -> None:
        """All is verified; `record` None: but it could not be stored."""
        self.record = record
        self.size = self.visible = self.received
        self.headed = True
        self._end()

    def fail(self, error: ProxyError) -> None:
        """It came to nothing: every follower hears the same."""
        self.error = error
        self._end()

    def progress(self) -> Progress:
        """What other processes may know."""
        if self.error is not None:
            return Progress("failed", self.received, self.size, self.headed)
        if self.done:
            return Progress("landed", self.received, self.size, self.headed)
        return Progress("running", self.received, self.size, self.headed)

    # --- the leader's side when the disk has failed ------------------------------------------

    def moved(self, body: Body) -> None:
        """Go on in another file that holds the same bytes; nobody else may join any more."""
        self.joinable = False
        self._replace(body)

    async def room(self) -> int:
        """Wait until the slowest follower is near enough; the offset that all have passed.

        Raises Unavailable when nobody is left to fetch it for.
        """
        while True:
            if not self._followers:
                raise Unavailable("Nobody is waiting for it any more.", retry_after=1)
            slowest = min(follower.offset for follower in self._followers)
            if self.visible - slowest <= WINDOW:
                return slowest
            await self._change()

    # --- a follower's side -------------------------------------------------------------------

    def attach(self) -> Follower:
        """Join; whoever joins MUST leave."""
        follower = Follower(self)
        self._followers.add(follower)
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        return follower

    def detach(self, follower: Follower) -> None:
        """Leave. The last one's leaving stops a flight that is not worth finishing."""
        self._followers.discard(follower)
        if not self.joinable:
            self._wake()
        if self._followers:
            return
        if self.done:
            self._replace(None)
        elif self._stop is not None and not self._worth_finishing():
            loop = asyncio.get_running_loop()
            self._leaving = loop.call_later(LEAVE_PAUSE, self._abandon)

    def fileno(self) -> int:
        """The descriptor of the body file, valid until the next await."""
        return self._body.fileno() if self._body is not None else -1

    async def changed(self) -> None:
        """Wait for the next thing that the leader tells."""
        await self._change()

    def moved_on(self) -> None:
        """Tell the leader of a full disk that a follower has come nearer."""
        if not self.joinable:
            self._wake()

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
        if self._leaving is not None:
            self._leaving.cancel()
        self._wake()
        if not self._followers:
            self._replace(None)

    def _replace(self, body: Body | None) -> None:
        old, self._body = self._body, body
        if old is not None:
            old.close()

    async def _change(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


@final
class Follower:
    """One reader of a flight, at its own `offset`."""

    def __init__(self, flight: Flight) -> None:
        self.flight = flight
        self.offset = 0

    def leave(self) -> None:
        """Stop following. Idempotent."""
        self.flight.detach(self)

    async def head(self) -> None:
        """Wait until a head may be sent. Raises the flight's failure if it came first."""
        flight = self.flight
        while not flight.headed and not flight.done:
            await flight.changed()
        if flight.error is not None:
            raise flight.error.with_traceback(None)

    async def settled(self, seconds: float | None) -> bool:
        """Wait for the end, at most so long; tell whether it came. Raises the failure."""
        flight = self.flight
        try:
            async with asyncio.timeout(seconds):
                while not flight.done:
                    await flight.changed()
        except TimeoutError:
            return False
        if flight.error is not None:
            raise flight.error.with_traceback(None)
        return True

    async def more(self) -> int:
        """Wait until there is something to see after `offset`; how much. 0: that was all.

        Raises the flight's failure.
        """
        flight = self.flight
        while flight.visible <= self.offset and not flight.done:
            await flight.changed()
        if flight.visible > self.offset:
            return flight.visible - self.offset
        if flight.error is not None:
            raise flight.error.with_traceback(None)
        return 0

    def read(self, count: int) -> bytes:
        """Up to `count` bytes at `offset`, of those that `more` said are there."""
        return os.pread(self.flight.fileno(), count, self.offset)

    def passed(self, count: int) -> None:
        """`count` more bytes are sent."""
        self.offset += count
        self.flight.moved_on()
