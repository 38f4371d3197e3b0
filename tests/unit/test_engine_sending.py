"""Large bodies on the wire: fair slices, and a connection that is good for more afterwards."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import pytest

from proxy.cache import transfer
from proxy.server import sending
from tests.engine import KIB, MIB, data_of, descriptors, fetch, noise, pattern, quick, stream, until
from tests.origin import Artifact, Origin
from tests.running import Running, running

SIZE = 16 * MIB


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_reader_with_a_tiny_window_gets_every_byte(tmp_path: Path, version: str) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, SIZE)
        await fetch(proxy, artifact.link)
        slow = await stream(proxy, artifact.link, buffer=4096, version=version)
        got = await (await slow.head()).rest()
        assert (got.complete, got.sha256) == (True, artifact.blob.sha256)


@pytest.mark.parametrize("cold", [True, False])
async def test_clients_that_go_half_way_leave_nothing_open(tmp_path: Path, *, cold: bool) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, SIZE)
        await fetch(proxy, artifact.link)
        if cold:
            artifact = noise(origin.content, SIZE, seed=1, name="other")
            await proxy.get("/python/simple/other/")
        tasks, base = len(asyncio.all_tasks()), descriptors()
        for number in range(20):
            client = await (await stream(proxy, artifact.link, buffer=4096)).head()
            await client.exactly(100 * KIB)
            (client.hang_up if number % 2 else client.close)()
        await until(lambda: proxy.app.health.running == 0)
        await asyncio.wait_for(origin.journal.idle.wait(), 20)
        await until(lambda: len(asyncio.all_tasks()) <= tasks)
        await until(lambda: descriptors() <= base + 2)  # connections to the upstream are kept
        assert (await fetch(proxy, artifact.link)).sha256 == artifact.blob.sha256


async def test_a_connection_goes_on_after_a_whole_body_and_after_a_part(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, SIZE)
        data = data_of(artifact)
        client = await stream(proxy, artifact.link)
        assert (await (await client.head()).rest(keep=True)).body == data  # from the flight
        await client.send(artifact.link)
        assert (await (await client.head()).rest(keep=True)).body == data  # by sendfile
        await client.send(artifact.link, range="bytes=1000000-9000000")
        part = await (await client.head()).rest(keep=True)
        assert (part.status, part.body) == (206, data[1000000:9000001])
        await client.send("/python/simple/alpha/", accept="text/html")
        page = await (await client.head()).rest()
        assert page.status == 200
        assert page.body.endswith(b"</html>\n")


async def test_requests_that_wait_behind_a_large_body_are_answered_in_order(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, SIZE)
        await fetch(proxy, artifact.link)
        client = await stream(proxy, artifact.link)
        await client.send("/python/simple/alpha/", method="HEAD")
        await client.send(artifact.link, range="bytes=-100000")
        await client.send("/healthz")
        client.method = "GET"
        assert (await (await client.head()).rest(keep=True)).sha256 == artifact.blob.sha256
        client.method = "HEAD"
        assert (await (await client.head()).rest(keep=True)).status == 200
        client.method = "GET"
        part = await (await client.head()).rest(keep=True)
        assert part.body == data_of(artifact)[-100000:]
        assert (await (await client.head()).rest()).status == 200


async def test_small_answers_do_not_wait_for_bulk_downloads(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 64 * MIB)
        await fetch(proxy, artifact.link)
        await proxy.get("/python/simple/alpha/")
        done = asyncio.Event()
        bulk = [asyncio.create_task(_swallow(proxy.url, artifact.link, done)) for _ in range(8)]
        waits = []
        for _ in range(20):
            started = time.perf_counter()
            assert (await fetch(proxy, "/python/simple/alpha/")).status == 200
            waits.append(time.perf_counter() - started)
        done.set()
        for task in bulk:
            task.cancel()
        await asyncio.gather(*bulk, return_exceptions=True)
        # One slice of each download may stand before a small answer at each turn of the loop;
        # all of them together would be 512 MiB.
        assert sorted(waits)[len(waits) // 2] < 2


async def _swallow(url: str, target: str, done: asyncio.Event) -> None:
    """Download again and again, in a thread's worth of system calls."""
    host, port = url.removeprefix("http://").split(":")
    loop = asyncio.get_running_loop()
    while not done.is_set():
        with socket.create_connection((host, int(port))) as sock:
            sock.setblocking(False)
            await loop.sock_sendall(sock, f"GET {target} HTTP/1.0\r\n\r\n".encode())
            while await loop.sock_recv(sock, MIB):
                pass


async def _large(origin: Origin, proxy: Running, *, chunked: bool) -> Artifact:
    """An artifact that is sent by sendfile from the store, or in pieces from its flight."""
    artifact = noise(origin.content, SIZE)
    origin.settings.sizes = not chunked
    if chunked:
        origin.fault("store", pattern(artifact), framing="chunked", times=None)
    else:
        await fetch(proxy, artifact.link)
    return artifact


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_client_that_takes_nothing_is_cut_off(tmp_path: Path, *, chunked: bool) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = await _large(origin, proxy, chunked=chunked)
        with quick(transfer, RATE_WINDOW=0.15), quick(sending, RATE_WINDOW=0.15):
            stuck = await (await stream(proxy, artifact.link, buffer=4096)).head()
            await until(lambda: proxy.app.health.running == 1)
            await until(lambda: proxy.app.health.running == 0, seconds=10)
        got = await stuck.rest()
        assert (got.complete, got.ended) == (False, "rst")


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_client_that_is_slow_but_takes_what_it_can_is_not_cut_off(
    tmp_path: Path, *, chunked: bool
) -> None:
    window = 0.4
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = await _large(origin, proxy, chunked=chunked)
        with quick(transfer, RATE_WINDOW=window), quick(sending, RATE_WINDOW=window):
            slow = await (await stream(proxy, artifact.link, buffer=4096)).head()
            loop = asyncio.get_running_loop()
            end = loop.time() + 5 * window
            taken = 0
            while loop.time() < end:
                piece = await slow.reader.read(1024)
                assert piece
                taken += len(piece)
                await asyncio.sleep(0.02)
            assert proxy.app.health.running == 1
            assert taken < MIB
        slow.close()
