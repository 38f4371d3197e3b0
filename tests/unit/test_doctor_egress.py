"""The doctor where the way out leads through the organisation's own proxy."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from proxy.doctor.findings import ALL
from proxy.doctor.hosts import Lookout, Sight
from proxy.egress import Egress
from proxy.secret import Secret
from proxy.upstream.pairs import Pair
from proxy.upstream.tls import client_context
from tests.certificates import Authority
from tests.running import free_port
from tests.unit.doctored import PROBED, scene
from tests.unit.egress_proxy import HOST, EgressProxy
from tests.unit.test_doctor_tls import server

WHO = "build:open-sesame-42"
LIMIT = 5.0


def lookout(egress: str, password: str = "", trusted: Path | None = None) -> Lookout:
    shown = Secret(Pair("build", Secret(password)).authorization)
    way = Egress(egress, shown if password else None)
    return Lookout(client_context(trusted), LIMIT, LIMIT, time.time, way)


async def test_a_host_is_looked_at_through_a_tunnel(tmp_path: Path) -> None:
    authority = Authority("farm", tmp_path)
    async with server(authority) as (url, seen), EgressProxy(WHO) as proxy:
        sight = await lookout(proxy.url, "open-sesame-42", authority.file).look(url)
    assert sight == Sight(url)
    assert proxy.heads[0].startswith("CONNECT 127.0.0.1:")
    assert b"proxy-authorization" not in seen[0].lower()


async def test_an_authority_behind_the_tunnel_is_called_by_its_name(tmp_path: Path) -> None:
    async with server(Authority("Filter Inc", tmp_path)) as (url, _), EgressProxy() as proxy:
        sight = await lookout(proxy.url).look(url)
    assert (sight.check, "Filter Inc" in sight.detail) == ("tls", True)


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_a_proxy_that_does_not_let_us_through_is_blamed(scheme: str, tmp_path: Path) -> None:
    async with server(Authority("farm", tmp_path)) as (url, _), EgressProxy(WHO) as proxy:
        sight = await lookout(proxy.url, "wrong").look(url.replace("https", scheme))
    assert (sight.check, "407" in sight.detail) == ("host", True)
    assert "proxy_password_file" in sight.fix


async def test_a_proxy_that_is_not_there_is_blamed(tmp_path: Path) -> None:
    async with server(Authority("farm", tmp_path)) as (url, _):
        sight = await lookout(f"http://{HOST}:{free_port()}").look(url)
    assert sight.check == "host"
    assert HOST in sight.fix
    assert "[upstream] proxy" in sight.fix


async def test_everything_is_asked_through_it_but_the_running_proxy(tmp_path: Path) -> None:
    secret = tmp_path / "egress.pair"
    secret.write_text("build\nopen-sesame-42\n")
    async with EgressProxy(WHO) as proxy:
        way = {"upstream": {"proxy": proxy.url, "proxy_password_file": str(secret)}}
        async with scene(tmp_path / "proxy", way) as made:
            found = await made.findings()
            assert made.proxy is not None
            ours = made.proxy.url.partition("//")[2]
    assert [item for item in found.values() if not item.ok] == []
    assert all((name, "proxy") in found for name in PROBED)
    assert not [head for head in proxy.heads if ours in head]
    assert "open-sesame" not in made.said


async def test_a_password_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    secret = tmp_path / "egress.pair"
    secret.write_text("half-canary\n")
    way = {"upstream": {"proxy": f"http://{HOST}:1", "proxy_password_file": str(secret)}}
    async with scene(tmp_path / "proxy", way, runs=False) as made:
        wrong = await made.wrong()
    assert "proxy_password_file" in wrong[ALL, "host"].detail
    assert "half-canary" not in made.said
