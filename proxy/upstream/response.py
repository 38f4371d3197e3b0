"""An open answer of the upstream: its head, its body as it comes, its place in the line.

Purpose: a body that breaks off, stalls or only drips ends in an error that says so, never in a
clean end; the slot that the request holds is given back with the connection.

Reading: RFC 9112 section 8. Non-goals: judging what the bytes are.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import final

from proxy.errors import Unavailable
from proxy.upstream.base import Head
from proxy.upstream.limits import UpstreamLimits, UpstreamObserver
from proxy.upstream.pouring import Pouring
from proxy.upstream.session import FAILURES, Answer
from proxy.upstream.silence import Silence
from proxy.upstream.unpacking import Unpacker

LOG = logging.getLogger(__name__)


@final
class Pace:
    """Tells a stream from a drip. Only time spent waiting for the upstream counts: a slow disk or
    a slow client is not its fault. `rate` in bytes per second over `window` seconds."""

    def __init__(self, rate: float, window: float) -> None:
        self._rate = rate
        self._window = window
        self._waited = 0.0
        self._received = 0

    def allows(self, waited: float, received: int) -> bool:
        """Note a piece; False when a whole window was slower than the rate."""
        self._waited += waited
        self._received += received
        if self._waited < self._window:
            return True
        enough = self._received >= self._rate * self._waited
        self._waited, self._received = 0.0, 0
        return enough


@final
class Terms:
    """What all bodies have to keep to, and who is told of it. `clock`: monotonic seconds."""

    def __init__(
        self, limits: UpstreamLimits, clock: Callable[[], float], observer: UpstreamObserver
    ) -> None:
        self.silence = Silence(limits.read_timeout)
        self.clock = clock
        self.observer = observer
        self.limits = limits

    def pace(self) -> Pace:
        """One for a body that has to be waited for."""
        return Pace(self.limits.min_rate, self.limits.rate_window)


@final
class HttpResponse:
    """Implements `UpstreamResponse` over an `Answer`, on `terms`, of an `ecosystem`. `released` is
    told, once, that it is closed.
    """

    __slots__ = (
        *("_ecosystem", "_pace", "_pouring", "_released", "_response", "_terms"),
        "head",
    )

    def __init__(
        self,
        head: Head,
        response: Answer,
        released: Callable[[], None],
        terms: Terms,
        ecosystem: str,
    ) -> None:
        self.head = head
        self._response = response
        self._pouring: Pouring | None = None
        self._released: Callable[[], None] | None = released
        self._terms = terms
        self._ecosystem = ecosystem
        self._pace: Pace | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        """See `UpstreamResponse.pieces`."""
        unpacker = Unpacker() if self.head.packed else None
        content = self._response.content
        while not content.at_eof() and (piece := self._arrived() or await self._piece()):
            if unpacker is None:
                yield piece
                continue
            for made in unpacker.feed(piece):
                yield made
        if unpacker is not None:
            unpacker.finish()

    def here(self) -> bytes:
        """See `UpstreamResponse.here`."""
        return b"" if self.head.packed else self._arrived()

    def pours(self) -> bool:
        """See `UpstreamResponse.pours`."""
        response, size = self._response, self._response.content_length
        if self._pouring is None and size and not self.head.packed:
            chunked = "Transfer-Encoding" in response.headers
            self._pouring = None if chunked else Pouring.of(response, size)
        return self._pouring is not None

    async def read_into(self, view: memoryview) -> int:
        """See `UpstreamResponse.read_into`."""
        pouring, started = self._pouring, self._terms.clock()
        if pouring is None:
            raise AssertionError("an answer that comes in pieces")
        count, kind = 0, ""
        try:
            count = await self._terms.silence.until(pouring, pouring.read_into(view))
        except FAILURES as error:
            kind = type(error).__name__
        self._judge(count, kind, started)
        return count

    async def close(self) -> None:
        """See `UpstreamResponse.close`."""
        released, self._released = self._released, None
        if released is not None:
            self._response.close()
            released()

    def _arrived(self) -> bytes:
        content = self._response.content
        if not content.is_eof() or content.exception() is not None:
            return b""
        rest = content.read_nowait()
        self._terms.observer.upstream_bytes(self._ecosystem, len(rest))
        return rest

    async def _piece(self) -> bytes:
        started = self._terms.clock()
        piece, kind = b"", ""
        try:
            piece = await self._terms.silence.next(self._response)
        except FAILURES as error:
            kind = type(error).__name__
        self._judge(len(piece), kind, started)
        return piece

    def _judge(self, count: int, kind: str, started: float) -> None:
        """Note so many bytes, or the `kind` of failure. Raises Unavailable.

        Here, and not where the failure was caught: the library's exception must not travel along
        (see `session`).
        """
        if kind:
            LOG.debug("a body of %s broke off: %s", self._response.url.host, kind)
            raise Unavailable("The upstream's answer broke off; try again.", retry_after=1)
        if not count:
            return
        terms, self._pace = self._terms, self._pace or self._terms.pace()
        terms.observer.upstream_bytes(self._ecosystem, count)
        if not self._pace.allows(terms.clock() - started, count):
            terms.observer.limit_reached("min_rate")
            raise Unavailable("The upstream sends too slowly; try again later.", retry_after=5)
