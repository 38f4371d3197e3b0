"""The line for a connection, the body behind it, and what must not come out of either."""

from __future__ import annotations

import asyncio
import itertools
import logging
import traceback
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from proxy.errors import (
    Blocked,
    ProxyError,
    RateLimited,
    Unavailable,
)
from proxy.upstream.breaker import FAILURES_TO_OPEN
from tests.origin import Origin, status
from tests.unit.upstream_room import (
    OK,
    SWIFT,
    Raw,
    answer,
    ask,
    room,
    room_of,
    token_of,
)

PAGE = "/python/simple/alpha/"
WHEEL = "alpha-1.0-py3-none-any.whl"
JSON = {"Content_Type": "application/json"}


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as running:
        yield running


# --- the line ------------------------------------------------------------------------------------

ONE = replace(SWIFT, connections=1, queue_timeout=0.1)


async def test_no_more_connections_than_allowed_are_open_at_a_time(origin: Origin) -> None:
    async with room_of(origin, limits=replace(SWIFT, connections=3)) as made:
        await asyncio.gather(*(made.get(origin.content.find(WHEEL).link) for _ in range(30)))
    assert origin.journal.peak["origin"] <= 3
    assert origin.journal.peak["store"] <= 3


async def test_who_waits_too_long_in_the_line_hears_so_and_nothing_is_held_against_the_upstream(
    origin: Origin,
) -> None:
    async with room_of(origin, limits=ONE) as made:
        first = await made.upstream.open(ask(PAGE))
        for _ in range(FAILURES_TO_OPEN):
            with pytest.raises(Unavailable) as caught:
                await made.get(PAGE)
            assert not caught.value.asked
        assert origin.count() == 1
        assert made.upstream.open_breakers == ()
        await first.close()
        assert await made.get(PAGE)


async def test_closing_twice_gives_one_place_back(origin: Origin) -> None:
    async with room_of(origin, limits=ONE) as made:
        response = await made.upstream.open(ask(PAGE))
        await response.close()
        await response.close()
        second = await made.upstream.open(ask(PAGE))
        with pytest.raises(Unavailable):
            await made.get(PAGE)
        await second.close()


@pytest.mark.parametrize(
    "fault",
    [
        status(404),
        status(500),
        status(429, Retry_After="1"),
        {"close": True},
        {"raw": b"rubbish\r\n\r\n"},
        status(302, Location="http://evil.test/"),
        status(304),
    ],
)
async def test_the_place_in_the_line_is_given_back_after_every_failure(
    origin: Origin, fault: dict
) -> None:
    async with room_of(origin, limits=ONE) as made:
        for _ in range(3):
            origin.faults.clear()
            origin.fault("origin", times=None, **fault)
            with pytest.raises(ProxyError):
                await made.get(PAGE)
            origin.faults.clear()
            made.clock.ahead += 2
            assert await made.get(PAGE)


@pytest.mark.parametrize("server", ["origin", "store"])
async def test_who_leaves_before_the_head_gives_the_place_back(origin: Origin, server: str) -> None:
    link = origin.content.find(WHEEL).link
    async with room_of(origin, limits=ONE) as made:
        held = origin.fault(server, hold=True)
        leaving = asyncio.create_task(made.get(link))
        await held.reached()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert await made.get(link)
        await origin.journal.idle.wait()


async def test_who_leaves_in_the_middle_of_a_body_gives_the_place_back(origin: Origin) -> None:
    link = origin.content.find(WHEEL).link
    async with room_of(origin, limits=ONE) as made:
        slow = origin.fault("store", stall_at=100)
        leaving = asyncio.create_task(made.get(link))
        await slow.reached()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert await made.get(link)
        await origin.journal.idle.wait()


async def test_who_leaves_the_line_takes_no_place_along(origin: Origin) -> None:
    async with room_of(origin, limits=replace(ONE, queue_timeout=5.0)) as made:
        first = await made.upstream.open(ask(PAGE))
        waiting = [asyncio.create_task(made.get(PAGE)) for _ in range(10)]
        await asyncio.sleep(0)
        for task in waiting[::2]:
            task.cancel()
        await first.close()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(result, bytes) for result in results] == [False, True] * 5
        assert await made.get(PAGE)


async def test_nobody_stands_in_line_for_an_upstream_that_wants_quiet(origin: Origin) -> None:
    async with room_of(origin, limits=replace(ONE, queue_timeout=60.0)) as made:
        held = await made.upstream.open(ask(PAGE))
        # As a 429 would that came while all places are taken.
        breaker = made.upstream._exchange.outages.of(origin.url)
        breaker.settle(RateLimited("", retry_after=60), made.clock())
        async with asyncio.timeout(5):
            with pytest.raises(RateLimited):
                await made.get(PAGE)
        await held.close()


# --- secrets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        status(401),
        status(500),
        {"close": True},
        {"raw": b"rubbish\r\n\r\n"},
        {"raw": b"HTTP/1.1 200 OK\r\nBad Header\r\n\r\n"},
        {"cut_at": 10},
        {"hold": True},
    ],
)
async def test_neither_a_traceback_nor_a_log_line_holds_a_secret(
    origin: Origin, caplog: pytest.LogCaptureFixture, fault: dict
) -> None:
    caplog.set_level(logging.DEBUG)
    link = origin.content.find(WHEEL).link
    server = "origin" if fault.get("status") == 401 else "store"
    limits = replace(SWIFT, first_byte_timeout=0.3)
    async with room_of(origin, limits=limits) as made:
        for _ in range(3):
            origin.fault(server, times=None, **fault)
        with pytest.raises(ProxyError) as caught:
            await made.get(link)
        origin.faults.clear()
    linked = _linked(caught.value)
    assert all(isinstance(error, ProxyError) for error in linked)
    said = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(linked)
    secrets = [origin.password, origin.username, "X-Amz", link]
    assert [secret for secret in secrets if secret in said] == []


