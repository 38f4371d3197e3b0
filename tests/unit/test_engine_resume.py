"""A broken upstream transfer is resumed where the digest tells; nothing is ever spliced."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.cache import transfer
from tests.engine import (
    KIB,
    MIB,
    bodies,
    data_of,
    fetch,
    noise,
    other_noise,
    pattern,
    quick,
    stream,
)
from tests.origin import Origin, status, wrong_content_range
from tests.running import running

SIZE = MIB


@pytest.mark.parametrize("cut_at", [0, 1, 40 * KIB, 256 * KIB, 256 * KIB + 1, SIZE - 1, SIZE])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_transfer_that_broke_off_goes_on_where_it_was(
    tmp_path: Path, cut_at: int, framing: str
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, SIZE)
        origin.fault("store", pattern(artifact), cut_at=cut_at, framing=framing)
        got = await fetch(proxy, artifact.link)
        assert (got.status, got.complete, got.sha256) == (200, True, artifact.blob.sha256)
        sent = origin.journal.body_bytes["store"]
        assert sent <= 2 * SIZE - cut_at or cut_at < MIB
        assert (await fetch(proxy, artifact.link)).cache == "cgr-proxy; hit"


async def test_all_bytes_with_the_right_digest_are_enough_whatever_the_framing(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.settings.sizes = False
        artifact = noise(origin.content, SIZE)
        origin.fault("store", pattern(artifact), cut_at=SIZE, framing="chunked", cut="fin")
        got = await fetch(proxy, artifact.link)
        assert (got.complete, got.sha256) == (True, artifact.blob.sha256)
        assert bodies(origin, artifact) == 1


async def test_a_resumed_transfer_asks_for_a_fresh_redirect_when_the_signed_url_has_ended(
    tmp_path: Path,
) -> None:
    now = [time.time()]
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.settings.clock = lambda: now[0]
        artifact = noise(origin.content, SIZE)
        cut = origin.fault("store", pattern(artifact), stall_at=300 * KIB, cut_at=300 * KIB)
        asked = asyncio.create_task(fetch(proxy, artifact.link))
        await cut.reached()
        now[0] += 3600
        cut.release()
        got = await asked
        assert (got.complete, got.sha256) == (True, artifact.blob.sha256)
        assert len({entry.target for entry in origin.log if entry.server == "store"}) == 2
        assert origin.journal.counters["presigned_expired"] == 0


async def test_a_signed_url_that_has_ended_on_arrival_is_asked_for_anew(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, SIZE)
        origin.fault("store", pattern(artifact), **status(403, b"<Error/>"))
        assert (await fetch(proxy, artifact.link)).sha256 == artifact.blob.sha256


@pytest.mark.parametrize("oddity", ["ignored", "lied about", "refused"])
async def test_a_range_that_is_not_honoured_is_made_up_for(tmp_path: Path, oddity: str) -> None:
    answer: dict[str, Any] = {
        "ignored": {"ignore_range": True},
        "lied about": wrong_content_range(),
        "refused": status(416),
    }[oddity]
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, SIZE)
        origin.fault("store", pattern(artifact), cut_at=300 * KIB)
        times = 2 if oddity == "refused" else 1  # the upstream room asks twice
        origin.fault("store", pattern(artifact), **answer, times=times)
        got = await fetch(proxy, artifact.link)
        assert (got.complete, got.sha256) == (True, artifact.blob.sha256)
        assert bodies(origin, artifact) <= 4


@pytest.mark.parametrize("cut_at", [40 * KIB, 300 * KIB])
async def test_bytes_that_changed_between_two_pieces_are_never_spliced(
    tmp_path: Path, cut_at: int
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, SIZE)
        cut = origin.fault("store", pattern(artifact), stall_at=cut_at, cut_at=cut_at)
        asked = asyncio.create_task(fetch(proxy, artifact.link))
        await cut.reached()
        changed = other_noise(origin, artifact)
        cut.release()
        assert not (await asked).complete
        assert len(proxy.stored()) == 1
        proxy.clock.advance(301)
        assert (await fetch(proxy, artifact.link)).sha256 == changed.blob.sha256


async def test_without_a_digest_a_small_body_begins_again_and_a_large_one_ends(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.settings.hashes = origin.settings.sizes = False
        small = noise(origin.content, 200 * KIB, name="small")
        origin.fault("store", pattern(small), cut_at=40 * KIB, flip_at=0)
        got = await fetch(proxy, small.link)
        assert (got.complete, got.sha256) == (True, small.blob.sha256)
        large = noise(origin.content, SIZE)
        origin.fault("store", pattern(large), cut_at=600 * KIB, flip_at=0)
        assert not (await fetch(proxy, large.link)).complete
        assert bodies(origin, large) == 1
        assert all(e.header("range") is None for e in origin.log)


async def test_an_upstream_that_only_ever_sends_a_little_is_given_up(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, SIZE)
        origin.fault("store", pattern(artifact), cut_at=10 * KIB, times=None)
        got = await fetch(proxy, artifact.link)
        assert not got.complete
        assert bodies(origin, artifact) <= 1 + transfer.MAX_BREAKS


async def test_a_drip_is_cut_off_and_not_resumed(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, SIZE)
        origin.fault("store", pattern(artifact), rate=10, times=None)
        terms = proxy.app.upstream._terms
        terms.limits = replace(terms.limits, rate_window=0.3)
        with quick(transfer, RATE_WINDOW=0.3):
            got = await fetch(proxy, artifact.link)
        assert not got.complete
        assert bodies(origin, artifact) == 1
        proxy.clock.advance(2)
        origin.faults.clear()
        assert (await fetch(proxy, artifact.link)).sha256 == artifact.blob.sha256


async def test_a_slow_upstream_is_not_held_against_the_client(tmp_path: Path) -> None:
    shown = 700 * KIB - 64 * KIB
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, SIZE)
        stalled = origin.fault("store", pattern(artifact), stall_at=700 * KIB)
        client = await (await stream(proxy, artifact.link)).head()
        with quick(transfer, RATE_WINDOW=0.05):
            first = await client.exactly(shown)
            more = asyncio.create_task(client.exactly(SIZE - shown))
            await asyncio.wait({more}, timeout=0.3)
            stalled.release()
            assert first + await more == data_of(artifact)
        client.close()
