"""Connections on an errand: what the client does meanwhile, and what aiohttp must not notice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import cast

import pytest
from aiohttp import web

from proxy.cache.found import Flying
from proxy.server import wire as wire_module
from proxy.server.errand import MAX_KEPT, Errand, ErrandHandler, handed
from proxy.server.listener import Listener
from proxy.server.seam import KEEPALIVE, SEAM
from proxy.server.stalled import reset
from proxy.server.wire import Server
from tests.engine import quick, until
from tests.running import Answer, answers

QUESTION = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
OTHER = b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n"
BODY = b"fetched"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"


class Trip:
    """An errand that ends when a test says so."""

    def __init__(self, question: bytes, connection: ErrandHandler) -> None:
        self.id, self.started = "id", 1.0
        self.question = question
        self.connection = connection
        self.lefts = 0

    @property
    def flying(self) -> Flying:
        return cast("Flying", self)

    def left(self) -> None:
        self.lefts += 1

    def answer(self) -> bool:
        sent = self.connection.put(HEAD, BODY)
        self.connection.done()
        return sent

    def hand_back(self) -> None:
        self.connection.hand_back(self.question)


class Room:
    """A server that sets out for `/a`; its handler answers `walked <path>`."""

    def __init__(self, seam: tuple[str, ...] = SEAM) -> None:
        self.trips: list[Trip] = []
        self.handed: list[Errand | None] = []
        self.asked: list[bool] = []
        self.server = Server(
            *(self._handle, self._refuse), recall=lambda *_: None, prompt=self._prompt, seam=seam
        )
        self.listener = Listener(self.server, "127.0.0.1", 0)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.handed.append(handed(request))
        connection = request.protocol
        assert isinstance(connection, ErrandHandler)
        self.asked.append(connection.asked is not None)
        return web.Response(body=b"walked " + request.raw_path.encode())

    @staticmethod
    def _refuse(_: web.BaseRequest, status: int) -> web.StreamResponse:
        return web.Response(status=status, body=b"refused")

    def _prompt(self, question: bytes, peer: str, connection: ErrandHandler) -> Errand | None:
        assert peer == "127.0.0.1"
        if question != QUESTION:
            return None
        self.trips.append(Trip(question, connection))
        return self.trips[-1]

    @asynccontextmanager
    async def line(self) -> AsyncIterator[Line]:
        await self.listener.start()
        port = int(self.listener.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield Line(self, reader, writer)
        finally:
            writer.transport.abort()
            await self.listener.close()


class Line:
    """One open connection to a room."""

    def __init__(
        self, room: Room, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.room = room
        self.reader = reader
        self.writer = writer

    async def set_out(self, question: bytes = QUESTION) -> Trip:
        """Ask; what is under way then."""
        before = len(self.room.trips)
        self.writer.write(question)
        await until(lambda: len(self.room.trips) > before)
        return self.room.trips[-1]

    async def say(self, data: bytes) -> None:
        """Say more, or nothing, and wait until it has been read."""
        if data:
            self.writer.write(data)
            await self.writer.drain()
        for _ in range(20):
            await asyncio.sleep(0)

    def reset(self) -> None:
        """Go away, so that the other end sees it at once."""
        transport = self.writer.transport
        assert isinstance(transport, asyncio.Transport)
        reset(transport)

    async def bodies(self, count: int) -> list[bytes]:
        """The bodies of the next answers."""
        found: list[bytes] = []
        async with asyncio.timeout(10):
            for _ in range(count):
                head = await self.reader.readuntil(b"\r\n\r\n")
                (answer,) = answers(head)
                length = int(answer.header("Content-Length") or 0)
                found.append(await self.reader.readexactly(length))
        return found

    async def rest(self) -> list[Answer]:
        """All answers up to the end of the connection."""
        async with asyncio.timeout(10):
            return answers(await self.reader.read(-1))


# --- an answer ------------------------------------------------------------------------------------


async def test_an_answer_keeps_the_connection_for_the_next_question_either_way() -> None:
    room = Room()
    async with room.line() as line:
        for _ in range(2):
            trip = await line.set_out()
            assert [trip.connection.is_idle, trip.answer()] == [False, True]
            assert trip.connection.is_idle
            assert await line.bodies(1) == [BODY]
            await line.say(OTHER)
            assert await line.bodies(1) == [b"walked /b"]
        assert room.handed == [None, None]
    assert [trip.lefts for trip in room.trips] == [0, 0]


@pytest.mark.parametrize(
    ("meanwhile", "bodies"),
    [
        ((OTHER,), [b"walked /b"]),
        ((OTHER, OTHER), [b"walked /b"] * 2),
        ((OTHER[:7], OTHER[7:]), [b"walked /b"]),
        ((OTHER + OTHER[:7], OTHER[7:]), [b"walked /b"] * 2),
        ((QUESTION + OTHER,), [b"walked /a", b"walked /b"]),
        ((b"\x16\x03\x01 rubbish\r\n\r\n",), [b"refused"]),
    ],
    ids=["one", "two", "in pieces", "one and a half", "the same before another", "rubbish"],
)
@pytest.mark.parametrize("ends", ["answered", "handed back"])
async def test_what_comes_meanwhile_is_answered_after_it_in_its_order(
    meanwhile: tuple[bytes, ...], bodies: list[bytes], ends: str
) -> None:
    room = Room()
    async with room.line() as line:
        trip = await line.set_out()
        for data in meanwhile:
            await line.say(data)
        assert room.handed == []
        trip.answer() if ends == "answered" else trip.hand_back()
        first = BODY if ends == "answered" else b"walked /a"
        assert await line.bodies(1 + len(bodies)) == [first, *bodies]
        assert len(room.trips) == 1


async def test_the_same_question_meanwhile_is_an_errand_of_its_own() -> None:
    async with Room().line() as line:
        trip = await line.set_out()
        await line.say(QUESTION)
        trip.answer()
        assert len(line.room.trips) == 2
        line.room.trips[1].answer()
        assert await line.bodies(2) == [BODY, BODY]


async def test_the_rest_of_a_question_may_come_after_the_answer() -> None:
    async with Room().line() as line:
        trip = await line.set_out()
        await line.say(OTHER[:9])
        trip.answer()
        await line.say(OTHER[9:])
        assert await line.bodies(2) == [BODY, b"walked /b"]


@pytest.mark.parametrize("ends", ["answered", "handed back"])
async def test_who_sends_much_meanwhile_has_to_wait(ends: str) -> None:
    room, count = Room(), 10_000
    async with room.line() as line:
        trip = await line.set_out()
        line.writer.write(OTHER * count)
        transport = trip.connection.transport
        assert isinstance(transport, asyncio.Transport)
        await until(lambda: not transport.is_reading())
        assert MAX_KEPT < len(trip.connection._kept) <= 2 * MAX_KEPT
        trip.answer() if ends == "answered" else trip.hand_back()
        assert (await line.bodies(1 + count))[1:] == [b"walked /b"] * count


# --- handed back ----------------------------------------------------------------------------------


async def test_what_is_handed_back_is_walked_and_found_on_the_connection_once() -> None:
    room = Room()
    async with room.line() as line:
        trip = await line.set_out()
        trip.hand_back()
        assert await line.bodies(1) == [b"walked /a"]
        await line.say(OTHER)
        assert await line.bodies(1) == [b"walked /b"]
        assert room.handed == [trip, None]
        assert room.asked == [True, True]
        (await line.set_out()).answer()
        assert await line.bodies(1) == [BODY]
    assert trip.lefts == 0


async def test_what_was_handed_back_and_never_taken_is_left() -> None:
    room = Room()
    async with room.line() as line:
        trip = await line.set_out()
        trip.hand_back()
        assert trip.connection.transport is not None
        trip.connection.transport.abort()
        trip.connection.connection_lost(None)
        await line.say(b"")
        assert room.handed == []
    assert trip.lefts == 1


# --- the client goes ------------------------------------------------------------------------------


async def test_an_errand_is_told_that_its_client_has_gone() -> None:
    room = Room()
    async with room.line() as line:
        trip = await line.set_out()
        line.reset()
        await until(lambda: trip.lefts == 1)
        assert not trip.answer()
        await asyncio.sleep(0)
    assert trip.lefts == 1


async def test_who_has_said_that_nothing_follows_gets_the_answer_and_the_end() -> None:
    async with Room().line() as line:
        trip = await line.set_out()
        line.writer.write_eof()
        await line.say(b"")
        assert trip.lefts == 0
        trip.answer()
        assert [answer.body for answer in await line.rest()] == [BODY]


@pytest.mark.parametrize("ends", ["answered", "handed back"])
async def test_who_has_said_that_nothing_follows_gets_all_that_was_asked(ends: str) -> None:
    async with Room().line() as line:
        trip = await line.set_out()
        await line.say(OTHER + OTHER[:5])
        line.writer.write_eof()
        await line.say(b"")
        trip.answer() if ends == "answered" else trip.hand_back()
        first = BODY if ends == "answered" else b"walked /a"
        assert [answer.body for answer in await line.rest()] == [first, b"walked /b"]


async def test_who_has_gone_without_a_word_is_not_waited_for() -> None:
    with quick(wire_module, HALF_CLOSED=0.05):
        async with Room().line() as line:
            trip = await line.set_out()
            line.writer.write_eof()
            await until(lambda: trip.lefts == 1)


# --- timers and drains ----------------------------------------------------------------------------


async def test_a_busy_connection_is_not_idle_for_the_keep_alive_timer() -> None:
    async with Room().line() as line:
        trip = await line.set_out()
        connection = trip.connection
        connection._next_keepalive_close_time = monotonic() - 1
        connection._process_keepalive()
        assert connection.transport is not None
        assert connection._next_keepalive_close_time > monotonic() + KEEPALIVE - 1
        assert connection._keepalive_handle is not None
        trip.answer()
        assert await line.bodies(1) == [BODY]
        connection._next_keepalive_close_time = monotonic() - 1
        connection._process_keepalive()
        assert await line.rest() == []


@pytest.mark.parametrize("ends", ["answered", "handed back"])
async def test_a_drain_waits_for_the_answer_and_ends_the_connection_then(ends: str) -> None:
    room = Room()
    async with room.line() as line:
        trip = await line.set_out()
        await line.say(OTHER)
        drain = asyncio.ensure_future(room.listener.drain(asyncio.Event(), 10))
        await asyncio.sleep(0.12)
        assert not drain.done()
        trip.answer() if ends == "answered" else trip.hand_back()
        first = BODY if ends == "answered" else b"walked /a"
        assert [answer.body for answer in await line.rest()] == [first]
        await drain
        assert room.listener.connections == 0


async def test_what_a_drain_does_not_wait_for_is_reset_and_left() -> None:
    room = Room()
    async with room.line() as line:
        trip = await line.set_out()
        hurry = asyncio.Event()
        hurry.set()
        await room.listener.drain(hurry, 10)
        await room.listener.close()
        assert trip.lefts == 1
        with contextlib.suppress(ConnectionResetError):
            assert await line.rest() == []


async def test_with_another_aiohttp_nobody_sets_out() -> None:
    room = Room(seam=(*SEAM, "_is_not_there"))
    async with room.line() as line:
        await line.say(QUESTION)
        assert await line.bodies(1) == [b"walked /a"]
    assert room.trips == []
