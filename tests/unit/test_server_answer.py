"""Answers from memory: what leaves in one call is what aiohttp would have sent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from proxy.server.answer import Answer, head_of, http_date
from proxy.server.listener import Listener
from proxy.server.sending import AT_ONCE, finish
from proxy.server.wire import Server, body_size
from tests.engine import until
from tests.running import answers
from tests.unit.narrow import narrow_client

FIELDS = {"Server": "x", "X-Name": "\u00e4", "Content-Type": "text/plain"}
PLAIN = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


class Room:
    """A server that answers everything with what `make` makes, and notes how it left."""

    def __init__(self, make: Callable[[], web.Response]) -> None:
        self.make = make
        self.at_once: list[bool] = []
        self.sizes: list[int] = []
        self.broken: list[BaseException] = []
        self.server = Server(self._handle, self._refuse)
        self.listener = Listener(self.server, "127.0.0.1", 0)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        answer = self.make()
        try:
            await finish(request, answer, 0)
        except ConnectionError as error:
            self.broken.append(error)
            self.sizes.append(body_size(request, None))
            raise
        self.at_once.append(bool(answer.keep_alive) and not answer.prepared)
        self.sizes.append(body_size(request, answer))
        return answer

    @staticmethod
    def _refuse(_: web.BaseRequest, status: int) -> web.StreamResponse:
        return Answer(status=status, body=b"refused")

    def client(self) -> AbstractAsyncContextManager[socket.socket]:
        return narrow_client(self.listener)

    async def tell(self, *questions: bytes) -> bytes:
        """All that comes back, without dates; the last question ends the connection."""
        loop, said = asyncio.get_running_loop(), b""
        async with self.client() as one, asyncio.timeout(20):
            await loop.sock_sendall(one, b"".join(questions))
            while piece := await loop.sock_recv(one, 1 << 20):
                said += piece
        return b"".join(line for line in said.splitlines(True) if not line.startswith(b"Date: "))


def waiting(connection: RequestHandler) -> int:
    """Bytes that this process holds for a client."""
    assert isinstance(connection.transport, asyncio.Transport)
    return connection.transport.get_write_buffer_size()


def sorted_lines(raw: bytes) -> list[bytes]:
    return sorted(raw.splitlines())


@pytest.mark.parametrize("status", [200, 206, 301, 404, 503])
@pytest.mark.parametrize("body", [b"x", bytes(70_000)], ids=["small", "large"])
async def test_what_leaves_in_one_call_is_what_aiohttp_would_have_sent(
    status: int, body: bytes
) -> None:
    ours = Room(lambda: Answer(status=status, body=body, headers=FIELDS))
    theirs = Room(lambda: web.Response(status=status, body=body, headers=FIELDS))
    expected = await theirs.tell(PLAIN, LAST)
    assert sorted_lines(await ours.tell(PLAIN, LAST)) == sorted_lines(expected)
    assert ours.at_once == [True, False]
    assert theirs.at_once == [False, False]
    assert ours.sizes == theirs.sizes == [len(body)] * 2


@pytest.mark.parametrize(
    "question",
    [
        b"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"GET /a HTTP/1.0\r\n\r\n",
        LAST,
    ],
    ids=["head", "1.0 that lasts", "1.0", "the last one"],
)
@pytest.mark.parametrize("status", [200, 204, 304])
@pytest.mark.parametrize("body", [b"x", b"", None], ids=["a body", "an empty one", "none"])
async def test_what_is_not_plain_is_left_to_aiohttp(
    question: bytes, status: int, body: bytes | None
) -> None:
    ours = Room(lambda: Answer(status=status, body=body, headers=FIELDS))
    theirs = Room(lambda: web.Response(status=status, body=body, headers=FIELDS))
    assert await ours.tell(question, LAST) == await theirs.tell(question, LAST)
    assert not any(ours.at_once)


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_that_has_no_body_shows_none(status: int) -> None:
    room = Room(lambda: Answer(status=status, body=b"x", headers=FIELDS))
    (first, second) = answers(await room.tell(PLAIN, LAST))
    assert (first.body, second.body) == (b"", b"")
    assert room.sizes == [0, 0]


async def test_a_body_over_what_goes_out_at_once_is_sent_in_pieces() -> None:
    room = Room(lambda: Answer(body=bytes(AT_ONCE + 1), headers=FIELDS))
    (first, second) = answers(await room.tell(PLAIN, LAST))
    assert len(first.body) == len(second.body) == AT_ONCE + 1
    assert room.at_once == [False, False]


async def test_the_last_answer_of_a_connection_says_so() -> None:
    def last() -> web.Response:
        answer = Answer(body=b"x", headers=FIELDS)
        answer.force_close()
        return answer

    raw = await Room(last).tell(PLAIN)
    assert b"Connection: close\r\n" in raw


async def test_a_field_that_would_be_two_is_sent_by_nobody() -> None:
    for evil in ("a\r\nSet-Cookie: b", "a\nb", "a\rb", "a\0b"):
        room = Room(partial(Answer, body=b"x", headers={"X-Name": evil}))
        raw = await room.tell(PLAIN)
        assert b"Set-Cookie" not in raw
        assert raw.startswith(b"HTTP/1.1 500 ")


async def test_no_more_is_answered_than_the_client_takes() -> None:
    loop, room, many = asyncio.get_running_loop(), Room(lambda: Answer(body=bytes(AT_ONCE))), 12
    async with room.client() as one, asyncio.timeout(20):
        await loop.sock_sendall(one, PLAIN * many)
        await until(lambda: any(waiting(one) for one in room.server.connections))
        for _ in range(200):  # turns of the loop, in which all of it could be answered
            await asyncio.sleep(0)
        assert len(room.at_once) < many
        (connection,) = room.server.connections
        assert waiting(connection) <= AT_ONCE + 1000
        taken = 0
        while taken < AT_ONCE * many:
            taken += len(await loop.sock_recv(one, 1 << 20))
        await until(lambda: room.at_once == [True] * many)


async def test_to_who_has_gone_nothing_is_sent_and_nothing_is_counted() -> None:
    def make() -> web.Response:
        (connection,) = room.server.connections
        assert connection.transport is not None
        connection.transport.close()
        return Answer(body=b"x", headers=FIELDS)

    room = Room(make)
    assert await room.tell(PLAIN) == b""
    assert [type(error) for error in room.broken] == [ConnectionResetError]
    assert room.sizes == [0]


def test_a_head_is_status_line_and_fields_but_those_that_differ() -> None:
    answer = Answer(status=404, body=b"x", headers={"Age": "1", "X-Name": "a"})
    assert head_of(answer) == b"HTTP/1.1 404 Not Found\r\nAge: 1\r\nX-Name: a\r\n"
    assert head_of(answer, frozenset({"age"})) == b"HTTP/1.1 404 Not Found\r\nX-Name: a\r\n"


def test_a_date_is_of_the_form_that_all_read() -> None:
    assert http_date(784_111_777) == "Sun, 06 Nov 1994 08:49:37 GMT"
