"""One artifact on its way from the upstream: what its leader has, and what followers may see.

Purpose: the flight belongs to no client. Its leader (`download`) appends to a body file; any number
of followers read that file by position, each at its own pace. What they may see ends `HOLD` bytes
before what was received until the whole is verified: whoever got the last byte got right bytes.

A flight has a strong ETag of its own (never the artifact's): a client that resumes a broken
transfer must not be able to splice it to other bytes (measured with pip's Range and If-Range).

When the disk fails the flight goes on in memory, in a second part behind the one on the disk; a
window of it is kept, and the leader waits for the slowest follower.

Reading: cachew, varnish's busy objects. Non-goals: fetching, storing.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from proxy.cache.waiting import Waiting
from proxy.errors import ProxyError, Unavailable
from proxy.model import Digest
from proxy.storage.base import Body, Progress, Record

SMALL = 256 << 10  # verified before the head goes out
HOLD = 64 << 10  # of a larger one, held back until it is verified
LEAVE_PAUSE = 5.0  # seconds a flight goes on that nobody waits for
ALWAYS_FINISH = 1 << 30
FINISH_FOR_HEAD = 8 << 20  # where only heads were asked for
WINDOW = 32 << 20  # of an unstorable one in memory, beyond its slowest follower


@dataclass(frozen=True, slots=True)
class Spot:
    """Where bytes lie at this moment: `count` of them at `position` of the file `fd`.

    Valid until the next await: a flight may move to another file.
    """

    fd: int
    position: int
    count: int


@dataclass(frozen=True, slots=True)
class _Part:
    """A file whose first byte is byte `start` of the whole."""

    start: int
    body: Body


@final
class Flight:
    """The shared state. Only the leader calls what stands under "the leader's side"."""

    def __init__(self, size: int | None) -> None:
        self._etag = ""
        self.size = size
        self.received = 0
        self.visible = 0
        self.headed = False  # followers may have sent a head: there is no second try from zero
        self.record: Record | None = None
        self.digests: tuple[Digest, ...] = ()  # computed of the whole, stored or not
        # The verified whole of a small one that landed.
        self.content: bytes | memoryview | None = None
        self.error: ProxyError | None = None
        self.done = False
        self.released = False  # all of it is verified, and is being stored
        self.joinable = True
        self.spooling = False  # in memory, because the disk has failed: never stored
        self.stopped = False  # because nobody was left: that says nothing about the artifact
        self._wanted = False  # by somebody who wants the body
        self._parts: list[_Part] = []
        self._followers: set[Follower] = set()
        self._waiting = Waiting()
        self._leader: asyncio.Future[None] | None = None
        self._stop: Callable[[], object] | None = None
        self._leaving: asyncio.TimerHandle | None = None

    @property
    def etag(self) -> str:
        """Its strong ETag. Made for who sends one: a small flight has landed before its head."""
        if not self._etag:
            self._etag = f'"f-{secrets.token_urlsafe(12)}"'
        return self._etag

    # --- the leader's side -------------------------------------------------------------------

    def stoppable(self, stop: Callable[[], object] | None) -> None:
        """Say how to stop the leader when nobody is left; None: not any more."""
        self._stop = stop

    @property
    def begun(self) -> bool:
        """Tell whether there is a body file to see."""
        return bool(self._parts)

    def begin(self, body: Body, size: int | None) -> None:
        """Show a body file from its first byte on: a new one, or another with the same bytes.

        What a head may have promised stays as it is.
        """
        self._replace([_Part(0, body)])
        self.received = 0
        if not self.headed:
            self.size = size
            self.headed = size is not None and size > SMALL
        self._waiting.wake()

    def advance(self, received: int) -> None:
        """`received` bytes are in the body file."""
        self.received = received
        if received > SMALL and (self.size is None or self.size > SMALL):
            self.headed = True
        end = received if self.size is None else min(received, self.size)
        if self.headed and end - HOLD > self.visible:
            self.visible = end - HOLD
            self._waiting.wake()

    def release(self) -> None:
        """All is verified, and is about to be stored: followers may have the held-back rest."""
        self.size = self.visible = self.received
        self.headed = self.released = True
        self._waiting.wake()

    def finish(self, record: Record | None, content: bytes | memoryview | None = None) -> None:
        """All is verified; `record` None: but it could not be stored. `content`: of a small one,
        all of it, also where nothing was shown of it before."""
        if content is not None:
            self.received = len(content)
        self.record = record
        self.content = content
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

    def copy(self, offset: int, count: int) -> bytes:
        """Up to `count` received bytes at `offset`. Raises OSError."""
        spot = self._spot(offset, min(count, self.received - offset))
        return os.pread(spot.fd, spot.count, spot.position)

    # --- the leader's side when the disk has failed ------------------------------------------

    def extend(self, body: Body) -> None:
        """Go on in another file, in memory, that begins with the next byte."""
        self._parts.append(_Part(self.received, body))

    @property
    def deserted(self) -> bool:
        """Tell whether it could only go on for followers, and there are none."""
        return not self.joinable and not self._followers

    async def room(self) -> int:
        """Wait until the window has room; how many bytes of the last part all have passed.

        Nobody else may join from here on. Raises Unavailable when nobody is left to fetch it for.
        """
        start = self._parts[-1].start
        if self.received - start <= WINDOW:
            return 0
        self.joinable = False
        while True:
            if not self._followers:
                raise Unavailable("Nobody is waiting for it any more.", retry_after=1)
            slowest = min(follower.offset for follower in self._followers)
            if self.received - max(slowest, start) <= WINDOW:
                return max(slowest - start, 0)
            self._leader = asyncio.get_running_loop().create_future()
            await self._leader

    # --- a follower's side -------------------------------------------------------------------

    def attach(self, *, head_only: bool = False) -> Follower:
        """Join; whoever joins MUST leave."""
        follower = Follower(self)
        self._followers.add(follower)
        self._wanted = self._wanted or not head_only
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        return follower

    async def lands(self, seconds: float) -> bool:
        """Wait so long for one that is verified and only being stored: who has got the whole and
        asks again finds it stored. False: it is not so far, or done."""
        if self.done or not self.released:
            return False
        follower = self.attach(head_only=True)
        try:
            return await follower.settled(seconds)
        finally:
            follower.leave()

    def detach(self, follower: Follower) -> None:
        """Leave. The last one's leaving stops a flight that is not worth finishing."""
        self._followers.discard(follower)
        if self._leader is not None:
            self.moved_on()
        if self._followers:
            return
        if self.done:
            if self._parts:
                self._replace([])
        elif self._stop is not None and self._leaving is None and not self._worth_finishing():
            loop = asyncio.get_running_loop()
            self._leaving = loop.call_later(LEAVE_PAUSE, self._abandon)

    def moved_on(self) -> None:
        """Tell the leader of a full disk that a follower has come nearer, or has left."""
        if self._leader is not None and not self._leader.done():
            self._leader.set_result(None)

    def change(self) -> asyncio.Future[None]:
        """To be awaited: the next thing that the leader tells."""
        return self._waiting.change()

    def hear(self, told: Callable[[], object]) -> None:
        """Have `told` called, once, by the loop, when whoever awaits `change` would go on."""
        self._waiting.hear(told)

    def spot(self, offset: int) -> Spot:
        """Where the visible bytes at `offset` lie."""
        return self._spot(offset, self.visible - offset)

    # --- inside ------------------------------------------------------------------------------

    def _spot(self, offset: int, count: int) -> Spot:
        end = None
        for part in reversed(self._parts):
            if part.start <= offset:
                count = count if end is None else min(count, end - offset)
                return Spot(part.body.fileno(), offset - part.start, max(count, 0))
            end = part.start
        return Spot(-1, 0, 0)

    def _worth_finishing(self) -> bool:
        if self.size is None or self.spooling:
            return False
        if not self._wanted:
            return self.size <= FINISH_FOR_HEAD
        return self.size <= ALWAYS_FINISH or self.received * 2 > self.size

    def _abandon(self) -> None:
        self._leaving = None
        if self._followers or self.done or self._stop is None or self._worth_finishing():
            return
        self.joinable = False
        self.stopped = True
        self._stop()

    def _end(self) -> None:
        self.done = True
        self._stop = None
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        self._waiting.wake()
        if self._parts and not self._followers:
            self._replace([])

    def _replace(self, parts: list[_Part]) -> None:
        old, self._parts = self._parts, parts
        for part in old:
            part.body.close()


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
            await flight.change()
        if flight.error is not None:
            raise flight.error.with_traceback(None)

    async def settled(self, seconds: float | None) -> bool:
        """Wait for the end, at most so long; tell whether it came. Raises the failure."""
        flight = self.flight
        try:
            async with asyncio.timeout(seconds):
                while not flight.done:
                    await flight.change()
        except TimeoutError:
            return False
        if flight.error is not None:
            raise flight.error.with_traceback(None)
        return True

    async def more(self) -> bool:
        """Wait until there is something to see after `offset`; False: that was all.

        Raises the flight's failure.
        """
        flight = self.flight
        while flight.visible <= self.offset and not flight.done:
            await flight.change()
        if flight.visible > self.offset:
            return True
        if flight.error is not None:
            raise flight.error.with_traceback(None)
        return False

    def spot(self) -> Spot:
        """Where the next bytes lie, of those that `more` said are there."""
        return self.flight.spot(self.offset)

    def passed(self, count: int) -> None:
        """`count` more bytes are sent."""
        self.offset += count
        self.flight.moved_on()
