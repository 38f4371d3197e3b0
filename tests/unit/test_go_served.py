"""Go modules through the proxy: what is whole and of its version is kept, and nothing else is."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engine import KIB, Got, fetch, stream
from tests.origin import Origin, Settings, empty, html_page, status
from tests.origin.blobs import BytesBlob, SyntheticBlob
from tests.origin.modules import GoFile, file_of, made_up
from tests.running import Running, running

TTL = 301
MODULE = "example.org/demo"
AT = "/go/example.org/demo/@v/"
LIST, ZIP, MOD, INFO = f"{AT}list", f"{AT}v1.0.0.zip", f"{AT}v1.0.0.mod", f"{AT}v1.0.0.info"
ENDINGS = ("info", "mod", "zip")


def large(origin: Origin, version: str = "v3.0.0", seed: int = 0) -> GoFile:
    """The archive of a version with 600 KiB of noise in it; its other files are there, too."""
    noise = b"".join(SyntheticBlob(600 * KIB, seed).pieces())
    *_, archive = (
        origin.content.add(file) for file in made_up(f"{MODULE}/v3", version, {"noise": noise})
    )
    assert isinstance(archive, GoFile)
    return archive


def data_of(file: Any) -> bytes:
    data: bytes = file.blob.data
    return data


def content_of(origin: Origin, name: str) -> bytes:
    return data_of(origin.content.find(name))


def refused(got: Got) -> bool:
    """Small: a clean refusal. Large: it may have begun, and is broken off visibly."""
    if got.status == 200:
        return not got.complete and got.ended == "rst" and len(got.body) > 256 * KIB
    return got.status in (502, 503)


async def all_of(proxy: Running, version: str = "v1.0.0") -> dict[str, Got]:
    """The go command's way: what it is, what it needs, the whole."""
    return {ending: await fetch(proxy, f"{AT}{version}.{ending}") for ending in ENDINGS}


@pytest.mark.parametrize("direct", [True, False])
async def test_a_version_is_fetched_once_and_then_served_from_the_cache(
    tmp_path: Path, *, direct: bool
) -> None:
    async with Origin(Settings(direct=direct)) as origin, running(tmp_path, origin) as proxy:
        for expected in ("cgr-proxy; fwd=miss; stored", "cgr-proxy; hit"):
            for ending, got in (await all_of(proxy)).items():
                assert (got.status, got.cache) == (200, expected)
                assert got.body == content_of(origin, f"v1.0.0.{ending}")
                assert got.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert origin.count("GET", r"/go/", "origin") == 3
        assert origin.violations == []


