"""When the disk fails every client still gets the right bytes, and all mends by itself."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from proxy.cache import flight as flights
from tests.engine import (
    KIB,
    MIB,
    Stream,
    bodies,
    data_of,
    descriptors,
    fetch,
    noise,
    pages,
    pattern,
    quick,
    stream,
    until,
)
from tests.failing import failing
from tests.origin import Artifact, Origin, wrong_bytes
from tests.running import Running, running

POINTS: dict[str, tuple[str, int]] = {
    "claiming": ("claim", 0),
    "opening a view": ("view", 0),
    "the first byte": ("write", 0),
    "in the middle": ("write", 300 * KIB + 7),
    "near the end": ("write", MIB - 1),
    "committing": ("commit", 0),
}


# Nobody has a view of a small one before it has landed.
STRUCK = [(point, MIB) for point in POINTS]
STRUCK += [(point, 40 * KIB) for point in POINTS if point != "opening a view"]


@pytest.mark.parametrize(("point", "size"), STRUCK)
async def test_a_failing_disk_costs_no_client_a_byte(tmp_path: Path, point: str, size: int) -> None:
    method, after = POINTS[point]
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, size)
        await proxy.get("/python/simple/bigblob/")
        base = descriptors()
        disk = failing(proxy)
        disk.fail(method, after=min(after, size - 1))
        held = origin.fault("store", pattern(artifact), hold=True)
        asked = [asyncio.create_task(fetch(proxy, artifact.link)) for _ in range(5)]
        await held.reached()
        await until(lambda: proxy.app.health.running == 5)
        held.release()
        found = await asyncio.gather(*asked)
        assert {(got.status, got.complete, got.sha256) for got in found} == {
            (200, True, artifact.blob.sha256)
        }
        assert bodies(origin, artifact) == 1
        assert len(proxy.stored()) == 1
        assert list((tmp_path / "cache" / "v2" / "flights").iterdir()) == []
        metrics = await proxy.metrics()
        assert sum(v for name, v in metrics.items() if "write_error" in name) >= 1
        disk.mend()
        assert (await fetch(proxy, artifact.link)).sha256 == artifact.blob.sha256
        assert (await fetch(proxy, artifact.link)).cache == "cgr-proxy; hit"
        await until(lambda: descriptors() <= base + 6)  # upstream connections are kept


async def test_a_wrong_body_on_a_disk_that_cannot_begin_again_is_mended_in_memory(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)
        failing(proxy).fail("rewind")
        origin.fault("store", pattern(artifact), **wrong_bytes())
        assert (await fetch(proxy, artifact.link)).sha256 == artifact.blob.sha256


async def test_a_broken_transfer_is_resumed_on_a_failing_disk_too(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 2 * MIB)
        failing(proxy).fail("write", after=MIB)
        origin.fault("store", pattern(artifact), cut_at=1500 * KIB)
        assert (await fetch(proxy, artifact.link)).sha256 == artifact.blob.sha256
        assert len(proxy.stored()) == 1


async def test_what_cannot_be_stored_takes_a_window_of_memory_not_all_of_it(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 24 * MIB)
        failing(proxy).fail("write", after=2 * MIB)
        with quick(flights, WINDOW=2 * MIB):
            slow = await (await stream(proxy, artifact.link, buffer=8192)).head()
            fast = asyncio.create_task(fetch(proxy, artifact.link))
            flight = next(iter(proxy.app.artifacts._flights._running.values()))
            await until(lambda: flight.spooling and not flight.joinable)
            data = bytearray()
            most = 0
            while len(data) < artifact.blob.size:
                data += await slow.exactly(min(256 * KIB, artifact.blob.size - len(data)))
                most = max(most, _spooled(flight))
            assert bytes(data) == data_of(artifact)
            slow.close()
            assert (await fast).sha256 == artifact.blob.sha256
            assert most <= 2 * MIB + 2 * MIB  # the window, one piece, and what is freed by the MiB
        assert len(proxy.stored()) == 1


def _spooled(flight: Any) -> int:
    """Bytes of memory that a flight's last part takes."""
    return os.fstat(flight._parts[-1].body.fileno()).st_blocks * 512 if flight._parts else 0


