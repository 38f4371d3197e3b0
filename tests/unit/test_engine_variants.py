"""Ready bodies: large documents in another process, one body per representation and coding."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from proxy.cache.coding import CODINGS, compress
from proxy.cache.threads import LARGE
from proxy.cache.variants import Variants
from proxy.cache.worker import MAX_WAITING, MAX_WAITING_BYTES, Worker
from proxy.ecosystems import python_links
from proxy.ecosystems.apk import Apk
from proxy.ecosystems.apk_index import Offers
from proxy.ecosystems.python import Python
from proxy.ecosystems.simple_index import JSON, TEXT_HTML
from proxy.errors import Malformed, NotListed, Unavailable
from proxy.model import (
    ArtifactTarget,
    Document,
    DocumentTarget,
    HostRules,
    Links,
    RequestLine,
    Source,
)
from tests.origin import Origin, OriginThread, apks
from tests.running import Running, process, running
from tests.unit.stored import until

PAGE = "/python/simple/alpha/"


def big_page(size: int, origin: str = "https://libraries.example") -> bytes:
    """An index page of about `size` bytes."""
    files = [
        {
            "filename": f"alpha-{n}.0-py3-none-any.whl",
            "url": f"{origin}/files/{n:08x}/ab/alpha/alpha-{n}.0-py3-none-any.whl",
            "hashes": {"sha256": hashlib.sha256(b"%d" % n).hexdigest()},
            "requires-python": ">=3.8",
            "size": n,
            "upload-time": "2026-03-01T07:08:09.123456Z",
        }
        for n in range(size // 320)
    ]
    versions = [f"{n}.0" for n in range(len(files))]
    page = {"meta": {"api-version": "1.1"}, "name": "alpha", "files": files, "versions": versions}
    return json.dumps(page).encode()


def serve(origin: Origin, body: bytes) -> None:
    headers = (("Content-Type", JSON), ("ETag", f'"{len(body)}"'))
    origin.fault("origin", PAGE, status=200, body=body, headers=headers, times=None)


@dataclass
class Stalls:
    """The longest time in which the loop did nothing else, and what was waited for meanwhile."""

    longest: float = 0.0
    ticks: int = 0

    async def watch(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            self.longest = max(self.longest, now - last)
            self.ticks += 1
            last = now


@asynccontextmanager
async def watched() -> AsyncIterator[Stalls]:
    stalls = Stalls()
    task = asyncio.create_task(stalls.watch())
    try:
        yield stalls
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def drain(proxy: Running, target: str, **fields: str) -> int:
    """Get something and throw it away as it comes; the number of bytes."""
    reader, writer = await proxy.connect()
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    writer.write(
        f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n".encode()
    )
    count = 0
    while piece := await reader.read(1 << 16):
        assert count or piece.startswith(b"HTTP/1.1 200"), piece[:200]
        count += len(piece)
    writer.close()
    return count


def document(size: int) -> Document:
    return Document(big_page(size), JSON, f"https://libraries.example{PAGE}")


def target(representation: str = JSON) -> DocumentTarget:
    line = RequestLine("GET", ("python", "simple", "alpha"), slash=True, accept=(representation,))
    found = Python().classify(line)
    assert isinstance(found, DocumentTarget)
    return found


@asynccontextmanager
async def made() -> AsyncIterator[tuple[Worker, Variants]]:
    worker = Worker()
    variants = Variants(worker)
    try:
        yield worker, variants
    finally:
        await variants.close()


# --- large documents ---------------------------------------------------------------------------


async def test_a_page_of_10_mb_does_not_hold_up_the_loop(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        body = big_page(10 << 20, origin.url)
        assert len(body) > 10_000_000
        serve(origin, body)
        async with watched() as stalls:
            assert await drain(proxy, PAGE, Accept=JSON) > 8_000_000
            assert await drain(proxy, PAGE, Accept=TEXT_HTML) > 5_000_000
            assert await drain(proxy, PAGE, Accept=JSON, Accept_Encoding="gzip") < 4_000_000
            answer = await proxy.get("/files/00000007/ab/alpha/alpha-7.0-py3-none-any.whl")
            assert answer.status == 404  # listed, but the upstream does not have it
            proxy.clock.advance(301)
            assert await drain(proxy, PAGE, Accept=JSON) > 8_000_000
        # On the loop each of these takes a second; the bound is for busy machines.
        assert stalls.longest < 0.5, f"{stalls.longest:.3f} s"
        assert stalls.ticks > 500


async def test_a_large_page_is_the_same_page_as_a_small_one() -> None:
    links = Links(hosts=HostRules())
    large = document(2 * LARGE)
    async with made() as (worker, variants):
        for representation in (JSON, TEXT_HTML):
            wanted = target(representation)
            variant = await variants.get(Python(), wanted, large, "x", links)
            assert variant.body == Python().rewrite(wanted, large, links).body
            assert variant.etag == f'"{hashlib.sha256(variant.body).hexdigest()[:40]}"'
        assert worker.pid not in (0, os.getpid())


async def test_a_small_page_starts_no_process() -> None:
    async with made() as (worker, variants):
        await variants.get(Python(), target(), document(LARGE // 2), "x", Links())
        assert worker.pid == 0


async def test_all_who_wait_for_a_large_page_wait_for_one_rewriting(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        serve(origin, big_page(1 << 20, origin.url))
        answers = await asyncio.gather(*(proxy.get(PAGE, accept=JSON) for _ in range(20)))
        assert {answer.status for answer in answers} == {200}
        assert len({answer.header("ETag") for answer in answers}) == 1
        assert origin.count("GET", PAGE) == 1


async def test_an_error_of_the_other_process_is_the_same_error() -> None:
    broken = document(2 * LARGE)
    broken = Document(broken.body[:-10], broken.media_type, broken.url)
    absent = Python().classify(
        RequestLine("GET", ("files", "a", "alpha", "alpha-99999.0-py3-none-any.whl"))
    )
    async with made() as (_, variants):
        with pytest.raises(Malformed, match="no valid JSON") as caught:
            await variants.get(Python(), target(), broken, "x", Links())
        assert caught.value.status == 502
        with pytest.raises(NotListed):
            await variants.locate(Python(), absent, document(2 * LARGE), "y")  # type: ignore[arg-type]


class _Counting(Python):
    """Counts how often it reads a listing in this process."""

    reads: ClassVar[list[str]] = []

    def tabulate(self, package: str, listing: Document) -> python_links.Offers:
        self.reads.append(package)
        return super().tabulate(package, listing)


async def test_a_listing_is_read_once_for_all_its_files() -> None:
    listing = document(LARGE // 2)
    page = json.loads(Python().rewrite(target(), listing, Links()).body)
    _Counting.reads.clear()
    async with made() as (_, variants):
        for file in page["files"]:
            path = file["url"].replace("../", "")
            asked = Python().classify(RequestLine("GET", tuple(path.split("/"))))
            assert isinstance(asked, ArtifactTarget)
            source = await variants.locate(_Counting(), asked, listing, "x")
            assert source == Python().locate(asked, listing)
            assert source.size == file["size"]
        assert len(page["files"]) > 10
        assert _Counting.reads == ["alpha"]


async def test_a_listing_that_was_rewritten_is_not_read_again_for_its_files() -> None:
    listing = document(LARGE // 2)
    asked = Python().classify(
        RequestLine("GET", ("files", "00000001", "ab", "alpha", "alpha-1.0-py3-none-any.whl"))
    )
    assert isinstance(asked, ArtifactTarget)
    _Counting.reads.clear()
    async with made() as (_, variants):
        await variants.get(_Counting(), target(), listing, "x", Links())
        found = await variants.locate(_Counting(), asked, listing, "x")
        assert found == Python().locate(asked, listing)
        assert _Counting.reads == []
        await variants.locate(_Counting(), asked, listing, "y")
        assert _Counting.reads == ["alpha"]


async def test_files_of_a_large_listing_are_found_by_another_process() -> None:
    listing = document(4 * LARGE)
    page = json.loads(Python().rewrite(target(), listing, Links()).body)
    async with made() as (worker, variants):
        asked = [
            Python().classify(RequestLine("GET", tuple(file["url"].replace("../", "").split("/"))))
            for file in page["files"][:20]
        ]
        found = await asyncio.gather(
            *(variants.locate(Python(), each, listing, "x") for each in asked)  # type: ignore[arg-type]
        )
        assert worker.pid not in (0, os.getpid())
        sizes = [source.size if isinstance(source, Source) else None for source in found]
        assert sizes == [file["size"] for file in page["files"][:20]]


async def test_a_listing_of_a_megabyte_is_read_once_for_all_its_files() -> None:
    listing = document(1 << 20)
    page = json.loads(Python().rewrite(target(), listing, Links()).body)
    first = 0
    async with made() as (worker, variants):
        for file in page["files"][::200]:
            path = file["url"].replace("../", "")
            asked = Python().classify(RequestLine("GET", tuple(path.split("/"))))
            assert isinstance(asked, ArtifactTarget)
            source = await variants.locate(Python(), asked, listing, "x")
            assert isinstance(source, Source)
            assert source.size == file["size"]
            first = first or worker.pid
            await worker.close()  # what is known needs it no more
        assert worker.pid == first != 0


# --- the worker process ------------------------------------------------------------------------


class _Deadly(Python):
    """An ecosystem whose parser is killed by its documents, or by all but the first."""

    def rewrite(self, target: DocumentTarget, document: Document, links: Links) -> Document:
        marker = Path(document.url)
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if document.media_type == "always":
            os.kill(os.getpid(), signal.SIGKILL)
        return document


async def test_a_killed_worker_is_replaced_and_the_document_tried_again(tmp_path: Path) -> None:
    large = Document(b" " * (2 * LARGE), "once", str(tmp_path / "tried"))
    async with made() as (worker, variants):
        variant = await variants.get(_Deadly(), target(), large, "x", Links())
        assert len(variant.body) == 2 * LARGE
        first = worker.pid
        again = await variants.get(_Deadly(), target(), large, "y", Links())
        assert (again.body, worker.pid) == (variant.body, first)


async def test_a_document_that_kills_two_workers_is_refused_and_nothing_else(
    tmp_path: Path,
) -> None:
    deadly = Document(b" " * (2 * LARGE), "always", str(tmp_path / "tried"))
    sound = document(2 * LARGE)
    async with made() as (worker, variants):
        refused, served = await asyncio.gather(
            variants.get(_Deadly(), target(), deadly, "x", Links()),
            variants.get(Python(), target(), sound, "y", Links()),
            return_exceptions=True,
        )
        assert isinstance(refused, Malformed)
        assert not isinstance(served, BaseException), served
        assert _alive(worker.pid)


class _Endless(Python):
    """An ecosystem whose parser never comes to an end."""

    def rewrite(self, target: DocumentTarget, document: Document, links: Links) -> Document:
        while True:
            pass


async def test_a_job_that_never_ends_is_ended() -> None:
    worker = Worker(seconds=1)
    try:
        with pytest.raises(Malformed):
            await worker.rewrite(_Endless(), target(), document(1000), Links())
        assert (await worker.rewrite(Python(), target(), document(1000), Links()))[0].body
    finally:
        await worker.close()


async def test_where_no_process_can_be_started_a_thread_does_it() -> None:
    def refuse() -> ProcessPoolExecutor:
        raise OSError("no semaphores here")

    worker = Worker(make_pool=refuse)
    made, _ = await worker.rewrite(Python(), target(), document(2 * LARGE), Links())
    assert json.loads(made.body)["name"] == "alpha"
    assert worker.pid == 0
    await worker.close()


async def test_what_waits_for_the_worker_is_bounded() -> None:
    worker = Worker()
    sound = document(2 * LARGE)
    try:
        waiting = [
            asyncio.ensure_future(worker.rewrite(Python(), target(), sound, Links()))
            for _ in range(MAX_WAITING)
        ]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable) as caught:
            await worker.rewrite(Python(), target(), sound, Links())
        assert caught.value.retry_after is not None
        for task in waiting[1:]:
            task.cancel()
        assert (await waiting[0])[0].body
        await asyncio.gather(*waiting, return_exceptions=True)
        assert (await worker.rewrite(Python(), target(), sound, Links()))[0].body
    finally:
        await worker.close()


async def test_what_waits_for_the_worker_is_bounded_in_bytes_too() -> None:
    worker = Worker()
    half = Document(bytes(MAX_WAITING_BYTES // 2 + 1), JSON, f"https://libraries.example{PAGE}")
    first = asyncio.ensure_future(worker.rewrite(Python(), target(), half, Links()))
    try:
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await worker.rewrite(Python(), target(), half, Links())
        with pytest.raises(Malformed):
            await first
        with pytest.raises(Malformed):  # whatever its size: nothing else waits
            await worker.rewrite(Python(), target(), half, Links())
    finally:
        await worker.close()


async def test_the_worker_ends_with_the_proxy(tmp_path: Path) -> None:
    async with Origin() as origin:
        async with running(tmp_path, origin) as proxy:
            serve(origin, big_page(2 * LARGE, origin.url))
            assert (await proxy.get(PAGE, accept=JSON)).status == 200
            (child,) = _children()
        assert not _alive(child)


def test_the_worker_does_not_outlive_a_proxy_that_was_killed(tmp_path: Path) -> None:
    with OriginThread() as origin, process(tmp_path, origin) as proxy:
        body = big_page(2 * LARGE, origin.url)
        headers = (("Content-Type", JSON),)
        origin.fault("origin", PAGE, status=200, body=body, headers=headers, times=None)
        assert proxy.get(PAGE, accept=JSON).status == 200
        children = _children(proxy.pid)
        assert children
        proxy.signal(signal.SIGKILL)
        proxy.wait()
        until(lambda: not any(_alive(child) for child in children))


def _children(pid: int = 0) -> list[int]:
    """The worker among a process's children (the other is Python's own resource tracker)."""
    pid = pid or os.getpid()
    tasks = Path(f"/proc/{pid}/task")
    found = {
        int(child)
        for task in tasks.iterdir()
        for child in (task / "children").read_text("ascii").split()
    }
    return [child for child in found if b"spawn_main" in _line(child)]


def _line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _alive(pid: int) -> bool:
    return _line(pid) != b""


# --- codings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [20_000, 2 * LARGE])
async def test_each_coding_is_a_body_with_an_etag_of_its_own(
    tmp_path: Path, coding: str, size: int
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        serve(origin, big_page(size, origin.url))
        plain = await proxy.get(PAGE, accept=JSON)
        packed = await proxy.get(PAGE, accept=JSON, accept_encoding=coding)
        assert (plain.header("Content-Encoding"), plain.header("Vary")) == (
            None,
            "Accept, Accept-Encoding",
        )
        assert packed.header("Content-Encoding") == coding
        assert packed.header("Vary") == "Accept, Accept-Encoding"
        assert packed.body == compress(plain.body, coding)
        assert len(packed.body) < len(plain.body) // 2
        etags = [str(answer.header("ETag")) for answer in (plain, packed)]
        assert etags[1] == f'{etags[0][:-1]}-{coding}"'
        for etag, accepted in zip(etags, ("identity", coding), strict=True):
            again = await proxy.get(PAGE, accept=JSON, accept_encoding=accepted, if_none_match=etag)
            assert (again.status, again.header("ETag"), again.body) == (304, etag, b"")
            assert again.header("Vary") == "Accept, Accept-Encoding"
        other = await proxy.get(PAGE, accept=JSON, accept_encoding=coding, if_none_match=etags[0])
        assert other.status == 200
        head = await proxy.head(PAGE, accept=JSON, accept_encoding=coding)
        assert head.header("Content-Length") == str(len(packed.body))


async def test_a_small_page_is_not_packed(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        answer = await proxy.get(
            "/python/simple/fallback-only/", accept=JSON, accept_encoding="gzip"
        )
        assert answer.header("Content-Encoding") is None
        assert answer.json()["name"] == "fallback-only"
        assert answer.header("Vary") == "Accept, Accept-Encoding"


async def test_artifacts_are_never_packed(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        wheel = origin.content.find("alpha-1.0-py3-none-any.whl")
        for _ in range(2):
            answer = await proxy.get(wheel.link, accept_encoding="gzip, zstd, br")
            assert answer.header("Content-Encoding") is None
            assert answer.sha256 == wheel.blob.sha256


async def test_a_body_is_packed_once_for_all(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        serve(origin, big_page(20_000, origin.url))
        fields = {"accept": JSON, "accept_encoding": "gzip"}
        answers = await asyncio.gather(*(proxy.get(PAGE, **fields) for _ in range(10)))
        assert len({answer.body for answer in answers}) == 1
        assert json.loads(gzip.decompress(answers[0].body))["name"] == "alpha"


async def test_of_a_body_too_large_to_keep_the_packed_form_is_kept() -> None:
    rewritten: list[str] = []

    @dataclass(frozen=True, slots=True)
    class Watched(Python):
        def rewrite_tabulated(
            self, target: DocumentTarget, document: Document, links: Links
        ) -> tuple[Document, None]:
            rewritten.append(target.path)
            return Document(b"x" * 20_000, JSON, document.url), None

    variants = Variants(Worker(), budget=30_000)
    small = Document(b"{}", JSON, f"https://libraries.example{PAGE}")
    for _ in range(3):
        found = await variants.get(Watched(), target(), small, "0" * 64, Links(), coding="gzip")
        assert gzip.decompress(found.body) == b"x" * 20_000
    assert len(rewritten) == 1
    await variants.close()


async def test_two_parts_of_a_document_are_two_bodies() -> None:
    @dataclass(frozen=True, slots=True)
    class Parted(Python):
        def rewrite_tabulated(
            self, target: DocumentTarget, document: Document, links: Links
        ) -> tuple[Document, None]:
            return Document(target.part.encode(), JSON, document.url), None

    small = Document(b"{}", JSON, f"https://libraries.example{PAGE}")
    async with made() as (_, variants):
        for part in ("", "1.0", "latest", "1.0"):
            wanted = replace(target(), part=part)
            found = await variants.get(Parted(), wanted, small, "0" * 64, Links())
            assert found.body == part.encode()


class Catalogued(Apk):
    """Counts how often an index is read."""

    reads: ClassVar[list[str]] = []

    def catalogue(self, listing: Document) -> Offers:
        """Read it."""
        self.reads.append(listing.url)
        return super().catalogue(listing)


async def test_an_index_of_all_packages_is_read_once_for_all_of_them() -> None:
    listing = Document(apks.index(apks.tiny()), "", "http://apk.example/x")
    worker = Worker()
    variants, ecosystem = Variants(worker), Catalogued()
    ecosystem.reads.clear()
    try:
        targets = [
            ArtifactTarget(file.path, "apk", file.project, file.filename) for file in apks.tiny()
        ]
        for file, target in zip(apks.tiny(), targets, strict=True):
            source = await variants.locate(ecosystem, target, listing, "0" * 64)
            assert isinstance(source, Source)
            assert source.seal == file.checksum
        assert len(ecosystem.reads) == 1
        await variants.locate(ecosystem, targets[0], listing, "1" * 64)
        assert len(ecosystem.reads) == 2
    finally:
        await variants.close()
