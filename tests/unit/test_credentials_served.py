"""Tokens that change, end and are exchanged, under a proxy that serves: what its clients notice.

The load revalidates every page, so that each request reaches the upstream; a page served stale in
place of a failure counts as a failure here. `CGR_PROXY_TEST_ROTATION` gives the seconds of the
rotation, 10 where it is not set.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.access.exchange import TRIES
from tests.origin import Origin, OriginThread, status
from tests.origin.credentials import Pair
from tests.running import Process, Running, basic, process, running

PAGE = "/python/simple/alpha/"
PROJECTS = ("alpha", "beta-pkg", "fallback-only")
OTHER = "/python/simple/beta-pkg/"
ROTATION = float(os.environ.get("CGR_PROXY_TEST_ROTATION", "10"))
INTERVAL = 0.2
NOTICED = 10.0  # seconds within which a new token is in use
OVERLAP = 9.0  # seconds for which the upstream takes an old one after it was replaced
BREATH = 0.01  # seconds: 20 pages for each pair, and a processor left for the other tests
DAY = 86400.0


def upstream(origin: Origin) -> dict[str, Any]:
    return {
        "libraries": origin.url,
        "redirect_hosts": [origin.store_url.partition("//")[2]],
        "allow_networks": ["127.0.0.0/8"],
        "allow_insecure": True,
        "issuer": origin.issuer_url,
        "api": origin.api_url,
    }


# --- rotation on disk --------------------------------------------------------------------------


class Swapped:
    """A Kubernetes secret volume: two files behind a link that is replaced."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.numbers = itertools.count()
        self.source = {
            "username_file": str(folder / "username"),
            "password_file": str(folder / "password"),
        }
        folder.mkdir(parents=True)
        for name in ("username", "password"):
            (folder / name).symlink_to(Path("..data", name))

    def write(self, pair: Pair) -> None:
        version = self.folder / f"..{next(self.numbers)}"
        version.mkdir()
        (version / "username").write_text(pair.username)
        (version / "password").write_text(pair.password)
        fresh = self.folder / "..data_tmp"
        fresh.symlink_to(version.name)
        fresh.rename(self.folder / "..data")


class Renamed:
    """A file of two lines that another one is renamed to."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.file = folder / "pair"
        self.source = {"pair_file": str(self.file)}

    def write(self, pair: Pair) -> None:
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{pair.username}\n{pair.password}\n")
        fresh.rename(self.file)


class InPlace(Renamed):
    """A Docker config.json that is written over, in pieces."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.source = {"docker_config": str(self.file)}

    def write(self, pair: Pair) -> None:
        auth = basic(pair.password, pair.username.replace("/", "_")).removeprefix("Basic ")
        text = f'{{"auths": {{"cgr.dev": {{"auth": "{auth}"}}}}}}'
        with self.file.open("w") as stream:
            for start in range(0, len(text), 300):
                stream.write(text[start : start + 300])
                stream.flush()


class Rotation(threading.Thread):
    """Writes a new pair five times a second. `written`: each with the moment it was there."""

    def __init__(self, origin: OriginThread, volume: Swapped | Renamed, first: Pair) -> None:
        super().__init__(daemon=True)
        self.origin, self.volume = origin, volume
        self.written = [(first, time.monotonic())]
        self.ending = threading.Event()
        self.retired = 0

    def run(self) -> None:
        while not self.ending.wait(INTERVAL):
            pair = self.origin.call(lambda origin: origin.credentials.issue())
            self.volume.write(pair)
            self.written.append((pair, time.monotonic()))
            self.retire(time.monotonic())

    def retire(self, now: float) -> None:
        """The upstream takes a replaced pair for a while only."""
        while now - self.written[self.retired + 1][1] > OVERLAP:
            old = self.written[self.retired][0]
            self.origin.call(lambda origin, old=old: origin.credentials.retire(old))  # type: ignore[misc]
            self.retired += 1

    def end(self) -> Pair:
        self.ending.set()
        self.join(10)
        return self.written[-1][0]


class Load(threading.Thread):
    """Asks for pages, one after the other with a breath between. `seen`: status and Cache-Status
    of each answer."""

    def __init__(self, proxy: Process, ending: threading.Event) -> None:
        super().__init__(daemon=True)
        self.proxy, self.ending = proxy, ending
        self.seen: Counter[str] = Counter()

    def run(self) -> None:
        for project in itertools.cycle(PROJECTS):
            if self.ending.wait(BREATH):
                return
            answer = self.proxy.get(f"/python/simple/{project}/")
            failed = answer.status != 200 or "stale-if-error" in (answer.cache or "")
            self.seen[f"{answer.status} {answer.cache}" if failed else "good"] += 1


