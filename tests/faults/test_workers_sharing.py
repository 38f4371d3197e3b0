"""What several workers know together: what one is told, all go by within a second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.cli import main
from tests.faults.workers import (
    PAGE,
    SIZE,
    SOON,
    alpha,
    crew,
    everywhere,
    lines,
    state,
)
from tests.origin import Content, OriginThread, status
from tests.running import Process, request_bytes, until


@pytest.fixture
def origin() -> Iterator[OriginThread]:
    content = Content.tiny()
    content.synthetic(size=SIZE)
    with OriginThread(content=content) as running:
        yield running


def settle(proxy: Process) -> None:
    """Wait until what one worker has told is known to all: reports go the same way, behind it."""
    for _ in range(2):
        proxy.metrics()


def platform(origin: OriginThread, **more: Any) -> dict[str, dict[str, Any]]:
    """The tables of a proxy that asks the origin's platform."""
    inner = origin.origin
    upstream = {"issuer": inner.issuer_url, "api": inner.api_url}
    return {"upstream": upstream, "entitlements": {"source": "platform", **more}}


def asked_platform(origin: OriginThread) -> int:
    return origin.call(lambda it: it.platform.count("GET", server="api"))


def test_an_artifact_that_is_taken_back_is_withheld_by_all_workers(
    origin: OriginThread, tmp_path: Path
) -> None:
    wheel = alpha(origin)
    with crew(tmp_path, origin, cache={"document_ttl": "1s"}) as proxy:
        assert {one.status for one in everywhere(proxy, wheel.link)} == {200}
        origin.call(lambda it: it.block("alpha", "1.0"))
        until(lambda: proxy.get(wheel.link).status == 403)
        assert {one.status for one in everywhere(proxy, wheel.link)} == {403}


def test_a_not_found_is_asked_for_once_by_all_workers(origin: OriginThread, tmp_path: Path) -> None:
    with crew(tmp_path, origin) as proxy:
        assert proxy.get("/python/simple/nowhere/").status == 404
        settle(proxy)
        asked = origin.count("GET", "/simple/nowhere/")
        assert {one.status for one in everywhere(proxy, "/python/simple/nowhere/")} == {404}
        assert origin.count("GET", "/simple/nowhere/") == asked


def test_a_purge_makes_all_workers_forget_what_they_remember(
    origin: OriginThread, tmp_path: Path
) -> None:
    with crew(tmp_path, origin) as proxy:
        assert {one.status for one in everywhere(proxy, "/python/simple/later/")} == {404}
        origin.call(lambda it: it.content.synthetic("later", size=1000))
        assert proxy.get("/python/simple/later/").status == 404
        file = ["--config", str(tmp_path / "cgr-proxy.toml")]
        assert main(["cache", "purge", *file, "pkg:pypi/later"]) == 0
        until(lambda: proxy.get("/python/simple/later/").status == 200, SOON)
        until(lambda: {one.status for one in everywhere(proxy, "/python/simple/later/")} == {200})


def test_a_page_that_all_workers_have_ready_is_fetched_anew_after_a_purge(
    origin: OriginThread, tmp_path: Path
) -> None:
    with crew(tmp_path, origin) as proxy:
        for _ in range(2):
            assert all(b"alpha-9.9" not in one.body for one in everywhere(proxy, PAGE))
        origin.call(lambda it: it.content.synthetic("alpha", size=1000, version="9.9"))
        file = ["--config", str(tmp_path / "cgr-proxy.toml")]
        assert main(["cache", "purge", *file, "pkg:pypi/alpha"]) == 0
        assert all(b"alpha-9.9" in one.body for one in everywhere(proxy, PAGE))


def test_an_upstream_that_is_down_is_left_alone_by_all_workers_once_one_has_learnt_it(
    origin: OriginThread, tmp_path: Path
) -> None:
    down = origin.fault("origin", "", times=None, **status(503))
    with crew(tmp_path, origin) as proxy:
        with proxy.connect() as one:  # one worker only
            for number in range(6):
                target = f"/python/simple/down-{number}/"
                one.sendall(request_bytes("GET", target, "localhost", {}, close=False))
                assert one.recv(1 << 16).startswith(b"HTTP/1.1 503")
        until(lambda: bool(lines(proxy, "is held to be down")))
        settle(proxy)
        hits = down.hits
        assert {one.status for one in everywhere(proxy, PAGE)} == {503}
        assert down.hits == hits
        assert state(proxy)[1]["status"] == "degraded"
        assert len(lines(proxy, "is held to be down")) == 1


def test_a_pull_token_that_is_refused_is_tried_by_one_worker(
    origin: OriginThread, tmp_path: Path
) -> None:
    with crew(tmp_path, origin) as proxy:
        origin.call(lambda it: it.credentials.retire(it.pair))
        assert proxy.get(PAGE).status == 503
        settle(proxy)
        asked = origin.count("GET", "/simple/")
        assert {one.status for one in everywhere(proxy, PAGE)} == {503}
        assert origin.count("GET", "/simple/") == asked


def test_the_entitlements_are_asked_for_by_one_worker_and_known_to_all(
    origin: OriginThread, tmp_path: Path
) -> None:
    with crew(tmp_path, origin, 2, **platform(origin, refresh="1s")) as proxy:
        assert {one.status for one in everywhere(proxy, PAGE)} == {200}
        asked = asked_platform(origin)
        began = time.monotonic()
        origin.call(lambda it: it.platform.withdraw(it.pair))
        until(lambda: proxy.get(PAGE).status == 403)
        until(lambda: {one.status for one in everywhere(proxy, PAGE)} == {403})
        assert asked_platform(origin) - asked <= time.monotonic() - began + 2
        origin.call(lambda it: it.platform.entitle(it.pair))
        until(lambda: {one.status for one in everywhere(proxy, PAGE)} == {200})
