"""What an answer is worth: statuses, tries, deadlines, quiet times, the breaker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from email.utils import formatdate

import pytest

from proxy.errors import (
    Blocked,
    CredentialRefused,
    FrozenMiss,
    Malformed,
    NotFound,
    ProxyError,
    RateLimited,
    Unavailable,
)
from proxy.upstream.breaker import FAILURES_TO_OPEN
from proxy.upstream.client import MAX_TRIES
from tests.origin import Origin, status
from tests.unit.upstream_room import (
    SWIFT,
    Raw,
    answer,
    ask,
    redirect_to,
    room,
    room_of,
)

PAGE = "/python/simple/alpha/"
WHEEL = "alpha-1.0-py3-none-any.whl"
JSON = {"Content_Type": "application/json"}
HTML = {"Content_Type": "text/html"}


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as running:
        yield running


# --- statuses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind", "ours", "asked"),
    [
        (status(403, b'{"reason":"MALWARE_DETECTED"}', **JSON), Blocked, 403, 1),
        (status(403, b"not entitled", Content_Type="text/plain"), Blocked, 403, 1),
        (status(403, b"<!doctype html><html>portal", **HTML), Unavailable, 503, 2),
        (status(404), NotFound, 404, 1),
        (status(410), NotFound, 410, 1),
        (status(409, b'{"reason":"BLOCKED"}', **JSON), Blocked, 409, 1),
        (status(414), Unavailable, 503, 2),
        (status(500), Unavailable, 503, MAX_TRIES),
        (status(502, b"<html>", **HTML), Unavailable, 503, MAX_TRIES),
        (status(503), Unavailable, 503, MAX_TRIES),
        (status(504), Unavailable, 503, MAX_TRIES),
        (status(206, b"x", Content_Range="bytes 0-0/1"), Malformed, 502, 1),
        (status(304), Malformed, 502, 1),
        (status(200, b"x", Content_Encoding="gzip"), Malformed, 502, 1),
    ],
)
async def test_each_status_becomes_its_error_after_its_number_of_tries(
    origin: Origin, fault: dict, kind: type[ProxyError], ours: int, asked: int
) -> None:
    origin.fault("origin", times=None, **fault)
    async with room_of(origin) as made:
        with pytest.raises(kind) as caught:
            await made.get(PAGE)
        assert caught.value.status == ours
        assert origin.count() == asked
        assert made.seen.outcomes == [str(fault["status"])] * asked


async def test_a_reason_is_read_whole_even_when_it_comes_in_parts(origin: Origin) -> None:
    body = b'{"reason":"MALWARE_DETECTED"}'
    slow = origin.fault("origin", stall_at=5, **status(403, body, **JSON))
    async with room_of(origin) as made:
        asking = asyncio.create_task(made.get(PAGE))
        await slow.reached()
        slow.release()
        with pytest.raises(Blocked) as caught:
            await asking
    assert caught.value.detail == "The upstream blocks it: MALWARE_DETECTED"


async def test_an_error_body_without_end_does_not_hold_the_error_up() -> None:
    def endless(_: str) -> bytes:
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 70_000

    async with Raw(endless) as origin, room(origin.url) as made:
        with pytest.raises(NotFound):
            await made.get("/x")


@pytest.mark.parametrize("failures", range(1, MAX_TRIES))
async def test_a_short_trouble_is_not_noticed(origin: Origin, failures: int) -> None:
    origin.fault("origin", times=failures, **status(503))
    async with room_of(origin) as made:
        assert b"alpha-1.0" in await made.get(PAGE)
    assert origin.count() == failures + 1


async def test_a_reset_before_the_head_is_tried_three_times_and_no_more(origin: Origin) -> None:
    origin.fault("origin", close=True, times=None)
    async with room_of(origin) as made:
        with pytest.raises(Unavailable):
            await made.get(PAGE)
        assert made.seen.outcomes == ["error"] * MAX_TRIES
    assert origin.count() == MAX_TRIES


async def test_a_kept_connection_that_the_upstream_closed_is_not_noticed(origin: Origin) -> None:
    async with room_of(origin) as made:
        await made.get(PAGE)
        await origin.close_listener("origin")
        await origin.reopen("origin")
        assert b"alpha-1.0" in await made.get(PAGE)


async def test_a_refused_connection_is_said_fast(origin: Origin) -> None:
    await origin.close_listener("origin")
    async with room_of(origin) as made:
        with pytest.raises(Unavailable) as caught:
            await made.get(PAGE)
        assert caught.value.retry_after == 5
        assert made.seen.outcomes == ["error"] * MAX_TRIES


async def test_an_upstream_that_never_answers_ends_at_the_deadline_without_another_try(
    origin: Origin,
) -> None:
    origin.fault("origin", hold=True, times=None)
    async with room_of(origin, limits=replace(SWIFT, first_byte_timeout=0.2)) as made:
        with pytest.raises(Unavailable) as caught:
            async with asyncio.timeout(5):
                await made.get(PAGE)
    assert "in time" in caught.value.detail
    assert origin.count() == 1


async def test_slow_hosts_in_a_row_share_one_deadline() -> None:
    async def late(target: str) -> AsyncIterator[bytes]:
        await asyncio.sleep(0.25)
        yield answer(302, Location=f"{target}0", Connection="close")

    limits = replace(SWIFT, first_byte_timeout=0.35)
    async with Raw(late) as raw, room(raw.url, limits=limits) as made:
        with pytest.raises(Unavailable):
            await made.get("/0")
        assert len(raw.heads) <= 3


async def test_nobody_is_asked_when_redirects_have_taken_all_the_time() -> None:
    def late(target: str) -> bytes:
        made.clock.ahead += SWIFT.first_byte_timeout * (1 if target == "/a" else 2)
        return redirect_to(f"{target}{target[1]}")

    async with Raw(late) as raw, room(raw.url) as made:
        for target, asked in (("/a", ["/a", "/aa"]), ("/b", ["/b"])):
            raw.heads.clear()
            with pytest.raises(Unavailable) as caught:
                await made.get(target)
            assert "in time" in caught.value.detail
            assert raw.targets == asked


async def test_a_conditional_question_carries_its_validators_to_the_upstream(
    origin: Origin,
) -> None:
    async with room_of(origin) as made:
        first = await made.upstream.open(ask(PAGE))
        await first.close()
        second = await made.upstream.open(ask(PAGE, etag=first.head.etag, no_cache=True))
        await second.close()
        third = await made.upstream.open(ask(PAGE, last_modified="Wed, 21 Oct 2026 07:28:00 GMT"))
        await third.close()
    assert second.head.status == 304
    assert origin.log[1].header("if-none-match") == first.head.etag
    assert origin.log[1].header("cache-control") == "no-cache"
    assert origin.log[2].header("if-modified-since") == "Wed, 21 Oct 2026 07:28:00 GMT"


async def test_a_range_is_asked_for_and_answered(origin: Origin) -> None:
    origin.settings.direct = True
    wheel = origin.content.find(WHEEL)
    async with room_of(origin) as made:
        response = await made.upstream.open(ask(wheel.link, start=10, if_range=wheel.blob.etag))
        body = b"".join([piece async for piece in response.pieces()])
        await response.close()
    assert (response.head.status, response.head.start) == (206, 10)
    assert response.head.size == wheel.blob.size == len(body) + 10


async def test_a_range_that_is_ignored_comes_as_a_200_from_zero(origin: Origin) -> None:
    wheel = origin.content.find(WHEEL)
    origin.fault("store", ignore_range=True)
    async with room_of(origin) as made:
        response = await made.upstream.open(ask(wheel.link, start=10))
        await response.close()
    assert (response.head.status, response.head.start) == (200, 0)


async def test_a_frozen_ecosystem_asks_nobody(origin: Origin) -> None:
    async with room_of(origin, frozen=frozenset({"python"})) as made:
        with pytest.raises(FrozenMiss) as caught:
            await made.get(PAGE)
    assert caught.value.status == 504
    assert not caught.value.asked
    assert origin.log == []


# --- quiet times ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("5", 5), ("0", 1), ("-1", 1), ("999999999", 300), ("soon", 30), ("", 30)],
)
async def test_nothing_is_asked_while_the_upstream_wants_quiet(
    origin: Origin, value: str, seconds: int
) -> None:
    origin.fault("origin", **status(429, Retry_After=value))
    async with room_of(origin) as made:
        with pytest.raises(RateLimited) as caught:
            await made.get(PAGE)
        assert caught.value.retry_after == seconds
        made.clock.ahead += seconds - 0.9
        for location in (PAGE, "/python/simple/beta-pkg/", origin.content.find(WHEEL).link):
            with pytest.raises(RateLimited) as caught:
                await made.get(location)
            assert caught.value.retry_after == 1
            assert not caught.value.asked
        assert origin.count() == 1
        made.clock.ahead += 1
        assert await made.get(PAGE)


async def test_a_moment_is_measured_from_the_upstreams_own_date(origin: Origin) -> None:
    # Its clock is years off ours: only the distance counts.
    date, until = formatdate(1e9, usegmt=True), formatdate(1e9 + 77, usegmt=True)
    origin.fault("origin", **status(429, Date=date, Retry_After=until))
    async with room_of(origin) as made:
        with pytest.raises(RateLimited) as caught:
            await made.get(PAGE)
    assert caught.value.retry_after == 77


# --- the breaker ---------------------------------------------------------------------------------


async def test_a_dead_upstream_is_soon_not_asked_any_more(origin: Origin) -> None:
    origin.fault("origin", close=True, times=None)
    async with room_of(origin) as made:
        for _ in range(50):
            with pytest.raises(Unavailable):
                await made.get(PAGE)
        assert origin.count() == FAILURES_TO_OPEN
        assert made.upstream.open_breakers == (origin.url,)
        with pytest.raises(Unavailable) as caught:
            await made.get(PAGE)
        assert not caught.value.asked
        assert 1 <= (caught.value.retry_after or 0) <= 5


async def test_a_probe_that_fails_does_not_wait_for_a_try_that_will_not_be_made(
    origin: Origin,
) -> None:
    origin.fault("origin", close=True, times=None)
    loop = asyncio.get_running_loop()
    async with room_of(origin, limits=replace(SWIFT, retry_pause=0.001)) as made:
        for _ in range(4):
            with pytest.raises(Unavailable):
                await made.get(PAGE)
        made.upstream._limits = replace(SWIFT, retry_pause=20.0)
        made.clock.ahead += 6
        started = loop.time()
        with pytest.raises(Unavailable) as caught:
            await made.get(PAGE)
        assert caught.value.asked
        assert loop.time() - started < 5
        assert origin.count() == FAILURES_TO_OPEN + 1


async def test_an_upstream_that_comes_back_meets_one_probe_and_then_everybody(
    origin: Origin,
) -> None:
    dead = origin.fault("origin", close=True, times=None)
    async with room_of(origin) as made:
        for _ in range(5):
            with pytest.raises(Unavailable):
                await made.get(PAGE)
        dead.clear()
        held = origin.fault("origin", hold=True)
        made.clock.ahead += 5
        origin.reset()
        probe = asyncio.create_task(made.get(PAGE))
        await held.reached()
        others = await asyncio.gather(*(made.get(PAGE) for _ in range(20)), return_exceptions=True)
        assert all(isinstance(error, Unavailable) for error in others)
        assert origin.count() == 1
        held.release()
        assert await probe
        assert await made.get(PAGE)
        assert made.upstream.open_breakers == ()


async def test_a_probe_whose_caller_leaves_gives_its_place_away(origin: Origin) -> None:
    dead = origin.fault("origin", close=True, times=None)
    async with room_of(origin) as made:
        for _ in range(5):
            with pytest.raises(Unavailable):
                await made.get(PAGE)
        dead.clear()
        made.clock.ahead += 5
        held = origin.fault("origin", hold=True)
        probe = asyncio.create_task(made.get(PAGE))
        await held.reached()
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        assert await made.get(PAGE)


async def test_odd_paths_of_a_client_do_not_shut_the_upstream(origin: Origin) -> None:
    origin.fault("origin", r"/odd", times=None, **status(414))
    async with room_of(origin) as made:
        for _ in range(2 * FAILURES_TO_OPEN):
            with pytest.raises(Unavailable):
                await made.get("/odd")
        assert await made.get(PAGE)


async def test_a_paused_token_is_no_sign_of_life_of_a_dead_upstream(origin: Origin) -> None:
    origin.fault("origin", **status(401))
    async with room_of(origin) as made:
        with pytest.raises(CredentialRefused):
            await made.get(PAGE)
        origin.fault("origin", close=True, times=None)
        for _ in range(FAILURES_TO_OPEN):
            made.clock.ahead += 11
            with pytest.raises((Unavailable, CredentialRefused)):
                await made.get(PAGE)
        made.clock.ahead += 1
        with pytest.raises((Unavailable, CredentialRefused)):
            await made.get(PAGE)
        assert made.upstream.open_breakers == (origin.url,)


async def test_the_path_of_an_upstreams_address_stands_before_each_path_of_it() -> None:
    async with (
        Raw(lambda _: answer(200, b"page")) as server,
        room(f"{server.url}/mirror/chainguard") as made,
    ):
        assert await made.get(PAGE) == b"page"
        assert server.targets == [f"/mirror/chainguard{PAGE}"]
