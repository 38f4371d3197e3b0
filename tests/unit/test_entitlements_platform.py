"""Asking the platform, for real over loopback: exchange, list, and everything that fails."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from proxy.access.asking import Asking, PlatformHttp, Reply
from proxy.access.exchange import Issuer, PullTokens, Tokens
from proxy.access.known import Answer
from proxy.access.platform import Platform
from proxy.errors import PlatformRefused, PlatformSilent
from proxy.model import IssuedToken, Subject
from proxy.secret import Secret
from proxy.upstream.tls import client_context
from tests.origin import (
    ALL,
    Origin,
    empty,
    garbage,
    header_bomb,
    html_page,
    interim_flood,
    redirect,
    status,
)
from tests.origin.credentials import Pair
from tests.running import Clock, basic

DEADLINE = 1.5


class Headers:
    """A source of Authorization values that a test sets."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = dict(values)

    def authorization(self, ecosystem: str) -> str | None:
        return self.values.get(ecosystem)


class World:
    """A platform client as it is wired, over an origin."""

    def __init__(self, origin: Origin, tls: ssl.SSLContext) -> None:
        self.origin = origin
        self.steady = Clock()
        self.headers = Headers({"python": basic(origin.password, origin.username)})
        self.asking = PlatformHttp(tls, deadline=DEADLINE)
        self.organisation = ""
        self.pauses: list[float] = []
        self.issuer = Issuer(
            self.asking, origin.issuer_url, wall=origin.settings.clock, pause=self._pause
        )
        self.tokens = Tokens(self.issuer, origin.api_url, self.steady)

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    @property
    def platform(self) -> Platform:
        return Platform(
            self.asking,
            self.tokens,
            PullTokens(self.headers),
            ("python", "java"),
            url=self.origin.api_url,
            organisation=self.organisation,
        )

    async def names(self) -> frozenset[str]:
        answer = await self.platform.ask()
        assert answer.may_ask
        return answer.names

    def exchanges(self) -> int:
        return self.origin.platform.count("GET", "/sts/exchange", "issuer")

    def lists(self) -> int:
        return self.origin.platform.count("GET", "/entitlements", "api")


@pytest.fixture(scope="module")
def tls() -> ssl.SSLContext:
    return client_context(None)


@pytest.fixture
async def world(tls: ssl.SSLContext) -> AsyncIterator[World]:
    async with Origin() as origin:
        yield World(origin, tls)
        assert origin.violations == []


def organisation(pair: Pair) -> str:
    return pair.username.rpartition("/")[0]


# --- what it asks with --------------------------------------------------------------------------


async def test_a_pull_token_is_exchanged_and_its_organisation_listed(world: World) -> None:
    answer = await world.platform.ask()
    assert answer.organisation == organisation(world.origin.pair)
    assert answer.names == set(ALL)
    assert answer.items[0].policy == "POLICY_CHAINGUARD"
    assert answer.items[0].cooldown_days == 7
    assert (world.exchanges(), world.lists()) == (1, 1)


async def test_the_other_spellings_of_the_answer_are_read_alike(world: World) -> None:
    settings = world.origin.platform.settings
    settings.camel_case = settings.nanoseconds = True
    assert (await world.platform.ask()).items[0].cooldown_days == 7


async def test_a_user_name_with_underscores_is_the_same_identity(world: World) -> None:
    origin = world.origin
    world.headers.values = {"java": basic(origin.password, origin.username.replace("/", "_"))}
    assert await world.names() == set(ALL)


async def test_an_organisation_of_the_configuration_wins(world: World) -> None:
    world.organisation = "0" * 40
    assert world.platform.organisations() == {"0" * 40}
    # It is not that of this token, which may therefore not ask for it.
    assert await world.platform.ask() == Answer("0" * 40, may_ask=False)


