"""Several processes over one store, herds, and sudden deaths.

CGR_PROXY_TEST_LONG=1 runs 200 deaths in place of 8, and larger herds. The seed is printed;
CGR_PROXY_TEST_SEED repeats it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.engine import KIB, MIB, bodies, data_of, fetch, loaded, noise, pattern, stream, until
from tests.faults.chance import LONG, seeded
from tests.origin import Content, OriginThread
from tests.running import Process, process

DEATHS = 200 if LONG else 8
HERD = 200
HERD_SIZES = {1: 50 * MIB, 2: 50 * MIB if LONG else 20 * MIB}  # by number of processes


@pytest.fixture
def origin() -> Iterator[OriginThread]:
    """An origin with nothing on it, in a loop of its own."""
    with OriginThread(content=Content()) as running:
        yield running


@contextmanager
def processes(folder: Path, origin: OriginThread, count: int) -> Iterator[list[Process]]:
    """Some proxies over one cache folder, each a process of its own."""
    tables = {"cache": {"directory": str(folder / "cache")}, "log": {"level": "info"}}
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(process(folder / f"proxy{number}", origin, tables))
            for number in range(count)
        ]


def flights(folder: Path) -> list[Path]:
    return list((folder / "cache" / "v2" / "flights").iterdir())


async def test_a_hundred_keys_raced_by_two_processes_cost_a_hundred_bodies(
    tmp_path: Path, origin: OriginThread
) -> None:
    chance = seeded()
    content = origin.origin.content
    artifacts = [
        noise(content, chance.choice([KIB, 40 * KIB, 300 * KIB]), seed=n, name=f"noise{n}")
        for n in range(100)
    ]
    with processes(tmp_path, origin, 2) as both:
        for first in range(0, 100, 20):
            batch = artifacts[first : first + 20]
            found = await asyncio.gather(
                *(fetch(proxy, artifact.link) for artifact in batch for proxy in both)
            )
            wanted = [artifact.blob.sha256 for artifact in batch for _ in both]
            assert [got.sha256 for got in found] == wanted
        assert [bodies(origin, artifact) for artifact in artifacts] == [1] * 100
        assert flights(tmp_path) == []


async def test_when_the_process_that_fetches_is_killed_the_other_one_finishes(
    tmp_path: Path, origin: OriginThread
) -> None:
    content = origin.origin.content
    artifact = noise(content, 20 * MIB)
    with processes(tmp_path, origin, 2) as (one, two):
        stalled = origin.fault("store", pattern(artifact), stall_at=8 * MIB)
        leading = await (await stream(one, artifact.link)).head()
        await asyncio.to_thread(stalled.reached)
        following = await (await stream(two, artifact.link)).head()
        first = await following.exactly(7 * MIB)  # it does follow
        started = time.monotonic()
        one.signal(signal.SIGKILL)
        rest = await following.exactly(13 * MIB)
        following.close()
        assert first + rest == data_of(artifact)
        assert time.monotonic() - started < 5
        assert not (await leading.rest()).complete
        assert bodies(origin, artifact) == 2
        assert (await fetch(two, artifact.link)).cache == "cgr-proxy; hit"
        assert flights(tmp_path) == []


async def test_a_waiting_client_of_a_killed_process_s_follower_gets_a_small_body_too(
    tmp_path: Path, origin: OriginThread
) -> None:
    content = origin.origin.content
    artifact = noise(content, 100 * KIB)
    with processes(tmp_path, origin, 2) as (one, two):
        stalled = origin.fault("store", pattern(artifact), stall_at=50 * KIB)
        leading = await stream(one, artifact.link)
        await asyncio.to_thread(stalled.reached)
        following = asyncio.create_task(fetch(two, artifact.link))
        await asyncio.sleep(0.2)
        one.signal(signal.SIGKILL)
        got = await asyncio.wait_for(following, 5)
        leading.close()
        assert (got.complete, got.sha256) == (True, artifact.blob.sha256)


# --- herds ---------------------------------------------------------------------------------------


@dataclass
class Count:
    """What a herd has seen. Times in seconds since it started."""

    right: int = 0
    first: float = 1e9
    last: float = 0.0


async def swallow(url: str, target: str, data: memoryview, seen: Count, started: float) -> None:
    """Compare a download with what it must be, byte by byte, without keeping it."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=MIB)
    try:
        writer.write(
            f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        at = 0
        while piece := await reader.read(MIB):
            seen.first = min(seen.first, time.monotonic() - started)
            assert data[at : at + len(piece)] == piece
            at += len(piece)
        assert at == len(data)
        seen.right += 1
        seen.last = max(seen.last, time.monotonic() - started)
    finally:
        writer.transport.abort()


@contextlib.asynccontextmanager
async def sampled(proxies: list[Process]) -> AsyncIterator[list[int]]:
    """The growth of each process in bytes, at its most."""
    base = [proxy.rss for proxy in proxies]
    growth = [0] * len(proxies)

    async def sample() -> None:
        while True:
            for number, proxy in enumerate(proxies):
                growth[number] = max(growth[number], proxy.rss - base[number])
            await asyncio.sleep(0.05)

    task = asyncio.create_task(sample())
    try:
        yield growth
    finally:
        task.cancel()


@pytest.mark.parametrize("count", [1, 2])
async def test_two_hundred_cold_clients_cost_one_body(
    tmp_path: Path, origin: OriginThread, count: int
) -> None:
    content = origin.origin.content
    artifact = noise(content, HERD_SIZES[count])
    data = memoryview(data_of(artifact))
    with processes(tmp_path, origin, count) as proxies:
        for proxy in proxies:
            assert (await fetch(proxy, "/python/simple/bigblob/")).status == 200
        origin.call(lambda o: setattr(o.throttle, "rate", 25e6))
        async with sampled(proxies) as growth:
            seen, started = Count(), time.monotonic()
            early = await (await stream(proxies[0], artifact.link)).head()
            herd = [
                asyncio.create_task(
                    swallow(proxies[n % count].url, artifact.link, data, seen, started)
                )
                for n in range(HERD - 1)
            ]
            await early.exactly(100)
            early.hang_up()
            await asyncio.gather(*herd)
        print(f"first byte {seen.first:.2f} s, last {seen.last:.2f} s, growth {growth}")
        assert seen.right == HERD - 1
        assert bodies(origin, artifact) == 1
        assert max(growth) < 100 * MIB
        assert seen.first < seen.last / 2
        assert flights(tmp_path) == []


# --- deaths --------------------------------------------------------------------------------------


async def test_a_sudden_death_at_any_moment_costs_nothing_that_was_stored(
    tmp_path: Path, origin: OriginThread
) -> None:
    chance = seeded()
    content = origin.origin.content
    sizes = [KIB, 40 * KIB, 300 * KIB, MIB + 1, 3 * MIB]
    generations = [
        [noise(content, size, seed=g, name=f"noise{g}x{n}") for n, size in enumerate(sizes)]
        for g in range(DEATHS)
    ]
    origin.call(lambda o: setattr(o.throttle, "rate", 30e6))
    for artifacts in generations:
        started = time.monotonic()
        with processes(tmp_path, origin, 1) as (proxy,):
            assert time.monotonic() - started < 3
            assert flights(tmp_path) == []  # swept at the start
            load = [asyncio.create_task(loaded(proxy, artifacts, chance)) for _ in range(6)]
            await asyncio.sleep(chance.uniform(0.02, 0.5))
            proxy.signal(signal.SIGKILL)
            await asyncio.to_thread(proxy.wait)
            for task in load:
                task.cancel()
            for end in await asyncio.gather(*load, return_exceptions=True):
                assert isinstance(end, asyncio.CancelledError), end
    with processes(tmp_path, origin, 1) as (proxy,):
        for artifact in (artifact for artifacts in generations for artifact in artifacts):
            got = await fetch(proxy, artifact.link)
            assert (got.status, got.sha256) == (200, artifact.blob.sha256)
        await until(lambda: flights(tmp_path) == [])
