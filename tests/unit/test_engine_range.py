"""A part of an artifact is a part of a verified one, and never joined to what was not."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.server import handler
from tests.engine import KIB, MIB, bodies, data_of, fetch, noise, pattern, quick, stream, until
from tests.origin import Origin, wrong_bytes
from tests.running import running

SIZE = MIB


async def test_the_etag_of_a_flight_is_its_own_and_never_good_for_the_rest(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, SIZE)
        origin.fault("store", pattern(artifact), **wrong_bytes())
        broken = await fetch(proxy, artifact.link)
        etag = broken.headers["etag"]
        assert not broken.complete
        proxy.clock.advance(2)
        part = f"bytes={len(broken.body)}-"
        for cache in ("cgr-proxy; fwd=miss; stored", "cgr-proxy; hit"):
            got = await fetch(proxy, artifact.link, range=part, if_range=etag)
            assert (got.status, got.complete, got.sha256) == (200, True, artifact.blob.sha256)
            assert got.cache == cache


async def test_each_flight_has_another_etag_and_the_stored_one_has_its_digest(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, SIZE)
        origin.fault("store", pattern(artifact), **wrong_bytes(), times=2)
        etags = []
        for _ in range(3):
            etags.append((await fetch(proxy, artifact.link)).headers["etag"])
            proxy.clock.advance(2)
        assert len(set(etags)) == 3
        assert all(etag.startswith('"f-') for etag in etags)
        assert (await fetch(proxy, artifact.link)).headers["etag"] == (
            f'"sha256:{artifact.blob.sha256}"'
        )


async def test_a_bare_range_soon_after_a_failed_transfer_gets_the_whole(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, SIZE)
        origin.fault("store", pattern(artifact), **wrong_bytes())
        assert not (await fetch(proxy, artifact.link)).complete
        proxy.clock.advance(2)
        assert (await fetch(proxy, artifact.link)).complete
        etag = f'"sha256:{artifact.blob.sha256}"'
        bare = await fetch(proxy, artifact.link, range="bytes=10-")
        assert (bare.status, bare.sha256) == (200, artifact.blob.sha256)
        sure = await fetch(proxy, artifact.link, range="bytes=10-", if_range=etag)
        assert (sure.status, sure.body) == (206, data_of(artifact)[10:])
        proxy.clock.advance(601)
        late = await fetch(proxy, artifact.link, range="bytes=10-")
        assert (late.status, late.body) == (206, data_of(artifact)[10:])


async def test_a_range_of_a_cold_artifact_waits_for_the_verdict(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, SIZE)
        got = await fetch(proxy, artifact.link, range="bytes=-7")
        assert (got.status, got.body) == (206, data_of(artifact)[-7:])
        assert got.headers["content-range"] == f"bytes {SIZE - 7}-{SIZE - 1}/{SIZE}"


async def test_a_range_of_a_wrong_cold_artifact_is_an_error_and_no_part(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, SIZE)
        origin.fault("store", pattern(artifact), **wrong_bytes())
        got = await fetch(proxy, artifact.link, range="bytes=500000-")
        assert (got.status, got.complete) == (502, True)


async def test_a_range_that_would_wait_too_long_gets_the_whole_from_the_flight(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, SIZE)
        stalled = origin.fault("store", pattern(artifact), stall_at=500 * KIB)
        with quick(handler, RANGE_PATIENCE=0.05):
            client = await (await stream(proxy, artifact.link, range="bytes=500000-")).head()
        assert (client.status, client.headers["content-length"]) == (200, str(SIZE))
        stalled.release()
        assert (await client.rest()).sha256 == artifact.blob.sha256


@pytest.mark.parametrize("cold", [True, False])
async def test_a_head_request_has_no_range(tmp_path: Path, *, cold: bool) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, SIZE)
        if not cold:
            await fetch(proxy, artifact.link)
        got = await fetch(proxy, artifact.link, method="HEAD", range="bytes=0-9")
        assert (got.status, got.headers["content-length"]) == (200, str(SIZE))


async def test_if_none_match_of_a_stored_artifact_is_304_without_a_body(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, SIZE)
        await fetch(proxy, artifact.link)
        etag = f'"sha256:{artifact.blob.sha256}"'
        got = await fetch(proxy, artifact.link, if_none_match=etag)
        assert (got.status, got.body, got.headers["etag"]) == (304, b"", etag)
        assert bodies(origin, artifact) == 1


async def test_a_part_that_was_gone_for_a_stopped_flight_is_not_joined_to_the_next(
    tmp_path: Path,
) -> None:
    async with Origin() as origin:
        artifact = noise(origin.content, SIZE)
        stalled = origin.fault("store", pattern(artifact), stall_at=500 * KIB)
        async with running(tmp_path, origin) as proxy:
            client = await (await stream(proxy, artifact.link)).head()
            await stalled.reached()
            for task in list(proxy.app.artifacts._flights._leaders.values()):
                task.cancel()
            assert not (await client.rest()).complete
            await until(lambda: not proxy.app.artifacts._flights._leaders)
            assert (await fetch(proxy, artifact.link, range="bytes=400000-")).status == 200