async def test_a_folder_below_the_organisation_is_asked_for_as_such(world: World) -> None:
    subject = Subject("a" * 40 + "/" + "b" * 16 + "/" + "c" * 16, Secret("x"))
    world.headers.values = {"python": basic("x", subject.identity)}
    assert world.platform.organisations() == {"a" * 40 + "/" + "b" * 16}
    world.headers.values = {}
    assert world.platform.organisations() == frozenset()


@pytest.mark.parametrize(
    "header",
    [
        "Bearer something",
        "Basic ???",
        "Basic " + base64.b64encode(b"no-colon").decode(),
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
        basic("password", "robot"),
        basic("password", "a" * 40),
        basic("", "a" * 40 + "/" + "b" * 16),
        basic("password", "a" * 40 + "/" + "b" * 15),
        basic("a.short-lived.token", "anybody"),
    ],
)
async def test_what_is_no_pull_token_is_never_shown_to_the_issuer(
    world: World, header: str
) -> None:
    world.headers.values = {"python": header}
    assert await world.platform.ask() == Answer("", may_ask=False)
    assert world.exchanges() == 0


async def test_without_any_credential_nobody_can_ask(world: World) -> None:
    world.headers.values = {}
    with pytest.raises(PlatformRefused, match="no pull token"):
        await world.platform.ask()


async def test_a_pull_token_beside_a_stranger_asks(world: World) -> None:
    world.headers.values = {"python": "Bearer x", "java": world.headers.values["python"]}
    assert await world.names() == set(ALL)


async def test_one_pull_token_for_two_ecosystems_asks_once(world: World) -> None:
    world.headers.values["java"] = world.headers.values["python"]
    world.origin.platform.settings.may_ask = False
    assert not (await world.platform.ask()).may_ask
    assert world.lists() == 1


async def test_each_pull_token_asks_in_turn_until_one_is_answered(world: World) -> None:
    dead, good = world.origin.pair, world.origin.credentials.issue()
    world.origin.credentials.retire(dead)
    world.origin.platform.entitle(good, "JAVA")
    world.headers.values["java"] = basic(good.password, good.username)
    answer = await world.platform.ask()
    assert answer.organisation == organisation(good)
    assert answer.names == {"JAVA"}


# --- tokens -------------------------------------------------------------------------------------


async def test_the_api_token_is_kept_until_shortly_before_its_end(world: World) -> None:
    world.origin.platform.settings.token_lifetime = 60
    for _ in range(3):
        await world.names()
    world.steady.advance(50)
    await world.names()
    assert world.exchanges() == 1
    world.steady.advance(5)
    await world.names()
    assert (world.exchanges(), world.lists()) == (2, 5)


async def test_without_an_expiry_a_token_is_used_for_a_few_minutes(world: World) -> None:
    world.origin.platform.settings.say_expiry = False
    await world.names()
    world.steady.advance(200)
    await world.names()
    assert world.exchanges() == 1
    world.steady.advance(200)
    await world.names()
    assert world.exchanges() == 2


async def test_no_token_is_used_longer_than_an_hour(world: World) -> None:
    world.origin.platform.settings.token_lifetime = 86400 * 365
    await world.names()
    world.steady.advance(3600)
    await world.names()
    assert world.exchanges() == 2


async def test_a_token_that_is_over_by_our_clock_is_used_and_the_clock_is_blamed_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    over = status(200, b'{"token": "t", "expiry": "2001-01-01T00:00:00Z"}')
    for _ in range(2):
        world.origin.fault("issuer", **over)
        issued = await world.issuer.exchange(world.origin.api_url, subject_of(world))
        assert (issued.value.reveal(), issued.lifetime) == ("t", 300.0)
    assert [text for text in caplog.messages if "clock" in text] == [
        "the issuer's new token is over already, by the clock of this machine: set that right"
    ]


async def test_a_revoked_api_token_is_exchanged_anew_once(world: World) -> None:
    await world.names()
    world.origin.platform.revoke()
    assert await world.names() == set(ALL)
    assert (world.exchanges(), world.lists()) == (2, 3)


