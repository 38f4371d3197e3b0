"""Bytes from a file to a client: fair, bounded, and never pretending to be complete.

Purpose: large bodies go by non-blocking `sendfile`, a slice each time the loop comes by, so that
bulk downloads do not hold it up (measured: asyncio's own sendfile pumps a socket's whole window and
lets small answers wait for 300 ms); in smaller slices where there are many. The socket is written
through a duplicate descriptor because the loop reserves the original for its transport; the
transport's buffer is empty by then.

The kernel is given no more than it may send soon (`TCP_NOTSENT_LOWAT`). What lies there in store
goes out when an acknowledgement comes in, and on one machine that is the reader's time: it spent
0.5 s of processor time a GiB in place of 0.2 (measured with wrk), at half the rate, while our core
idled. It also bounds what a client that takes nothing holds of the kernel's memory.

With TLS in the process, or chunked, pieces are read and written. A client that takes less than the
minimum rate over half a minute is cut off; what counts is what its kernel has acknowledged, not
what ours has buffered.

Reading: `sendfile(2)`, `tcp(7)` SIOCOUTQ, TCP_NOTSENT_LOWAT; nginx `sendfile_max_chunk`,
`send_timeout`. Non-goals: what is sent.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Self, final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from proxy.cache.flight import Spot
from proxy.cache.transfer import RATE_WINDOW, Rate
from proxy.server.answer import Answer
from proxy.server.stalled import unsent
from proxy.server.wire import abort, too_slow

SLICE = 256 << 10
IN_STORE = 256 << 10  # bytes that the kernel may have without being allowed to send them yet
LEAST_SLICE = 64 << 10
LONGEST_ROUND = 0.004  # seconds of the loop that all who send may take together, one slice each
PIECE = 64 << 10
AT_ONCE = 2 << 20
"""Bytes of a body in memory that go out without a look at whether the client takes them."""
_TOO_EARLY = "the file ends too early"


class BodyLost(Exception):
    """The file cannot be read, or ends too early."""


async def finish(request: web.BaseRequest, response: web.StreamResponse, min_rate: int) -> None:
    """Send what has not been sent of an answer. Raises as `Sender` does."""
    body = response.body if isinstance(response, web.Response) else None
    if request.method == "HEAD" or not isinstance(body, bytes) or len(body) <= AT_ONCE:
        if isinstance(response, Answer) and response.send(request):
            if request.protocol.writing_paused:
                await request.writer.drain()
            return
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
        self._waited = 0.0  # seconds, for the client, since then
        self._since: float | None = None  # when the wait began that goes on
        self._watch: asyncio.TimerHandle | None = None
        self._socket = -1  # a duplicate of the transport's own descriptor, to write to

    async def __aenter__(self) -> Self:
        """Send the head now: a client may wait for it long before the first byte is here."""
        writer = await self._response.prepare(self._request)
        transport = self._request.transport
        if writer is None or not isinstance(transport, asyncio.Transport):
            raise abort(self._request)
        writer.send_headers()
        self._writer: AbstractStreamWriter = writer
        peer = transport.get_extra_info("socket")
        direct = transport.get_extra_info("sslcontext") is None and not self._response.chunked
        if direct and peer is not None and self._request.method != "HEAD":
            await self._flush(transport)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, IN_STORE)
            self._socket = os.dup(peer.fileno())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let the duplicate go; the connection is the transport's."""
        if self._watch is not None:
            self._watch.cancel()
        if self._socket >= 0:
            self._loop.remove_writer(self._socket)
            os.close(self._socket)
            self._socket = -1

    async def send(self, where: Callable[[], Spot], passed: Callable[[int], None]) -> None:
        """Send what lies there until nothing does. `passed` is told how much went out each time,
        `where` is asked anew after that.

        Raises BodyLost when the file cannot be read; the connection is still there then.
        """
        if self._socket < 0:
            while (spot := where()).count:
                passed(await self._by_write(spot))
        elif not self._push(where, passed):
            await self._patiently(self._pushed(where, passed))

    async def _by_write(self, spot: Spot) -> int:
        try:
            piece = os.pread(spot.fd, min(spot.count, PIECE), spot.position)
        except OSError as error:
            raise BodyLost(type(error).__name__) from error
        if not piece:
            raise BodyLost(_TOO_EARLY)
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

    async def _pushed(self, where: Callable[[], Spot], passed: Callable[[int], None]) -> None:
        """Push a slice each time the loop finds room for it, until nothing is left."""
        ended = self._loop.create_future()

        def room() -> None:
            if ended.done():
                return
            try:
                if self._push(where, passed):
                    ended.set_result(None)
            except (ConnectionError, BodyLost) as error:
                ended.set_exception(error)

        self._loop.add_writer(self._socket, room)
        try:
            await ended
        finally:
            self._loop.remove_writer(self._socket)

    def _push(self, where: Callable[[], Spot], passed: Callable[[int], None]) -> bool:
        """Send one slice, if there is room for it; whether that was all."""
        if not self._is_open():
            raise abort(self._request)
        spot = where()
        try:
            sent = os.sendfile(self._socket, spot.fd, spot.position, min(spot.count, self._slice))
        except BlockingIOError:
            return False
        except ConnectionError as error:
            raise abort(self._request) from error
        except OSError as error:
            raise BodyLost(type(error).__name__) from error
        if not sent:
            raise BodyLost(_TOO_EARLY)
        self._handed += sent
        self._writer.output_size += sent
        passed(sent)
        self._loop.call_soon(self._pace, self._loop.time())
        return where().count == 0

    def _pace(self, pushed: float) -> None:
        """Everybody else had their turn; the longer that took, the smaller the next slice.

        Sixty downloads with a large slice each are a long wait for whoever asks for a small thing.
        """
        took = self._loop.time() - pushed
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

        Nothing is cancelled to look at the rate: aiohttp's `drain` does not outlive that. There may
        be thousands of waits a second: they share one timer; the rate is judged once a window.
        """
        self._since = self._loop.time()
        if self._watch is None:
            self._watch = self._loop.call_later(RATE_WINDOW - self._waited, self._look)
        try:
            await wait
        finally:
            self._waited += self._loop.time() - self._since
            self._since = None
        if self._waited >= RATE_WINDOW and not self._keeps(self._taken()):
            raise too_slow(self._request)

    def _look(self) -> None:
        """Look at the rate in the middle of a wait. An abort ends the wait, and the handler."""
        self._watch = None
        if self._since is None:
            return
        now = self._loop.time()
        self._waited, self._since = self._waited + now - self._since, now
        if self._waited >= RATE_WINDOW:
            taken = self._taken()
            if not (taken and self._keeps(taken)):
                if self._is_open():
                    too_slow(self._request)
                return
        self._watch = self._loop.call_later(RATE_WINDOW - self._waited, self._look)

    def _keeps(self, taken: int) -> bool:
        waited, self._waited = self._waited, 0.0
        return self._rate.keeps(taken, waited)

    def _taken(self) -> int:
        """Bytes that the client has acknowledged since the last look."""
        transport = self._request.transport
        if not isinstance(transport, asyncio.Transport) or transport.is_closing():
            return 0
        acknowledged = max(self._judged, self._handed - unsent(transport))
        taken, self._judged = acknowledged - self._judged, acknowledged
        return taken

    async def _flush(self, transport: asyncio.Transport) -> None:
        """Wait until everything written so far has left the process."""
        if transport.get_write_buffer_size():
            await self._patiently(self._writer.drain())
