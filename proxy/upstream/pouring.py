"""The rest of a large body, straight from the socket into memory of who reads it.

Purpose: the library makes each piece anew, twice over (what was received, and what of it is body),
and wakes a reader who has to copy it on. Of a body whose length is known nothing is left to parse
once its head is read: here the connection is taken over and its bytes are received where they are
wanted (measured: half of the loop's time of a large body). It works with TLS as well.

The connection ends with the body: the library cannot be told how far it has come. So this is for
bodies that take longer than a connection does.

Reading: `asyncio.BufferedProtocol`; RFC 9112 section 6.3. Non-goals: chunks, codings, silence.
"""

from __future__ import annotations

import asyncio
from typing import Final, Self, final

from aiohttp.streams import StreamReader

from proxy.upstream.session import Answer

FROM: Final = 8 << 20
"""Bytes of the smallest rest of a body that is worth a connection."""
_SPARE = 64 << 10


@final
class Pouring(asyncio.BufferedProtocol):
    """What is to come of one answer: `left` bytes, after those in `early`. Made by `of`."""

    def __init__(self, transport: asyncio.Transport, early: bytes, left: int) -> None:
        self._transport = transport
        self._before = transport.get_protocol()
        self._early = memoryview(early)
        self._left = left
        self._paused = not transport.is_reading()
        self._view: memoryview | None = None
        self._waiter: asyncio.Future[int] | None = None
        self._spare = memoryview(bytearray(_SPARE))
        self._error: Exception | None = None

    @classmethod
    def of(cls, response: Answer, size: int) -> Self | None:
        """Take over the connection of an answer whose body has `size` bytes, of which nobody has
        read any yet. None: it stays as it is; nothing is worth it, or it is not to be had."""
        connection, content = response.connection, response.content
        if not isinstance(content, StreamReader) or size - content.total_bytes < FROM:
            return None
        transport = connection.transport if connection is not None else None
        if transport is None or transport.is_closing() or content.exception() is not None:
            return None
        early = bytearray()
        while piece := content.read_nowait():  # which lets the parser go on, if it was stopped
            early += piece
        made = cls(transport, bytes(early), size - len(early))
        transport.set_protocol(made)
        return made

    async def read_into(self, view: memoryview) -> int:
        """Fill a buffer with what comes next, at least one byte; 0: that was all.

        Raises OSError when it breaks off, TimeoutError when `fail` was told so.
        """
        if self._early:
            return self._hand_over(view)
        if self._error is not None:
            raise self._error
        if not self._left:
            return 0
        self._view = view[: self._left]
        self._waiter = asyncio.get_running_loop().create_future()
        self._read(paused=False)
        try:
            return await self._waiter
        finally:
            self._view = self._waiter = None

    def _hand_over(self, view: memoryview) -> int:
        """What came before anybody wanted it."""
        count = min(len(view), len(self._early))
        view[:count] = self._early[:count]
        self._early = self._early[count:]
        return count

    def fail(self, error: Exception) -> None:
        """Have who waits, or comes next, hear this."""
        self._error = self._error or error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    @property
    def is_cut(self) -> bool:
        """Whether nothing can come any more. Who waits has been told of it."""
        return self._transport.is_closing()

    # --- what the transport says -------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # asyncio's
        """See `asyncio.BufferedProtocol`. Never room for more than belongs to the body."""
        return self._view if self._view is not None else self._spare

    def buffer_updated(self, nbytes: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        if self._view is None:
            # Nobody waits at this moment. What belongs to the body is kept, once, and no more read.
            self._read(paused=True)
            kept = bytes(self._spare[: min(nbytes, self._left)])
            self._early = memoryview(bytes(self._early) + kept)
            self._left -= len(kept)
            return
        self._left -= nbytes
        self._view = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(nbytes)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`. The library hears of it: the connection is in its books."""
        if self._left:
            self.fail(exc or ConnectionResetError("the body was cut"))
        self._before.connection_lost(exc)

    def _read(self, *, paused: bool) -> None:
        if paused != self._paused and not self._transport.is_closing():
            self._paused = paused
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()
