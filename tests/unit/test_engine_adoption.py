"""What a dead process had already fetched is gone on with, where a digest will tell."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from proxy.cache.keys import artifact_key, flight_name
from proxy.cache.threads import in_thread
from proxy.ecosystems import ECOSYSTEMS
from proxy.model import ArtifactTarget, Digest, RequestLine, Source
from proxy.storage.base import Progress
from proxy.storage.disk import DiskStorage
from proxy.storage.writer import DiskWriter
from tests.engine import KIB, MIB, data_of, fetch, noise, stream, until
from tests.origin import Artifact, Origin
from tests.running import Running, running

SIZE = 2 * MIB


def claimed(folder: Path, origin: Origin, artifact: Artifact, *, hashes: bool = True) -> DiskWriter:
    """The flight of an artifact, held by somebody else."""
    segments = tuple(artifact.path.strip("/").split("/"))
    target = ECOSYSTEMS[0].classify(RequestLine("GET", segments))
    assert isinstance(target, ArtifactTarget)
    key = artifact_key("python", origin.url, target)
    digest = Digest("sha256", artifact.blob.sha256) if hashes else None
    source = Source(f"{origin.url}{artifact.path}", artifact.project, digest=digest)
    writer = DiskStorage(folder / "cache").claim(key, flight_name(key, source))
    assert isinstance(writer, DiskWriter)
    return writer


def die(writer: DiskWriter) -> None:
    """Let go of everything as the kernel does it, tidying nothing."""
    assert writer._claim is not None
    os.close(writer._fd)
    os.close(writer._claim._fd)


def is_followed(proxy: Running, *, shown: bool) -> bool:
    flights = proxy.app.artifacts._flights._running.values()
    return any(flight.begun or not shown for flight in flights)


async def comes_whole_in_the_end(
    tmp_path: Path, origin: Origin, artifact: Artifact, writer: DiskWriter
) -> None:
    """Whoever holds the flight writes wrong bytes and dies. What is large was shown already, so its
    first answer breaks off."""
    size = artifact.blob.size
    writer.write(b"x" * 50_000)
    writer.tell(Progress("running", 50_000, size, headed=size == SIZE))
    async with running(tmp_path, origin) as proxy:
        asked = asyncio.create_task(fetch(proxy, artifact.link))
        await until(lambda: is_followed(proxy, shown=size == SIZE))
        die(writer)
        got = await asked
        if size == SIZE:
            assert not got.complete
            proxy.clock.advance(2)
            got = await fetch(proxy, artifact.link)
        assert (got.complete, got.sha256) == (True, artifact.blob.sha256)


@pytest.mark.parametrize("done", [0, 600 * KIB, SIZE - 1, SIZE])
async def test_a_large_body_is_gone_on_with_where_the_dead_one_stopped(
    tmp_path: Path, done: int
) -> None:
    async with Origin() as origin:
        artifact = noise(origin.content, SIZE)
        writer = claimed(tmp_path, origin, artifact)
        writer.write(data_of(artifact)[:done])
        writer.tell(Progress("running", done, SIZE, headed=True))
        async with running(tmp_path, origin) as proxy:
            client = await (await stream(proxy, artifact.link)).head()
            die(writer)
            got = await client.rest()
            assert (got.complete, got.sha256) == (True, artifact.blob.sha256)
            ranges = [entry.header("range") for entry in origin.log if entry.server == "store"]
            assert ranges == {0: [None], SIZE: []}.get(done, [f"bytes={done}-"])
            assert (await fetch(proxy, artifact.link)).cache == "cgr-proxy; hit"
            assert list((tmp_path / "cache" / "v2" / "flights").iterdir()) == []


async def test_a_small_body_is_gone_on_with_too(tmp_path: Path) -> None:
    async with Origin() as origin:
        artifact = noise(origin.content, 100 * KIB)
        writer = claimed(tmp_path, origin, artifact)
        writer.write(data_of(artifact)[:1000])
        async with running(tmp_path, origin) as proxy:
            die(writer)
            assert (await fetch(proxy, artifact.link)).sha256 == artifact.blob.sha256


@pytest.mark.parametrize("size", [100 * KIB, SIZE])
async def test_wrong_bytes_of_a_dead_process_are_found_out(tmp_path: Path, size: int) -> None:
    async with Origin() as origin:
        artifact = noise(origin.content, size)
        writer = claimed(tmp_path, origin, artifact)
        await comes_whole_in_the_end(tmp_path, origin, artifact, writer)


@pytest.mark.parametrize("size", [100 * KIB, SIZE])
async def test_without_a_digest_nothing_of_a_dead_process_is_used(
    tmp_path: Path, size: int
) -> None:
    async with Origin() as origin:
        origin.settings.hashes = origin.settings.sizes = False
        artifact = noise(origin.content, size)
        writer = claimed(tmp_path, origin, artifact, hashes=False)
        await comes_whole_in_the_end(tmp_path, origin, artifact, writer)


async def test_who_is_cancelled_while_a_thread_works_waits_for_its_end() -> None:
    began, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        may_end.wait(10)
        ended.set()

    async def let_it_work() -> None:
        await in_thread(work)

    task = asyncio.create_task(let_it_work())
    await asyncio.to_thread(began.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_who_is_cancelled_again_and_again_waits_for_the_thread_still() -> None:
    began, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        may_end.wait(10)
        ended.set()

    async def let_it_work() -> None:
        await in_thread(work)

    task = asyncio.create_task(let_it_work())
    await asyncio.to_thread(began.wait, 10)
    for _ in range(3):  # its clients have left, and the proxy stops
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    early = task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not early
    assert ended.is_set()
