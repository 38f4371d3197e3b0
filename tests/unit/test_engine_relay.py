"""Two proxies over one store: one body for both, whatever becomes of the one that fetches."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from proxy.cache import flight as flights
from proxy.cache.entry import ArtifactFacts
from proxy.cache.flight import Flight
from proxy.cache.order import Order
from proxy.cache.relay import End, Relay
from proxy.cache.verdicts import to_text
from proxy.errors import NotFound, StorageFailed, Unavailable
from proxy.model import Digest, Source
from proxy.storage.base import Body, Progress, Writer
from proxy.storage.memory import MemoryStorage, MemoryWriter
from tests.engine import KIB, MIB, bodies, fetch, noise, pattern, quick, stream, until
from tests.failing import failing
from tests.origin import Origin, status, wrong_bytes
from tests.running import Running, running

SIZE = 2 * MIB


@asynccontextmanager
async def pair(folder: Path, origin: Origin) -> AsyncIterator[tuple[Running, Running]]:
    """Two proxies over one cache folder."""
    tables = {"cache": {"directory": str(folder / "cache")}}
    async with (
        running(folder / "a", origin, tables) as one,
        running(folder / "b", origin, tables) as two,
    ):
        yield one, two


@pytest.mark.parametrize("size", [40 * KIB, SIZE])
async def test_two_proxies_fetch_one_body(tmp_path: Path, size: int) -> None:
    async with Origin() as origin, pair(tmp_path, origin) as (one, two):
        artifact = noise(origin.content, size)
        held = origin.fault("store", pattern(artifact), hold=True)
        asked = [
            asyncio.create_task(fetch(proxy, artifact.link))
            for proxy in (one, two)
            for _ in range(5)
        ]
        await held.reached()
        await until(lambda: one.app.health.running == two.app.health.running == 5)
        held.release()
        found = await asyncio.gather(*asked)
        assert {(got.complete, got.sha256) for got in found} == {(True, artifact.blob.sha256)}
        assert bodies(origin, artifact) == 1
        for proxy in (one, two):
            assert (await fetch(proxy, artifact.link)).cache == "cgr-proxy; hit"


@pytest.mark.parametrize("size", [40 * KIB, SIZE])
async def test_a_failure_of_one_is_heard_by_the_other(tmp_path: Path, size: int) -> None:
    async with Origin() as origin, pair(tmp_path, origin) as (one, two):
        artifact = noise(origin.content, size)
        held = origin.fault("store", pattern(artifact), hold=True, **wrong_bytes(), times=None)
        leading = asyncio.create_task(fetch(one, artifact.link))
        await held.reached()
        following = asyncio.create_task(fetch(two, artifact.link))
        await until(lambda: bool(two.app.artifacts._flights._running))
        held.release()
        for got in await asyncio.gather(leading, following):
            assert not got.complete or got.status == 502
        assert bodies(origin, artifact) <= 2  # a small one is asked for once more, past caches


async def test_a_refusal_is_passed_on_as_it_is(tmp_path: Path) -> None:
    async with Origin() as origin, pair(tmp_path, origin) as (one, two):
        artifact = noise(origin.content, SIZE)
        refusal = status(403, b'{"reason": "MALWARE"}', Content_Type="application/json")
        held = origin.fault("origin", "^/files/", hold=True, **refusal)
        leading = asyncio.create_task(fetch(one, artifact.link))
        await held.reached()
        following = asyncio.create_task(fetch(two, artifact.link))
        await until(lambda: bool(two.app.artifacts._flights._running))
        held.release()
        found = await asyncio.gather(leading, following)
        assert [got.status for got in found] == [403, 403]
        assert all(b"MALWARE" in got.body for got in found)
        assert origin.count(None, "^/files/") == 1


@pytest.mark.parametrize("sized", [True, False])
async def test_when_the_leading_proxy_stops_the_following_one_goes_on_by_itself(
    tmp_path: Path, *, sized: bool
) -> None:
    async with Origin() as origin, pair(tmp_path, origin) as (one, two):
        origin.settings.sizes = sized
        artifact = noise(origin.content, SIZE)
        stalled = origin.fault(
            "store", pattern(artifact), stall_at=MIB, framing="length" if sized else "chunked"
        )
        leading = asyncio.create_task(fetch(one, artifact.link))
        await stalled.reached()
        following = asyncio.create_task(fetch(two, artifact.link))
        await until(lambda: any(f.visible for f in two.app.artifacts._flights._running.values()))
        await one.app.artifacts.close()
        assert not (await leading).complete
        got = await following
        assert (got.complete, got.sha256) == (True, artifact.blob.sha256)
        ranges = [e.header("range") for e in origin.log if e.server == "store"]
        assert ranges[0] is None
        assert ranges[1] is not None  # the rest only
        assert (await fetch(two, artifact.link)).cache == "cgr-proxy; hit"


async def test_when_the_clients_of_the_leading_proxy_leave_the_others_get_it_all(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, pair(tmp_path, origin) as (one, two):
        origin.settings.sizes = False
        artifact = noise(origin.content, SIZE)
        stalled = origin.fault("store", pattern(artifact), stall_at=MIB, framing="chunked")
        with quick(flights, LEAVE_PAUSE=0.05):
            leading = await (await stream(one, artifact.link)).head()
            await stalled.reached()
            following = asyncio.create_task(fetch(two, artifact.link))
            await until(
                lambda: any(f.visible for f in two.app.artifacts._flights._running.values())
            )
            leading.hang_up()
            got = await following
        assert (got.complete, got.sha256) == (True, artifact.blob.sha256)


async def test_without_a_digest_a_stopped_transfer_is_visibly_broken_everywhere(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, pair(tmp_path, origin) as (one, two):
        origin.settings.sizes = origin.settings.hashes = False
        artifact = noise(origin.content, SIZE)
        stalled = origin.fault("store", pattern(artifact), stall_at=MIB)
        leading = asyncio.create_task(fetch(one, artifact.link))
        await stalled.reached()
        following = asyncio.create_task(fetch(two, artifact.link))
        await until(lambda: any(f.visible for f in two.app.artifacts._flights._running.values()))
        await one.app.artifacts.close()
        assert not (await leading).complete
        assert not (await following).complete
        two.clock.advance(2)
        assert (await fetch(two, artifact.link)).sha256 == artifact.blob.sha256


async def test_when_the_disk_fails_under_the_leading_proxy_both_deliver(tmp_path: Path) -> None:
    async with Origin() as origin, pair(tmp_path, origin) as (one, two):
        artifact = noise(origin.content, SIZE)
        failing(one).fail("write", after=MIB + 100)
        stalled = origin.fault("store", pattern(artifact), stall_at=MIB)
        leading = asyncio.create_task(fetch(one, artifact.link))
        await stalled.reached()
        following = asyncio.create_task(fetch(two, artifact.link))
        await until(lambda: any(f.visible for f in two.app.artifacts._flights._running.values()))
        stalled.release()
        for got in await asyncio.gather(leading, following):
            assert (got.complete, got.sha256) == (True, artifact.blob.sha256)
        await until(lambda: not two.app.artifacts._flights._running)
        assert (await fetch(one, artifact.link)).cache == "cgr-proxy; hit"  # the other stored it


async def test_when_both_disks_fail_both_deliver(tmp_path: Path) -> None:
    async with Origin() as origin, pair(tmp_path, origin) as (one, two):
        artifact = noise(origin.content, SIZE)
        failing(one).fail("write", after=MIB + 100)
        failing(two).fail("claim")
        found = await asyncio.gather(fetch(one, artifact.link), fetch(two, artifact.link))
        assert {(got.complete, got.sha256) for got in found} == {(True, artifact.blob.sha256)}


@pytest.mark.parametrize(
    ("method", "after"), [("write", 0), ("write", 700 * KIB), ("write", MIB + 200), ("view", 0)]
)
async def test_a_disk_without_room_for_a_second_copy_costs_the_following_proxy_no_byte(
    tmp_path: Path, method: str, after: int
) -> None:
    """What it has shown of the first one's body has to be gone on with in memory."""
    async with Origin() as origin, pair(tmp_path, origin) as (one, two):
        artifact = noise(origin.content, SIZE)
        failing(one).fail("write", after=MIB + 100)
        failing(two).fail(method, after=after)
        stalled = origin.fault("store", pattern(artifact), stall_at=MIB)
        leading = asyncio.create_task(fetch(one, artifact.link))
        await stalled.reached()
        following = [asyncio.create_task(fetch(two, artifact.link)) for _ in range(3)]
        await until(lambda: any(f.visible for f in two.app.artifacts._flights._running.values()))
        stalled.release()
        for got in await asyncio.gather(leading, *following):
            assert (got.status, got.complete, got.sha256) == (200, True, artifact.blob.sha256)
        assert len(two.stored()) == 0
        assert list((tmp_path / "cache" / "v2" / "flights").iterdir()) == []