@pytest.fixture
def origin() -> Iterator[OriginThread]:
    with OriginThread() as started:
        yield started
        assert started.violations == []


def lateness(origin: OriginThread, written: list[tuple[Pair, float]]) -> list[float]:
    """For each request upstream: seconds since the pair it came with was replaced on disk."""
    shift = time.time() - time.monotonic()
    replaced: dict[str, float] = {}
    for (pair, _), (_, later) in itertools.pairwise(written):
        for username in (pair.username, pair.username.replace("/", "_")):
            replaced[basic(pair.password, username)] = later + shift
    return [
        entry.at - replaced.get(entry.header("authorization") or "", entry.at)
        for entry in origin.log
        if entry.server == "origin"
    ]


@pytest.mark.parametrize("kind", [Swapped, Renamed, InPlace])
def test_a_token_that_changes_five_times_a_second_costs_no_request(
    origin: OriginThread, tmp_path: Path, kind: Callable[[Path], Swapped | Renamed]
) -> None:
    volume = kind(tmp_path / "volume")
    first = origin.call(lambda inner: inner.pair)
    volume.write(first)
    tables = {"credentials": {"python": volume.source}, "cache": {
        "directory": str(tmp_path / "cache"), "document_ttl": "0s"}}  # fmt: skip
    with process(tmp_path, origin, tables, credentials={}) as proxy:
        rotation, ending = Rotation(origin, volume, first), threading.Event()
        load = [Load(proxy, ending) for _ in range(2)]
        try:
            for thread in (rotation, *load):
                thread.start()
            time.sleep(ROTATION)  # what is shown is that nothing happens meanwhile
            last, stopped = rotation.end(), time.monotonic()
            wanted = {basic(last.password, name) for name in (last.username, _written(last))}
            while origin.log[-1].header("authorization") not in wanted:
                assert time.monotonic() - stopped < NOTICED
                time.sleep(0.05)  # a bounded poll of another process
        finally:
            ending.set()
            rotation.end()
            for thread in load:
                thread.join(10)
        seen = sum((thread.seen for thread in load), Counter[str]())
        late = max(lateness(origin, rotation.written))
        print(f"{seen}, {len(rotation.written)} pairs, at worst {late:.1f} s late")
        assert set(seen) == {"good"}
        assert seen["good"] >= 20 * ROTATION
        assert late < NOTICED
        assert len(rotation.written) >= ROTATION / INTERVAL / 2
        proxy.keep_secret(*(pair.password for pair, _ in rotation.written))


def _written(pair: Pair) -> str:
    return pair.username.replace("/", "_")


# --- the end of a token ------------------------------------------------------------------------


