"""Thousands of connections that ask for nothing, and of requests that mean nothing.

CGR_PROXY_TEST_LONG=1: 10 000 connections in place of 500, and 100 000 requests in place of 3 000;
the seed is printed, CGR_PROXY_TEST_SEED repeats it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.engine import fetch
from tests.faults.chance import LONG, seeded
from tests.origin import OriginThread
from tests.running import Process, process
from tests.unit import server_bad_inputs as table

CONNECTIONS = 10_000 if LONG else 500
REQUESTS = 100_000 if LONG else 3_000
AT_ONCE = 16
CLOSED_AFTER = 80.0
PAGE = "/python/simple/alpha/"


@pytest.fixture
def origin() -> Iterator[OriginThread]:
    """An origin in a loop of its own."""
    with OriginThread() as running:
        yield running


async def held_open(proxy: Process, count: int) -> list[asyncio.StreamWriter]:
    """Connections that say nothing, half a request, or half of its line."""
    where = urlsplit(proxy.url)
    found = []
    for number in range(count):
        _, writer = await asyncio.open_connection(where.hostname, where.port)
        said = (b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"GET /pyth")[number % 3]
        if said:
            writer.write(said)
        found.append(writer)
    return found


async def timed(proxy: Process, count: int) -> list[float]:
    """Seconds that each of some cached requests takes, in order of size."""
    found = []
    for _ in range(count):
        started = time.perf_counter()
        assert (await fetch(proxy, PAGE)).status == 200
        found.append(time.perf_counter() - started)
    return sorted(found)


async def test_connections_that_ask_for_nothing_cost_little_and_are_closed(
    tmp_path: Path, origin: OriginThread
) -> None:
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (CONNECTIONS + 2_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )
    with process(tmp_path, origin) as proxy:
        await timed(proxy, 200)
        before, descriptors = proxy.rss, proxy.descriptors
        started = time.monotonic()
        writers = await held_open(proxy, CONNECTIONS)
        opened = time.monotonic()
        seconds = await timed(proxy, 200)
        p99 = seconds[int(len(seconds) * 0.99)]
        each = (proxy.rss - before) / CONNECTIONS
        print(f"{CONNECTIONS} connections in {opened - started:.1f} s: {each / 1e3:.1f} KB each,")
        print(f"p50 {seconds[100] * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms")
        assert p99 < 0.25
        assert each < (10_000 if LONG else 40_000)  # few connections: mostly what is made once
        if LONG:
            while proxy.descriptors > descriptors + 50:
                assert time.monotonic() - opened < CLOSED_AFTER
                await asyncio.sleep(0.5)
            print(f"all closed after {time.monotonic() - opened:.0f} s")
        for writer in writers:
            writer.transport.abort()


# --- garbage -------------------------------------------------------------------------------------

ROWS = [row.raw for row in (*table.PATHS, *table.FRAMING, *table.CREDENTIALS, *table.FORWARDED)]
SMALL = [raw for raw in ROWS if len(raw) < 3_000]
BYTES = [bytes([number]) for number in range(256)]
WORDS = [
    *(b"\r\n", b"\0", b"%", b"..", b"/", b"//", b"%2f", b"%00", b":", b" ", b"\xff", b"?", b"\t"),
    *(b"HTTP/1.1", b"Content-Length: 5\r\n", b"Range: bytes=0-\r\n", b"GET ", b"HEAD "),
]


def garbled(chance: random.Random) -> bytes:
    """A bad request with some more wrong with it."""
    raw = bytearray(chance.choice(SMALL))
    for _ in range(chance.choice([0, 1, 1, 2, 5])):
        at = chance.randrange(len(raw) + 1)
        match chance.randrange(3):
            case 0:
                raw[at:at] = chance.choice(WORDS)
            case 1:
                raw[at : at + 1] = chance.choice(BYTES)
            case _:
                del raw[at : at + chance.randrange(1, 9)]
    return bytes(raw)


async def thrown(proxy: Process, raw: bytes) -> bytes:
    """What comes back for some bytes, after which nothing more is sent."""
    where = urlsplit(proxy.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        with contextlib.suppress(ConnectionError, TimeoutError):
            writer.write(raw)
            writer.write_eof()
            async with asyncio.timeout(20):
                return await reader.read()
    finally:
        writer.transport.abort()
    return b""


async def test_any_garbage_is_refused_without_a_trace(tmp_path: Path, origin: OriginThread) -> None:
    chance = seeded()
    seen: dict[str, int] = {}
    with process(tmp_path, origin, {"log": {"level": "info"}}) as proxy:

        async def throw(count: int) -> None:
            for _ in range(count):
                raw = garbled(chance)
                got = await thrown(proxy, raw)
                status = got[9:12].decode("latin-1") if got else "none"
                seen[status] = seen.get(status, 0) + 1
                assert status < "5" or status in ("505", "none"), (raw, got[:400])

        await throw(REQUESTS // 10)
        before, started = proxy.rss, time.monotonic()
        await asyncio.gather(*(throw(REQUESTS // AT_ONCE) for _ in range(AT_ONCE)))
        took = time.monotonic() - started
        after = proxy.rss
        print(f"{dict(sorted(seen.items()))} in {took:.0f} s; {before / 1e6:.1f} MB before,")
        print(f"{after / 1e6:.1f} MB after; the upstream was asked {len(origin.log)} times")
        # Some garbling makes a good request of a bad one; what is bad asks nobody.
        assert len(origin.log) <= seen.get("200", 0) + seen.get("404", 0)
        assert after < before + 40e6  # what is remembered of refusals is bounded
        assert (await fetch(proxy, PAGE)).status == 200
