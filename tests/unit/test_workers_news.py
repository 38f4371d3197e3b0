"""Two processes' rooms, connected as workers are: what one is told the other goes by."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from proxy.workers.channel import Message
from proxy.workers.news import News
from tests.origin import Content, Origin, status
from tests.running import Running, running

PAGE = "/python/simple/alpha/"
NOWHERE = "/python/simple/nowhere/"


@asynccontextmanager
async def two(folder: Path, origin: Origin) -> AsyncIterator[tuple[Running, Running]]:
    """Each with a cache of its own, so that nothing but news is between them."""
    async with running(folder / "one", origin) as one, running(folder / "two", origin) as other:
        found: list[News] = []

        def line(to: int, message: Message) -> None:
            heard = json.loads(json.dumps(message))
            found[to].hear(heard["news"], heard["said"])

        found.append(News(one.app, lambda message: line(1, message)))
        found.append(News(other.app, lambda message: line(0, message)))
        yield one, other


async def test_what_the_upstream_does_not_have_is_asked_for_once(tmp_path: Path) -> None:
    async with Origin(content=Content.tiny()) as origin, two(tmp_path, origin) as (one, other):
        assert (await one.get(NOWHERE)).status == 404
        asked = origin.count("GET", NOWHERE)
        assert (await other.get(NOWHERE)).status == 404
        assert origin.count("GET", NOWHERE) == asked


async def test_what_one_has_found_since_the_other_finds_too(tmp_path: Path) -> None:
    async with Origin(content=Content.tiny()) as origin, two(tmp_path, origin) as (one, other):
        assert (await other.get(NOWHERE)).status == 404
        origin.content.synthetic("nowhere", size=1000)
        assert (await other.get(NOWHERE)).status == 404  # remembered
        one.clock.advance(31)
        assert (await one.get(NOWHERE)).status == 200
        assert (await other.get(NOWHERE)).status == 200  # its memory would last for longer


async def test_an_upstream_that_one_found_down_is_left_alone_by_the_other_until_it_is_back(
    tmp_path: Path,
) -> None:
    async with Origin(content=Content.tiny()) as origin, two(tmp_path, origin) as (one, other):
        down = origin.fault("origin", "", times=None, **status(503))
        for number in range(5):
            assert (await one.get(f"/python/simple/p{number}/")).status == 503
        hits = down.hits
        assert (await other.get(PAGE)).status == 503
        assert down.hits == hits
        assert other.app.health.troubles() == ["upstream does not answer: " + origin.url]
        down.clear()
        for proxy in (one, other):
            # Five seconds later, by the breaker's clock.
            for breaker in proxy.app.upstream._exchange.outages._breakers._configured.values():
                breaker._open_until = 0.0
        assert (await one.get(PAGE)).status == 200
        assert other.app.health.troubles() == []
        # Not the same page: what that came to is remembered for a second.
        assert (await other.get("/python/simple/beta-pkg/")).status == 200


async def test_a_pull_token_that_one_was_refused_is_not_tried_by_the_other(tmp_path: Path) -> None:
    async with Origin(content=Content.tiny()) as origin, two(tmp_path, origin) as (one, other):
        origin.credentials.retire(origin.pair)
        assert (await one.get(PAGE)).status == 503
        asked = len(origin.log)
        assert (await other.get(PAGE)).status == 503
        assert len(origin.log) == asked
        assert "the upstream refuses the token: python" in other.app.health.troubles()


async def test_news_of_a_kind_that_is_not_known_is_passed_over(tmp_path: Path) -> None:
    async with Origin(content=Content.tiny()) as origin, running(tmp_path, origin) as proxy:
        News(proxy.app, lambda _: None).hear("weather", ["fine"])
        assert (await proxy.get(PAGE)).status == 200