class Moment:
    """A clock for the origin and the proxy together."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead

    def advance(self, proxy: Running, seconds: float) -> None:
        self.ahead += seconds
        proxy.clock.advance(seconds)
        proxy.steady.advance(seconds)


async def ready(proxy: Running) -> dict[str, Any]:
    found: dict[str, Any] = (await proxy.get("/readyz")).json()
    return found


GAUGE = 'cgr_proxy_upstream_token_expiry_seconds{ecosystem="python"}'


async def test_the_end_of_a_token_is_said_before_it_comes_and_stops_only_what_is_not_cached(
    tmp_path: Path,
) -> None:
    async with Origin() as origin:
        moment = Moment()
        origin.settings.clock = moment
        pair = (origin.username, origin.password)
        later = origin.credentials.issue(365 * DAY)
        async with running(tmp_path, origin, credentials={"python": pair}) as proxy:
            proxy.keep_secret(later.password)
            page = await proxy.get(PAGE)
            path = await _artifact(proxy)
            assert (await proxy.get(path)).status == 200
            assert abs((await proxy.metrics())[GAUGE] - 30 * DAY) < 60
            assert await ready(proxy) == {"status": "ok"}
            for days in (16.5, 7, 5):  # 13.5, 6.5 and 1.5 are left
                moment.advance(proxy, days * DAY)
                await proxy.app.credentials.poll()
                assert await ready(proxy) == {"status": "ok"}
            moment.advance(proxy, DAY)
            await proxy.app.credentials.poll()
            assert await ready(proxy) == {
                "status": "degraded",
                "reasons": ["the token ends soon: python"],
            }
            assert (await proxy.get(PAGE)).status == 200  # fetched anew, it is good still
            moment.advance(proxy, DAY)
            await proxy.app.credentials.poll()
            assert await ready(proxy) == {
                "status": "degraded",
                "reasons": ["the token has ended: python"],
            }
            assert -DAY < (await proxy.metrics())[GAUGE] < 0
            assert (await proxy.get(path)).status == 200
            stale = await proxy.get(PAGE)
            assert (stale.status, stale.sha256) == (200, page.sha256)
            assert "detail=stale-if-error" in (stale.cache or "")
            cold = await proxy.get(OTHER)
            assert (cold.status, cold.reason) == (503, "Upstream credential refused")
            assert cold.header("Retry-After")
            said = [
                line["message"]
                for line in proxy.messages()
                if "token for python" in line["message"]
            ]
            assert [" ".join(text.split()[4:8]) for text in said if " on 20" in text] == [
                "ends within 14 days,",
                "ends within 7 days,",
                "ends within 1 day,",
                _ended(said),
            ]
            (tmp_path / "python.pair").write_text(f"{later.username}\n{later.password}\n")
            await proxy.app.credentials.poll()
            await proxy.app.credentials.poll()
            assert await ready(proxy) == {"status": "ok"}
            moment.advance(proxy, 2)  # the failure is remembered for a second
            assert (await proxy.get(OTHER)).status == 200
            assert (await proxy.metrics())[GAUGE] > 300 * DAY
        assert origin.violations == []


def _ended(said: list[str]) -> str:
    (text,) = (text for text in said if "what is cached is still served" in text)
    return " ".join(text.split()[4:8])


async def _artifact(proxy: Running) -> str:
    page = (await proxy.get(PAGE, accept="application/vnd.pypi.simple.v1+json")).json()
    url = next(file["url"] for file in page["files"] if file["filename"].endswith(".whl"))
    return str(url).removeprefix("../../..")


async def test_two_live_tokens_are_configured_by_writing_the_section_twice(tmp_path: Path) -> None:
    async with Origin() as origin:
        second = origin.credentials.issue()
        sources = []
        for name, pair in (("first", origin.pair), ("second", second)):
            netrc = tmp_path / name
            netrc.write_text(f"machine 127.0.0.1 login {_written(pair)} password {pair.password}\n")
            sources.append({"netrc": str(netrc)})
        tables = {"credentials": {"python": sources}}
        async with running(tmp_path, origin, tables, credentials={}) as proxy:
            proxy.keep_secret(second.password)
            assert (await proxy.get(PAGE)).status == 200
            origin.credentials.retire(origin.pair)
            found = await asyncio.gather(
                *(proxy.get(f"/python/simple/{project}/") for project in PROJECTS[1:])
            )
            assert {answer.status for answer in found} == {200}
            assert await ready(proxy) == {"status": "ok"}
            origin.credentials.retire(second)
            proxy.clock.advance(3600)
            assert "stale-if-error" in ((await proxy.get(PAGE)).cache or "")
            assert await ready(proxy) == {
                "status": "degraded",
                "reasons": ["the upstream refuses the token: python"],
            }
        assert origin.violations == []


async def test_a_credential_helper_is_named_in_the_log_and_not_run(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"auths": {}, "credHelpers": {"cgr.dev": "chainctl"}}')
    tables = {"credentials": {"python": {"docker_config": str(config)}}}
    async with Origin() as origin, running(tmp_path, origin, tables, credentials={}) as proxy:
        assert (await proxy.get(PAGE)).status == 503
        assert await ready(proxy) == {"status": "degraded", "reasons": ["no usable token: python"]}
        assert any("credential helper, which is not run" in m["message"] for m in proxy.messages())
        assert origin.count() == 0


# --- no pull token at all ----------------------------------------------------------------------


WORKLOAD = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJidWlsZC1mYXJtLWNhbmFyeSJ9.c2lnbmF0dXJlLWNhbmFyeQ"


def keyless(origin: Origin, folder: Path) -> dict[str, Any]:
    """Tables of a proxy that assumes the origin's identity, for Python."""
    (folder / "workload").write_text(WORKLOAD + "\n")
    origin.platform.trust(WORKLOAD, origin.username)
    source = {"identity": origin.username, "identity_token_file": str(folder / "workload")}
    return {
        "upstream": upstream(origin),
        "credentials": {"python": source},
        "cache": {"directory": str(folder / "cache"), "document_ttl": "0s"},
    }


