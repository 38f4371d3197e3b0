"""Answers that are written at once, and clients that do not take them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from proxy.server import stalled
from proxy.server.listener import Listener
from proxy.server.sending import AT_ONCE, finish
from proxy.server.stalled import acknowledged
from proxy.server.wire import Server
from tests.engine import quick, until

BODY = bytes(range(256)) * (AT_ONCE // 256)
WALKED = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
KNOWN = b"GET /known HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % AT_ONCE
RATE = 1024
WINDOW = 0.3


class Room:
    """A server that answers everything with one document, and one question before its parser."""

    def __init__(self, min_rate: int = RATE) -> None:
        self.server = Server(self._handle, self._refuse, min_rate=min_rate, recall=self._recall)
        self.listener = Listener(self.server, "127.0.0.1", 0)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        answer = web.Response(body=BODY)
        await finish(request, answer, RATE)
        return answer

    @staticmethod
    def _refuse(_: web.BaseRequest, status: int) -> web.StreamResponse:
        return web.Response(status=status)

    @staticmethod
    def _recall(question: bytes, _peer: str, _now: float) -> tuple[bytes, bytes] | None:
        return (HEAD, BODY) if question == KNOWN else None

    @property
    def transport(self) -> asyncio.Transport | None:
        """Of the only connection. None once it is gone."""
        found = [one.transport for one in self.server.connections]
        return found[0] if found and isinstance(found[0], asyncio.Transport) else None

    @property
    def waiting(self) -> int:
        """Bytes that this process holds for its only client."""
        return self.transport.get_write_buffer_size() if self.transport else 0

    @asynccontextmanager
    async def client(self) -> AsyncIterator[socket.socket]:
        await self.listener.start()
        host, port = self.listener.url.removeprefix("http://").split(":")
        with socket.socket() as one, quick(stalled, RATE_WINDOW=WINDOW):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.setblocking(False)
            await asyncio.get_running_loop().sock_connect(one, (host, int(port)))
            await until(lambda: self.transport is not None)
            assert self.transport is not None
            # The kernel of this machine would take a whole document, and keep it.
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDBUF, 4096
            )
            yield one
        await self.listener.close()


async def read(one: socket.socket, seconds: float, pause: float, most: int) -> int:
    """Take up to `most` bytes, then nothing for `pause` seconds, again and again; how much."""
    loop, taken = asyncio.get_running_loop(), 0
    end = loop.time() + seconds
    while loop.time() < end:
        piece = await loop.sock_recv(one, most)
        assert piece
        taken += len(piece)
        await asyncio.sleep(pause)
    return taken


@pytest.mark.parametrize("question", [WALKED, KNOWN])
async def test_who_takes_nothing_of_a_document_is_cut_off(question: bytes) -> None:
    room = Room()
    async with room.client() as one:
        await asyncio.get_running_loop().sock_sendall(one, question)
        await until(lambda: room.waiting > AT_ONCE // 2)
        await until(lambda: not room.server.connections, seconds=10)
        with pytest.raises(ConnectionResetError):
            await read(one, 10, 0, AT_ONCE)


@pytest.mark.parametrize("question", [WALKED, KNOWN])
async def test_who_is_slow_but_keeps_the_rate_is_not_cut_off(question: bytes) -> None:
    room = Room()
    async with room.client() as one:
        await asyncio.get_running_loop().sock_sendall(one, question)
        taken = await read(one, 5 * WINDOW, 0.02, 1024)
        assert RATE * 5 * WINDOW < taken < AT_ONCE // 4
        assert room.waiting > AT_ONCE // 2


async def test_a_document_that_was_taken_late_but_in_time_leaves_the_connection_good() -> None:
    room = Room()
    loop = asyncio.get_running_loop()
    async with room.client() as one:
        for _ in range(3):
            await loop.sock_sendall(one, KNOWN)
            await until(lambda: room.waiting > 0)
            left = len(HEAD) + AT_ONCE
            while left:
                left -= len(await loop.sock_recv(one, left))
        assert room.transport is not None
        assert acknowledged(room.transport) >= 2 * AT_ONCE


async def test_without_a_minimum_rate_nobody_is_cut_off() -> None:
    room = Room(min_rate=0)
    async with room.client() as one:
        await asyncio.get_running_loop().sock_sendall(one, KNOWN)
        await until(lambda: room.waiting > AT_ONCE // 2)
        with pytest.raises(TimeoutError):
            await until(lambda: not room.server.connections, seconds=3 * WINDOW)


async def test_a_connection_that_is_gone_is_not_looked_at_again() -> None:
    room = Room()
    async with room.client() as one:
        await asyncio.get_running_loop().sock_sendall(one, KNOWN)
        await until(lambda: room.waiting > 0)
        transport = room.transport
        assert transport is not None
        room.server.reset_all()
        await until(lambda: not room.server.connections)
        assert acknowledged(transport) == 0
        assert transport.get_write_buffer_size() == 0
