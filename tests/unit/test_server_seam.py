"""The seam to aiohttp's connection: questions that are answered before its parser sees them."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from proxy.observe.logs import AccessLog, alike
from proxy.observe.metrics import Metrics
from proxy.server import hot as hot_module
from proxy.server.hot import Hot
from proxy.server.listener import Listener
from proxy.server.paged import LEAST, Paged
from proxy.server.seam import KEEPALIVE, SEAM, asked
from proxy.server.sending import AT_ONCE
from proxy.server.wire import Server
from tests.running import Answer, answers

TOP = Path(__file__).parents[2]
QUESTION = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
REPEATED = b"repeated"
NOTED = alike("p", "127.0.0.1", "/a", "python", 200, 1, "hit", "agent")


class Room:
    """A server whose handler answers `walked <path>`, and that knows one question's answer."""

    def __init__(
        self, body: bytes = REPEATED, seam: tuple[str, ...] = SEAM, *, paged: bool = False
    ) -> None:
        self.body = body
        self.known = Paged(body) if paged else body
        self.seen: list[tuple[bytes, str] | None] = []
        self.server = Server(self._handle, self._refuse, recall=self._recall, seam=seam)
        self.listener = Listener(self.server, "127.0.0.1", 0)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.seen.append(asked(request))
        return web.Response(body=b"walked " + request.raw_path.encode())

    @staticmethod
    def _refuse(_: web.BaseRequest, status: int) -> web.StreamResponse:
        return web.Response(status=status, body=b"refused")

    def _recall(
        self, question: bytes, _peer: str, _now: float
    ) -> tuple[bytes, bytes | Paged] | None:
        return (HEAD % len(self.body), self.known) if question == QUESTION else None

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        await self.listener.start()
        port = int(self.listener.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
            await self.listener.close()

    async def tell(self, *segments: bytes) -> list[bytes]:
        """Send segments, each once the proxy has taken the one before; the bodies of all answers.

        The last thing said is a question that ends the connection.
        """
        async with self.connected() as (reader, writer):
            for segment in (
                *segments,
                b"GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            ):
                writer.write(segment)
                await self._taken()
            async with asyncio.timeout(10):
                raw = await reader.read(-1)
        found: list[Answer] = answers(raw)
        return [answer.body for answer in found]

    async def _taken(self) -> None:
        """A turn of the loop in which the socket is read, and those in which it is answered."""
        for _ in range(20):
            await asyncio.sleep(0)


async def test_a_known_question_is_answered_before_the_parser() -> None:
    room = Room()
    assert await room.tell(QUESTION, QUESTION) == [REPEATED, REPEATED, b"walked /end"]


@pytest.mark.parametrize(
    ("segments", "bodies"),
    [
        ((QUESTION + QUESTION,), [b"walked /a", b"walked /a"]),
        ((QUESTION[:9], QUESTION[9:], QUESTION), [b"walked /a"] * 2),
        ((QUESTION + b"GET /b HTT", b"P/1.1\r\nHost: a\r\n\r\n"), [b"walked /a", b"walked /b"]),
        ((b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n" + QUESTION,), [b"walked /b", b"walked /a"]),
        ((b"get /a HTTP/1.1\r\nHost: a\r\n\r\n",), [b"refused"]),
        ((b"GET http://a/a HTTP/1.1\r\nHost: a\r\n\r\n",), [b"walked http://a/a"]),
        ((b"\r\n" + QUESTION, QUESTION), [b"walked /a", REPEATED]),
        ((QUESTION + b"\r\n", QUESTION), [b"walked /a", REPEATED]),
        (
            (b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 28\r\n\r\n", QUESTION, QUESTION),
            [b"walked /p", b"walked /a"],
        ),
        (
            (b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 28\r\n\r\n" + QUESTION, QUESTION),
            [b"walked /p", b"walked /a"],
        ),
    ],
    ids=[
        "two in one segment",
        "in two segments",
        "with the beginning of another",
        "behind another",
        "a method in small letters",
        "absolute form",
        "an empty line before",
        "an empty line behind",
        "as the body of another",
        "as the body in the same segment",
    ],
)
async def test_a_question_is_known_only_as_a_whole_and_alone(
    segments: tuple[bytes, ...], bodies: list[bytes]
) -> None:
    found = await Room().tell(*segments)
    assert found[: len(bodies)] == bodies
    assert found[len(bodies) :] in ([b"walked /end"], [])
    assert len(QUESTION) == 28


async def test_after_questions_in_one_segment_the_next_one_is_known_again() -> None:
    twice = b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n" * 2
    bodies = [b"walked /b", b"walked /b", REPEATED, b"walked /end"]
    assert await Room().tell(twice, QUESTION) == bodies


async def test_a_question_waits_for_the_one_before_it() -> None:
    room, release = Room(), asyncio.Event()
    handle = room._handle

    async def slowly(request: web.BaseRequest) -> web.StreamResponse:
        await release.wait()
        return await handle(request)

    room.server.request_handler = slowly
    async with room.connected() as (reader, writer):
        writer.write(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        await room._taken()
        writer.write(QUESTION)
        await room._taken()
        release.set()
        async with asyncio.timeout(10):
            raw = await reader.readuntil(b"walked /a")
    assert [answer.body for answer in answers(raw)] == [b"walked /slow", b"walked /a"]


async def test_a_request_is_told_its_very_bytes_only_where_they_came_alone() -> None:
    room = Room()
    alone = b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n"
    await room.tell(alone, alone + alone, alone[:5], alone[5:])
    assert room.seen == [(alone, "127.0.0.1"), None, None, None, None]


PAGED = pytest.mark.parametrize("paged", [False, True], ids=["copied", "paged"])


@PAGED
async def test_who_reads_nothing_is_not_answered_into_memory(paged: bool) -> None:
    room = Room(body=bytes(60_000), paged=paged)
    async with room.connected() as (reader, writer):
        transport = writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        for _ in range(400):
            writer.write(QUESTION)
            await room._taken()
        (connection,) = room.server.connections
        assert connection.transport is not None
        waiting = connection.transport.get_write_buffer_size()
        _, high = connection.transport.get_write_buffer_limits()
        assert waiting <= high + 2 * 60_100
        transport.resume_reading()
        total = 0
        async with asyncio.timeout(20):
            while total < 400:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(answers_length(head))
                total += 1
        assert total == 400


def answers_length(head: bytes) -> int:
    match = re.search(rb"(?i)content-length: ([0-9]+)", head)
    assert match is not None
    return int(match.group(1))


@PAGED
async def test_a_body_larger_than_the_socket_takes_arrives_whole_and_in_order(paged: bool) -> None:
    room = Room(body=bytes(range(256)) * 40_000, paged=paged)
    # While it is on its way nothing is put on top of it: the handler waits for room, as ever.
    assert await room.tell(QUESTION, QUESTION) == [room.body, b"walked /a", b"walked /end"]


@PAGED
async def test_a_half_closed_client_gets_its_repetition(paged: bool) -> None:
    room = Room(body=bytes(3_000_000), paged=paged)
    async with room.connected() as (reader, writer):
        writer.write(QUESTION)
        writer.write_eof()
        async with asyncio.timeout(10):
            (answer,) = answers(await reader.read(-1))
    assert answer.complete
    assert len(answer.body) == 3_000_000


async def test_a_repetition_keeps_the_connection_alive() -> None:
    room = Room()
    async with room.connected() as (reader, writer):
        writer.write(QUESTION)
        await reader.readuntil(REPEATED)
        (connection,) = room.server.connections
        ends = connection._next_keepalive_close_time
        loop = asyncio.get_running_loop()
        writer.write(QUESTION)
        await reader.readuntil(REPEATED)
        assert ends < connection._next_keepalive_close_time <= loop.time() + KEEPALIVE
        assert connection._keepalive_handle is not None


async def test_nothing_is_answered_once_the_drain_has_closed_a_connection() -> None:
    room = Room()
    async with room.connected() as (reader, writer):
        writer.write(QUESTION)
        await reader.readuntil(REPEATED)
        room.server.close_idle()
        writer.write(QUESTION)
        raw = b""
        with contextlib.suppress(ConnectionResetError):
            async with asyncio.timeout(10):
                raw = await reader.read(-1)
        assert raw == b""


# --- what it leans on -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SEAM)
def test_aiohttp_has_what_the_seam_leans_on(name: str) -> None:
    assert hasattr(RequestHandler, name)


def test_the_lock_names_the_aiohttp_that_this_was_tested_with() -> None:
    lock = (TOP / "requirements.lock").read_text()
    assert f"aiohttp=={aiohttp.__version__} " in lock


async def test_with_another_aiohttp_the_handler_answers_everything() -> None:
    room = Room(seam=(*SEAM, "_is_not_there"))
    assert await room.tell(QUESTION, QUESTION) == [b"walked /a", b"walked /a", b"walked /end"]
    assert room.seen == [None, None, None]


# --- what is kept ---------------------------------------------------------------------------------


def make(budget: int = 1 << 20) -> Hot:
    return Hot(Metrics(["python"]), AccessLog(None), budget)


async def test_an_answer_is_given_for_a_second() -> None:
    hot, now = make(), asyncio.get_running_loop().time()
    hot.keep(QUESTION, "p", web.Response(body=b"x"), lambda: 3, NOTED)
    head, body = hot.answer(QUESTION, "p", now + 0.9) or (b"", b"")
    assert (b"Age: 3\r\n" in head, body) == (True, b"x")
    assert hot.answer(QUESTION, "p", now + hot_module.LIFE + 1) is None


async def test_a_body_is_laid_out_once_for_all_who_ask_and_for_the_next_second() -> None:
    hot, now = make(), asyncio.get_running_loop().time()
    body = bytes(LEAST)

    def told(peer: str) -> object:
        hot.keep(QUESTION, peer, web.Response(body=body), lambda: 3, NOTED)
        return (hot.answer(QUESTION, peer, now) or (b"", b""))[1]

    first = told("p")
    assert isinstance(first, Paged)
    assert told("q") is first
    assert hot.answer(QUESTION, "p", now + hot_module.LIFE + 1) is None
    assert told("p") is first
    assert hot._used <= 2 * (2 * LEAST + 3000)


async def test_an_answer_that_does_not_stand_any_more_is_dropped() -> None:
    hot, now = make(), asyncio.get_running_loop().time()
    ages: list[int | None] = [0, None, 0]
    hot.keep(QUESTION, "p", web.Response(body=b"x"), lambda: ages.pop(0), NOTED)
    assert hot.answer(QUESTION, "p", now) is not None
    assert hot.answer(QUESTION, "p", now) is None
    assert hot.answer(QUESTION, "p", now) is None
    assert ages == [0]


async def test_the_oldest_answers_make_room_for_new_ones() -> None:
    hot, now = make(budget=10_000), asyncio.get_running_loop().time()
    for number in range(10):
        hot.keep(b"%d" % number, "p", web.Response(body=bytes(1000)), lambda: 0, NOTED)
    assert [number for number in range(10) if hot.answer(b"%d" % number, "p", now)] == [7, 8, 9]


async def test_a_body_that_a_client_may_not_take_at_once_is_left_to_the_handler() -> None:
    hot, now = make(budget=1 << 30), asyncio.get_running_loop().time()
    for number, size in enumerate((AT_ONCE, AT_ONCE + 1)):
        hot.keep(b"%d" % number, "p", web.Response(body=bytes(size)), lambda: 0, NOTED)
    assert hot.answer(b"0", "p", now) is not None
    assert hot.answer(b"1", "p", now) is None


async def test_a_field_of_text_outside_ascii_stays_what_it_was() -> None:
    hot, now = make(), asyncio.get_running_loop().time()
    response = web.Response(body=b"x", headers={"X-Name": "ä"})
    hot.keep(QUESTION, "p", response, lambda: 0, NOTED)
    head, _ = hot.answer(QUESTION, "p", now) or (b"", b"")
    assert "X-Name: ä\r\n".encode() in head
