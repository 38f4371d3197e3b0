"""The list of all projects: streamed, transformed, stored and served without ever being held."""

from __future__ import annotations

import asyncio
import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from proxy.ecosystems.simple_index import HTML, JSON, TEXT_HTML
from tests.failing import failing
from tests.origin import Origin, OriginThread, Settings, html_page, status
from tests.running import Process, basic, client, process, running, token

ROOT = "/python/simple/"
TTL = 301
MIB = 1 << 20
NAMES = ["alpha", "beta-pkg", "fallback-only"]


def names(body: bytes) -> list[str]:
    if body[:1] == b"{":
        return [item["name"] for item in json.loads(body)["projects"]]
    lines = body.decode("ascii").splitlines()
    return [line.split(">")[1].removesuffix("</a") for line in lines if line.startswith("<a ")]


@pytest.mark.parametrize("upstream_json", [True, False])
@pytest.mark.parametrize("accept", [JSON, HTML, TEXT_HTML])
async def test_it_comes_in_every_form_from_every_form(
    tmp_path: Path, upstream_json: bool, accept: str
) -> None:
    async with (
        Origin(Settings(json_index=upstream_json, more_projects=5000)) as origin,
        running(tmp_path, origin) as proxy,
    ):
        answer = await proxy.get(ROOT, accept=accept)
        assert (answer.status, answer.complete) == (200, True)
        assert answer.header("Content-Type") == accept
        assert answer.header("Cache-Control") == "no-cache"
        assert answer.header("Vary") == "Accept"
        assert answer.cache == "cgr-proxy; fwd=miss; stored"
        assert answer.header("Content-Security-Policy") == (
            "default-src 'none'" if accept == TEXT_HTML else None
        )
        found = names(answer.body)
        assert (found[:3], len(found)) == (NAMES, 5003)
        assert origin.violations == []