# --- what the other one may leave behind, each ending by itself ---------------------------------

BODY = os.urandom(300 * KIB)


@dataclass
class Elsewhere:
    """A flight of another process that notes what the test wants. Implements `Foreign`."""

    notes: list[Progress]
    writer: Writer | StorageFailed | None = None
    made: MemoryWriter = field(default_factory=MemoryWriter)
    closed: bool = False

    def progress(self) -> Progress:
        return self.notes.pop(0) if len(self.notes) > 1 else self.notes[0]

    def open(self) -> Body | None:
        return self.made.open()

    def adopt(self) -> Writer | None:
        if isinstance(self.writer, StorageFailed):
            raise self.writer
        return self.writer

    def close(self) -> None:
        self.closed = True


def order(digest: Digest | None) -> Order:
    facts = ArtifactFacts("/x", "p", "1", digest, 0, 0)
    return Order("python", "key", "name", Source("/x", "p", "1", digest), lambda: facts)


DIGEST = Digest("sha256", "ab" * 32)
HALF = Progress("running", 200 * KIB, len(BODY), headed=True)


async def follow(foreign: Elsewhere, digest: Digest | None = DIGEST) -> tuple[Flight, object]:
    foreign.made.write(BODY)
    flight = Flight(None)
    flight.attach()
    found = await Relay(MemoryStorage()).follow(flight, order(digest), foreign)
    assert foreign.closed
    return flight, found


