"""Two live pull tokens: which one is used, what a refusal costs, whom it concerns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.errors import CredentialRefused
from proxy.model import HostRules
from proxy.secret import Secret
from proxy.upstream.addresses import AddressRules
from proxy.upstream.base import UpstreamRequest
from proxy.upstream.client import HttpUpstream
from proxy.upstream.credentials import Clocks, Credentials, PairSource
from proxy.upstream.tls import client_context
from tests.origin import Origin
from tests.origin.credentials import Pair
from tests.unit.upstream_room import LOOPBACK, SWIFT, Clock

PAGE = "/python/simple/alpha/"


class Observer:
    def upstream_request(self, ecosystem: str, outcome: str, seconds: float) -> None:
        pass

    def limit_reached(self, limit: str) -> None:
        pass

    def upstream_bytes(self, ecosystem: str, count: int) -> None:
        pass


class Room:
    """An upstream room of two ecosystems. `get`: the status that it comes to."""

    def __init__(self, upstream: HttpUpstream, credentials: Credentials, clock: Clock) -> None:
        self.upstream, self.credentials, self.clock = upstream, credentials, clock

    async def get(self, ecosystem: str = "python") -> int:
        try:
            response = await self.upstream.open(UpstreamRequest(ecosystem, PAGE))
        except CredentialRefused as error:
            return error.status
        await response.close()
        return response.head.status


def given(pair: Pair) -> PairSource:
    return PairSource(username=pair.username, password=Secret(pair.password))


@asynccontextmanager
async def room(
    origin: Origin, python: Sequence[PairSource], java: Sequence[PairSource] = ()
) -> AsyncIterator[Room]:
    clock = Clock()
    credentials = Credentials(
        {"python": python, "java": java or python},
        clocks=Clocks(origin.settings.clock, clock),
    )
    await credentials.load()
    upstream = HttpUpstream(
        {"python": origin.url, "java": origin.url},
        credentials,
        AddressRules(HostRules(()), LOOPBACK, allow_insecure=True),
        SWIFT,
        tls=client_context(None),
        clock=clock,
        observer=Observer(),
    )
    try:
        yield Room(upstream, credentials, clock)
    finally:
        await upstream.close()


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as running:
        yield running
    assert running.violations == []


async def test_the_first_is_used_while_it_is_good(origin: Origin) -> None:
    second = origin.credentials.issue()
    async with room(origin, [given(origin.pair), given(second)]) as made:
        assert await made.get() == 200
        assert origin.log[-1].header("authorization") == given_header(made, "python")
        assert made.credentials.troubles(["python", "java"]) == []


def given_header(made: Room, ecosystem: str) -> str | None:
    return made.credentials.authorization(ecosystem)


async def test_a_refused_one_gives_way_to_the_other_within_the_same_request(
    origin: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    second = origin.credentials.issue()
    origin.credentials.retire(origin.pair)
    async with room(origin, [given(origin.pair), given(second)]) as made:
        assert await made.get() == 200
        assert origin.count() == 2
        for _ in range(20):
            assert await made.get() == 200
        assert origin.count() == 22  # the dead one is not tried any more
        assert made.credentials.troubles(["python", "java"]) == []
    assert "the other one is used" in caplog.text
    assert len([line for line in caplog.records if line.levelno >= logging.WARNING]) == 1


async def test_a_crowd_that_meets_the_end_of_the_first_is_served_whole(origin: Origin) -> None:
    second = origin.credentials.issue()
    async with room(origin, [given(origin.pair), given(second)]) as made:
        assert await made.get() == 200
        origin.credentials.retire(origin.pair)
        assert set(await asyncio.gather(*(made.get() for _ in range(50)))) == {200}


async def test_with_both_refused_one_request_in_ten_seconds_tries(origin: Origin) -> None:
    second = origin.credentials.issue()
    origin.credentials.retire(origin.pair)
    origin.credentials.retire(second)
    async with room(origin, [given(origin.pair), given(second)]) as made:
        for tick in range(60):
            assert await made.get() == 503
            made.clock.ahead += 1
            assert origin.count() <= 2 + (tick + 1) // 10
        assert origin.count() >= 6
        troubles = made.credentials.troubles(["python"])
        assert troubles == ["the upstream refuses the token: python"]


async def test_with_both_refused_each_gets_its_turn(origin: Origin) -> None:
    second = origin.credentials.issue()
    origin.credentials.retire(origin.pair)
    origin.credentials.retire(second)
    async with room(origin, [given(origin.pair), given(second)]) as made:
        assert await made.get() == 503
        for _ in range(4):
            made.clock.ahead += 11
            assert await made.get() == 503
        sent = [entry.header("authorization") for entry in origin.log]
        assert len(set(sent)) == 2
        assert min(sent.count(header) for header in set(sent)) >= 2


async def test_a_refused_one_is_used_again_when_the_other_ends(origin: Origin) -> None:
    """It may have been refused for a moment only: it is tried once, in the same request."""
    second = origin.credentials.issue()
    origin.credentials.retire(origin.pair)
    async with room(origin, [given(origin.pair), given(second)]) as made:
        assert await made.get() == 200
        origin.credentials._retired.clear()
        origin.credentials.retire(second)
        made.clock.ahead += 60
        assert await made.get() == 200


async def test_one_that_has_ended_is_not_preferred(origin: Origin) -> None:
    ended = origin.credentials.issue(lifetime=-60.0)
    async with room(origin, [given(ended), given(origin.pair)]) as made:
        assert await made.get() == 200
        assert origin.count() == 1


async def test_a_dead_token_stops_its_own_ecosystem_only(origin: Origin) -> None:
    ended = origin.credentials.issue(lifetime=-60.0)
    async with room(origin, [given(ended)], [given(origin.pair)]) as made:
        for _ in range(10):
            assert await made.get("python") == 503
            assert await made.get("java") == 200
        assert made.upstream.open_breakers == ()
        assert made.credentials.troubles(["python", "java"]) == ["the token has ended: python"]
    assert origin.count() == 11


async def test_a_new_one_in_the_dead_ones_file_is_taken(origin: Origin, tmp_path: Path) -> None:
    file = tmp_path / "pair"
    file.write_text(f"{origin.pair.username}\n{origin.pair.password}\n")
    second, third = origin.credentials.issue(), origin.credentials.issue()
    origin.credentials.retire(origin.pair)
    async with room(origin, [PairSource(pair_file=file), given(second)]) as made:
        assert await made.get() == 200
        file.write_text(f"{third.username.replace('/', '_')}\n{third.password}\n")
        origin.credentials.retire(second)
        assert await made.get() == 200
        assert origin.count() == 4


# --- several processes ---------------------------------------------------------------------------


async def test_a_refusal_that_another_process_met_spares_the_upstream_a_try_of_ours(
    origin: Origin,
) -> None:
    source = given(origin.pair)
    async with room(origin, [source]) as one, room(origin, [source]) as two:
        one.credentials.on_news(
            lambda name, mark, refused: two.credentials.hear(name, mark, refused, two.clock())
        )
        origin.credentials.retire(origin.pair)
        assert await one.get() == 503
        asked = origin.count("GET", PAGE)
        assert await two.get() == 503
        assert origin.count("GET", PAGE) == asked
        one.clock.ahead += 11
        assert await one.get() == 503  # the one try in ten seconds, for both
        asked = origin.count("GET", PAGE)
        two.clock.ahead += 9
        assert await two.get() == 503
        assert origin.count("GET", PAGE) == asked


async def test_a_token_that_another_process_was_refused_is_not_the_one_that_was_read_since(
    origin: Origin,
) -> None:
    second = origin.credentials.issue()
    async with room(origin, [given(origin.pair)]) as one, room(origin, [given(second)]) as two:
        one.credentials.on_news(
            lambda name, mark, refused: two.credentials.hear(name, mark, refused, two.clock())
        )
        origin.credentials.retire(origin.pair)
        assert await one.get() == 503
        assert await two.get() == 200


async def test_what_is_told_of_a_token_does_not_hold_it(origin: Origin) -> None:
    said: list[tuple[str, str, bool]] = []
    async with room(origin, [given(origin.pair)]) as one:
        one.credentials.on_news(lambda *told: said.append(told))
        origin.credentials.retire(origin.pair)
        assert await one.get() == 503
        header = given_header(one, "python")
    assert header is not None
    assert [(name, refused) for name, _, refused in said] == [("python", True)]
    assert len(said[0][1]) == 64
    assert said[0][1] not in header
    assert header not in said[0][1]