async def test_ten_minutes_of_load_with_tokens_of_sixty_seconds_lose_no_request(
    tmp_path: Path,
) -> None:
    async with Origin() as origin:
        moment = Moment()
        origin.settings.clock = moment
        origin.platform.settings.token_lifetime = 60.0
        async with running(tmp_path, origin, keyless(origin, tmp_path), credentials={}) as proxy:
            seen: Counter[str] = Counter()
            for second in range(600):
                moment.advance(proxy, 1)
                if second == 200:  # the issuer is away for a while
                    origin.fault("issuer", **status(503), times=None)
                if second == 212:
                    origin.platform.faults.clear()
                await proxy.app.credentials.exchange()
                found = await asyncio.gather(
                    *(proxy.get(f"/python/simple/{project}/") for project in PROJECTS[:2])
                )
                for answer in found:
                    good = answer.status == 200 and "stale-if-error" not in (answer.cache or "")
                    seen["good" if good else f"{answer.status} {answer.cache}"] += 1
            assert seen == {"good": 1200}
            issued = [t for t in origin.platform.issued.values() if "cgr.dev" in t.audience]
            assert {token.audience for token in issued} == {"libraries.cgr.dev"}
            sent = {
                entry.header("authorization") for entry in origin.log if entry.server == "origin"
            }
            # What the issuer made and the fault then kept back was never used.
            assert 600 / 42 - 1 <= len(sent) <= 600 / 30 + 2
            assert sent <= {f"Bearer {token.token}" for token in issued}
            # One exchange for each renewal. While the issuer was away: pauses of 0.7, 1.4, 2.8 and
            # 5.6 seconds at least, so five times in what is 12 seconds and a slow machine's own.
            met = origin.platform.count("GET", r"aud=libraries\.cgr\.dev", "issuer")
            assert len(sent) <= met <= len(sent) + 5 * TRIES
            assert await ready(proxy) == {"status": "ok"}
            proxy.keep_secret(WORKLOAD, *WORKLOAD.split("."), *origin.platform.issued)
            proxy.keep_secret(*(part for t in issued for part in t.token.split(".")[1:]))
        assert origin.violations == []
        assert origin.platform.journal.violations == []


async def test_a_clock_that_is_an_hour_ahead_neither_floods_the_issuer_nor_cries_wolf(
    tmp_path: Path,
) -> None:
    async with Origin() as origin:
        tables = keyless(origin, tmp_path)
        origin.platform.settings.token_lifetime = 600.0
        async with running(tmp_path, origin, tables, credentials={}) as proxy:
            proxy.clock.advance(3600)
            for _ in range(1200):
                proxy.steady.advance(1)
                await proxy.app.credentials.exchange()
            await proxy.app.credentials.poll()
            libraries = [
                t for t in origin.platform.issued.values() if t.audience == "libraries.cgr.dev"
            ]
            assert len(libraries) < 10
            assert (await proxy.get(PAGE)).status == 200
            assert await ready(proxy) == {"status": "ok"}
            assert not any("ended on" in line["message"] for line in proxy.messages())
            proxy.keep_secret(WORKLOAD, *origin.platform.issued)


async def test_the_platform_is_asked_in_the_name_of_the_identity(tmp_path: Path) -> None:
    async with Origin() as origin:
        tables = keyless(origin, tmp_path) | {"entitlements": {"source": "platform"}}
        async with running(tmp_path, origin, tables, credentials={}) as proxy:
            assert (await proxy.get(PAGE)).status == 200
            origin.platform.withdraw(origin.pair)
            await proxy.app.entitlements.refresh()  # type: ignore[attr-defined]
            assert (await proxy.get(PAGE)).status == 403
            proxy.keep_secret(WORKLOAD, *origin.platform.issued)
        assert origin.platform.journal.violations == []


async def test_a_revoked_token_is_exchanged_within_the_request_that_notices(tmp_path: Path) -> None:
    async with Origin() as origin:
        tables = keyless(origin, tmp_path)
        async with running(tmp_path, origin, tables, credentials={}) as proxy:
            assert (await proxy.get(PAGE)).status == 200
            origin.platform.revoke()
            found = await asyncio.gather(*(proxy.get(PAGE) for _ in range(10)))
            assert {answer.status for answer in found} == {200}
            assert not any("stale-if-error" in (answer.cache or "") for answer in found)
            libraries = [
                t for t in origin.platform.issued.values() if t.audience == "libraries.cgr.dev"
            ]
            assert len(libraries) == 2
        assert origin.violations == []


async def test_without_the_issuer_what_is_cached_goes_on(tmp_path: Path) -> None:
    async with Origin() as origin:
        tables = keyless(origin, tmp_path)
        async with running(tmp_path, origin, tables, credentials={}) as proxy:
            assert (await proxy.get(PAGE)).status == 200
        await origin.close_listener("issuer")
        async with running(tmp_path, origin, tables, credentials={}) as proxy:
            cached = await proxy.get(PAGE)
            assert (cached.status, "stale-if-error" in (cached.cache or "")) == (200, True)
            assert (await proxy.get(OTHER)).status == 503
            told = await ready(proxy)
            assert told["status"] == "degraded"
            # One stanza for all ecosystems: each of them is without.
            assert "no usable token: python" in told["reasons"]
            assert all(reason.startswith("no usable token: ") for reason in told["reasons"])