async def test_a_body_that_landed_unstored_is_ended_at_its_length() -> None:
    landed = Progress("landed", len(BODY), len(BODY), headed=True)
    flight, found = await follow(Elsewhere([HALF, landed]))
    assert (found, flight.done, flight.record, flight.visible) == (
        End.LANDED, True, None, len(BODY),
    )  # fmt: skip


async def test_a_body_that_landed_unseen_and_unstored_is_claimed_anew() -> None:
    flight, found = await follow(Elsewhere([Progress("landed", len(BODY), len(BODY))]))
    assert (found, flight.done) == (End.ABANDONED, False)


@pytest.mark.parametrize("digest", [DIGEST, None])
async def test_a_body_whose_owner_left_without_a_word_is_never_ended_as_it_is(
    digest: Digest | None,
) -> None:
    flight, found = await follow(Elsewhere([HALF], StorageFailed("the claim is over")), digest)
    assert (found, flight.done) == (End.ABANDONED, False)
    assert flight.visible < HALF.received


async def test_a_stop_without_a_verdict_is_no_failure() -> None:
    flight, found = await follow(Elsewhere([HALF, replace(HALF, state="failed")]))
    assert (found, flight.done) == (End.ABANDONED, False)


async def test_a_verdict_is_the_own_one_too() -> None:
    verdict = replace(HALF, state="failed", error=to_text(NotFound("It is gone.", gone=True)))
    with pytest.raises(NotFound, match="It is gone") as caught:
        await follow(Elsewhere([HALF, verdict]))
    assert caught.value.status == 410


async def test_the_claim_of_a_dead_one_is_taken_over() -> None:
    writer = MemoryWriter()
    _, found = await follow(Elsewhere([HALF], writer))
    assert found is writer


async def test_other_bytes_are_not_shown_to_who_has_a_head_without_a_digest() -> None:
    flight = Flight(None)
    flight.headed = True
    with pytest.raises(Unavailable):
        await Relay(MemoryStorage()).follow(flight, order(None), Elsewhere([HALF]))