async def test_a_platform_that_takes_no_token_is_asked_twice_and_not_more(world: World) -> None:
    world.origin.fault("api", **status(401, b'{"code":16}'), times=None)
    with pytest.raises(PlatformRefused):
        await world.platform.ask()
    assert (world.exchanges(), world.lists()) == (2, 2)


async def test_askers_that_come_together_cost_one_exchange(world: World) -> None:
    subject = subject_of(world)
    tokens = await asyncio.gather(*(world.tokens.get(subject) for _ in range(20)))
    assert len(set(tokens)) == 1
    assert world.exchanges() == 1


async def test_a_new_pull_token_gets_a_token_of_its_own(world: World) -> None:
    await world.names()
    other = world.origin.credentials.issue()
    world.origin.platform.entitle(other, "GO")
    world.headers.values = {"python": basic(other.password, other.username)}
    assert await world.names() == {"GO"}
    assert world.exchanges() == 2


def subject_of(world: World) -> Subject:
    return Subject(world.origin.username, Secret(world.origin.password))


async def test_an_oidc_token_is_exchanged_for_a_library_token_that_the_upstream_takes(
    world: World,
) -> None:
    origin = world.origin
    origin.platform.trust("oidc.of.a.workload", origin.username)
    subject = Subject(origin.username, Secret("oidc.of.a.workload"))
    issued = await world.issuer.exchange("libraries.cgr.dev", subject)
    assert 3590 < issued.lifetime <= 3600
    assert origin.credentials.judge(f"Bearer {issued.value.reveal()}") == "good"
    origin.platform.revoke()
    assert origin.credentials.judge(f"Bearer {issued.value.reveal()}") == "retired"
    with pytest.raises(PlatformRefused):
        await world.issuer.exchange("libraries.cgr.dev", Subject("f" * 40, subject.proof))


# --- what fails ---------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [503, 504])
async def test_an_issuer_that_is_busy_is_asked_again(world: World, code: int) -> None:
    world.origin.fault("issuer", **status(code), times=2)
    assert await world.names() == set(ALL)
    assert world.exchanges() == 3
    assert len(world.pauses) == 2
    assert 0 < world.pauses[0] < world.pauses[1] + 0.2 < 1


async def test_an_issuer_that_stays_busy_is_left_alone_after_three_tries(world: World) -> None:
    world.origin.fault("issuer", **status(503), times=None)
    with pytest.raises(PlatformSilent, match="503"):
        await world.platform.ask()
    assert world.exchanges() == 3


@pytest.mark.parametrize("code", [400, 401, 403, 404])
async def test_a_refusal_of_the_issuer_is_final(world: World, code: int) -> None:
    world.origin.fault("issuer", **status(code, b'{"code":16,"message":"no"}'), times=None)
    with pytest.raises(PlatformRefused, match=str(code)):
        await world.platform.ask()
    assert world.exchanges() == 1
    assert world.lists() == 0


async def test_a_dead_pull_token_is_a_refusal(world: World) -> None:
    world.origin.credentials.retire(world.origin.pair)
    with pytest.raises(PlatformRefused):
        await world.platform.ask()


FAULTS: dict[str, dict[str, Any]] = {
    "500": status(500, b'{"code":13}'),
    "502 page": status(502, b"<html>bad gateway</html>"),
    "429": status(429, b'{"code":8}', Retry_After="5"),
    "captive 401": status(401, b"<html>sign in</html>"),
    "captive 403": status(403, b"<html>forbidden</html>"),
    "204": status(204),
    "206": status(206, b'{"items":[]}'),
    "redirect": redirect("http://127.0.0.1:9/"),
    "page": html_page(),
    "empty": empty(),
    "garbage": garbage(),
    "header bomb": header_bomb(),
    "closed": {"close": True},
    "cut": {"cut_at": 10},
    "silent": {"hold": True},
    "stalled": {"stall_at": 5},
    "too large": status(200, b'{"items":[' + b" " * (1 << 20) + b"]}"),
    "not JSON": status(200, b"{'items': []}"),
    "deep": status(200, b"[" * 100_000),
    "a list": status(200, b"[]"),
    "no list": status(200, b'{"items": {}}'),
    "odd token": status(200, b'{"token": "a\\r\\nb"}'),
    "no token": status(200, b'{"token": ""}'),
    "encoded": status(200, b"\x1f\x8b\x08\x00", Content_Encoding="gzip"),
}
BOTH = [
    (server, name)
    for server in ("issuer", "api")
    for name in FAULTS
    # Of the API a bare 401 means the token, whoever says it.
    if (server, name) != ("api", "captive 401")
]


