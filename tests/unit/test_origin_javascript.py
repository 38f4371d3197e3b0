"""The test origin's JavaScript part: what the vendor documents, asked as the proxy would ask."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.origin import Origin
from tests.running import basic

NPM = "application/vnd.npm.install-v1+json"


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as running:
        yield running


async def ask(
    origin: Origin, path: str, method: str = "GET", **how: Any
) -> tuple[int, bytes, dict[str, str]]:
    """One request with the pull token; redirects are not followed."""
    login = {"Authorization": basic(origin.password, origin.username)}
    async with (
        aiohttp.ClientSession(headers=login) as session,
        session.request(method, origin.url + path, allow_redirects=False, **how) as answer,
    ):
        return answer.status, await answer.read(), dict(answer.headers)


async def document(origin: Origin, path: str) -> Any:
    status, body, _ = await ask(origin, path, headers={"Accept": NPM})
    assert status == 200
    return json.loads(body)


async def test_a_packument_is_whole_whatever_is_accepted(origin: Origin) -> None:
    found = await document(origin, "/javascript/@scope%2fbeta-js")
    assert found == await document(origin, "/javascript/@scope/beta-js")
    assert {"readme", "time", "dist-tags"} <= set(found)
    dist = found["versions"]["2.0.0"]["dist"]
    assert dist["tarball"] == f"{origin.url}/javascript/@scope/beta-js/-/beta-js-2.0.0.tgz"


async def test_what_came_by_the_fallback_lies_under_another_prefix(origin: Origin) -> None:
    found = await document(origin, "/javascript/fallback-js")
    link = found["versions"]["3.1.0"]["dist"]["tarball"]
    assert link == f"{origin.url}/javascript-upstream/fallback-js/-/fallback-js-3.1.0.tgz"


async def test_a_tarball_redirects_to_the_object_store(origin: Origin) -> None:
    status, page, headers = await ask(origin, "/javascript/alpha-js/-/alpha-js-1.0.0.tgz")
    assert (status, page[:2]) == (302, b"<a")
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            URL(headers["Location"], encoded=True),
            headers={"Accept-Encoding": "identity"},
        ) as answer,
    ):
        data = await answer.read()
    wanted = origin.content.find("alpha-js-1.0.0.tgz").blob.sha256
    assert hashlib.sha256(data).hexdigest() == wanted
    assert origin.violations == []


async def test_blocked_is_403_or_409_with_a_reason(origin: Origin) -> None:
    origin.block("alpha-js", "1.0.0")
    origin.block("fallback-js")
    status, body, _ = await ask(origin, "/javascript/alpha-js/-/alpha-js-1.0.0.tgz")
    assert (status, b"MALWARE_DETECTED" in body) == (403, True)
    assert (await ask(origin, "/javascript/alpha-js/-/alpha-js-0.9.0.tgz"))[0] == 302
    status, body, _ = await ask(origin, "/javascript/fallback-js")
    assert (status, b"MALWARE_DETECTED" in body) == (409, True)


async def test_an_audit_is_kept_for_the_test(origin: Origin) -> None:
    origin.javascript.advisories["alpha-js"] = [{"id": 7}]
    path = "/javascript/-/npm/v1/security/advisories/bulk"
    status, body, _ = await ask(origin, path, "POST", json={"alpha-js": ["1.0.0"], "b": ["1"]})
    assert (status, body) == (200, b'{"alpha-js": [{"id": 7}]}')
    assert origin.javascript.audits == [{"alpha-js": ["1.0.0"], "b": ["1"]}]
    assert (await ask(origin, "/javascript/alpha-js", "POST", data=b"x"))[0] == 405


async def test_without_the_entitlement_it_is_403(origin: Origin) -> None:
    origin.settings.entitled = frozenset({"python"})
    assert (await ask(origin, "/javascript/alpha-js"))[0] == 403
    assert (await ask(origin, "/javascript-upstream/x/-/x-1.tgz"))[0] == 403