def _linked(error: BaseException) -> list[BaseException]:
    """An error with everything that hangs on it, shown or not."""
    found: list[BaseException] = [error]
    for entry in found:
        found += [other for other in (entry.__cause__, entry.__context__) if other is not None]
        assert len(found) < 50
    return found


async def test_a_token_in_a_reason_does_not_reach_the_client(origin: Origin) -> None:
    echo = f'{{"reason":"no {origin.password} and {origin.username}"}}'.encode()
    origin.fault("origin", **status(403, echo, **JSON))
    async with room(origin.url, token_of(origin)) as made:
        with pytest.raises(Blocked) as caught:
            await made.get(PAGE)
    assert origin.password not in caught.value.detail
    assert origin.username not in caught.value.detail


# --- bodies --------------------------------------------------------------------------------------


async def test_a_body_that_drips_is_given_up() -> None:
    async def drip(_: str) -> AsyncIterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n"
        for _drop in range(1000):
            yield b"x"
            await asyncio.sleep(0.01)

    limits = replace(SWIFT, min_rate=1024.0, rate_window=0.2)
    async with Raw(drip) as raw, room(raw.url, limits=limits) as made:
        with pytest.raises(Unavailable) as caught:
            async with asyncio.timeout(5):
                await made.get("/x")
    assert "slowly" in caught.value.detail


async def test_a_body_that_stalls_is_given_up(origin: Origin) -> None:
    origin.fault("store", stall_at=100)
    async with room_of(origin, limits=replace(SWIFT, read_timeout=0.2)) as made:
        with pytest.raises(Unavailable):
            async with asyncio.timeout(5):
                await made.get(origin.content.find(WHEEL).link)


async def test_a_body_that_keeps_coming_is_not_taken_for_silent() -> None:
    async def steady(_: str) -> AsyncIterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n"
        for _piece in range(12):
            yield b"x"
            await asyncio.sleep(0.05)

    limits = replace(SWIFT, read_timeout=0.25)
    async with Raw(steady) as raw, room(raw.url, limits=limits) as made:
        assert await made.get("/x") == b"x" * 12


async def test_a_slow_reader_is_not_taken_for_a_slow_upstream(origin: Origin) -> None:
    limits = replace(SWIFT, min_rate=1e9, rate_window=0.5)
    big = origin.content.synthetic(size=2 << 20)
    async with room_of(origin, limits=limits) as made:
        response = await made.upstream.open(ask(big.link))
        size = 0
        async for piece in response.pieces():
            size += len(piece)
            made.clock.ahead += 10  # the disk takes its time
        await response.close()
    assert size == big.blob.size


async def test_many_questions_use_few_connections() -> None:
    numbers = itertools.count()
    async with Raw(lambda _: answer(200, b"%d" % next(numbers))) as origin:
        async with room(origin.url) as made:
            for number in range(20):
                assert await made.get("/x") == b"%d" % number
        assert origin.connections == 1


async def test_an_answer_that_is_closed_unread_is_not_read_as_the_next_one(origin: Origin) -> None:
    async with (
        Raw(lambda target: answer(200, target.encode() * 50_000)) as raw,
        room(raw.url) as made,
    ):
        for target in ("/a", "/b", "/c"):
            response = await made.upstream.open(ask(target))
            await response.close()
            assert await made.get(target) == target.encode() * 50_000


async def test_a_good_answer_is_whole() -> None:
    async with Raw(lambda _: OK) as origin, room(origin.url) as made:
        assert await made.get("/x") == b"ok"


# --- what artifacts leave to documents -----------------------------------------------------------


async def test_artifacts_that_never_end_do_not_hold_up_a_page(origin: Origin) -> None:
    async with room_of(origin, limits=replace(SWIFT, connections=4, queue_timeout=0.2)) as made:
        link = origin.content.find(WHEEL).link
        held = [await made.upstream.open(ask(link)) for _ in range(3)]
        with pytest.raises(Unavailable):
            await made.get(link)
        assert await made.get(PAGE, document=True)
        probe = await made.upstream.open(ask(link, probe=True))
        await probe.close()
        for response in held:
            await response.close()
        assert await made.get(link)


async def test_documents_may_take_every_place(origin: Origin) -> None:
    async with room_of(origin, limits=replace(SWIFT, connections=4, queue_timeout=0.2)) as made:
        held = [await made.upstream.open(ask(PAGE, document=True)) for _ in range(4)]
        with pytest.raises(Unavailable):
            await made.get(PAGE, document=True)
        for response in held:
            await response.close()


@pytest.mark.parametrize("connections", [1, 2, 3, 64])
async def test_an_artifact_comes_however_few_places_there_are(
    origin: Origin, connections: int
) -> None:
    async with room_of(origin, limits=replace(SWIFT, connections=connections)) as made:
        assert await made.get(origin.content.find(WHEEL).link)
