"""The doctor beside a running proxy: it is there, it gives the same bytes, it is not behind."""

from __future__ import annotations

from pathlib import Path

from proxy.doctor.findings import ALL
from tests.certificates import Authority
from tests.origin import status
from tests.origin.wheels import make_wheel
from tests.running import client, token
from tests.unit.doctored import PROBED, WHEEL, scene

CLIENTS = {"clients": [client("builder", *PROBED)]}


async def test_a_proxy_that_does_not_run_is_told(tmp_path: Path) -> None:
    async with scene(tmp_path, runs=False) as made:
        wrong = await made.wrong()
    assert list(wrong) == [(ALL, "proxy")]
    assert "nothing answers" in wrong[ALL, "proxy"].detail


async def test_where_clients_are_configured_a_token_is_needed(tmp_path: Path) -> None:
    async with scene(tmp_path, CLIENTS) as made:
        without = await made.wrong()
        found = await made.wrong(token=token("builder"))
        unknown = await made.wrong(token=token("nobody"))
    assert "is no token of a client" in unknown["python", "proxy"].fix
    assert "is no token of a client" not in without["python", "proxy"].fix
    assert "401" in without["python", "proxy"].detail
    assert "CGR_PROXY_TOKEN" in without["python", "proxy"].fix
    assert found == {}
    assert token("builder") not in made.said


async def test_a_proxy_with_a_certificate_is_known_by_it(tmp_path: Path) -> None:
    pair = Authority("farm", tmp_path).server("192.0.2.1", name="proxy.example")
    tls = {"tls_certificate": str(pair.certificate), "tls_key": str(pair.key)}
    async with scene(tmp_path / "proxy", {"server": tls}) as made:
        wrong = await made.wrong()
    assert wrong == {}


async def test_a_file_that_was_replaced_upstream_is_a_stale_cache(tmp_path: Path) -> None:
    async with scene(tmp_path) as made:
        before = await made.wrong()
        made.origin.content.replace_bytes(WHEEL, make_wheel("six", "1.17.0", requires=["new"]))
        wrong = await made.wrong()
    assert before == {}
    assert list(wrong) == [("python", "stale-cache")]
    assert "other bytes" in wrong["python", "stale-cache"].detail
    assert "cache purge pkg:pypi/six`" in wrong["python", "stale-cache"].fix


async def test_a_proxy_that_cannot_ask_the_upstream_serves_stale_and_is_told(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as made:
        assert made.proxy is not None
        assert await made.wrong() == {}
        made.proxy.clock.advance(400)  # documents are stale now
        fault = made.origin.fault("origin", "/simple/six", times=None, **status(503))
        answer = await made.proxy.get("/python/simple/six/")
        fault.clear()
        wrong = await made.wrong()
    assert "stale-if-error" in (answer.cache or "")
    assert "stale" in wrong["python", "stale-cache"].detail


async def test_an_absence_that_is_remembered_is_a_stale_cache(tmp_path: Path) -> None:
    async with scene(tmp_path) as made:
        assert made.proxy is not None
        fault = made.origin.fault("origin", "/simple/six", times=None, **status(404))
        answer = await made.proxy.get("/python/simple/six/")
        fault.clear()
        wrong = await made.wrong()
    assert answer.status == 404
    assert "the proxy answers 404" in wrong["python", "stale-cache"].detail


async def test_a_proxy_that_drains_is_told(tmp_path: Path) -> None:
    async with scene(tmp_path) as made:
        assert made.proxy is not None
        made.proxy.app.health.draining = True
        wrong = await made.wrong()
        made.proxy.app.health.draining = False
    assert "readyz answers 503" in wrong[ALL, "proxy"].detail
