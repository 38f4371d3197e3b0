"""Every limit of the configuration: at it there is a defined answer, and a number moves."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.observe.metrics import LIMITS
from proxy.server import sending
from tests.engine import KIB, MIB, fetch, noise, pattern, quick, stream, until
from tests.faults.aftermath import aftermath
from tests.origin import Origin
from tests.running import Running

PAGE = "/python/simple/alpha/"


async def reached(proxy: Running) -> dict[str, float]:
    """The limits that were reached, and how often."""
    metrics = await proxy.metrics()
    found = {name: metrics[f'cgr_proxy_limit_reached_total{{limit="{name}"}}'] for name in LIMITS}
    return {name: count for name, count in found.items() if count}


async def test_a_connection_too_many_is_ended(tmp_path: Path) -> None:
    tables = {"limits": {"max_connections": 1}}
    async with Origin() as origin, aftermath(tmp_path, origin, tables) as proxy:
        one = await (await stream(proxy, "/healthz")).head()
        assert (await fetch(proxy, "/healthz")).status == 0
        assert await reached(proxy) == {"max_connections": 1}
        assert (await one.rest()).status == 200
        await until(lambda: not proxy.app.listener._server.connections)
        assert (await fetch(proxy, "/healthz")).status == 200


async def test_who_waits_too_long_for_an_upstream_connection_is_told_to_come_back(
    tmp_path: Path,
) -> None:
    tables = {"limits": {"max_upstream_connections": 1, "queue_timeout": "100ms"}}
    async with Origin() as origin, aftermath(tmp_path, origin, tables) as proxy:
        held = origin.fault("origin", "/simple/alpha/", hold=True)
        first = asyncio.create_task(fetch(proxy, PAGE))
        await held.reached()
        got = await fetch(proxy, "/python/simple/beta-pkg/")
        assert (got.status, got.headers["retry-after"]) == (503, "5")
        assert await reached(proxy) == {"queue_timeout": 1}
        held.release()
        assert (await first).status == 200


@contextmanager
def never_accepting() -> Iterator[str]:
    """An address that completes no connection: its line is full, and nobody takes from it."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        line = [socket.socket() for _ in range(4)]
        for one in line:
            one.setblocking(False)
            one.connect_ex(address)
        try:
            yield f"http://127.0.0.1:{address[1]}"
        finally:
            for one in line:
                one.close()


async def test_an_upstream_that_completes_no_connection_is_given_up(tmp_path: Path) -> None:
    with never_accepting() as url:
        tables = {
            "limits": {"connect_timeout": "100ms"},
            "upstream": {"libraries": url},
        }
        async with Origin() as origin, aftermath(tmp_path, origin, tables) as proxy:
            got = await fetch(proxy, PAGE)
            assert (got.status, "retry-after" in got.headers) == (503, True)
            assert set(await reached(proxy)) == {"connect_timeout"}


async def test_an_upstream_that_never_begins_to_answer_is_given_up(tmp_path: Path) -> None:
    tables = {"limits": {"first_byte_timeout": "100ms"}}
    async with Origin() as origin, aftermath(tmp_path, origin, tables) as proxy:
        held = origin.fault("origin", hold=True, times=None)
        got = await fetch(proxy, PAGE)
        assert (got.status, "retry-after" in got.headers) == (503, True)
        assert set(await reached(proxy)) == {"first_byte_timeout"}
        held.clear()


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_document_that_is_too_large_is_refused(tmp_path: Path, framing: str) -> None:
    tables = {"limits": {"max_document": "16KiB"}}
    async with Origin() as origin, aftermath(tmp_path, origin, tables) as proxy:
        large: dict[str, Any] = {"status": 200, "body": bytes(17 * KIB), "framing": framing}
        origin.fault("origin", "/simple/alpha/", times=None, **large)
        got = await fetch(proxy, PAGE)
        assert got.status == 502
        assert b"max_document" in got.body
        assert await reached(proxy) == {"max_document": 1}


async def test_an_upstream_that_drips_is_given_up(tmp_path: Path) -> None:
    async with Origin() as origin, aftermath(tmp_path, origin) as proxy:
        upstream = proxy.app.upstream
        terms = upstream._terms
        terms.limits = replace(terms.limits, rate_window=0.2)
        artifact = noise(origin.content, 40 * KIB)
        fault = origin.fault("store", pattern(artifact), rate=100.0, times=None)
        got = await fetch(proxy, artifact.link)
        assert got.status in (502, 503)
        assert set(await reached(proxy)) == {"min_rate"}
        fault.clear()


async def test_a_client_that_takes_nothing_is_cut_off(tmp_path: Path) -> None:
    async with Origin() as origin, aftermath(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 16 * MIB)
        assert (await fetch(proxy, artifact.link)).sha256 == artifact.blob.sha256
        with quick(sending, RATE_WINDOW=0.2):
            client = await stream(proxy, artifact.link, buffer=8 * KIB)
            await until(lambda: [line["status"] for line in proxy.access()][1:] != [])
        assert not (await client.rest()).complete
        assert await reached(proxy) == {"min_rate_client": 1}