async def test_the_types_are_those_of_the_protocol_whatever_the_store_says(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        types = [got.headers["content-type"] for got in (await all_of(proxy)).values()]
        assert types == ["application/json", "text/plain; charset=utf-8", "application/zip"]


async def test_capitals_go_upstream_as_they_came(tmp_path: Path) -> None:
    path = "/go/example.org/!deep/!other/v2/@v/v2.3.4-!r!c1.zip"
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        got = await fetch(proxy, path)
        assert got.sha256 == origin.content.find("v2.3.4-!r!c1.zip").blob.sha256
        assert (await fetch(proxy, path.replace("!", "%21"))).cache == "cgr-proxy; hit"
        assert [one.target for one in origin.log if one.server == "origin"] == [path]


async def test_a_remediated_build_is_a_version_like_any_other(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        listed = (await fetch(proxy, LIST)).body.decode().split()
        assert listed == ["v1.0.0", "v1.1.0", "v1.0.0-cgr.1"]
        found = await all_of(proxy, "v1.0.0-cgr.1")
        assert json.loads(found["info"].body)["Version"] == "v1.0.0-cgr.1"
        assert found["zip"].body == content_of(origin, "v1.0.0-cgr.1.zip")


# --- documents ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [LIST, "/go/example.org/demo/@latest", f"{AT}main.info"])
async def test_a_document_is_asked_for_again_when_its_time_is_over(
    tmp_path: Path, path: str
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        first = await fetch(proxy, path)
        for file in made_up(MODULE, "v1.2.0"):
            origin.content.add(file)
        assert (await fetch(proxy, path)).body == first.body
        proxy.clock.advance(TTL)
        assert b"v1.2.0" in (await fetch(proxy, path)).body
        proxy.clock.advance(TTL)
        assert (await fetch(proxy, path)).cache == "cgr-proxy; fwd=stale; fwd-status=304"


async def test_a_module_without_versions_has_an_empty_list(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.fault("origin", r"/list", **status(200, b""))
        got = await fetch(proxy, LIST)
        assert (got.status, got.body, got.headers["content-length"]) == (200, b"", "0")


@pytest.mark.parametrize("path", [LIST, "/go/example.org/demo/@latest", f"{AT}main.info"])
async def test_a_page_in_place_of_a_document_is_not_passed_on(tmp_path: Path, path: str) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.fault("origin", "", **html_page(), times=None)
        assert (await fetch(proxy, path)).status == 502
        assert proxy.stored() == []


async def test_while_the_upstream_is_silent_everything_goes_on(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        before = [await fetch(proxy, LIST), *(await all_of(proxy)).values()]
        await origin.close_listener()
        proxy.clock.advance(TTL)
        after = [await fetch(proxy, LIST), *(await all_of(proxy)).values()]
        assert [got.body for got in after] == [got.body for got in before]
        assert (await fetch(proxy, f"{AT}v1.1.0.zip")).status == 503


# --- absence and refusal --------------------------------------------------------------------------


@pytest.mark.parametrize("code", [404, 410])
@pytest.mark.parametrize("path", [LIST, INFO, ZIP, "/go/example.org/demo/@latest"])
async def test_absence_is_the_upstreams_and_in_a_line_of_text(
    tmp_path: Path, path: str, code: int
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.fault("origin", "", **status(code, b"not found: module x"), times=None)
        got = await fetch(proxy, path)
        assert (got.status, got.headers["content-type"]) == (code, "text/plain; charset=utf-8")
        assert re.fullmatch(rb"Not found: [^\n]+ \(request [a-z2-7]+\)\n", got.body)


async def test_what_cannot_be_asked_is_no_absence(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        await origin.close_listener()
        for path in (LIST, INFO, ZIP):
            assert (await fetch(proxy, path)).status == 503


async def test_a_blocked_version_is_withheld_with_its_reason_cached_or_not(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        assert (await fetch(proxy, ZIP)).status == 200
        origin.block(MODULE, "v1.0.0")
        proxy.clock.advance(TTL)
        for path in (ZIP, MOD):
            got = await fetch(proxy, path)
            assert (got.status, b"MALWARE_DETECTED" in got.body) == (403, True)


async def test_the_checksum_database_is_not_found_and_nobody_is_asked(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        got = await fetch(proxy, "/go/sumdb/sum.example/supported")
        assert (got.status, got.headers["content-type"]) == (404, "text/plain; charset=utf-8")
        assert origin.log == []


# --- wrong bytes ----------------------------------------------------------------------------------

WRONG: dict[str, dict[str, Any]] = {
    "a page": html_page(),
    "a page of another type": status(200, b"<html>sorry</html>", Content_Type="application/zip"),
    "nothing": empty(),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("what", WRONG)
async def test_what_is_no_such_file_is_never_completed_and_never_stored(
    tmp_path: Path, ending: str, what: str
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        handle = origin.fault("store", "", **WRONG[what], times=None)
        assert refused(await fetch(proxy, f"{AT}v1.0.0.{ending}"))
        assert proxy.stored() == []
        handle.clear()
        proxy.clock.advance(2)
        got = await fetch(proxy, f"{AT}v1.0.0.{ending}")
        assert (got.status, got.body) == (200, content_of(origin, f"v1.0.0.{ending}"))


@pytest.mark.parametrize("ending", ["info", "zip"])
async def test_a_file_of_another_version_is_refused_and_asked_for_past_caches(
    tmp_path: Path, ending: str
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        right = origin.content.find(f"v1.0.0.{ending}")
        other = origin.content.find(f"v1.1.0.{ending}")
        origin.content.add(replace(right, blob=other.blob))
        got = await fetch(proxy, right.link)
        assert (got.status, b"wrong bytes" in got.body) == (502, True)
        asked = [one.header("cache-control") for one in origin.log if one.server == "origin"]
        assert asked == [None, "no-cache"]


CUTS: dict[str, dict[str, Any]] = {
    "with its length": {"cut_at": 400 * KIB},
    "without a length": {"cut_at": 400 * KIB, "framing": "close", "cut": "fin"},
    "near its end, without a length": {"cut_at": 614_500, "framing": "close", "cut": "fin"},
}


@pytest.mark.parametrize("cut", CUTS)
async def test_a_cut_archive_is_broken_off_for_the_client_too(tmp_path: Path, cut: str) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = large(origin)
        assert file.blob.size > 614_500
        origin.fault("store", r"zip\?", **CUTS[cut], times=None)
        got = await fetch(proxy, file.link)
        assert (got.status, refused(got)) == (200, True)
        assert proxy.stored() == []


async def test_of_a_large_archive_the_end_is_held_back_until_it_is_judged(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = large(origin)
        stalled = origin.fault("store", r"zip\?", stall_at=file.blob.size - 1)
        client = await (await stream(proxy, file.link)).head()
        await stalled.reached()
        first = await client.exactly(file.blob.size - 64 * KIB - 1)
        more = asyncio.create_task(client.exactly(64 * KIB + 1))
        done, _ = await asyncio.wait({more}, timeout=0.2)
        assert not done
        stalled.release()
        assert first + await more == data_of(file)
        client.close()


async def test_a_large_archive_of_another_version_is_broken_off(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        right, other = large(origin), large(origin, "v3.1.0", seed=1)
        origin.content.add(replace(right, blob=other.blob))
        got = await fetch(proxy, right.link)
        assert (got.status, refused(got)) == (200, True)
        assert proxy.stored() == []


# --- one version ----------------------------------------------------------------------------------


async def test_an_archive_whose_mod_is_another_one_is_refused_and_both_come_anew(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        old = file_of(MODULE, "v1.0.0", "mod", b"module example.org/demo\n\ngo 1.11\n")
        new = origin.content.find(old.filename)
        origin.content.add(old)
        assert (await fetch(proxy, MOD)).body == data_of(old)
        got = await fetch(proxy, ZIP)
        assert (got.status, b"contradicts" in got.body) == (502, True)
        assert proxy.stored() == []
        origin.content.add(new)
        proxy.clock.advance(2)
        assert (await fetch(proxy, MOD)).body == data_of(new)
        assert (await fetch(proxy, ZIP)).sha256 == origin.content.find("v1.0.0.zip").blob.sha256


async def test_a_module_that_never_had_a_mod_is_not_compared_with_the_one_made_for_it(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        for file in made_up("example.org/old", "v2.0.0+incompatible"):
            origin.content.add(file)
        found = origin.content.find("v2.0.0+incompatible.zip")
        data = data_of(found).replace(b"go.mod", b"gx.mod")
        origin.content.add(replace(found, blob=BytesBlob(data)))
        at = found.link.removesuffix(".zip")
        assert [(await fetch(proxy, f"{at}.{ending}")).status for ending in ENDINGS] == [200] * 3
