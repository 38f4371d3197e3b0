"""Answers that are held in memory: sent in pieces, to clients that take them."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from aiohttp import web

from proxy.cache.flight import Spot
from proxy.server import sending
from proxy.server.listener import Listener
from proxy.server.sending import AT_ONCE, IN_STORE, PIECE, Sender, finish
from proxy.server.wire import Server
from tests.engine import quick, until
from tests.running import answers
from tests.unit.narrow import narrow_client

BODY = bytes(range(256)) * 80_000  # 20 MB
QUESTION = b"%s /a HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
RATE = 1024
_SIOCOUTNSD = 0x894B


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

    def client(self) -> AbstractAsyncContextManager[socket.socket]:
        return narrow_client(self.listener)


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


class Filed(Room):
    """The same from a file, as large bodies are sent."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.passed = 0

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        answer = web.StreamResponse()
        answer.content_length = size = self.path.stat().st_size
        with self.path.open("rb") as file:
            async with Sender(request, answer, RATE) as sender:
                await sender.send(
                    lambda: Spot(file.fileno(), self.passed, size - self.passed), self._pass
                )
        return answer

    def _pass(self, count: int) -> None:
        self.passed += count

    def in_store(self) -> int:
        """Bytes that the kernel has and may not send yet."""
        (connection,) = self.server.connections
        assert connection.transport is not None
        peer = connection.transport.get_extra_info("socket")
        return int.from_bytes(fcntl.ioctl(peer.fileno(), _SIOCOUTNSD, bytes(4)), sys.byteorder)


async def test_the_kernel_has_little_in_store_for_who_takes_nothing_of_a_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "body"
    path.write_bytes(BODY)
    room = Filed(path)
    async with room.client() as one:
        await asyncio.get_running_loop().sock_sendall(one, LAST)
        # The kernel asks for more when less than half of it is left.
        await until(lambda: bool(room.server.connections) and room.in_store() >= IN_STORE // 2)
        # More than that is the rest of the call that it was filled with.
        assert room.in_store() <= IN_STORE + PIECE
        assert room.ended == 0
        (answer,) = answers(await take_all(one), ["GET"])
    assert answer.complete
    assert answer.body == BODY
