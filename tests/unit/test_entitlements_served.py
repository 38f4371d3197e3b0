"""Entitlements of the organisation, enforced on every byte: the proxy, its upstream, the platform.

Each row asks in every way there is (GET, HEAD, Range, If-None-Match, If-Range, a listing), cached
and not. What is refused costs the upstream nothing, and no answer betrays what the cache holds.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.access.learning import PlatformEntitlements
from proxy.access.memory import FILE_NAME
from tests.origin import Origin, OriginThread, status
from tests.origin.credentials import Pair
from tests.running import Answer, Running, Upstream, process, running

PAGE = "/python/simple/alpha/"
REMEDIATED = "/python-remediated/simple/"
GRACE = 3600.0


def platform(
    origin: Origin | OriginThread, source: str = "auto", **more: Any
) -> dict[str, dict[str, Any]]:
    """The tables of a proxy that asks the origin's platform, when a test tells it to."""
    inner = origin.origin if isinstance(origin, OriginThread) else origin
    return {
        "upstream": {
            "libraries": inner.url,
            "redirect_hosts": [inner.store_url.partition("//")[2]],
            "allow_networks": ["127.0.0.0/8"],
            "allow_insecure": True,
            "issuer": inner.issuer_url,
            "api": inner.api_url,
        },
        "entitlements": {"source": source, "refresh": "1h", "grace": f"{GRACE:g}s", **more},
    }


@asynccontextmanager
async def entitled(
    folder: Path, origin: Origin, source: str = "auto", **more: Any
) -> AsyncIterator[Running]:
    async with running(folder, origin, platform(origin, source, **more)) as proxy:
        yield proxy
        proxy.keep_secret(*origin.platform.issued)
    assert origin.violations == []


async def refresh(proxy: Running) -> None:
    """What the proxy does by itself every `refresh` seconds."""
    assert isinstance(proxy.app.entitlements, PlatformEntitlements)
    await proxy.app.entitlements.refresh()


async def artifact(proxy: Running) -> str:
    """The path of an artifact, off its page."""
    page = (await proxy.get(PAGE, accept="application/vnd.pypi.simple.v1+json")).json()
    url = next(file["url"] for file in page["files"] if file["filename"].endswith(".whl"))
    return str(url).removeprefix("../../..")


async def every_way(proxy: Running, *paths: str) -> list[Answer]:
    found = []
    for path in paths:
        found += [
            await proxy.get(path),
            await proxy.head(path),
            await proxy.get(path, range="bytes=0-9"),
            await proxy.get(path, if_none_match="*"),
            await proxy.get(path, if_none_match='"x"', if_modified_since="Thu, 01 Jan 2099"),
            await proxy.get(path, range="bytes=1-", if_range='"x"'),
            await proxy.get(path, accept="application/vnd.pypi.simple.v1+json"),
        ]
    return found


PATHS = (
    PAGE,
    "/python/simple/",
    "/python/simple/never-asked/",
    "/python/simple/Alpha",  # a redirect of our own
    "/cu126/simple/alpha/",
    "/files/00/11/alpha/alpha-9.9-py3-none-any.whl",
)


def statuses(found: list[Answer]) -> set[int]:
    return {answer.status for answer in found}


async def test_what_is_entitled_is_served(tmp_path: Path) -> None:
    async with Origin() as origin, entitled(tmp_path, origin) as proxy:
        path = await artifact(proxy)
        assert (await proxy.get(path)).status == 200
        assert (await proxy.get(path)).status == 200
        assert (await proxy.get(path, range="bytes=0-9")).status == 206


@pytest.mark.parametrize("left", [("JAVA", "JAVASCRIPT"), ()])
async def test_what_is_withdrawn_is_refused_in_every_way_cached_or_not(
    tmp_path: Path, left: tuple[str, ...]
) -> None:
    async with Origin() as origin, entitled(tmp_path, origin) as proxy:
        path = await artifact(proxy)
        assert (await proxy.get(path)).status == 200
        assert (await proxy.get("/python/simple/")).status == 200
        origin.platform.withdraw(origin.pair)
        if left:
            origin.platform.entitle(origin.pair, *left)
        await refresh(proxy)
        origin.journal.reset()
        found = await every_way(proxy, path, *PATHS)
        assert statuses(found) == {403}
        assert {answer.reason for answer in found} == {"Organisation not entitled"}
        assert {answer.cache for answer in found} == {"cgr-proxy; detail=denied"}
        assert origin.log == []
        # And given back it is served from the cache, as it was.
        origin.platform.entitle(origin.pair, "PYTHON")
        await refresh(proxy)
        assert (await proxy.get(path)).cache == "cgr-proxy; hit"