@pytest.mark.parametrize(("server", "name"), BOTH)
async def test_what_is_no_answer_is_silence(world: World, server: str, name: str) -> None:
    world.origin.fault(server, **FAULTS[name], times=None)
    with pytest.raises(PlatformSilent) as raised:
        await world.platform.ask()
    # Only what kind of failure it was: no request, no token hangs on it.
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    assert "Bearer" not in repr(raised.value)


async def test_a_flood_of_interim_answers_holds_nobody_up(world: World) -> None:
    world.origin.fault("api", **interim_flood(), times=None)
    async with asyncio.timeout(5 * DEADLINE):
        await asyncio.gather(world.platform.ask(), return_exceptions=True)


@pytest.mark.parametrize("server", ["issuer", "api"])
async def test_a_server_that_is_gone_is_silence(world: World, server: str) -> None:
    await world.origin.close_listener(server)
    with pytest.raises(PlatformSilent):
        await world.platform.ask()
    await world.origin.reopen(server)
    assert await world.names() == set(ALL)


async def test_a_slow_platform_is_given_up_at_the_deadline(world: World) -> None:
    world.origin.fault("api", hold=True, times=None)
    started = asyncio.get_running_loop().time()
    with pytest.raises(PlatformSilent, match=rf"no answer within {DEADLINE:g} s"):
        await world.platform.ask()
    assert asyncio.get_running_loop().time() - started < 3 * DEADLINE


async def test_a_may_not_ask_is_an_answer_of_its_own(world: World) -> None:
    world.origin.platform.settings.may_ask = False
    assert await world.platform.ask() == Answer(organisation(world.origin.pair), may_ask=False)


async def test_silence_outweighs_a_may_not_ask(world: World) -> None:
    other = world.origin.credentials.issue()
    world.headers.values["java"] = basic(other.password, other.username)
    world.origin.platform.settings.may_ask = False
    world.origin.fault("api", organisation(other), **status(500), times=None)
    with pytest.raises(PlatformSilent):
        await world.platform.ask()


async def test_neither_the_environment_nor_a_cookie_reaches_the_platform(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    await world.names()
    await world.names()
    assert not any(entry.header("cookie") for entry in world.origin.platform.journal.log)


class Scripted:
    """An issuer that answers what a test gives it."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)

    async def get(self, url: str, parameters: Mapping[str, str], bearer: Secret) -> Reply:
        return self.replies.pop(0)


@pytest.mark.parametrize(
    ("expiry", "lifetime"),
    [
        ("2026-01-01T00:10:00Z", 600.0),
        ("2026-01-01T00:10:00.987654321Z", 600.0),
        ("2026-01-01T01:10:00+01:00", 600.0),
        ("2026-01-01T00:10:00", 600.0),
        ("2025-12-31T00:00:00Z", 300.0),
        ("9999-12-31T23:59:59Z", 3600.0),
        ("", 300.0),
        ("soon", 300.0),
        ("0001-01-01T00:00:00+23:59", 300.0),
        (1767226200, 300.0),
        (None, 300.0),
    ],
)
async def test_every_way_to_say_an_expiry(expiry: object, lifetime: float) -> None:
    asking: Asking = Scripted(Reply(200, {"token": "t", "expiry": expiry}))
    issuer = Issuer(asking, "https://issuer.example", wall=lambda: 1767225600.0)
    issued = await issuer.exchange("audience", Subject("identity", Secret("proof")))
    assert issued == IssuedToken(Secret("t"), lifetime)
