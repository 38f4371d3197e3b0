"""Documents: fresh, revalidated, stale while the upstream is silent, gone when it says so."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from proxy.cache import documents
from tests.engine import fetch, pages, quick
from tests.origin import Origin, garbage, header_bomb, html_page, status
from tests.running import Answer, Running, running

PAGE = "/python/simple/alpha/"
HOUR = 3600


async def page(proxy: Running, **fields: str) -> Answer:
    return await proxy.get(PAGE, accept="text/html", **fields)


async def test_a_page_is_fetched_once_per_ttl_and_then_confirmed(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        first = await page(proxy)
        assert first.cache == "cgr-proxy; fwd=miss; stored"
        proxy.clock.advance(299)
        second = await page(proxy)
        assert (second.cache, second.header("Age")) == ("cgr-proxy; hit", "299")
        assert pages(origin, "alpha") == 1
        proxy.clock.advance(2)
        third = await page(proxy)
        assert (third.cache, third.header("Age")) == ("cgr-proxy; fwd=stale; fwd-status=304", "0")
        assert (third.body, third.header("ETag")) == (first.body, first.header("ETag"))
        assert pages(origin, "alpha") == 2
        assert (await page(proxy)).cache == "cgr-proxy; hit"


async def test_a_changed_page_replaces_the_held_one(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        first = await page(proxy)
        origin.content.drop("alpha-1.0-py3-none-any.whl")
        proxy.clock.advance(301)
        second = await page(proxy)
        assert second.cache == "cgr-proxy; fwd=stale; fwd-status=200; stored"
        assert b"alpha-1.0-py3" in first.body
        assert b"alpha-1.0-py3" not in second.body
        assert first.header("ETag") != second.header("ETag")


async def test_a_page_without_validators_is_fetched_anew(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.settings.etag = False
        await page(proxy)
        proxy.clock.advance(301)
        assert (await page(proxy)).cache == "cgr-proxy; fwd=stale; fwd-status=200; stored"


@pytest.mark.parametrize(
    ("cache_control", "fresh_for"), [("max-age=10", 10), ("max-age=9999", 300), ("no-cache", 0)]
)
async def test_the_upstream_may_shorten_the_ttl_but_not_lengthen_it(
    tmp_path: Path, cache_control: str, fresh_for: int
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.settings.cache_control = cache_control
        await page(proxy)
        if fresh_for:
            proxy.clock.advance(fresh_for - 1)
            assert (await page(proxy)).cache == "cgr-proxy; hit"
        proxy.clock.advance(2)
        assert (await page(proxy)).cache == "cgr-proxy; fwd=stale; fwd-status=304"


async def test_twenty_clients_of_a_cold_page_cost_one_request(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        held = origin.fault("origin", PAGE, hold=True)
        asked = [asyncio.create_task(page(proxy)) for _ in range(20)]
        await held.reached()
        held.release()
        found = await asyncio.gather(*asked)
        assert len({answer.body for answer in found}) == 1
        assert pages(origin, "alpha") == 1
        assert sorted({answer.cache or "" for answer in found}) == [
            "cgr-proxy; fwd=miss; stored",
            "cgr-proxy; fwd=miss; stored; collapsed",
        ]


STALE = "ttl=-100; detail=stale-if-error"
SILENT: dict[str, tuple[dict[str, Any], str]] = {
    "500": (status(500), f"cgr-proxy; fwd=stale; fwd-status=500; {STALE}"),
    "503": (status(503), f"cgr-proxy; fwd=stale; fwd-status=503; {STALE}"),
    "429": (status(429, Retry_After="5"), f"cgr-proxy; fwd=stale; fwd-status=429; {STALE}"),
    "401": (status(401), f"cgr-proxy; fwd=stale; fwd-status=401; {STALE}"),
    "no answer": ({"close": True}, f"cgr-proxy; fwd=stale; {STALE}"),
    "a page in between": (
        {**html_page(), "status": 403},
        f"cgr-proxy; fwd=stale; fwd-status=403; {STALE}",
    ),
    "no HTTP": (garbage(), "cgr-proxy; fwd=stale; ttl=-100; detail=upstream-malformed"),
    "too many headers": (
        header_bomb(),
        "cgr-proxy; fwd=stale; ttl=-100; detail=upstream-malformed",
    ),
    "rubbish": (
        {"status": 200, "body": b"{", "headers": (("Content-Type", "application/json"),)},
        "cgr-proxy; fwd=stale; ttl=-100; detail=upstream-malformed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", list(SILENT))
async def test_a_held_page_is_served_while_the_upstream_cannot_answer(
    tmp_path: Path, what: str
) -> None:
    fault, cache = SILENT[what]
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        first = await page(proxy)
        struck = origin.fault("origin", PAGE, **fault, times=None)
        proxy.clock.advance(400)
        got = await page(proxy)
        assert (got.status, got.body) == (200, first.body)
        assert got.cache in (cache, cache.replace("-100", "-101"))
        assert int(got.header("Age") or "") in (400, 401)
        asked = pages(origin, "alpha")
        again = await page(proxy)  # remembered for some seconds: nobody is asked
        assert (again.status, pages(origin, "alpha")) == (200, asked)
        assert (again.cache or "").startswith("cgr-proxy; hit; ttl=-10")
        struck.clear()


NEWS: dict[str, tuple[dict[str, Any], int]] = {
    "404": (status(404), 404),
    "410": (status(410), 410),
    "403": (status(403, b'{"reason": "MALWARE"}', Content_Type="application/json"), 403),
    "409": (status(409, b'{"reason": "MALWARE"}', Content_Type="application/json"), 409),
}


@pytest.mark.parametrize("what", list(NEWS))
async def test_a_definite_answer_ends_staleness_and_is_remembered(
    tmp_path: Path, what: str
) -> None:
    fault, code = NEWS[what]
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        await page(proxy)
        struck = origin.fault("origin", PAGE, **fault, times=None)
        proxy.clock.advance(301)
        for _ in range(3):
            assert (await page(proxy)).status == code
        assert pages(origin, "alpha") == 2
        (entry,) = proxy.stored()  # of which nothing is left but that it was taken back
        assert json.loads(entry.read_bytes())["size"] == 0
        struck.clear()
        origin.fault("origin", PAGE, **status(503), times=3)
        proxy.clock.advance(31)
        assert (await page(proxy)).status == 503  # what was withdrawn does not come back
        proxy.clock.advance(2)
        assert (await page(proxy)).status == 200


async def test_a_page_that_is_not_there_is_asked_for_every_thirty_seconds(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        missing = "/python/simple/missing/"
        for _ in range(3):
            assert (await fetch(proxy, missing)).status == 404
        assert pages(origin, "missing") == 1
        proxy.clock.advance(29)
        await fetch(proxy, missing)
        assert pages(origin, "missing") == 1
        proxy.clock.advance(2)
        await fetch(proxy, missing)
        assert pages(origin, "missing") == 2


async def test_a_copy_older_than_max_stale_is_refused_and_the_message_says_its_age(
    tmp_path: Path,
) -> None:
    tables = {"cache": {"max_stale": "2h"}}
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        await page(proxy)
        origin.fault("origin", PAGE, **status(503), times=None)
        proxy.clock.advance(2 * HOUR + 290)
        assert (await page(proxy)).status == 200
        proxy.clock.advance(20)
        got = await page(proxy)
        assert (got.status, got.header("Retry-After")) == (503, "30")
        assert "2 h 5 min ago" in got.json()["detail"]
        assert "max_stale" in got.json()["detail"]


async def test_max_stale_of_zero_means_never(tmp_path: Path) -> None:
    tables = {"cache": {"max_stale": "0s"}}
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        await page(proxy)
        origin.fault("origin", PAGE, **status(503), times=None)
        assert (await page(proxy)).status == 200
        proxy.clock.advance(301)
        assert (await page(proxy)).status == 503


async def test_a_slow_upstream_costs_a_held_page_a_moment_and_goes_on_behind(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        first = await page(proxy)
        origin.content.drop("alpha-1.0-py3-none-any.whl")
        held = origin.fault("origin", PAGE, hold=True)
        proxy.clock.advance(301)
        with quick(documents, PATIENCE=0.05):
            got = await page(proxy)
            assert got.body == first.body
            assert got.cache in (
                "cgr-proxy; hit; ttl=-1; detail=stale-while-revalidate",
                "cgr-proxy; hit; ttl=-2; detail=stale-while-revalidate",
            )
            held.release()
            await asyncio.wait_for(origin.journal.idle.wait(), 5)
        assert (await page(proxy)).body != first.body
        assert pages(origin, "alpha") == 2


@pytest.mark.parametrize("step", [400 * 86400.0, -2 * 86400.0, -100.0])
async def test_a_stepped_clock_costs_a_revalidation_and_nothing_else(
    tmp_path: Path, step: float
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        first = await page(proxy)
        missing = await fetch(proxy, "/python/simple/missing/")
        assert missing.status == 404
        for seconds in (step, -step, step):
            proxy.clock.advance(seconds)
            got = await page(proxy)
            assert (got.status, got.body) == (200, first.body)
            assert int(got.header("Age") or "-1") >= 0
        asked = pages(origin, "missing")
        proxy.clock.advance(-step)
        await fetch(proxy, "/python/simple/missing/")
        assert pages(origin, "missing") - asked in (0, 1)
        assert proxy.stored() != []


async def test_a_refusal_that_was_remembered_before_the_clock_went_back_is_forgotten(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        proxy.clock.advance(400 * 86400)
        await fetch(proxy, "/python/simple/missing/")
        proxy.clock.advance(-400 * 86400)
        await fetch(proxy, "/python/simple/missing/")
        assert pages(origin, "missing") == 2


CUT: dict[str, dict[str, Any]] = {
    "with a length": {"cut_at": 100},
    "without a length": {"framing": "close", "cut_at": 100, "cut": "fin"},
    "chunked": {"framing": "chunked", "cut_at": 100},
}


@pytest.mark.parametrize("cut", list(CUT))
@pytest.mark.parametrize("json", [True, False])
async def test_a_cut_page_is_neither_served_nor_kept(
    tmp_path: Path, cut: str, *, json: bool
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.settings.json_index = json
        struck = origin.fault("origin", PAGE, **CUT[cut], times=None)
        assert (await page(proxy)).status in (502, 503)
        assert proxy.stored() == []
        struck.clear()
        proxy.clock.advance(2)
        first = await page(proxy)
        assert first.status == 200
        origin.fault("origin", PAGE, **CUT[cut], times=None, drop_headers=("etag",))
        origin.settings.etag = False
        proxy.clock.advance(301)
        assert (await page(proxy)).body == first.body