async def test_each_form_is_made_once_and_has_an_etag_of_its_own(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        etags = set()
        for accept in (JSON, HTML, TEXT_HTML):
            first = await proxy.get(ROOT, accept=accept)
            again = await proxy.get(ROOT, accept=accept)
            assert (again.cache, again.body) == ("cgr-proxy; hit", first.body)
            etag = str(first.header("ETag"))
            assert again.header("ETag") == etag
            same = await proxy.get(ROOT, accept=accept, if_none_match=etag)
            assert (same.status, same.body, same.header("ETag")) == (304, b"", etag)
            assert same.header("Vary") == "Accept"
            assert (await proxy.get(ROOT, accept=accept, if_match='"x"')).status == 412
            head = await proxy.head(ROOT, accept=accept)
            assert head.header("Content-Length") == str(len(first.body))
            ranged = await proxy.get(ROOT, accept=accept, range="bytes=0-9")
            assert (ranged.status, ranged.body) == (200, first.body)
            etags.add(etag)
        assert len(etags) == 2  # the two kinds of HTML are the same bytes
        assert origin.count("GET", ROOT + "$") == 1


async def test_it_is_revalidated_and_made_anew_only_when_it_changed(tmp_path: Path) -> None:
    async with Origin() as origin:
        async with running(tmp_path, origin) as proxy:
            first = await proxy.get(ROOT, accept=JSON)
            proxy.clock.advance(TTL)
            same = await proxy.get(ROOT, accept=JSON)
            assert same.cache == "cgr-proxy; fwd=stale; fwd-status=304"
            assert same.header("ETag") == first.header("ETag")
            origin.settings.etag = False
            proxy.clock.advance(TTL)
            same = await proxy.get(ROOT, accept=JSON)
            assert "fwd-status=200" in (same.cache or "")
            assert same.header("ETag") == first.header("ETag")
            origin.settings.more_projects = 1
            proxy.clock.advance(TTL)
            other = await proxy.get(ROOT, accept=JSON)
            assert names(other.body) == [*NAMES, "made-up-project-number-0000000"]
            assert names((await proxy.get(ROOT)).body) == names(other.body)
            count = origin.count("GET", ROOT)
        async with running(tmp_path, origin) as proxy:
            proxy.clock.advance(3 * TTL + 1)
            assert (await proxy.get(ROOT, accept=JSON)).body == other.body
            assert origin.count("GET", ROOT) == count


async def test_many_at_once_cost_one_question_and_one_transformation(tmp_path: Path) -> None:
    async with Origin(Settings(more_projects=2000)) as origin, running(tmp_path, origin) as proxy:
        answers = await asyncio.gather(*(proxy.get(ROOT, accept=JSON) for _ in range(20)))
        assert len({answer.body for answer in answers}) == 1
        assert {answer.status for answer in answers} == {200}
        assert sum("collapsed" in (answer.cache or "") for answer in answers) == 19
        assert origin.count("GET", ROOT + "$") == 1


SILENT: dict[str, dict[str, Any]] = {
    "500": status(500),
    "429": status(429),
    "page": html_page(),
    "cut": {"cut_at": 60},
    "cut without a length": {"cut_at": 60, "framing": "close", "cut": "fin"},
    "rubbish": {"status": 200, "body": b"{" * 5000},
}


@pytest.mark.parametrize("what", SILENT)
async def test_what_cannot_be_used_leaves_the_old_one(tmp_path: Path, what: str) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        first = await proxy.get(ROOT, accept=JSON)
        origin.settings.more_projects = 10
        fault = origin.fault("origin", ROOT, times=None, **SILENT[what])
        proxy.clock.advance(TTL)
        for accept, form in ((JSON, first.body), (TEXT_HTML, None)):
            stale = await proxy.get(ROOT, accept=accept)
            assert stale.status == 200
            assert names(stale.body) == NAMES
            assert form is None or stale.body == form
            assert "ttl=-" in (stale.cache or "")
        fault.clear()
        if what == "429":
            return  # the upstream asked for a pause, which is kept by another clock
        proxy.clock.advance(61)
        assert len(names((await proxy.get(ROOT, accept=JSON)).body)) == 13


@pytest.mark.parametrize("what", SILENT)
async def test_what_cannot_be_used_is_an_error_where_there_is_no_old_one(
    tmp_path: Path, what: str
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.fault("origin", ROOT, times=None, **SILENT[what])
        answer = await proxy.get(ROOT, accept=JSON)
        assert answer.status in (429, 502, 503)
        assert proxy.stored() == []


async def test_a_remembered_failure_holds_nothing_of_the_request_it_was_raised_in(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        fault = origin.fault("origin", ROOT, times=None, **status(500))
        assert (await proxy.get(ROOT, accept=JSON)).status == 503
        fault.clear()
        assert (await proxy.get(ROOT, accept=JSON)).status == 503  # remembered
        remembered = proxy.app.bulk.refusals._known._known.values()
        assert [error.__traceback__ for error, *_ in remembered] == [None]


async def test_news_end_the_old_one(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        await proxy.get(ROOT, accept=JSON)
        proxy.clock.advance(TTL)
        origin.settings.entitled = frozenset({"python-remediated"})
        assert (await proxy.get(ROOT, accept=JSON)).status == 403
        await origin.close_listener()
        proxy.clock.advance(61)
        assert (await proxy.get(ROOT, accept=JSON)).status == 503


async def test_it_may_be_larger_than_other_documents_but_not_without_end(tmp_path: Path) -> None:
    tables = {"limits": {"max_document": "16KiB"}}
    async with (
        Origin(Settings(more_projects=2000)) as origin,
        running(tmp_path, origin, tables) as proxy,
    ):
        assert len(names((await proxy.get(ROOT, accept=JSON)).body)) == 2003
        proxy.app.bulk._max_size = 20_000
        proxy.clock.advance(TTL)
        origin.settings.more_projects = 3000
        stale = await proxy.get(ROOT, accept=JSON)
        assert "detail=upstream-malformed" in (stale.cache or "")


@pytest.mark.parametrize("broken", ["create", "write", "commit"])
async def test_a_failing_disk_is_an_answer_of_503_and_over_when_it_is_mended(
    tmp_path: Path, broken: str
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        disk = failing(proxy)
        disk.fail(broken)
        answer = await proxy.get(ROOT, accept=JSON)
        assert (answer.status, answer.header("Retry-After")) == (503, "5")
        disk.mend()
        proxy.clock.advance(10)
        assert names((await proxy.get(ROOT, accept=JSON)).body) == NAMES


async def test_a_lost_variant_is_made_again(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        first = await proxy.get(ROOT, accept=JSON)
        for body in (proxy.folder / "cache" / "v2" / "bodies").rglob("*"):
            if body.is_file() and body.read_bytes() == first.body:
                body.unlink()
        again = await proxy.get(ROOT, accept=JSON)
        assert (again.status, again.body) == (200, first.body)
        assert origin.count("GET", ROOT + "$") == 1


async def test_rights_are_asked_first(tmp_path: Path) -> None:
    tables = {"clients": [client("farm", "python"), client("other", "java")]}
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        assert (await proxy.get(ROOT, authorization=basic(token("farm")))).status == 200
        assert (await proxy.get(ROOT)).status == 401
        assert (await proxy.get(ROOT, authorization=basic(token("other")))).status == 403


# --- 60 MB -------------------------------------------------------------------------------------


def download(proxy: Process, accept: str, **fields: str) -> tuple[int, int, str]:
    """Get the list and throw it away as it comes: status, bytes, ETag."""
    parts = urlsplit(proxy.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
    try:
        connection.request("GET", ROOT, headers={"Accept": accept, **fields})
        response = connection.getresponse()
        count = 0
        while piece := response.read(1 << 20):
            count += len(piece)
        assert count == int(response.headers["Content-Length"] or 0) or response.status == 304
        return response.status, count, response.headers["ETag"]
    finally:
        connection.close()


@pytest.mark.parametrize("upstream_json", [True, False])
def test_60_mb_do_not_grow_the_process(tmp_path: Path, upstream_json: bool) -> None:
    projects = 1_500_000 if upstream_json else 700_000  # 66 and 62 MB
    settings = Settings(json_index=upstream_json, more_projects=projects)
    with OriginThread(settings) as origin, process(tmp_path, origin) as proxy:
        proxy.get("/python/simple/alpha/")
        before = proxy.rss
        peak = before
        for accept in (JSON, TEXT_HTML):
            code, size, etag = download(proxy, accept)
            peak = max(peak, proxy.rss)
            assert (code, size > 25 * MIB) == (200, True)
            assert download(proxy, accept) == (200, size, etag)
            assert download(proxy, accept, **{"If-None-Match": etag})[0] == 304
            peak = max(peak, proxy.rss, proxy.peak_rss)
        assert origin.body_bytes_sent > 60_000_000
        assert peak - before < 64 * MIB, f"{(peak - before) / MIB:.0f} MiB"
        assert origin.count("GET", ROOT + "$") == 1
