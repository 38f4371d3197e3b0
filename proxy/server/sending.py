"""Bytes from a file to a client: fair, bounded, and never pretending to be complete.

Purpose: large bodies go by non-blocking `sendfile` in slices, with a yield after each, so that bulk
downloads do not hold up the loop (measured: asyncio's own sendfile pumps a socket's whole window
and lets small answers wait for 300 ms); in smaller slices where there are many. The socket is
written through a duplicate descriptor because the loop reserves the original for its transport;
the transport's buffer is empty by then.

With TLS in the process, or chunked, pieces are read and written. A client that takes less than the
minimum rate over half a minute is cut off; what counts is what its kernel has acknowledged, not
what ours has buffered.

Reading: `sendfile(2)`, `tcp(7)` SIOCOUTQ; nginx `sendfile_max_chunk`, `send_timeout`. Non-goals:
what is sent.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Self, final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from proxy.cache.flight import Spot
from proxy.cache.transfer import RATE_WINDOW, Rate
from proxy.server.wire import abort, too_slow, unsent

SLICE = 256 << 10
LEAST_SLICE = 64 << 10
LONGEST_ROUND = 0.004  # seconds of the loop that all who send may take together, one slice each
PIECE = 64 << 10
AT_ONCE = 2 << 20
"""Bytes of a body in memory that go out without a look at whether the client takes them."""


class BodyLost(Exception):
    """The file cannot be read, or ends too early."""


async def finish(request: web.BaseRequest, response: web.StreamResponse, min_rate: int) -> None:
    """Send what has not been sent of an answer. Raises as `Sender` does."""
    body = response.body if type(response) is web.Response else None
    if request.method == "HEAD" or not isinstance(body, bytes) or len(body) <= AT_ONCE:
        await response.prepare(request)
        await response.write_eof()
        return
    async with Sender(request, response, min_rate) as sender:
        await sender.held(body)
    await web.StreamResponse.write_eof(response)  # web.Response's would send the body again


@final
class Sender:
    """One answer's body. Use as `async with`, after the response's head is made.

    Raises ConnectionError after resetting a connection that is gone or too slow.
    """

    def __init__(
        self, request: web.BaseRequest, response: web.StreamResponse, min_rate: int
    ) -> None:
        self._request = request
        self._response = response
        self._loop = asyncio.get_running_loop()
        self._rate = Rate(min_rate)
        self._handed = 0  # bytes given to the kernel or to the transport
        self._slice = SLICE
        self._judged = 0  # of which were acknowledged when the rate was last looked at
        self._socket = -1  # a duplicate of the transport's own descriptor, to write to

    async def __aenter__(self) -> Self:
        """Send the head now: a client may wait for it long before the first byte is here."""
        writer = await self._response.prepare(self._request)
        transport = self._request.transport
        if writer is None or not isinstance(transport, asyncio.Transport):
            raise abort(self._request)
        writer.send_headers()
        self._writer: AbstractStreamWriter = writer
        socket = transport.get_extra_info("socket")
        direct = transport.get_extra_info("sslcontext") is None and not self._response.chunked
        if direct and socket is not None and self._request.method != "HEAD":
            await self._flush(transport)
            self._socket = os.dup(socket.fileno())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let the duplicate go; the connection is the transport's."""
        if self._socket >= 0:
            self._loop.remove_writer(self._socket)
            os.close(self._socket)
            self._socket = -1

    async def slice(self, where: Callable[[], Spot]) -> int:
        """Send up to one slice of what lies there; how much. Asks anew after each wait.

        Raises BodyLost when the file cannot be read; the connection is still there then.
        """
        sent = await (self._by_sendfile if self._socket >= 0 else self._by_write)(where)
        if sent == 0:
            raise BodyLost("the file ends too early")
        return sent

    async def _by_write(self, where: Callable[[], Spot]) -> int:
        spot = where()
        try:
            piece = os.pread(spot.fd, min(spot.count, PIECE), spot.position)
        except OSError as error:
            raise BodyLost(type(error).__name__) from error
        if piece:
            self._handed += len(piece)
            await self._patiently(self._response.write(piece))
        return len(piece)

    async def held(self, body: bytes) -> None:
        """Send a body that is in memory: the transport makes a copy of what the client does not
        take at once, and shall never have more of it than a piece."""
        for start in range(0, len(body), PIECE):
            piece = memoryview(body)[start : start + PIECE]
            self._handed += len(piece)
            await self._patiently(self._response.write(piece))

    async def _by_sendfile(self, where: Callable[[], Spot]) -> int:
        while self._is_open():
            spot = where()
            try:
                count = min(spot.count, self._slice)
                sent = os.sendfile(self._socket, spot.fd, spot.position, count)
            except BlockingIOError:
                await self._patiently(self._writable())
                continue
            except ConnectionError as error:
                raise abort(self._request) from error
            except OSError as error:
                raise BodyLost(type(error).__name__) from error
            self._handed += sent
            self._writer.output_size += sent
            await self._yield()
            return sent
        raise abort(self._request)

    async def _yield(self) -> None:
        """Let everybody else have their turn; the longer that took, the smaller the next slice.

        Sixty downloads with a large slice each are a long wait for whoever asks for a small thing.
        """
        before = self._loop.time()
        await asyncio.sleep(0)
        took = self._loop.time() - before
        if took > LONGEST_ROUND:
            self._slice = max(LEAST_SLICE, self._slice // 2)
        elif took < LONGEST_ROUND / 2:
            self._slice = min(SLICE, self._slice * 2)

    def _is_open(self) -> bool:
        transport = self._request.transport
        return transport is not None and not transport.is_closing()

    # --- patience ----------------------------------------------------------------------------

    async def _patiently(self, wait: Awaitable[None]) -> None:
        """Wait for the client as long as it keeps the minimum rate.

        Nothing is cancelled to look at the rate: aiohttp's `drain` does not outlive that.
        """
        self._waiting_since = self._loop.time()
        self._watch = self._loop.call_later(RATE_WINDOW, self._look)
        try:
            await wait
        finally:
            self._watch.cancel()
        if not self._rate.keeps(self._taken(), self._loop.time() - self._waiting_since):
            raise too_slow(self._request)

    def _look(self) -> None:
        """Look at the rate in the middle of a wait. An abort ends the wait, and the handler."""
        now, taken = self._loop.time(), self._taken()
        if taken and self._rate.keeps(taken, now - self._waiting_since):
            self._waiting_since = now
            self._watch = self._loop.call_later(RATE_WINDOW, self._look)
        elif self._is_open():
            too_slow(self._request)

    def _taken(self) -> int:
        """Bytes that the client has acknowledged since the last look."""
        transport = self._request.transport
        if not isinstance(transport, asyncio.Transport) or transport.is_closing():
            return 0
        acknowledged = max(self._judged, self._handed - unsent(transport))
        taken, self._judged = acknowledged - self._judged, acknowledged
        return taken

    async def _writable(self) -> None:
        ready = self._loop.create_future()
        self._loop.add_writer(self._socket, _settle, ready)
        try:
            await ready
        finally:
            self._loop.remove_writer(self._socket)

    async def _flush(self, transport: asyncio.Transport) -> None:
        """Wait until everything written so far has left the process."""
        if transport.get_write_buffer_size() == 0:
            return
        low, high = transport.get_write_buffer_limits()
        transport.set_write_buffer_limits(high=0)
        try:
            await self._patiently(self._writer.drain())
        finally:
            transport.set_write_buffer_limits(high=high, low=low)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
