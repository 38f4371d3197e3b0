"""Tokens of a registry: where the pull token goes, when a token is asked for, what a refusal means.

Against the test origin's registry, and against hosts that set traps with their challenge.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.errors import (
    Blocked,
    CredentialRefused,
    ForbiddenAddress,
    Malformed,
    ProxyError,
    RateLimited,
    Unavailable,
)
from tests.origin import Origin, status
from tests.origin.images import CHART, DOCKER, PRIVATE, PUBLIC
from tests.unit.upstream_room import Raw, Room, answer, redirect_to, room, token_of

LATEST = f"/v2/{PUBLIC}/manifests/latest"
SECRET = f"/v2/{PRIVATE}/manifests/latest"
TOKENS = r"^/token"


@contextlib.asynccontextmanager
async def registry(
    *, credential: bool = True, hosts: tuple[str, ...] = (), **how: Any
) -> AsyncIterator[tuple[Origin, Room]]:
    """The test origin's registry, and a room that asks it."""
    async with Origin() as origin:
        source = token_of(origin) if credential else None
        hosts = (origin.store_url.removeprefix("http://"), *hosts)
        async with room(origin.registry_url, source, hosts=hosts, challenging=True, **how) as made:
            yield origin, made


def tokens_asked(origin: Origin) -> int:
    return origin.count("GET", TOKENS, "registry")


async def test_a_challenge_is_answered_with_a_token_and_the_pull_token_goes_nowhere_else() -> None:
    async with registry() as (origin, made):
        body = await made.get(SECRET, package=PRIVATE)
        assert body == origin.images.tagged(PRIVATE).body
        assert [entry.target.partition("?")[0] for entry in origin.log] == [
            SECRET,
            "/token",
            SECRET,
        ]
        assert origin.violations == []
        assert made.seen.outcomes == ["challenge", "200", "200"]


async def test_the_next_question_about_a_package_brings_its_token_along() -> None:
    async with registry() as (origin, made):
        for _ in range(3):
            await made.get(LATEST, package=PUBLIC)
        assert tokens_asked(origin) == 1
        assert origin.count("GET", "/manifests/") == 4


async def test_each_package_has_a_token_of_its_own() -> None:
    async with registry() as (origin, made):
        for name in (PUBLIC, DOCKER, PUBLIC, DOCKER):
            await made.get(f"/v2/{name}/manifests/latest", package=name)
        assert tokens_asked(origin) == 2
        assert origin.violations == []


async def test_without_a_credential_the_token_is_anonymous() -> None:
    async with registry(credential=False) as (origin, made):
        assert await made.get(LATEST, package=PUBLIC) == origin.images.tagged().body
        assert all(
            entry.header("authorization") is None
            for entry in origin.log
            if entry.target.startswith("/token")
        )


async def test_what_an_anonymous_token_does_not_open_is_denied() -> None:
    async with registry(credential=False) as (origin, made):
        with pytest.raises(Blocked):
            await made.get(SECRET, package=PRIVATE)
        assert tokens_asked(origin) == 1


@pytest.mark.parametrize("told", [None, 0, 30])
@pytest.mark.parametrize("access_token", [False, True])
async def test_a_token_is_used_until_just_before_its_end(
    told: float | None, access_token: bool
) -> None:
    async with registry() as (origin, made):
        behaviour = origin.registry.behaviour
        behaviour.told_lifetime, behaviour.access_token = told, access_token
        lifetime = 300.0 if told is None else told or 60.0
        await made.get(LATEST, package=PUBLIC)
        made.clock.ahead = lifetime * 0.8
        await made.get(LATEST, package=PUBLIC)
        assert tokens_asked(origin) == 1
        made.clock.ahead = lifetime - 0.5
        await made.get(LATEST, package=PUBLIC)
        assert tokens_asked(origin) == 2
        assert origin.journal.counters["tokens_ended"] == 0


async def test_a_token_that_is_refused_before_its_end_is_replaced() -> None:
    async with registry() as (origin, made):
        await made.get(LATEST, package=PUBLIC)
        origin.registry.retire_tokens()
        await made.get(LATEST, package=PUBLIC)
        assert tokens_asked(origin) == 2


