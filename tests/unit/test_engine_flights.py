"""Single flight: one body for everybody, owned by nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.cache import flight as flights
from proxy.errors import Unavailable
from proxy.storage.base import Record
from proxy.storage.company import LOOK
from proxy.storage.disk import DiskStorage
from tests.engine import (
    KIB,
    MIB,
    bodies,
    descriptors,
    fetch,
    noise,
    other_noise,
    pattern,
    quick,
    stream,
    until,
)
from tests.failing import failing
from tests.origin import Origin, status
from tests.running import running


@pytest.mark.parametrize("size", [40 * KIB, 3 * MIB])
async def test_twenty_concurrent_misses_fetch_one_body(tmp_path: Path, size: int) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, size)
        held = origin.fault("store", pattern(artifact), hold=True)
        asked = [asyncio.create_task(fetch(proxy, artifact.link)) for _ in range(20)]
        await held.reached()
        await until(lambda: proxy.app.health.running == 20)
        held.release()
        found = await asyncio.gather(*asked)
        assert {got.sha256 for got in found} == {artifact.blob.sha256}
        assert all(got.complete for got in found)
        assert bodies(origin, artifact) == 1
        assert sorted({got.cache for got in found}) == [
            "cgr-proxy; fwd=miss; collapsed",
            "cgr-proxy; fwd=miss; stored",
        ]
        after = await fetch(proxy, artifact.link)
        assert (after.cache, after.sha256) == ("cgr-proxy; hit", artifact.blob.sha256)
        assert origin.violations == []


async def test_what_landed_while_its_listing_was_asked_is_a_hit(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)
        body = origin.fault("store", pattern(artifact), hold=True)
        first = asyncio.create_task(fetch(proxy, artifact.link))
        await body.reached()
        proxy.clock.advance(3600)
        page = origin.fault("origin", "/simple/bigblob/", hold=True)
        second = asyncio.create_task(fetch(proxy, artifact.link))
        await page.reached()
        body.release()
        assert (await first).cache == "cgr-proxy; fwd=miss; stored"
        page.release()
        got = await second
        assert (got.cache, got.sha256) == ("cgr-proxy; hit", artifact.blob.sha256)


@pytest.mark.parametrize(("shared", "looks"), [(True, 2), (False, 1)])
async def test_what_is_not_here_is_looked_up_once_more_only_where_another_process_may_store_it(
    tmp_path: Path, *, shared: bool, looks: int
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)
        await proxy.get("/python/simple/bigblob/")
        disk = failing(proxy)
        other = DiskStorage(tmp_path / "cache") if shared else None
        await asyncio.sleep(2 * LOOK)
        got = await fetch(proxy, artifact.link)
        assert got.cache == "cgr-proxy; fwd=miss; stored"
        assert sum(artifact.filename in key for key in disk.sought) == looks
        if other is not None:
            other.close()


async def test_the_client_that_began_a_flight_may_leave_without_cost(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 2 * MIB)
        stalled = origin.fault("store", pattern(artifact), stall_at=MIB)
        first = await (await stream(proxy, artifact.link)).head()
        await stalled.reached()
        second = asyncio.create_task(fetch(proxy, artifact.link))
        await until(lambda: proxy.app.health.running == 2)
        first.hang_up()
        await until(lambda: proxy.app.health.running == 1)
        stalled.release()
        got = await second
        assert (got.sha256, got.complete) == (artifact.blob.sha256, True)
        assert bodies(origin, artifact) == 1


async def test_a_flight_of_known_size_is_finished_when_all_clients_left(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, MIB)
        held = origin.fault("store", pattern(artifact), hold=True)
        client = await stream(proxy, artifact.link)
        await held.reached()
        client.hang_up()
        await until(lambda: proxy.app.health.running == 0)
        held.release()
        await until(lambda: len(proxy.stored()) == 2)
        got = await fetch(proxy, artifact.link)
        assert (got.cache, got.sha256) == ("cgr-proxy; hit", artifact.blob.sha256)
        assert bodies(origin, artifact) == 1


async def test_a_flight_of_unknown_size_is_stopped_when_all_clients_left(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.settings.sizes = False
        artifact = noise(origin.content, 4 * MIB)
        await fetch(proxy, artifact.link, method="HEAD", range="bytes=0-0")
        base, tasks = descriptors(), len(asyncio.all_tasks())
        other = noise(origin.content, 4 * MIB, seed=5, name="other")
        stalled = origin.fault("store", pattern(other), stall_at=MIB, framing="chunked")
        with quick(flights, LEAVE_PAUSE=0.05):
            client = await (await stream(proxy, other.link)).head()
            await stalled.reached()
            client.hang_up()
            await asyncio.wait_for(origin.journal.idle.wait(), 5)
            await until(lambda: len(asyncio.all_tasks()) <= tasks)
        await until(lambda: descriptors() <= base)
        flights_folder = tmp_path / "cache" / "v2" / "flights"
        await until(lambda: not list(flights_folder.iterdir()))
        # Nobody is told of a failure that was none.
        got = await fetch(proxy, other.link)
        assert (got.status, got.sha256) == (200, other.blob.sha256)


async def test_a_client_that_comes_back_in_time_finds_its_flight(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.settings.sizes = False
        artifact = noise(origin.content, 2 * MIB)
        stalled = origin.fault("store", pattern(artifact), stall_at=MIB, framing="chunked")
        client = await (await stream(proxy, artifact.link)).head()
        await stalled.reached()
        client.hang_up()
        await until(lambda: proxy.app.health.running == 0)
        again = asyncio.create_task(fetch(proxy, artifact.link))
        await until(lambda: proxy.app.health.running == 1)
        stalled.release()
        got = await again
        assert (got.sha256, got.complete) == (artifact.blob.sha256, True)
        assert bodies(origin, artifact) == 1


async def test_a_failure_reaches_all_and_the_key_is_free_a_second_later(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)
        down = origin.fault("origin", r"^/files/", **status(500), times=None)
        found = await asyncio.gather(*(fetch(proxy, artifact.link) for _ in range(20)))
        assert {got.status for got in found} == {503}
        assert all("retry-after" in got.headers for got in found)
        tries = origin.count("GET", r"^/files/", "origin")
        assert tries <= 3
        down.clear()
        assert (await fetch(proxy, artifact.link)).status == 503  # remembered for a second
        assert origin.count("GET", r"^/files/", "origin") == tries
        proxy.clock.advance(1)
        got = await fetch(proxy, artifact.link)
        assert (got.status, got.sha256) == (200, artifact.blob.sha256)


async def test_a_waiter_that_leaves_before_the_head_leaves_at_once(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)
        held = origin.fault("store", pattern(artifact), hold=True)
        stays = asyncio.create_task(fetch(proxy, artifact.link))
        await held.reached()
        leaves = await stream(proxy, artifact.link)
        await until(lambda: proxy.app.health.running == 2)
        leaves.hang_up()
        await until(lambda: proxy.app.health.running == 1, seconds=2)
        held.release()
        assert (await stays).sha256 == artifact.blob.sha256


async def test_different_digests_under_one_path_never_share_a_flight(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 2 * MIB)
        stalled = origin.fault("store", pattern(artifact), stall_at=MIB)
        old = await (await stream(proxy, artifact.link)).head()
        await stalled.reached()
        new = other_noise(origin, artifact)
        proxy.clock.advance(301)
        got = await fetch(proxy, new.link)
        assert (got.sha256, got.cache) == (new.blob.sha256, "cgr-proxy; fwd=miss; stored")
        stalled.release()
        assert (await old.rest()).sha256 == artifact.blob.sha256
        assert bodies(origin, artifact) == 2


async def test_a_head_request_alone_does_not_fetch_a_large_body(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.settings.sizes = False
        artifact = noise(origin.content, 12 * MIB)
        stalled = origin.fault("store", pattern(artifact), stall_at=MIB)
        with quick(flights, LEAVE_PAUSE=0.05):
            got = await fetch(proxy, artifact.link, method="HEAD")
            assert got.headers["content-length"] == str(12 * MIB)
            await stalled.reached()
            await asyncio.wait_for(origin.journal.idle.wait(), 5)
        small = noise(origin.content, MIB, name="small")
        await fetch(proxy, small.link, method="HEAD")
        await until(lambda: len(proxy.stored()) == 3)  # two pages, and the small one
        assert (await fetch(proxy, small.link)).cache == "cgr-proxy; hit"


async def test_a_cold_head_costs_no_body_where_the_page_gives_the_size(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, MIB)
        got = await fetch(proxy, artifact.link, method="HEAD")
        assert (got.status, got.headers["content-length"]) == (200, str(MIB))
        assert bodies(origin, artifact) == 0
        # The GET that mostly follows is the one request that the upstream gets.
        assert origin.count("GET", pattern(artifact)) == 0
        origin.block("bigblob", "1.0")
        assert (await fetch(proxy, artifact.link)).status == 403
        assert (await fetch(proxy, artifact.link, method="HEAD")).status == 403


@pytest.mark.parametrize("page", ["/python/simple/alpha/", "/python/simple/"])
async def test_slow_artifacts_hold_up_no_document(tmp_path: Path, page: str) -> None:
    limits = {"limits": {"max_upstream_connections": 2, "queue_timeout": "1s"}}
    async with Origin() as origin, running(tmp_path, origin, limits) as proxy:
        artifact = noise(origin.content, 3 * MIB)
        stalled = origin.fault("store", pattern(artifact), stall_at=MIB)
        client = await stream(proxy, artifact.link)
        await stalled.reached()
        assert (await proxy.get(page)).status == 200
        client.hang_up()
        stalled.release()


# --- who is called back ---------------------------------------------------------------------------


async def test_who_hears_of_a_flight_that_failed_is_called_once_and_not_by_its_leader() -> None:
    flight, heard = flights.Flight(1), []
    flight.hear(lambda: heard.append(flight.done))
    flight.fail(Unavailable("no", retry_after=1))
    assert heard == []
    await asyncio.sleep(0)
    assert heard == [True]
    flight.release()
    await asyncio.sleep(0)
    assert heard == [True]


async def test_who_hears_of_a_flight_that_is_stored_is_called_though_another_one_fails() -> None:
    flight, heard = flights.Flight(1), []
    flight.hear(lambda: 1 // 0)
    flight.hear(lambda: heard.append((flight.done, flight.content)))
    failures: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))
    flight.finish(Record("key", "0" * 64, 1, {}), b"x")
    assert heard == []
    await asyncio.sleep(0)
    assert heard == [(True, b"x")]
    assert [type(error) for error in failures] == [ZeroDivisionError]


async def test_who_hears_of_a_flight_that_could_not_be_stored_is_called_by_the_loop() -> None:
    flight, heard = flights.Flight(1), []
    flight.hear(lambda: heard.append(flight.done))
    flight.finish(None, b"x")
    assert heard == []
    await asyncio.sleep(0)
    assert heard == [True]
