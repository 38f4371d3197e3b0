"""An artifact never expires, but its right to be served does: news are heeded, silence is not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.cache import artifacts
from tests.engine import (
    KIB,
    MIB,
    Got,
    bodies,
    fetch,
    noise,
    other_noise,
    pages,
    quick,
    stream,
    until,
)
from tests.origin import Artifact, Origin, status
from tests.running import Running, bearer, client, running, token

TTL = 301
FILES = r"^/files/"
ALL_WAYS: dict[str, dict[str, str]] = {
    "GET": {},
    "HEAD": {"method": "HEAD"},
    "Range": {"range": "bytes=5-9"},
    "If-None-Match": {"if_none_match": "*"},
}


async def all_ways(proxy: Running, artifact: Artifact) -> dict[str, Got]:
    return {name: await fetch(proxy, artifact.link, **ALL_WAYS[name]) for name in ALL_WAYS}


async def primed(origin: Origin, proxy: Running, size: int = 600 * KIB) -> Artifact:
    artifact = noise(origin.content, size)
    assert (await fetch(proxy, artifact.link)).sha256 == artifact.blob.sha256
    found = await all_ways(proxy, artifact)
    assert {name: got.status for name, got in found.items()} == {
        "GET": 200, "HEAD": 200, "Range": 206, "If-None-Match": 304,
    }  # fmt: skip
    return artifact


WITHDRAWN: dict[str, tuple[Callable[[Origin, Artifact], object], int]] = {
    "its version is blocked": (lambda origin, _: origin.block("bigblob", "1.0"), 403),
    "its package is blocked": (lambda origin, _: origin.block("bigblob"), 409),
    "its file is blocked, its page is not": (
        lambda origin, _: origin.fault(
            "origin", FILES, times=None,
            **status(409, b'{"reason": "MALWARE"}', Content_Type="application/json"),
        ),
        409,
    ),
    "it was dropped from its page": (
        lambda origin, artifact: (
            origin.content.synthetic(size=KIB, version="2.0"),
            origin.content.drop(artifact.filename),
        ),
        404,
    ),
    "its whole page is gone": (
        lambda origin, artifact: origin.content.drop(artifact.filename),
        404,
    ),
    "its file is gone, its page is not": (
        lambda origin, _: origin.fault("origin", FILES, times=None, **status(410)),
        410,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", list(WITHDRAWN))
@pytest.mark.parametrize("first", list(ALL_WAYS))
async def test_what_the_upstream_takes_back_is_withheld_within_the_ttl_on_every_way(
    tmp_path: Path, what: str, first: str
) -> None:
    withdraw, code = WITHDRAWN[what]
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = await primed(origin, proxy)
        withdraw(origin, artifact)
        proxy.clock.advance(TTL)
        assert (await fetch(proxy, artifact.link, **ALL_WAYS[first])).status == code
        found = await all_ways(proxy, artifact)
        assert {got.status for got in found.values()} == {code}
        assert all(len(got.body) < 2 * KIB for got in found.values())


@pytest.mark.parametrize("refusal", [403, 409, 404])
async def test_what_was_taken_back_stays_withheld_while_the_upstream_is_silent(
    tmp_path: Path, refusal: int
) -> None:
    body = b'{"reason": "MALWARE"}'
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = await primed(origin, proxy)
        blocked = origin.fault(
            "origin", FILES, times=None, **status(refusal, body, Content_Type="application/json")
        )
        proxy.clock.advance(TTL)
        assert (await fetch(proxy, artifact.link)).status == refusal
        blocked.clear()
        down = origin.fault("origin", FILES, times=None, **status(503))
        for _ in range(3):
            proxy.clock.advance(31)
            found = await all_ways(proxy, artifact)
            assert {got.status for got in found.values()} == {refusal}
        down.clear()
        proxy.clock.advance(31)
        got = await fetch(proxy, artifact.link)
        assert (got.cache, got.sha256) == ("cgr-proxy; hit", artifact.blob.sha256)
        assert bodies(origin, artifact) == 1


SILENT: dict[str, dict[str, Any]] = {
    "500": status(500),
    "503": status(503),
    "429": status(429, Retry_After="1"),
    "401": status(401),
    "no answer": {"close": True},
    "a page in between": status(403, b"<html>", Content_Type="text/html"),
}


@pytest.mark.parametrize("what", list(SILENT))
@pytest.mark.parametrize("where", [r"/simple/", FILES, ""])
async def test_silence_withholds_nothing(tmp_path: Path, what: str, where: str) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = await primed(origin, proxy)
        origin.fault("origin", where, times=None, **SILENT[what])
        proxy.clock.advance(TTL)
        got = await fetch(proxy, artifact.link)
        assert (got.status, got.sha256) == (200, artifact.blob.sha256)
        assert "detail=stale-if-error" in got.cache
        assert re.search(r"; ttl=-[1-5];", got.cache)  # just over, give or take a busy machine
        found = await all_ways(proxy, artifact)
        assert [got.status for got in found.values()] == [200, 200, 206, 304]


async def test_with_the_upstream_down_for_a_year_a_stored_artifact_is_served(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = await primed(origin, proxy)
        await origin.close_listener()
        proxy.clock.advance(365 * 86400)
        got = await fetch(proxy, artifact.link)
        assert (got.status, got.sha256) == (200, artifact.blob.sha256)
        assert "detail=stale-if-error" in got.cache
        await origin.reopen()


async def test_a_listing_that_is_lost_does_not_take_its_artifact_along(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = await primed(origin, proxy)
        for entry in proxy.stored():
            if b"/simple/" in entry.read_bytes() and b"document" in entry.read_bytes():
                entry.unlink()
        await origin.close_listener()
        got = await fetch(proxy, artifact.link)
        assert (got.status, got.sha256) == (200, artifact.blob.sha256)
        await origin.reopen()


@pytest.mark.parametrize("where", [r"/simple/", FILES])
@pytest.mark.parametrize("late", [TTL, 90 * 86400])
async def test_a_hit_waits_a_moment_for_its_rights_and_then_goes_on(
    tmp_path: Path, where: str, late: int
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = await primed(origin, proxy)
        held = origin.fault("origin", where, hold=True, times=None)
        proxy.clock.advance(late)
        with quick(artifacts, FOREGROUND=0.1):
            loop = asyncio.get_running_loop()
            started = loop.time()
            got = await fetch(proxy, artifact.link)
            assert got.sha256 == artifact.blob.sha256
            assert loop.time() - started < 5
        held.clear()
        await asyncio.wait_for(origin.journal.idle.wait(), 5)


async def test_a_refusal_that_came_behind_counts_for_the_next_request(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = await primed(origin, proxy)
        held = origin.fault("origin", FILES, hold=True)
        origin.block("bigblob", "1.0")
        proxy.clock.advance(TTL)
        with quick(artifacts, FOREGROUND=0.05):
            assert (await fetch(proxy, artifact.link)).status == 200
        held.release()
        await asyncio.wait_for(origin.journal.idle.wait(), 5)
        assert (await fetch(proxy, artifact.link)).status == 403


async def test_the_rights_of_an_artifact_are_looked_at_once_per_ttl(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = await primed(origin, proxy)
        origin.reset()
        proxy.clock.advance(TTL)
        await asyncio.gather(*(fetch(proxy, artifact.link) for _ in range(10)))
        await all_ways(proxy, artifact)
        assert (origin.count(None, FILES), pages(origin)) == (1, 1)
        assert bodies(origin, artifact) == 0
        proxy.clock.advance(TTL)
        await fetch(proxy, artifact.link)
        assert (origin.count(None, FILES), pages(origin)) == (2, 2)


async def test_another_digest_under_the_same_path_is_fetched_anew(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = await primed(origin, proxy)
        new = other_noise(origin, artifact)
        proxy.clock.advance(TTL)
        etag = f'"sha256:{artifact.blob.sha256}"'
        got = await fetch(proxy, artifact.link, if_none_match=etag, range="bytes=0-")
        assert (got.status, got.sha256) == (206, new.blob.sha256)
        assert (await fetch(proxy, artifact.link)).sha256 == new.blob.sha256


async def test_the_old_bytes_are_not_served_when_the_new_ones_cannot_be_had(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = await primed(origin, proxy)
        other_noise(origin, artifact)
        origin.fault("origin", FILES, times=None, **status(503))
        proxy.clock.advance(TTL)
        assert (await fetch(proxy, artifact.link)).status == 503


async def test_a_listing_that_gives_no_digest_any_more_does_not_cost_a_verified_body(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = await primed(origin, proxy)
        origin.settings.hashes = False
        proxy.clock.advance(TTL)
        got = await fetch(proxy, artifact.link)
        assert (got.cache, bodies(origin, artifact)) == ("cgr-proxy; hit", 1)


async def test_a_digest_that_becomes_known_confirms_what_is_stored_or_replaces_it(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.settings.hashes = False
        artifact = await primed(origin, proxy)
        origin.settings.hashes = True
        proxy.clock.advance(TTL)
        assert (await fetch(proxy, artifact.link)).cache == "cgr-proxy; hit"
        origin.settings.hashes = False
        proxy.clock.advance(TTL)
        await fetch(proxy, artifact.link)
        new = other_noise(origin, artifact)
        origin.settings.hashes = True
        proxy.clock.advance(TTL)
        assert (await fetch(proxy, artifact.link)).sha256 == new.blob.sha256


async def test_rights_are_confirmed_where_the_file_is_now(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, MIB)
        by_name = f"/files/by-name/python/bigblob/{artifact.filename}"
        assert (await fetch(proxy, by_name)).sha256 == artifact.blob.sha256
        origin.content.drop(artifact.filename)
        origin.content.add(replace(artifact, fallback=True))
        for _ in range(2):
            proxy.clock.advance(TTL)
            got = await fetch(proxy, by_name)
            assert (got.cache, got.sha256) == ("cgr-proxy; hit", artifact.blob.sha256)
        assert origin.count("GET", "^/python-upstream/") == 2


async def test_a_replaced_body_does_not_disturb_who_reads_the_old_one(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = await primed(origin, proxy, 8 * MIB)
        reader = await (await stream(proxy, artifact.link, buffer=8192)).head()
        new = other_noise(origin, artifact)
        proxy.clock.advance(TTL)
        assert (await fetch(proxy, artifact.link)).sha256 == new.blob.sha256
        got = await reader.rest()
        assert (got.complete, got.sha256) == (True, artifact.blob.sha256)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("asked", ["page", "file"])
@pytest.mark.parametrize("what", ["its package is blocked", "its whole page is gone"])
async def test_a_page_that_was_taken_back_withholds_what_it_listed_while_the_upstream_is_silent(
    tmp_path: Path, what: str, asked: str, *, restarted: bool
) -> None:
    withdraw, code = WITHDRAWN[what]
    async with Origin() as origin:
        async with running(tmp_path, origin) as proxy:
            artifact = await primed(origin, proxy, 10 * KIB)
            withdraw(origin, artifact)
            proxy.clock.advance(TTL)
            path = artifact.link if asked == "file" else "/python/simple/bigblob/"
            assert (await fetch(proxy, path)).status == code
            await origin.close_listener()
            proxy.clock.advance(TTL)
            found = {} if restarted else await all_ways(proxy, artifact)
        if restarted:
            async with running(tmp_path, origin) as proxy:
                found = await all_ways(proxy, artifact)
        # Whether another index lists a file whose page is gone cannot be told now.
        assert {got.status for got in found.values()} == {503 if code == 404 else code}
        await origin.reopen()
        origin.unblock("bigblob")
        origin.content.add(artifact)
        async with running(tmp_path, origin) as proxy:
            assert (await fetch(proxy, artifact.link)).sha256 == artifact.blob.sha256


REPLACED: dict[str, Callable[[Origin, Artifact], object]] = {
    "other bytes": other_noise,
    "it is off its page": lambda origin, artifact: (
        origin.content.synthetic(size=KIB, version="2.0"),
        origin.content.drop(artifact.filename),
    ),
}


@pytest.mark.parametrize("what", list(REPLACED))
async def test_what_a_page_has_said_of_an_artifact_counts_when_the_page_itself_is_too_old(
    tmp_path: Path, what: str
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = await primed(origin, proxy, 10 * KIB)
        REPLACED[what](origin, artifact)
        proxy.clock.advance(TTL)
        assert (await fetch(proxy, "/python/simple/bigblob/")).status == 200
        await origin.close_listener()
        proxy.clock.advance(2 * 86_400)  # longer than max_stale
        assert (await fetch(proxy, "/python/simple/bigblob/")).status == 503
        found = await all_ways(proxy, artifact)
        assert {got.status for got in found.values()} <= {503, 404}
        await origin.reopen()


@pytest.mark.parametrize("what", ["its package is blocked", "its whole page is gone"])
async def test_an_artifact_that_was_refused_with_its_page_stays_so_though_the_page_was_evicted(
    tmp_path: Path, what: str
) -> None:
    withdraw, code = WITHDRAWN[what]
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = await primed(origin, proxy, 10 * KIB)
        withdraw(origin, artifact)
        for entry in proxy.stored():
            if b"/simple/" in entry.read_bytes() and b"document" in entry.read_bytes():
                entry.unlink()
        proxy.clock.advance(TTL)
        assert (await fetch(proxy, artifact.link)).status == code
        await origin.close_listener()
        proxy.clock.advance(TTL)
        found = await all_ways(proxy, artifact)
        assert {got.status for got in found.values()} == {code}
        await origin.reopen()
        origin.unblock("bigblob")
        origin.content.add(artifact)
        proxy.clock.advance(TTL)
        await until(lambda: not proxy.app.upstream.open_breakers)
        assert (await fetch(proxy, artifact.link)).sha256 == artifact.blob.sha256


async def test_who_may_not_ask_the_page_of_an_artifact_withholds_it_from_nobody(
    tmp_path: Path,
) -> None:
    tables = {"clients": [client("right", "python"), client("other", "java")]}
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        artifact = noise(origin.content, 10 * KIB)
        right = {"authorization": bearer(token("right"))}
        other = {"authorization": bearer(token("other"))}
        assert (await fetch(proxy, artifact.link, **right)).status == 200
        assert (await fetch(proxy, artifact.link, **other)).status == 403
        await origin.close_listener()
        proxy.clock.advance(TTL)
        assert (await fetch(proxy, artifact.link, **right)).status == 200
        await origin.reopen()
