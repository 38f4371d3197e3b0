"""Answers that are held in memory: sent in pieces, to clients that take them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from proxy.server import sending
from proxy.server.listener import Listener
from proxy.server.sending import AT_ONCE, PIECE, finish
from proxy.server.wire import Server
from tests.engine import quick, until
from tests.running import answers

BODY = bytes(range(256)) * 80_000  # 20 MB
QUESTION = b"%s /a HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
RATE = 1024


class Room:
    """A server that answers everything with one body."""

    def __init__(self, body: bytes = BODY) -> None:
        self.body = body
        self.ended = 0
        self.server = Server(self._handle, self._refuse)
        self.listener = Listener(self.server, "127.0.0.1", 0)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        answer = web.Response(body=self.body)
        try:
            await finish(request, answer, RATE)
        finally:
            self.ended += 1
        return answer

    @staticmethod
    def _refuse(_: web.BaseRequest, status: int) -> web.StreamResponse:
        return web.Response(status=status)

    def waiting(self) -> int:
        """Bytes that this process holds for its only client."""
        (connection,) = self.server.connections
        assert isinstance(connection.transport, asyncio.Transport)
        return connection.transport.get_write_buffer_size()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[socket.socket]:
        await self.listener.start()
        host, port = self.listener.url.removeprefix("http://").split(":")
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.setblocking(False)
            await asyncio.get_running_loop().sock_connect(one, (host, int(port)))
            yield one
        await self.listener.close()


async def take_all(one: socket.socket) -> bytes:
    loop, pieces = asyncio.get_running_loop(), []
    async with asyncio.timeout(20):
        while piece := await loop.sock_recv(one, 1 << 20):
            pieces.append(piece)
    return b"".join(pieces)


async def test_no_more_than_a_piece_is_held_for_who_takes_nothing() -> None:
    room = Room()
    async with room.client() as one:
        await asyncio.get_running_loop().sock_sendall(one, QUESTION % b"GET")
        await until(lambda: bool(room.server.connections) and room.waiting() > 0)
        assert room.waiting() <= 3 * PIECE
        assert room.ended == 0


async def test_who_takes_nothing_is_cut_off() -> None:
    room = Room()
    async with room.client() as one:
        with quick(sending, RATE_WINDOW=0.15):
            await asyncio.get_running_loop().sock_sendall(one, QUESTION % b"GET")
            await until(lambda: room.ended == 1, seconds=10)
        with pytest.raises(ConnectionResetError):
            await take_all(one)


@pytest.mark.parametrize("size", [0, 1, AT_ONCE, AT_ONCE + 1, len(BODY)])
async def test_every_byte_arrives_and_the_connection_is_good_for_more(size: int) -> None:
    room = Room(BODY[:size])
    async with room.client() as one:
        questions = QUESTION % b"GET" + QUESTION % b"HEAD" + LAST
        await asyncio.get_running_loop().sock_sendall(one, questions)
        found = answers(await take_all(one), ["GET", "HEAD", "GET"])
    assert [answer.complete for answer in found] == [True] * 3
    assert [answer.body for answer in found] == [BODY[:size], b"", BODY[:size]]