async def test_an_empty_object_is_an_empty_list(tmp_path: Path) -> None:
    async with Origin() as origin, entitled(tmp_path, origin) as proxy:
        origin.platform.withdraw(origin.pair)
        origin.platform.settings.omit_empty = True
        await refresh(proxy)
        assert statuses(await every_way(proxy, PAGE)) == {403}


async def test_a_withdrawal_is_enforced_within_the_refresh_without_anybody_telling(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, entitled(tmp_path, origin, refresh="1s") as proxy:
        path = await artifact(proxy)
        assert (await proxy.get(path)).status == 200
        origin.platform.withdraw(origin.pair)
        loop = asyncio.get_running_loop()
        withdrawn = loop.time()
        while (await proxy.get(path)).status == 200:
            assert loop.time() - withdrawn < 1.5
            await asyncio.sleep(0.02)
        assert statuses(await every_way(proxy, path, PAGE)) == {403}


TROUBLES: dict[str, dict[str, Any]] = {
    "api 500": {"server": "api", **status(500)},
    "api garbage": {"server": "api", **status(200, b"<html>")},
    "api other JSON": {"server": "api", **status(200, b'{"message": "later"}')},
    "api half a list": {"server": "api", **status(200, b'{"items": [')},
    "api captive page": {"server": "api", **status(403, b"<html>")},
    "api hangs up": {"server": "api", "close": True},
    "issuer 401": {"server": "issuer", **status(401, b'{"code": 16}')},
    "issuer 500": {"server": "issuer", **status(500)},
    "issuer hangs up": {"server": "issuer", "close": True},
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_platform_that_is_down_changes_nothing_within_grace_and_is_503_beyond(
    tmp_path: Path, trouble: str
) -> None:
    async with Origin() as origin:
        # Short-lived, so that the issuer is asked again too.
        origin.platform.settings.token_lifetime = 60
        async with entitled(tmp_path, origin) as proxy:
            await _down(origin, proxy, trouble)


async def _down(origin: Origin, proxy: Running, trouble: str) -> None:
    path = await artifact(proxy)
    assert (await proxy.get(path)).status == 200
    proxy.steady.advance(0.9 * GRACE)
    handle = origin.fault(**TROUBLES[trouble], times=None)
    await refresh(proxy)
    assert handle.hits
    assert (await proxy.get(path)).status == 200
    assert (await proxy.get("/python/simple/")).status == 200
    proxy.steady.advance(0.2 * GRACE)
    origin.journal.reset()
    found = await every_way(proxy, path, *PATHS)
    assert statuses(found) == {503}
    assert {answer.reason for answer in found} == {"Entitlement unknown"}
    assert all(1 <= int(answer.header("Retry-After") or 0) <= 300 for answer in found)
    assert origin.log == []
    origin.platform.faults.clear()
    await refresh(proxy)
    assert (await proxy.get(path)).cache == "cgr-proxy; hit"


async def test_a_platform_that_flaps_never_opens_what_was_denied(tmp_path: Path) -> None:
    async with Origin() as origin, entitled(tmp_path, origin) as proxy:
        origin.platform.withdraw(origin.pair)
        await refresh(proxy)
        for _ in range(3):
            origin.fault("api", **status(503), times=1)
            await refresh(proxy)
            assert (await proxy.get(PAGE)).status == 403
            await refresh(proxy)
            assert (await proxy.get(PAGE)).status == 403


@pytest.mark.parametrize("source", ["auto", "platform"])
async def test_what_was_never_learnt_is_503(tmp_path: Path, source: str) -> None:
    async with Origin() as origin:
        await origin.close_listener("issuer")
        async with entitled(tmp_path, origin, source) as proxy:
            assert statuses(await every_way(proxy, *PATHS)) == {503}
            assert origin.log == []
            await origin.reopen("issuer")
            await refresh(proxy)
            assert (await proxy.get(PAGE)).status == 200


async def test_a_restart_in_an_outage_is_as_before_it(tmp_path: Path) -> None:
    async with Origin() as origin:
        origin.platform.entitle(origin.pair, "PYTHON", "PYTHON_ATHENA")
        async with entitled(tmp_path, origin) as proxy:
            assert (await proxy.get(PAGE)).status == 200
        await origin.close_listener("api")
        await origin.close_listener("issuer")
        async with entitled(tmp_path, origin) as proxy:
            assert (await proxy.get(PAGE)).status == 200
            assert (await proxy.get(REMEDIATED)).status == 200
            proxy.clock.advance(-86400)
            proxy.steady.advance(GRACE + 10)
            assert (await proxy.get(PAGE)).status == 503
        await origin.reopen("api")
        await origin.reopen("issuer")
        origin.platform.entitle(origin.pair, "JAVA")
        async with entitled(tmp_path, origin) as proxy:
            await refresh(proxy)
            assert (await proxy.get(PAGE)).status == 403
        await origin.close_listener("api")
        async with entitled(tmp_path, origin) as proxy:
            assert (await proxy.get(PAGE)).status == 403


async def test_what_is_kept_is_for_our_eyes_and_holds_no_secret(tmp_path: Path) -> None:
    async with Origin() as origin, entitled(tmp_path, origin) as proxy:
        file = tmp_path / "cache" / FILE_NAME
        assert file.stat().st_mode & 0o777 == 0o600
        assert set(json.loads(file.read_bytes())) == {
            *("version", "api", "organisation", "may_ask", "items", "tiered"),
            *("boot", "steady", "learnt"),
        }
        proxy.keep_secret(*origin.platform.issued)
        assert proxy.leaks() == []


TIERS = [
    (("PYTHON",), 200, 200),
    (("PYTHON", "PYTHON_ATHENA"), 200, 200),
    (("PYTHON", "JAVA_ATHENA"), 200, 403),
    (("PYTHON_ATHENA",), 403, 200),
]


@pytest.mark.parametrize(("names", "plain", "remediated"), TIERS)
async def test_tiers_gate_the_remediated_index(
    tmp_path: Path, names: tuple[str, ...], plain: int, remediated: int
) -> None:
    async with Origin() as origin:
        origin.platform.entitle(origin.pair, *names)
        async with entitled(tmp_path, origin) as proxy:
            assert (await proxy.get(PAGE)).status == plain
            assert (await proxy.get(REMEDIATED)).status == remediated


async def test_where_we_may_not_ask_auto_leaves_it_to_the_upstream(tmp_path: Path) -> None:
    async with Origin() as origin:
        origin.platform.settings.may_ask = False
        async with entitled(tmp_path, origin, "auto") as proxy:
            assert (await proxy.get(PAGE)).status == 200
            origin.settings.entitled = frozenset()
            assert (await proxy.get("/python/simple/beta/")).status == 403


async def test_where_we_may_not_ask_the_source_platform_stays_shut(tmp_path: Path) -> None:
    async with Origin() as origin:
        origin.platform.settings.may_ask = False
        async with entitled(tmp_path, origin, "platform") as proxy:
            assert (await proxy.get(PAGE)).status == 503
            warnings = [line["message"] for line in proxy.messages() if line["level"] == "warning"]
            assert any("our credentials may not ask" in message for message in warnings)


@pytest.mark.parametrize(("source", "code"), [("auto", 200), ("platform", 503)])
async def test_a_short_lived_token_with_any_user_name_is_no_reason_to_shut_everything(
    tmp_path: Path, source: str, code: int
) -> None:
    async with Origin() as origin:
        origin.credentials.admit("a-short-lived-token", origin.settings.clock() + 600)
        pair = ("anybody", "a-short-lived-token")
        for _ in range(2):  # the second start knows it from the first
            async with running(
                tmp_path, origin, platform(origin, source), credentials={"python": pair}
            ) as proxy:
                proxy.keep_secret(pair[1])
                assert (await proxy.get(PAGE)).status == code
        assert origin.platform.journal.log == []


async def test_the_static_list_asks_nobody(tmp_path: Path) -> None:
    async with Origin() as origin:
        tables = platform(origin, "static")
        tables["entitlements"]["ecosystems"] = ["java"]
        async with running(tmp_path, origin, tables) as proxy:
            assert (await proxy.get(PAGE)).status == 403
        assert origin.platform.journal.log == []


async def test_a_mirrors_password_is_never_shown_to_the_vendors_issuer(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        assert not proxy.settings.upstream.has_platform
        assert not isinstance(proxy.app.entitlements, PlatformEntitlements)
        assert (await proxy.get(PAGE)).status == 200


async def test_without_a_pull_token_auto_leaves_it_to_the_upstream(tmp_path: Path) -> None:
    async with Origin() as origin:
        async with running(tmp_path, origin, platform(origin), credentials={}) as proxy:
            assert not isinstance(proxy.app.entitlements, PlatformEntitlements)
        assert origin.platform.journal.log == []


async def test_a_rotated_pull_token_asks_with_its_own_identity(tmp_path: Path) -> None:
    async with Origin() as origin, entitled(tmp_path, origin) as proxy:
        other = origin.credentials.issue()
        origin.platform.entitle(other, "JAVA")
        rotate(tmp_path, other)
        await proxy.app.reload()
        await proxy.app.reload()
        proxy.keep_secret(other.password)
        await refresh(proxy)
        await refresh(proxy)
        assert (await proxy.get(PAGE)).status == 403
        shown = (await proxy.get("/api/v1/entitlements", url=proxy.admin_url)).json()
        assert shown["organization"] == other.username.rpartition("/")[0]


def rotate(folder: Path, pair: Pair) -> None:
    (folder / "default.pair").write_text(f"{pair.username}\n{pair.password}\n", "ascii")


# --- what the operator sees ---------------------------------------------------------------------


async def test_the_operator_sees_policy_and_cooldown(tmp_path: Path) -> None:
    async with Origin() as origin:
        origin.platform.entitle(
            origin.pair, "PYTHON", "JAVA_ATHENA", policy="POLICY_CHAINGUARD_AND_UPSTREAM"
        )
        async with entitled(tmp_path, origin) as proxy:
            answer = await proxy.get("/api/v1/entitlements", url=proxy.admin_url)
            shown = answer.json()
            assert (answer.status, answer.header("Content-Type")) == (200, "application/json")
            assert shown["source"] == "auto"
            assert shown["state"] == "fresh"
            assert shown["organization"] == origin.username.rpartition("/")[0]
            assert 0 <= shown["age_seconds"] < 60
            assert shown["items"][0] == {
                "ecosystem": "PYTHON",
                "policy": "POLICY_CHAINGUARD_AND_UPSTREAM",
                "cooldown_days": 7,
                "source": "SOURCE_SUBSCRIPTION",
            }
            assert shown["verdicts"]["python"] == {
                "python": "allowed",
                "python-remediated": "denied",
            }
            assert (
                await proxy.request("POST", "/api/v1/entitlements", url=proxy.admin_url)
            ).status == 405


async def test_the_numbers_say_what_holds_and_what_asking_came_to(tmp_path: Path) -> None:
    async with Origin() as origin, entitled(tmp_path, origin) as proxy:
        numbers = await proxy.metrics()
        name = "cgr_proxy_entitlement"
        assert numbers[f'{name}_allowed{{ecosystem="python",scope="python"}}'] == 1
        assert numbers[f'{name}_state{{state="fresh"}}'] == 1
        assert 0 <= numbers[f"{name}_age_seconds"] < 60
        assert numbers[f'{name}_cooldown_days{{entitlement="PYTHON"}}'] == 7
        policy = f'{name}_policy{{entitlement="PYTHON",policy="POLICY_CHAINGUARD"}}'
        assert numbers[policy] == 1
        assert numbers[f'{name}_refreshes_total{{outcome="answered"}}'] >= 1
        origin.platform.entitle(origin.pair, "JAVA", "NEW_" * 10, policy="POLICY_NEW")
        await refresh(proxy)
        origin.fault("api", **status(500), times=None)
        await refresh(proxy)
        numbers = await proxy.metrics()
        assert numbers[f'{name}_allowed{{ecosystem="python",scope="python"}}'] == 0
        assert numbers[f'{name}_state{{state="stale"}}'] == 1
        assert numbers[f'{name}_refreshes_total{{outcome="silent"}}'] >= 1
        assert numbers[f'{name}_policy{{entitlement="JAVA",policy="other"}}'] == 1
        assert not any("NEW_" in sample for sample in numbers)


async def test_other_sources_are_shown_too(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        shown = (await proxy.get("/api/v1/entitlements", url=proxy.admin_url)).json()
        assert (shown["source"], shown["state"], shown["items"]) == ("auto", "assumed", [])
        assert shown["verdicts"]["python"]["python"] == "allowed"
        assert (await proxy.metrics())['cgr_proxy_entitlement_state{state="assumed"}'] == 1


# --- as a process -------------------------------------------------------------------------------


def test_a_process_asks_at_its_start_and_again_at_a_hangup(tmp_path: Path) -> None:
    with OriginThread() as origin:
        tables = platform(origin)
        with process(tmp_path, _upstream(origin), tables) as proxy:
            assert proxy.get(PAGE).status == 200
            origin.call(lambda inner: inner.platform.withdraw(inner.pair))
            proxy.signal(signal.SIGHUP)
            deadline = time.monotonic() + 10
            while proxy.get(PAGE).status == 200:
                assert time.monotonic() < deadline
            assert proxy.get(PAGE).status == 403
            proxy.signal(signal.SIGTERM)
            assert proxy.wait() == 0
            proxy.keep_secret(*origin.origin.platform.issued)


def _upstream(origin: OriginThread) -> Upstream:
    return origin
