"""Maven files in two processes over one store: one fetch, one verdict, and a sudden death."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.engine import KIB, MIB, Got, fetch, stream
from tests.origin import Content, OriginThread, wrong_bytes
from tests.origin.blobs import SyntheticBlob
from tests.origin.jars import JAVA, MavenFile
from tests.running import Process, process

JAR = r"/big-1\.0\.jar\?"


@pytest.fixture
def origin() -> Iterator[OriginThread]:
    with OriginThread(content=Content()) as running:
        yield running


@contextmanager
def both(folder: Path, origin: OriginThread) -> Iterator[list[Process]]:
    """Two proxies over one cache folder."""
    tables = {"cache": {"directory": str(folder / "cache")}}
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(process(folder / f"proxy{number}", origin, tables))
            for number in range(2)
        ]


def noise(origin: OriginThread, size: int) -> MavenFile:
    file = MavenFile("big-1.0.jar", "org.example:big", "1.0", SyntheticBlob(size), JAVA)
    origin.call(lambda inner: inner.content.add(file))
    return file


def sha1(file: MavenFile) -> str:
    assert isinstance(file.blob, SyntheticBlob)
    return hashlib.sha1(b"".join(file.blob.pieces())).hexdigest()


@pytest.mark.parametrize("size", [40 * KIB, 2 * MIB])
async def test_two_processes_fetch_a_file_once_and_tell_the_same_checksum(
    tmp_path: Path, origin: OriginThread, size: int
) -> None:
    file = noise(origin, size)
    with both(tmp_path, origin) as proxies:
        found = await asyncio.gather(*(fetch(proxy, file.link) for proxy in proxies * 5))
        assert {got.sha256 for got in found} == {file.blob.sha256}
        for proxy in proxies:
            sidecar = await fetch(proxy, f"{file.link}.sha1")
            assert (sidecar.body.decode(), sidecar.cache) == (sha1(file), "cgr-proxy; hit")
        assert origin.count("GET", JAR, "store") == 1


@pytest.mark.parametrize("size", [40 * KIB, 2 * MIB])
async def test_a_corrupt_file_is_completed_by_neither_process(
    tmp_path: Path, origin: OriginThread, size: int
) -> None:
    file = noise(origin, size)
    with both(tmp_path, origin) as proxies:
        corrupt = origin.fault("store", JAR, **wrong_bytes(), times=None)
        found: list[Got] = await asyncio.gather(*(fetch(proxy, file.link) for proxy in proxies * 3))
        for got in found:
            assert got.status in (502, 503) or not got.complete
        corrupt.clear()
        entries = tmp_path / "cache" / "v2" / "entries"
        assert [path for path in entries.rglob("*") if path.is_file()] == []


async def test_when_the_process_that_fetches_is_killed_the_checksum_lets_the_other_go_on(
    tmp_path: Path, origin: OriginThread
) -> None:
    file = noise(origin, 20 * MIB)
    with both(tmp_path, origin) as (one, two):
        stalled = origin.fault("store", JAR, stall_at=8 * MIB)
        leading = await (await stream(one, file.link)).head()
        await asyncio.to_thread(stalled.reached)
        following = await (await stream(two, file.link)).head()
        first = await following.exactly(7 * MIB)  # it does follow
        one.signal(signal.SIGKILL)
        rest = await following.exactly(13 * MIB)
        following.close()
        assert hashlib.sha256(first + rest).hexdigest() == file.blob.sha256
        assert not (await leading.rest()).complete
        assert (await fetch(two, file.link)).cache == "cgr-proxy; hit"
        assert (await fetch(two, f"{file.link}.sha1")).body.decode() == sha1(file)