async def test_equal_tokens_are_asked_for_once_at_a_time() -> None:
    async with registry() as (origin, made):
        held = origin.fault("registry", TOKENS, hold=True)
        running = [asyncio.create_task(made.get(LATEST, package=PUBLIC)) for _ in range(8)]
        await held.reached()
        # One that leaves costs the others nothing.
        running[0].cancel()
        held.release()
        found = await asyncio.gather(*running, return_exceptions=True)
        bodies = [item for item in found if isinstance(item, bytes)]
        assert bodies == [origin.images.tagged().body] * 7
        assert tokens_asked(origin) == 1


async def test_a_failure_of_the_endpoint_reaches_all_who_wait_and_is_asked_again_later() -> None:
    async with registry() as (origin, made):
        held = origin.fault("registry", TOKENS, hold=True, **status(429, Retry_After="7"))
        running = [asyncio.create_task(made.get(LATEST, package=PUBLIC)) for _ in range(4)]
        await held.reached()
        held.release()
        found = await asyncio.gather(*running, return_exceptions=True)
        assert all(isinstance(error, RateLimited) for error in found)
        assert {error.retry_after for error in found if isinstance(error, ProxyError)} <= {6, 7}
        assert tokens_asked(origin) == 1
        made.clock.ahead = 8
        assert await made.get(LATEST, package=PUBLIC)


async def test_a_refusal_at_the_endpoint_is_our_credentials_fault() -> None:
    async with registry() as (origin, made):
        origin.credentials.retire(origin.pair)
        with pytest.raises(CredentialRefused):
            await made.get(LATEST, package=PUBLIC)
        assert made.credentials.unusable == ("python",)
        asked = len(origin.log)
        with pytest.raises(CredentialRefused):
            await made.get(LATEST, package=PUBLIC)
        assert len(origin.log) == asked


async def test_a_token_that_is_held_serves_on_while_the_credential_is_refused() -> None:
    async with registry() as (origin, made):
        await made.get(LATEST, package=PUBLIC)
        origin.credentials.retire(origin.pair)
        with pytest.raises(CredentialRefused):
            await made.get(f"/v2/{CHART}/manifests/0.1.0", package=CHART)
        assert await made.get(LATEST, package=PUBLIC)


@pytest.mark.parametrize(
    ("code", "error"),
    [(403, Blocked), (404, Malformed), (500, Unavailable), (502, Unavailable)],
)
async def test_what_the_endpoint_answers_is_translated(code: int, error: type[ProxyError]) -> None:
    async with registry() as (origin, made):
        origin.fault("registry", TOKENS, times=None, **status(code, b'{"message": "no"}'))
        with pytest.raises(error):
            await made.get(LATEST, package=PUBLIC)


@pytest.mark.parametrize("scope", ["repository:a/b:pull", f"repository:{PRIVATE}:pull"])
async def test_a_fresh_token_that_is_refused_is_a_denial_after_one_token(scope: str) -> None:
    async with registry() as (origin, made):
        origin.registry.behaviour.scope = scope
        with pytest.raises(Blocked) as caught:
            await made.get(LATEST, package=PUBLIC)
        assert caught.value.status == 403
        assert tokens_asked(origin) == 1


async def test_repeated_scopes_are_asked_for_in_one_question() -> None:
    async with registry() as (origin, made):
        origin.registry.behaviour.scope = f"repository:{PUBLIC}:pull repository:{PRIVATE}:pull"
        await made.get(LATEST, package=PUBLIC)
        await made.get(SECRET, package=PRIVATE)
        (asked,) = [entry for entry in origin.log if entry.target.startswith("/token")]
        assert asked.target.count("scope=") == 2


async def test_a_401_without_a_challenge_is_our_credentials_fault() -> None:
    async with registry() as (origin, made):
        origin.fault("registry", "/manifests/", times=None, **status(401))
        with pytest.raises(CredentialRefused):
            await made.get(LATEST, package=PUBLIC)
        assert tokens_asked(origin) == 0


async def test_the_token_does_not_follow_a_redirect_to_the_store() -> None:
    async with registry() as (origin, made):
        repository = origin.images.repository(PUBLIC)
        digest, blob = next(iter(repository.blobs.items()))
        body = await made.get(f"/v2/{PUBLIC}/blobs/{digest}", package=PUBLIC)
        assert len(body) == blob.size
        assert origin.violations == []


# --- where the pull token may go -----------------------------------------------------------------


def _challenger(realm: str) -> bytes:
    challenge = f'Bearer realm="{realm}",service="s",scope="repository:a:pull"'
    return answer(401, WWW_Authenticate=challenge)


