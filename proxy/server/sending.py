"""Bytes from a file to a client: fair, bounded, and never pretending to be complete.

Purpose: large bodies go by non-blocking `sendfile` in slices, with a yield after each, so that one
bulk download does not hold up the loop (measured: asyncio's own sendfile pumps a socket's whole
window and lets small answers wait for 300 ms). The socket is written through a duplicate descriptor
because the loop reserves the original for its transport; the transport's buffer is empty by then.

With TLS in the process, or chunked, pieces are read and written. A client that takes less than the
minimum rate over half a minute is cut off.

Reading: `sendfile(2)`; nginx `sendfile_max_chunk`, `send_timeout`. Non-goals: what is sent.
"""

from __future__ import annotations

import asyncio
import os
from typing import Self, final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from proxy.cache.transfer import RATE_WINDOW, Rate
from proxy.server.wire import abort

SLICE = 256 << 10
PIECE = 64 << 10


@final
class Sender:
    """One answer's body. Use as `async with`, after the response's head is made."""

    def __init__(
        self, request: web.BaseRequest, response: web.StreamResponse, min_rate: int
    ) -> None:
        self._request = request
        self._response = response
        self._loop = asyncio.get_running_loop()
        self._rate = Rate(min_rate, self._loop.time())
        self._writer: AbstractStreamWriter | None = None
        self._socket = -1

    async def __aenter__(self) -> Self:
        """Send the head now: a client may wait for it long before the first byte is here."""
        writer = await self._response.prepare(self._request)
        if writer is None:
            raise abort(self._request)
        writer.send_headers()
        self._writer = writer
        transport = self._request.transport
        if not isinstance(transport, asyncio.Transport):
            raise abort(self._request)
        socket = transport.get_extra_info("socket")
        direct = transport.get_extra_info("sslcontext") is None and not self._response.chunked
        if direct and socket is not None and self._request.method != "HEAD":
            await self._flush(transport, writer)
            self._socket = os.dup(socket.fileno())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let the duplicate go; the connection is the transport's."""
        if self._socket >= 0:
            self._loop.remove_writer(self._socket)
            os.close(self._socket)
            self._socket = -1

    async def slice(self, fd: int, offset: int, count: int) -> int:
        """Send up to one slice of a file; how much.

        Raises ConnectionError after resetting a connection that is gone, too slow, or whose file
        ends too early.
        """
        sent = await (self._by_sendfile if self._socket >= 0 else self._by_write)(fd, offset, count)
        if sent == 0 or not self._rate.keeps(sent, self._loop.time()):
            raise abort(self._request)
        return sent

    async def _by_write(self, fd: int, offset: int, count: int) -> int:
        piece = os.pread(fd, min(count, PIECE), offset)
        if piece:
            try:
                async with asyncio.timeout(RATE_WINDOW):
                    await self._response.write(piece)
            except TimeoutError as error:
                raise abort(self._request) from error
        return len(piece)

    async def _by_sendfile(self, fd: int, offset: int, count: int) -> int:
        transport = self._request.transport
        while transport is not None and not transport.is_closing():
            try:
                sent = os.sendfile(self._socket, fd, offset, min(count, SLICE))
            except BlockingIOError:
                await self._writable()
                continue
            if self._writer is not None:
                self._writer.output_size += sent
            await asyncio.sleep(0)
            return sent
        raise abort(self._request)

    async def _writable(self) -> None:
        ready = self._loop.create_future()
        self._loop.add_writer(self._socket, _settle, ready)
        try:
            async with asyncio.timeout(RATE_WINDOW):
                await ready
        except TimeoutError as error:
            raise abort(self._request) from error
        finally:
            self._loop.remove_writer(self._socket)

    async def _flush(self, transport: asyncio.Transport, writer: AbstractStreamWriter) -> None:
        """Wait until everything written so far has left the process."""
        if transport.get_write_buffer_size() == 0:
            return
        low, high = transport.get_write_buffer_limits()
        transport.set_write_buffer_limits(high=0)
        try:
            async with asyncio.timeout(RATE_WINDOW):
                await writer.drain()
        except TimeoutError as error:
            raise abort(self._request) from error
        finally:
            transport.set_write_buffer_limits(high=high, low=low)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
