"""What is asked at once, with nobody waiting, comes to the same as what is asked and awaited."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import NamedTuple

import pytest

from proxy.errors import ProxyError
from proxy.secret import Secret
from proxy.upstream.asked import Asked
from proxy.upstream.base import UpstreamRequest
from proxy.upstream.credentials import PairSource
from proxy.upstream.plain import SMALL
from tests.unit.upstream_room import OK, SWIFT, Raw, Room, answer, ask, redirect_to, room

SOURCE = PairSource(username="us", password=Secret("pull-token"))
LIMITS = replace(SWIFT, first_byte_timeout=0.3, read_timeout=0.3, connections=4)
Sent = bytes | AsyncIterator[bytes] | None


async def pieces(*sent: bytes, pause: float = 0.01) -> AsyncIterator[bytes]:
    for piece in sent:
        yield piece
        await asyncio.sleep(pause)


def cut(data: bytes) -> Callable[[], Sent]:
    return lambda: pieces(data)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
ANSWERS: dict[str, Callable[[], Sent]] = {
    "plain": lambda: OK,
    "plain and large": lambda: answer(200, bytes(SMALL)),
    "larger than small": lambda: answer(200, bytes(SMALL + 1)),
    "nothing": lambda: None,
    "an empty body": lambda: answer(200),
    "in two pieces": lambda: pieces(HEAD + b"ab", b"cd"),
    "the head in two pieces": lambda: pieces(HEAD[:20], HEAD[20:] + b"abcd"),
    "cut in the head": cut(HEAD[:20]),
    "cut in the body": cut(HEAD + b"abc"),
    "more than it said": cut(HEAD + b"abcdef"),
    "chunks": cut(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
    "no length": cut(b"HTTP/1.1 200 OK\r\n\r\nabcd"),
    "close": cut(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"),
    "a hint before it": lambda: b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK,
    "gone": lambda: answer(404, b"gone"),
    "forbidden": lambda: answer(403, b'{"reason": "blocked"}'),
    "no token of ours": lambda: answer(401, b"no"),
    "broken": lambda: answer(500, b"no"),
    "busy": lambda: answer(429, b"later", Retry_After="7"),
    "a part": lambda: answer(206, b"ok", Content_Range="bytes 0-1/2"),
    "another place": lambda: redirect_to("/other"),
    "a place that is not allowed": lambda: redirect_to("http://127.0.0.9:9/x"),
    "no HTTP": cut(b"220 mail.example ESMTP\r\n"),
    "silence": lambda: pieces(b"", pause=0.8),
    "a head and silence": lambda: pieces(HEAD, pause=0.8),
}


class Came(NamedTuple):
    """What came of a question: its body or its failure, and everything that was noted of it."""

    status: int
    body: bytes
    failure: str
    outcomes: list[str]
    received: int
    limits: list[str]
    asked: list[str]
    breakers: tuple[str, ...]
    refused: float | None


class Told:
    """Who puts a question; takes what comes at once, unless it is `choosy`."""

    def __init__(self, *, choosy: bool = False) -> None:
        self.came: asyncio.Future[memoryview | None] = asyncio.get_running_loop().create_future()
        self.choosy = choosy

    def __call__(self, body: memoryview | None) -> bool:
        self.came.set_result(body)
        return body is not None and not self.choosy


async def wait(made: Room, request: UpstreamRequest) -> bytes:
    """Ask as everybody does."""
    response = await made.upstream.open(request)
    try:
        return b"".join([piece async for piece in response.pieces()])
    finally:
        await response.close()


async def put(made: Room, request: UpstreamRequest, *, choosy: bool = False) -> bytes:
    """Ask at once, and go on where that does not do."""
    told = Told(choosy=choosy)
    asked = made.upstream.put(request, told)
    assert asked is not None
    body = await told.came
    if body is not None and not choosy:
        return bytes(body)
    response = await asked.go_on()
    try:
        again = b"".join([piece async for piece in response.pieces()])
    finally:
        await response.close()
    assert body in (None, again)
    return again


@asynccontextmanager
async def idle(sent: Callable[[], Sent]) -> AsyncIterator[tuple[Raw, Room]]:
    """A room with a connection that stands idle; the next answer is what `sent` gives."""
    answers: list[Sent] = [OK, sent()]
    raw = Raw(lambda _: answers.pop(0) if answers else OK)
    async with raw, room(raw.url, SOURCE, limits=LIMITS) as made:
        assert await made.get("/first") == b"ok"
        made.seen.outcomes.clear()
        made.seen.received = 0
        yield raw, made


async def came(how: Callable[..., object], sent: Callable[[], Sent], **more: bool) -> Came:
    async with idle(sent) as (raw, made):
        status, body, failure = 0, b"", ""
        try:
            body = await how(made, ask("/x"), **more)  # type: ignore[misc]
            status = 200
        except ProxyError as error:
            status, failure = error.status, f"{type(error).__name__}: {error.detail}"
        assert made.upstream._slots._free == LIMITS.connections
        assert made.upstream._slots._free_for_long == LIMITS.connections - 1
        assert not made.upstream._exchange._deadlines.waiting
        seen = made.seen
        found = Came(
            *(status, body, failure, list(seen.outcomes), seen.received, list(seen.limits)),
            *([head.split(" ")[1] for head in raw.heads], made.upstream.open_breakers),
            made.credentials.outlook("python", made.clock()),
        )
        made.clock.ahead += 600  # past whatever has been learnt
        assert await made.get("/last") == b"ok"
        return found


@pytest.mark.parametrize("sent", ANSWERS.values(), ids=ANSWERS)
async def test_whoever_asks_and_does_not_wait_gets_what_others_get(
    sent: Callable[[], Sent],
) -> None:
    awaited = await came(wait, sent)
    at_once = await came(put, sent)
    refused = awaited.refused, at_once.refused
    assert at_once._replace(refused=None) == awaited._replace(refused=None)
    assert [value is None for value in refused] in ([True, True], [False, False])
    assert [bool(value) for value in refused] in ([True, True], [False, False])


async def test_whoever_wants_it_in_the_usual_way_after_all_gets_it_once_more() -> None:
    assert await came(put, lambda: OK, choosy=True) == await came(put, lambda: OK)


async def test_a_plain_answer_needs_no_other_connection_and_keeps_its_own() -> None:
    async with idle(lambda: OK) as (raw, made):
        for _ in range(5):
            assert await put(made, ask("/x")) == b"ok"
        assert (raw.connections, made.seen.outcomes) == (1, ["200"] * 5)
        assert all("Authorization: Basic" in head for head in raw.heads)


@pytest.mark.parametrize("out", [False, True])
async def test_what_is_given_up_is_told_and_costs_its_connection(*, out: bool) -> None:
    async with idle(lambda: pieces(b"", pause=30) if out else OK) as (raw, made):
        told = Told()
        asked = made.upstream.put(ask("/x"), told)
        assert asked is not None
        if out:
            await asyncio.sleep(0)
        asked.leave()
        asked.leave()
        assert await told.came is None
        with pytest.raises(asyncio.CancelledError):
            await asked.go_on()
        assert made.upstream._slots._free == LIMITS.connections
        assert made.upstream._exchange.outages.of(raw.url).is_calm
        assert await made.get("/y") == b"ok"
        assert raw.connections == 2
        assert raw.targets == ["/first", *["/x"] * out, "/y"]


@pytest.mark.parametrize("sent", ANSWERS.values(), ids=ANSWERS)
async def test_what_nobody_wants_any_more_ends_where_it_is_and_holds_nothing(
    sent: Callable[[], Sent],
) -> None:
    async with idle(sent) as (raw, made):
        told = Told(choosy=True)
        asked = made.upstream.put(ask("/x"), told)
        assert asked is not None
        await told.came
        asked.drop()
        assert made.upstream._slots._free == LIMITS.connections
        assert made.upstream._slots._free_for_long == LIMITS.connections - 1
        assert not made.upstream._exchange._deadlines.waiting
        assert made.upstream._exchange.outages.of(raw.url).is_calm
        assert await made.get("/y") == b"ok"
        assert raw.connections == 2


async def test_a_connection_whose_answer_was_another_one_is_not_asked_again() -> None:
    async with idle(lambda: OK) as (raw, made):
        told = Told(choosy=True)
        asked = made.upstream.put(ask("/x"), told)
        assert asked is not None
        assert await told.came is not None
        asked.distrust()
        response = await asked.go_on()
        assert b"".join([piece async for piece in response.pieces()]) == b"ok"
        await response.close()
        assert raw.connections == 1
        assert await made.get("/y") == b"ok"
        assert (raw.connections, made.seen.outcomes) == (2, ["200", "200"])
        assert made.upstream._slots._free == LIMITS.connections


@pytest.mark.parametrize("what", ["closed", "lost", "something unasked"])
async def test_a_connection_that_ends_before_its_question_is_out_is_not_asked(what: str) -> None:
    async with idle(lambda: OK) as (raw, made):
        told = Told()
        asked = made.upstream.put(ask("/x"), told)
        assert isinstance(asked, Asked)
        protocol = asked.connection.protocol
        assert protocol is not None
        if what == "closed":
            protocol.close()
        elif what == "lost":
            protocol.connection_lost(None)
        else:
            protocol.data_received(OK)
        assert await told.came is None
        response = await asked.go_on()
        assert b"".join([piece async for piece in response.pieces()]) == b"ok"
        await response.close()
        assert (raw.connections, raw.targets) == (2, ["/first", "/x"])
        assert made.seen.outcomes == ["error", "200"]


@pytest.mark.parametrize(
    "why", ["no connection", "no token", "another host", "no place", "a pause", "a strange path"]
)
async def test_what_has_to_be_waited_for_or_looked_at_is_not_asked_at_once(why: str) -> None:
    source = None if why == "no token" else SOURCE
    first = answer(429, b"", Retry_After="9") if why == "a pause" else OK
    answers = [first]
    raw = Raw(lambda _: answers.pop(0) if answers else OK)
    async with raw, room(raw.url, source, limits=replace(LIMITS, connections=2)) as made:
        held = []
        if why != "no connection":
            try:
                await made.get("/first")
            except ProxyError:
                assert why == "a pause"
        if why == "no place":
            held.append(await made.upstream.open(ask("/held")))
        location = {"another host": "http://127.0.0.9:9/x", "a strange path": "/\n"}.get(why, "/x")
        asked = len(raw.heads)
        assert made.upstream.put(ask(location), lambda _: True) is None
        for response in held:
            await response.close()
        assert len(raw.heads) == asked
        assert made.upstream._slots._free == 2
        made.clock.ahead += 60
        assert await made.get("/last") == b"ok"


async def test_nothing_of_a_question_is_left_for_the_collector_to_find() -> None:
    async with idle(lambda: OK) as (_, made):
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                assert await put(made, ask("/x")) == b"ok"
            left = sum(isinstance(one, Asked) for one in gc.get_objects())
        finally:
            gc.enable()
        assert left == 0