@pytest.mark.parametrize(
    "realm",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.9:1/token",
        "https://evil.example/token",
        "//evil.example/token",
        "ftp://registry.example/token",
        "file:///etc/passwd",
        "http://user:x@127.0.0.3/token",
        "token",
    ],
)
async def test_a_realm_somewhere_else_is_refused_and_not_asked(realm: str) -> None:
    async with (
        Origin() as origin,
        Raw(lambda _: _challenger(realm)) as host,
        room(host.url, token_of(origin), challenging=True) as made,
    ):
        with pytest.raises(ForbiddenAddress):
            await made.get("/v2/a/manifests/b", package="a")
        assert host.targets == ["/v2/a/manifests/b"]
        assert made.seen.outcomes == ["challenge"]


async def test_a_realm_is_allowed_where_redirect_hosts_name_it_in_full() -> None:
    given = answer(200, b'{"token": "opaque"}')
    async with Origin() as origin, Raw(lambda _: given, host="127.0.0.6") as realm:

        def reply(_: str) -> bytes:
            tokened = "authorization: bearer opaque" in host.heads[-1].lower()
            return answer(200, b"ok") if tokened else _challenger(f"{realm.url}/token")

        async with (
            Raw(reply) as host,
            room(host.url, token_of(origin), challenging=True, hosts=(realm.place,)) as made,
        ):
            assert await made.get("/v2/a/manifests/b", package="a") == b"ok"
            assert "Authorization: Basic" in realm.heads[0]
            assert "Basic" not in "".join(host.heads)


@pytest.mark.parametrize("networks", ["private", "pattern"])
async def test_a_realm_is_refused_in_a_private_network_and_under_a_pattern(networks: str) -> None:
    async with Origin() as origin, Raw(lambda _: answer(200), host="127.0.0.6") as realm:
        pattern = networks == "pattern"
        named = f"http://token.rented.example:{realm.port}" if pattern else realm.url
        hosts = (f"*.rented.example:{realm.port}",) if pattern else (realm.place,)
        async with (
            Raw(lambda _: _challenger(f"{named}/token")) as host,
            room(host.url, token_of(origin), challenging=True, hosts=hosts, networks=()) as made,
        ):
            with pytest.raises(ForbiddenAddress):
                await made.get("/v2/a/manifests/b", package="a")
            assert realm.heads == []


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (redirect_to("http://127.0.0.9:1/elsewhere"), ForbiddenAddress),
        (redirect_to("/elsewhere"), ForbiddenAddress),
        (answer(200, b"<html>"), Malformed),
        (answer(200, b'{"token": 5}'), Malformed),
        (answer(200, b"[" * 70_000), Malformed),
        (answer(204), Unavailable),
    ],
)
async def test_an_endpoint_that_gives_no_token_is_asked_once(
    given: bytes, error: type[ProxyError]
) -> None:
    def reply(target: str) -> bytes:
        return given if target.startswith("/token") else _challenger(f"{host.url}/token")

    async with (
        Origin() as origin,
        Raw(reply) as host,
        room(host.url, token_of(origin), challenging=True) as made,
    ):
        with pytest.raises(error):
            await made.get("/v2/a/manifests/b", package="a")
        assert all(target.startswith(("/v2/", "/token")) for target in host.targets)


async def test_a_host_that_challenges_for_ever_is_asked_a_few_times() -> None:
    def reply(target: str) -> bytes:
        if target.startswith("/token"):
            return answer(200, b'{"token": "opaque"}')
        challenge = f'Bearer realm="{host.url}/token",scope="repository:a{len(host.heads)}:pull"'
        return answer(401, WWW_Authenticate=challenge)

    async with (
        Origin() as origin,
        Raw(reply) as host,
        room(host.url, token_of(origin), challenging=True) as made,
    ):
        with pytest.raises(Blocked):
            await made.get("/v2/a/manifests/b", package="a")
        assert len(host.heads) <= 8


async def test_an_upstream_that_takes_the_pull_token_itself_is_not_answered_with_a_token() -> None:
    async with (
        Origin() as origin,
        Raw(lambda _: _challenger(f"{host.url}/token")) as host,
        room(host.url, token_of(origin)) as made,
    ):
        with pytest.raises(CredentialRefused):
            await made.get("/python/simple/")
        assert not any(target.startswith("/token") for target in host.targets)
