"""What is plainly not here is begun without waiting; whatever is not plain is left to `get`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.cache.artifacts import Flying, Stored
from proxy.cache.flight import SMALL
from proxy.ecosystems import ECOSYSTEMS
from proxy.errors import DigestMismatch, NotFound, Unavailable
from proxy.model import ArtifactTarget, DocumentTarget, Grant, Links
from proxy.server.canonical import canonicalise
from proxy.storage.layout import VERSION
from tests.engine import (
    KIB,
    LIMIT,
    bodies,
    data_of,
    fetch,
    noise,
    pattern,
    until,
)
from tests.failing import failing
from tests.origin import Origin, status, wrong_bytes
from tests.running import Running, running, samples

PAGE = "/python/simple/bigblob/"
LINKS = Links("")
BROKEN = "cgr-proxy; fwd=miss"


class Room:
    """The artifacts of a proxy, asked for one of them by its path."""

    def __init__(self, proxy: Running, path: str, *scopes: str) -> None:
        self.artifacts = proxy.app.artifacts
        line = canonicalise("GET", path, host="localhost")
        name = path.split("/")[1]
        self.ecosystem = next(one for one in ECOSYSTEMS if name in (one.name, "files"))
        found = self.ecosystem.classify(line)
        assert isinstance(found, ArtifactTarget)
        self.target = found
        self.grant = Grant("somebody", self.ecosystem.name, frozenset(scopes or {found.scope}))

    def begin(self) -> Flying | None:
        return self.artifacts.begin(self.ecosystem, self.target, self.grant)

    def begun(self) -> Flying:
        flying = self.begin()
        assert flying is not None
        return flying

    async def get(self) -> Stored | Flying:
        found = await self.artifacts.get(self.ecosystem, self.target, self.grant, LINKS)
        assert isinstance(found, Stored | Flying)
        return found

    async def ended(self, flying: Flying) -> Stored:
        """What it has landed as; to be closed."""
        assert await flying.follower.settled(None)
        stored = self.artifacts.landed(flying)
        assert stored is not None
        return stored


async def listed(proxy: Running, page: str = PAGE) -> bytes:
    """Have a listing in memory, and its table; how a client gets it. (An entry is known by its file
    only when that is a moment old.)"""
    line = canonicalise("GET", page, host="localhost")
    name = line.segments[0].removesuffix("-remediated")
    ecosystem = next(one for one in ECOSYSTEMS if one.name == name)
    target = ecosystem.classify(line)
    assert isinstance(target, DocumentTarget)
    async with asyncio.timeout(LIMIT):
        while True:
            got = await proxy.get(page)
            assert got.status == 200
            if proxy.app.documents.in_memory(ecosystem, target)[0] is not None:
                return got.body


async def test_it_lands_as_what_get_would_have_brought(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        one, other = (noise(origin.content, 40 * KIB, name=name) for name in ("one", "other"))
        await listed(proxy, "/python/simple/one/")
        await listed(proxy, "/python/simple/other/")
        room = Room(proxy, one.link)
        stored = await room.ended(room.begun())
        same = await Room(proxy, other.link).get()
        assert isinstance(same, Stored)
        assert (stored.content, same.content) == (data_of(one), data_of(other))
        assert stored.status == same.status
        assert stored.record.fields.keys() == same.record.fields.keys()
        differ = {"location", "package", "digest", "listing", "listing_sha256"}
        times = {"fetched_at", "checked_at"}
        for name in stored.record.fields.keys() - differ - times:
            assert stored.record.fields[name] == same.record.fields[name], name
        stored.close()
        same.close()
        assert (bodies(origin, one), bodies(origin, other)) == (1, 1)
        assert (await fetch(proxy, one.link)).cache == "cgr-proxy; hit"


async def test_a_package_of_another_ecosystem_is_begun_too(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        packument = json.loads(await listed(proxy, "/javascript/fallback-js"))
        latest = packument["versions"][packument["dist-tags"]["latest"]]
        path = "/" + latest["dist"]["tarball"].split("/", 3)[3]
        room = Room(proxy, path)
        stored = await room.ended(room.begun())
        stored.close()
        assert str(stored.status) == "cgr-proxy; fwd=miss; stored"
        again = await proxy.get(path)
        assert (again.status, again.cache) == (200, "cgr-proxy; hit")


async def test_who_comes_while_it_flies_joins_it(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)
        await listed(proxy)
        held = origin.fault("store", pattern(artifact), hold=True)
        room = Room(proxy, artifact.link)
        first = room.begun()
        await held.reached()
        second, third = room.begun(), asyncio.create_task(fetch(proxy, artifact.link))
        await until(lambda: proxy.app.health.running == 1)
        held.release()
        ends = [await room.ended(flying) for flying in (first, second)]
        assert [str(stored.status) for stored in ends] == [
            "cgr-proxy; fwd=miss; stored",
            "cgr-proxy; fwd=miss; collapsed",
        ]
        for stored in ends:
            stored.close()
        assert (await third).cache == "cgr-proxy; fwd=miss; collapsed"
        assert (await followers(proxy), bodies(origin, artifact)) == (2, 1)


async def followers(proxy: Running) -> float:
    """How many have joined a flight."""
    known = samples((await proxy.get("/metrics", url=proxy.admin_url)).body)
    return sum(
        count for name, count in known.items() if "follower" in name and "created" not in name
    )


# --- what is left to `get` ----------------------------------------------------------------------


async def test_what_is_here_is_not_begun(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)
        await fetch(proxy, artifact.link)
        assert Room(proxy, artifact.link).begin() is None


async def test_nothing_is_begun_whose_listing_is_not_in_memory(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)
        assert Room(proxy, artifact.link).begin() is None
        assert origin.count("GET", ".*", "origin") == 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda proxy, _: proxy.clock.advance(3600),
        lambda proxy, target: (
            proxy.app.documents.doubt(ECOSYSTEMS[0], target.listed_in[0], sha256_of(proxy, target))
            or proxy.clock.advance(6)
        ),
    ],
    ids=["stale", "doubted"],
)
async def test_nothing_is_begun_by_a_listing_that_must_be_asked_again(
    tmp_path: Path, spoil: Callable[[Running, ArtifactTarget], object]
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)
        await listed(proxy)
        room = Room(proxy, artifact.link)
        spoil(proxy, room.target)
        asked = origin.count("GET", PAGE, "origin")
        assert room.begin() is None
        got = await fetch(proxy, artifact.link)
        assert (got.cache, got.sha256) == ("cgr-proxy; fwd=miss; stored", artifact.blob.sha256)
        assert origin.count("GET", PAGE, "origin") == asked + 1


def sha256_of(proxy: Running, target: ArtifactTarget) -> str:
    """Of the listing that is held."""
    held, _ = proxy.app.documents.in_memory(ECOSYSTEMS[0], target.listed_in[0])
    assert held is not None
    return held.sha256


async def test_what_no_listing_names_and_what_may_not_be_asked_is_not_begun(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)
        await listed(proxy)
        unlisted = artifact.link.replace("bigblob-1.0", "bigblob-9.9")
        assert Room(proxy, unlisted).begin() is None
        assert Room(proxy, artifact.link, "python-remediated").begin() is None
        with pytest.raises(NotFound):
            await Room(proxy, unlisted).get()


async def test_the_listing_that_names_it_may_be_the_second_one(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        one = noise(origin.content, 40 * KIB)
        filename = one.filename.replace("1.0", "2.0")
        other = replace(one, filename=filename, version="2.0", index="python-remediated")
        origin.content.add(other)
        room = Room(proxy, other.link, "python", "python-remediated")
        await listed(proxy)
        assert room.begin() is None  # only the one that does not name it is in memory
        await listed(proxy, "/python-remediated/simple/bigblob/")
        stored = await room.ended(room.begun())
        stored.close()
        assert stored.record.fields["listing"] == "/python-remediated/simple/bigblob/"
        assert (await fetch(proxy, other.link)).cache == "cgr-proxy; hit"


async def test_nothing_is_begun_that_the_upstream_has_just_refused(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)
        await listed(proxy)
        origin.fault("origin", pattern(artifact), **status(404))
        assert (await fetch(proxy, artifact.link)).status == 404
        assert Room(proxy, artifact.link).begin() is None
        assert (await fetch(proxy, artifact.link)).status == 404


async def test_after_wrong_bytes_only_get_knows_whom_to_ask(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)
        await listed(proxy)
        origin.fault("store", pattern(artifact), **wrong_bytes(), times=2)
        room = Room(proxy, artifact.link)
        flying = room.begun()
        with pytest.raises(DigestMismatch):
            await flying.follower.settled(None)
        flying.close()
        proxy.clock.advance(4)  # what it failed with is over, not the mistrust
        assert sha256_of(proxy, room.target)
        assert room.begin() is None
        assert (await fetch(proxy, artifact.link)).sha256 == artifact.blob.sha256


async def test_what_is_listed_as_large_is_not_begun(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, SMALL + 1)
        await listed(proxy)
        assert Room(proxy, artifact.link).begin() is None


async def test_nothing_is_begun_that_has_no_digest_of_its_own(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)
        await listed(proxy)
        assert Room(proxy, f"{artifact.link}.metadata").begin() is None


# --- what is gone on with -----------------------------------------------------------------------


async def test_who_cannot_send_it_goes_on_with_it_as_if_nothing_had_been_begun(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)
        await listed(proxy)
        held = origin.fault("store", pattern(artifact), hold=True)
        room = Room(proxy, artifact.link)
        begun = [room.begun(), room.begun()]
        await held.reached()
        followed = [asyncio.create_task(room.artifacts.follow(one)) for one in begun]
        held.release()
        found = [await one for one in followed]
        assert all(isinstance(one, Stored) for one in found)
        assert [str(one.status) for one in found] == [
            "cgr-proxy; fwd=miss; stored",
            "cgr-proxy; fwd=miss; collapsed",
        ]
        for one in found:
            one.close()
        assert (await followers(proxy), bodies(origin, artifact)) == (1, 1)


async def test_its_failure_is_told_to_who_goes_on_with_it(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)
        await listed(proxy)
        origin.fault("origin", pattern(artifact), **status(404))
        room = Room(proxy, artifact.link)
        flying = room.begun()
        with pytest.raises(NotFound):
            await room.artifacts.follow(flying)
        assert not flying.follower.flight._followers


async def test_what_the_disk_did_not_take_is_there_for_who_goes_on_with_it(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)
        await listed(proxy)
        failing(proxy).fail("claim")
        room = Room(proxy, artifact.link)
        found = await room.artifacts.follow(room.begun())
        assert isinstance(found, Flying)
        assert (str(found.status), found.follower.flight.size) == (BROKEN, 40 * KIB)
        found.close()


async def test_one_that_nobody_leads_ends_with_the_proxy(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)
        await listed(proxy)
        held = origin.fault("origin", pattern(artifact), hold=True)
        room = Room(proxy, artifact.link)
        flying = room.begun()
        assert proxy.app.artifacts._flights._untended
        await held.reached()
        async with asyncio.timeout(LIMIT):
            await proxy.app.artifacts.close()
        with pytest.raises(Unavailable):
            await flying.follower.settled(None)
        flying.close()
        flights = proxy.app.artifacts._flights
        assert not flights._running
        assert not flights._leaders
        assert not flights._untended
        held.release()


async def test_one_that_nobody_leads_is_stopped_when_nobody_waits_for_it_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.cache.flight.LEAVE_PAUSE", 0.05)
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)
        await listed(proxy)
        held = origin.fault("origin", pattern(artifact), hold=True)
        flying = Room(proxy, artifact.link).begun()
        flight = flying.follower.flight
        flight.size = None  # its listing does not say
        await held.reached()
        flying.close()
        await until(lambda: flight.done)
        assert (flight.stopped, proxy.app.artifacts._flights._running) == (True, {})
        held.release()
        got = await fetch(proxy, artifact.link)
        assert (got.status, got.body) == (200, data_of(artifact))


@pytest.mark.parametrize("closing", [False, True])
async def test_one_that_is_stopped_when_a_task_has_just_been_told_to_go_on_comes_to_an_end(
    tmp_path: Path, *, closing: bool
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)
        await listed(proxy)
        held = origin.fault("origin", pattern(artifact), hold=True)
        flying = Room(proxy, artifact.link).begun()
        flights = proxy.app.artifacts._flights
        await held.reached()
        (untended,) = flights._untended.values()
        untended.stop()
        await asyncio.sleep(0)
        assert flights._leaders
        if closing:
            await flights.close()
        else:
            flying.follower.flight._stop()  # type: ignore[misc]
        with pytest.raises(Unavailable):
            assert await flying.follower.settled(LIMIT)
        flying.close()
        await until(lambda: not (flights._running or flights._leaders or flights._untended))
        assert not list((tmp_path / "cache" / VERSION / "flights").iterdir())
        held.release()


async def test_a_defect_on_the_way_without_a_task_holds_neither_flight_nor_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        Origin() as origin,
        running(tmp_path, origin, tracebacks=True) as proxy,
    ):
        artifact = noise(origin.content, 40 * KIB)
        await listed(proxy)
        room = Room(proxy, artifact.link)

        def broken(*_: object) -> None:
            raise RuntimeError

        with monkeypatch.context() as changed:
            changed.setattr(type(proxy.app.upstream), "put", broken)
            stored = await room.ended(room.begun())
        assert stored.content == data_of(artifact)
        stored.close()
        assert bodies(origin, artifact) == 1