async def test_who_comes_when_the_first_bytes_are_gone_begins_a_flight_of_his_own(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 24 * MIB)
        failing(proxy).fail("claim")
        with quick(flights, WINDOW=MIB):
            slow = await (await stream(proxy, artifact.link, buffer=8192)).head()
            flight = next(iter(proxy.app.artifacts._flights._running.values()))
            await until(lambda: not flight.joinable)
            assert (await fetch(proxy, artifact.link)).sha256 == artifact.blob.sha256
            assert (await slow.rest()).sha256 == artifact.blob.sha256
        assert bodies(origin, artifact) == 2


async def test_a_flight_in_memory_that_nobody_reads_is_stopped(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 24 * MIB)
        failing(proxy).fail("claim")
        with quick(flights, WINDOW=MIB, LEAVE_PAUSE=0.05):
            client: Stream = await (await stream(proxy, artifact.link, buffer=8192)).head()
            flight = next(iter(proxy.app.artifacts._flights._running.values()))
            await until(lambda: not flight.joinable)
            client.hang_up()
            await until(lambda: not proxy.app.artifacts._flights._running, seconds=5)
            await asyncio.wait_for(origin.journal.idle.wait(), 5)


# --- documents -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["create", "write", "commit"])
async def test_a_page_that_cannot_be_stored_is_served_and_stays_fresh(
    tmp_path: Path, method: str
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        disk = failing(proxy)
        disk.fail(method)
        first = await proxy.get("/python/simple/alpha/")
        assert (first.status, first.cache) == (200, "cgr-proxy; fwd=miss")
        proxy.clock.advance(100)
        again = await proxy.get("/python/simple/alpha/")
        assert (again.body, again.cache, again.header("Age")) == (
            first.body, "cgr-proxy; hit", "100",
        )  # fmt: skip
        proxy.clock.advance(201)
        assert (await proxy.get("/python/simple/alpha/")).cache == (
            "cgr-proxy; fwd=stale; fwd-status=304"
        )
        assert pages(origin, "alpha") == 2
        disk.mend()
        origin.content.drop("alpha-1.0-py3-none-any.whl")
        proxy.clock.advance(301)
        assert (await proxy.get("/python/simple/alpha/")).body != first.body
        assert len(proxy.stored()) == 1


async def test_a_confirmation_that_cannot_be_noted_still_counts(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, MIB)
        await fetch(proxy, artifact.link)
        failing(proxy).fail("create", "update", "claim")
        proxy.clock.advance(301)
        for _ in range(5):
            assert (await fetch(proxy, artifact.link)).cache == "cgr-proxy; hit"
        assert (pages(origin), origin.count(None, "^/files/")) == (2, 2)


async def test_a_withdrawn_page_that_was_only_in_memory_is_gone(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        failing(proxy).fail("create")
        await proxy.get("/python/simple/alpha/")
        origin.block("alpha")
        proxy.clock.advance(301)
        assert (await proxy.get("/python/simple/alpha/")).status == 409
        origin.unblock("alpha")
        proxy.clock.advance(31)
        assert (await proxy.get("/python/simple/alpha/")).cache == "cgr-proxy; fwd=miss"


# --- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [40 * KIB, MIB])
async def test_a_body_that_cannot_be_read_is_a_visible_break_and_then_fetched_anew(
    tmp_path: Path, size: int
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, size)
        await fetch(proxy, artifact.link)
        disk = failing(proxy)
        disk.fail("read")
        got = await fetch(proxy, artifact.link)
        assert not got.complete or (got.status, got.headers["retry-after"]) == (503, "1")
        disk.mend()
        got = await fetch(proxy, artifact.link)
        assert (got.complete, got.sha256) == (True, artifact.blob.sha256)
        assert bodies(origin, artifact) == 2


async def test_a_page_that_cannot_be_read_is_a_miss(tmp_path: Path) -> None:
    async with Origin() as origin:
        async with running(tmp_path, origin) as proxy:
            first = await proxy.get("/python/simple/alpha/")
        async with running(tmp_path, origin) as proxy:
            failing(proxy).fail("read")
            again = await proxy.get("/python/simple/alpha/")
            assert (again.status, again.body) == (200, first.body)
            assert pages(origin, "alpha") == 2


def _body_file(proxy: Running, artifact: Artifact) -> Path:
    folder = proxy.folder / "cache" / "v2" / "bodies"
    return next(path for path in folder.rglob(artifact.blob.sha256))


async def test_a_body_that_is_cut_while_it_is_served_never_looks_complete(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 24 * MIB)
        await fetch(proxy, artifact.link)
        client = await (await stream(proxy, artifact.link, buffer=8192)).head()
        os.truncate(_body_file(proxy, artifact), MIB)
        got = await client.rest()
        assert (got.complete, got.ended) == (False, "rst")
        got = await fetch(proxy, artifact.link)
        assert (got.complete, got.sha256) == (True, artifact.blob.sha256)


@pytest.mark.parametrize("how", ["cut", "gone", "empty", "its entry is garbage"])
async def test_a_damaged_entry_is_a_miss(tmp_path: Path, how: str) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, MIB)
        await fetch(proxy, artifact.link)
        body = _body_file(proxy, artifact)
        match how:
            case "cut":
                os.truncate(body, MIB - 1)
            case "gone":
                body.unlink()
            case "empty":
                os.truncate(body, 0)
            case _:
                for entry in proxy.stored():
                    entry.write_bytes(b"\0" * 100)
        got = await fetch(proxy, artifact.link)
        assert (got.complete, got.sha256) == (True, artifact.blob.sha256)
        assert bodies(origin, artifact) == 2
        # By who asked for it, or by the reconciliation that a new store begins with.
        await until(lambda: _healed(proxy) > 0)


def _healed(proxy: Running) -> int:
    found = re.search(rb"\ncgr_proxy_cache_healed_total (\d+)", proxy.app.metrics.render()[0])
    return int(found[1]) if found else 0


async def test_a_damaged_entry_that_the_reconciliation_finds_is_counted(tmp_path: Path) -> None:
    async with Origin() as origin:
        async with running(tmp_path, origin) as proxy:
            artifact = noise(origin.content, MIB)
            await fetch(proxy, artifact.link)
        _body_file(proxy, artifact).unlink()
        shutil.rmtree(proxy.folder / "cache" / "v2" / "index")
        async with running(tmp_path, origin) as proxy:
            await until(lambda: _healed(proxy) == 1)


async def test_an_entry_that_is_removed_while_it_is_served_is_served_to_its_end(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 24 * MIB)
        await fetch(proxy, artifact.link)
        client = await (await stream(proxy, artifact.link, buffer=8192)).head()
        for entry in proxy.stored():
            entry.unlink()
        _body_file(proxy, artifact).unlink()
        got = await client.rest()
        assert (got.complete, got.sha256) == (True, artifact.blob.sha256)
        assert (await fetch(proxy, artifact.link)).sha256 == artifact.blob.sha256


async def test_a_small_body_that_has_just_landed_is_sent_without_being_read_again(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)
        disk = failing(proxy)
        disk.fail("read")
        found = await fetch(proxy, artifact.link)
        assert (found.status, found.complete, found.sha256) == (200, True, artifact.blob.sha256)
        disk.mend()
        again = await fetch(proxy, artifact.link)
        assert (again.cache, again.sha256) == ("cgr-proxy; hit", artifact.blob.sha256)
        assert bodies(origin, artifact) == 1
