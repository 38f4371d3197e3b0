"""The look-alike of the platform: what it answers, and that every broken rule is noticed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.origin import ALL, Origin
from tests.origin.raw import Got, ask
from tests.running import basic, bearer


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as running:
        yield running


async def exchange(origin: Origin, proof: str = "", **query: str) -> Got:
    values = {"aud": origin.api_url, "identity": origin.username, **query}
    headers = {"Authorization": bearer(proof or origin.password)}
    return await ask(origin.issuer_url, f"/sts/exchange?{urlencode(values)}", headers)


async def listing(origin: Origin, token: str, **headers: str) -> Got:
    parent = origin.username.rpartition("/")[0]
    target = f"/libraries/v1/entitlements?parent_id={parent}"
    return await ask(origin.api_url, target, {"Authorization": bearer(token), **headers})


async def api_token(origin: Origin) -> str:
    return str(json.loads((await exchange(origin)).body)["token"])


async def test_a_pull_token_becomes_an_api_token_that_lists_the_entitlements(
    origin: Origin,
) -> None:
    document: dict[str, Any] = json.loads((await exchange(origin)).body)
    assert set(document) == {"token", "refresh_token", "expiry"}
    got = await listing(origin, document["token"])
    assert [item["ecosystem"] for item in json.loads(got.body)["items"]] == list(ALL)
    assert origin.violations == []
    assert origin.log == []
    assert origin.platform.count("GET") == 2


async def test_a_retired_pull_token_is_401_and_no_violation(origin: Origin) -> None:
    origin.credentials.retire(origin.pair)
    assert (await exchange(origin)).status == 401
    assert origin.violations == []


async def test_an_expired_or_revoked_api_token_is_401(origin: Origin) -> None:
    origin.platform.settings.token_lifetime = -1
    assert (await listing(origin, await api_token(origin))).status == 401
    origin.platform.settings.token_lifetime = 60
    token = await api_token(origin)
    origin.platform.revoke()
    assert (await listing(origin, token)).status == 401
    assert origin.violations == []


async def test_a_role_that_may_not_list_is_403_with_the_gateways_code(origin: Origin) -> None:
    origin.platform.settings.may_ask = False
    got = await listing(origin, await api_token(origin))
    assert (got.status, json.loads(got.body)["code"]) == (403, 7)


@pytest.mark.parametrize(
    ("query", "status"), [({"aud": "https://elsewhere.example"}, 400), ({"identity": "x/y"}, 403)]
)
async def test_another_audience_or_identity_is_a_violation(
    origin: Origin, query: dict[str, str], status: int
) -> None:
    assert (await exchange(origin, **query)).status == status
    assert len(origin.violations) == 1


async def test_a_strangers_credential_is_a_violation(origin: Origin) -> None:
    assert (await exchange(origin, "cgrp_of_a_client")).status == 401
    assert len(origin.violations) == 1


async def test_a_pull_token_shown_to_the_api_is_a_violation(origin: Origin) -> None:
    assert (await listing(origin, origin.password)).status == 401
    assert len(origin.violations) == 1


async def test_a_token_of_another_audience_is_a_violation(origin: Origin) -> None:
    got = await exchange(origin, aud="libraries.cgr.dev")
    assert (await listing(origin, json.loads(got.body)["token"])).status == 401
    assert len(origin.violations) == 1


@pytest.mark.parametrize("odd", [{"Cookie": "a=b"}, {"X-Forwarded-For": "10.0.0.1"}])
async def test_a_header_that_nobody_needs_is_a_violation(
    origin: Origin, odd: dict[str, str]
) -> None:
    await listing(origin, await api_token(origin), **odd)
    assert len(origin.violations) == 1


async def test_a_basic_credential_is_a_violation(origin: Origin) -> None:
    query = urlencode({"aud": origin.api_url, "identity": origin.username})
    headers = {"Authorization": basic(origin.password, origin.username)}
    await ask(origin.issuer_url, f"/sts/exchange?{query}", headers)
    assert origin.violations
