"""Nothing wrong is ever completed, nothing wrong is ever stored, and an abort looks like one."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from tests.engine import (
    KIB,
    MIB,
    Got,
    bodies,
    data_of,
    fetch,
    noise,
    pattern,
    stream,
)
from tests.origin import Origin, empty, html_page, wrong_bytes
from tests.running import Running, running

HELD_BACK = 64 * KIB
SMALL = 256 * KIB


async def test_the_head_goes_out_before_the_origin_has_sent_a_byte(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, MIB)
        stalled = origin.fault("store", pattern(artifact), stall_at=0)
        client = await (await stream(proxy, artifact.link)).head()
        assert (client.status, client.headers["content-length"]) == (200, str(MIB))
        assert re.fullmatch(r'"f-[\w-]{16,}"', client.headers["etag"])
        stalled.release()
        assert (await client.rest()).sha256 == artifact.blob.sha256


async def test_bytes_flow_as_they_come_but_the_last_64_kib_wait_for_the_verdict(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, MIB)
        stalled = origin.fault("store", pattern(artifact), stall_at=MIB - 1)
        client = await (await stream(proxy, artifact.link)).head()
        await stalled.reached()
        first = await client.exactly(MIB - 1 - HELD_BACK)
        more = asyncio.create_task(client.reader.read(1))
        done, _ = await asyncio.wait({more}, timeout=0.2)
        assert not done
        stalled.release()
        last = await more + (await client.exactly(HELD_BACK))
        client.close()
        assert first + last == data_of(artifact)


async def test_a_small_body_is_verified_before_its_head(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, SMALL)
        stalled = origin.fault("store", pattern(artifact), stall_at=SMALL - 1)
        client = await stream(proxy, artifact.link)
        await stalled.reached()
        head = asyncio.create_task(client.head())
        done, _ = await asyncio.wait({head}, timeout=0.2)
        assert not done
        stalled.release()
        await head
        assert client.headers["etag"] == f'"sha256:{artifact.blob.sha256}"'
        assert (await client.rest()).sha256 == artifact.blob.sha256


WRONG: dict[str, dict[str, Any]] = {
    "first byte, with headers that claim the right digest": wrong_bytes(),
    "last byte": {"flip_at": -1},
    "longer, with a length": {"headers": (("Content-Length", "+1"),), "extra": b"x"},
    "longer by a byte, chunked": {"longer_by": 1},
    "much longer, chunked": {"longer_by": MIB},
    "longer, to the end of the connection": {"framing": "close", "extra": b"x"},
    "shorter, with a length": {"cut_at": 1000, "headers": (("Content-Length", "1000"),)},
    "shorter, to the end of the connection": {"framing": "close", "cut_at": 1000, "cut": "fin"},
    "cut": {"cut_at": 1000},
    "cut, chunked": {"framing": "chunked", "cut_at": 1000},
    "a page": html_page(),
    "nothing": empty(),
}


def fitted(what: dict[str, Any], size: int) -> dict[str, Any]:
    """Fit a fault to the size of the body that it strikes."""
    what = dict(what)
    if what.get("flip_at") == -1:
        what["flip_at"] = size - 1
    if what.get("headers") == (("Content-Length", "+1"),):
        what["headers"] = (("Content-Length", str(size + 1)),)
    if more := what.pop("longer_by", 0):
        body = bytes(size + more)
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        what = {"raw": head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)}
    return what


@pytest.mark.parametrize("size", [40 * KIB, MIB])
@pytest.mark.parametrize("what", list(WRONG))
async def test_wrong_bytes_are_never_completed_and_never_stored(
    tmp_path: Path, what: str, size: int
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, size)
        fault = origin.fault("store", pattern(artifact), **fitted(WRONG[what], size), times=None)
        got = await fetch(proxy, artifact.link)
        judge(got, size)
        assert fault.hits >= 1
        assert len(proxy.stored()) == 1  # the page
        await asked_again(proxy, origin, artifact, fault)


def judge(got: Got, size: int) -> None:
    """A small wrong body is a clean error; a large one may have begun, but is never whole."""
    if size <= SMALL:
        assert got.status in (502, 503)
    if got.status == 200:
        assert not got.complete
        assert got.ended == "rst"
        assert len(got.body) <= size - HELD_BACK
    else:
        assert got.status in (502, 503)
        assert got.headers["content-type"] == "application/problem+json"
    assert got.status != 503 or "retry-after" in got.headers


async def asked_again(proxy: Running, origin: Origin, artifact: Any, fault: Any) -> None:
    """Once the fault is over the next answer is right, whole and stored."""
    fault.clear()
    proxy.clock.advance(2)
    got = await fetch(proxy, artifact.link)
    assert (got.status, got.complete, got.sha256) == (200, True, artifact.blob.sha256)
    assert (await fetch(proxy, artifact.link)).cache == "cgr-proxy; hit"


async def test_a_wrong_small_body_is_asked_for_once_more_past_caches(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)
        origin.fault("store", pattern(artifact), **wrong_bytes())
        got = await fetch(proxy, artifact.link)
        assert (got.status, got.sha256) == (200, artifact.blob.sha256)
        asked = [entry for entry in origin.log if entry.target == artifact.link]
        assert [entry.header("cache-control") for entry in asked] == [None, "no-cache"]


async def test_a_large_body_that_was_wrong_is_next_asked_for_past_caches(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, MIB)
        origin.fault("store", pattern(artifact), **wrong_bytes())
        assert not (await fetch(proxy, artifact.link)).complete
        proxy.clock.advance(2)
        assert (await fetch(proxy, artifact.link)).sha256 == artifact.blob.sha256
        asked = [entry for entry in origin.log if entry.target == artifact.link]
        assert [entry.header("cache-control") for entry in asked] == [None, "no-cache"]


@pytest.mark.parametrize("size", [40 * KIB, MIB])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_without_a_digest_exact_framing_is_what_counts(
    tmp_path: Path, size: int, framing: str
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.settings.hashes = origin.settings.sizes = False
        artifact = noise(origin.content, size)
        origin.fault("store", pattern(artifact), framing=framing)
        assert (await fetch(proxy, artifact.link)).sha256 == artifact.blob.sha256
        assert (await fetch(proxy, artifact.link)).cache == "cgr-proxy; hit"


@pytest.mark.parametrize("size", [40 * KIB, MIB])
async def test_a_body_without_digest_and_without_visible_end_is_never_stored(
    tmp_path: Path, size: int
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.settings.hashes = origin.settings.sizes = False
        artifact = noise(origin.content, size)
        origin.fault("store", pattern(artifact), framing="close", times=None)
        for _ in range(2):
            got = await fetch(proxy, artifact.link)
            assert (got.status, got.sha256) == (200, artifact.blob.sha256)
        assert bodies(origin, artifact) == 2
        assert len(proxy.stored()) == 1


@pytest.mark.parametrize("what", ["a page", "nothing"])
@pytest.mark.parametrize("size", [40 * KIB, MIB])
async def test_a_page_or_nothing_in_place_of_a_file_without_digest_is_refused(
    tmp_path: Path, what: str, size: int
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.settings.hashes = origin.settings.sizes = False
        artifact = noise(origin.content, size)
        fault = origin.fault("store", pattern(artifact), **WRONG[what], times=None)
        got = await fetch(proxy, artifact.link)
        assert got.status == 502
        assert len(proxy.stored()) == 1
        await asked_again(proxy, origin, artifact, fault)


async def test_a_wrong_media_type_does_not_matter_where_a_digest_speaks(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.settings.store_media_type = "text/html"
        artifact = noise(origin.content, MIB)
        got = await fetch(proxy, artifact.link)
        assert (got.sha256, got.headers["content-type"]) == (
            artifact.blob.sha256,
            "application/octet-stream",
        )


async def test_bytes_behind_the_promised_length_are_neither_served_nor_stored(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, MIB)
        origin.fault("store", pattern(artifact), extra=b"HTTP/1.1 200 OK\r\n\r\n surplus")
        got = await fetch(proxy, artifact.link)
        assert (got.complete, got.sha256) == (True, artifact.blob.sha256)
        assert (await fetch(proxy, artifact.link)).sha256 == artifact.blob.sha256


# --- aborts --------------------------------------------------------------------------------------

CUTS: dict[str, dict[str, Any]] = {
    "with a length": {},
    "without a length": {"framing": "close", "cut": "fin"},
    "chunked": {"framing": "chunked"},
}


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("cut", list(CUTS))
@pytest.mark.parametrize("sized", [True, False])
async def test_an_abort_looks_like_one(
    tmp_path: Path, version: str, cut: str, *, sized: bool
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.settings.sizes = sized
        artifact = noise(origin.content, MIB)
        origin.fault("store", pattern(artifact), cut_at=400 * KIB, **CUTS[cut], times=None)
        origin.fault("origin", r"^/files/", after=1, times=None, status=500)
        client = await stream(proxy, artifact.link, version=version)
        await client.head()
        got = await client.rest()
        if got.status == 200:
            assert (got.ended, got.complete) == ("rst", False)
        else:
            assert got.status in (502, 503)
            assert (version, sized) == ("1.0", False)  # it waited for the length: no head yet


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
async def test_curl_does_not_take_an_aborted_body_for_a_whole_one(
    tmp_path: Path, version: str, *, sized: bool
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.settings.sizes = sized
        artifact = noise(origin.content, MIB)
        fault = {} if sized else {"framing": "chunked"}
        origin.fault("store", pattern(artifact), **wrong_bytes(), **fault, times=None)
        run = await asyncio.create_subprocess_exec(
            "curl", "-sS", "--fail", version, "-o", str(tmp_path / "out"),
            proxy.url + artifact.link, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, stderr = await run.communicate()
        assert run.returncode in (18, 22, 56), stderr.decode()


async def test_an_http_1_0_client_gets_the_whole_where_nobody_told_the_length(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.settings.sizes = False
        artifact = noise(origin.content, MIB)
        origin.fault("store", pattern(artifact), framing="chunked")
        got = await (await (await stream(proxy, artifact.link, version="1.0")).head()).rest()
        assert got.headers["content-length"] == str(MIB)
        assert (got.sha256, got.complete) == (artifact.blob.sha256, True)
