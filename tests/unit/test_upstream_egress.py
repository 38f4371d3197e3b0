"""Asking through the organisation's own proxy: everybody, with its credential, and nobody else."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from proxy.egress import Egress
from proxy.errors import ForbiddenAddress, InsecureUpstream, Unavailable
from proxy.secret import Secret
from proxy.server.process import CannotStart
from proxy.upstream.pairs import Pair
from proxy.upstream.tls import client_context
from tests.engine import fetch
from tests.origin import Origin
from tests.running import running
from tests.unit.egress_proxy import EgressProxy
from tests.unit.test_upstream_tls import Authority
from tests.unit.upstream_room import Names, Raw, answer, redirect_to, room

WHO = "build:open-sesame-42"
OK = answer(200, b"ok")


def way(proxy: EgressProxy, who: str = "") -> Egress:
    user, _, password = who.partition(":")
    shown = Secret(Pair(user, Secret(password)).authorization)
    return Egress(proxy.url, shown if who else None)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path).found()


async def test_an_https_upstream_is_asked_through_a_tunnel_that_sees_nothing_of_it(
    authority: Authority,
) -> None:
    tls = client_context(authority.bundle)
    async with (
        Raw(lambda _: OK, tls=authority.context()) as raw,
        EgressProxy(WHO) as proxy,
        room(raw.url, tls=tls, insecure=False, egress=way(proxy, WHO)) as made,
    ):
        assert await made.get("/x") == b"ok"
        assert proxy.heads[0].startswith(f"CONNECT {raw.place} HTTP/1.1\r\n")
        assert len(proxy.heads) == 1
        assert b"/x" not in proxy.inside[0]
        assert "proxy-authorization" not in raw.heads[0].lower()


async def test_names_are_looked_up_by_the_proxy_not_here(authority: Authority) -> None:
    tls = client_context(authority.bundle)
    context = authority.context(names="DNS:upstream.example,DNS:store.example")
    here = Names({})

    def lead(target: str) -> bytes:
        return redirect_to(f"https://store.example:{raw.port}/body") if target == "/x" else OK

    async with (
        Raw(lead, tls=context) as raw,
        EgressProxy(names={"upstream.example": raw.host, "store.example": raw.host}) as proxy,
    ):
        url = f"https://upstream.example:{raw.port}"
        hosts = (f"store.example:{raw.port}",)
        async with room(
            url, tls=tls, insecure=False, networks=(), hosts=hosts, resolver=here, egress=way(proxy)
        ) as made:
            assert await made.get("/x") == b"ok"
    assert [head.split(" ")[1] for head in proxy.heads] == [
        f"upstream.example:{raw.port}",
        f"store.example:{raw.port}",
    ]
    assert here.asked == []


@pytest.mark.parametrize("location", ["https://elsewhere.example/x", "https://10.0.0.1/x"])
async def test_a_redirect_to_a_host_that_is_not_allowed_does_not_reach_the_proxy(
    authority: Authority, location: str
) -> None:
    tls = client_context(authority.bundle)
    async with (
        Raw(lambda _: redirect_to(location), tls=authority.context()) as raw,
        EgressProxy() as proxy,
        room(raw.url, tls=tls, insecure=False, networks=(), egress=way(proxy)) as made,
    ):
        with pytest.raises(ForbiddenAddress):
            await made.get("/x")
        assert len(proxy.heads) == 1


async def test_a_proxy_that_breaks_tls_open_is_told_from_the_upstream(authority: Authority) -> None:
    async with (
        Raw(lambda _: OK, tls=authority.context()) as raw,
        EgressProxy() as proxy,
        room(raw.url, insecure=False, egress=way(proxy)) as made,
    ):
        with pytest.raises(InsecureUpstream):
            await made.get("/x")


async def test_a_credential_that_the_proxy_refuses_is_said_to_be_that(
    authority: Authority,
) -> None:
    tls = client_context(authority.bundle)
    async with (
        Raw(lambda _: OK, tls=authority.context()) as raw,
        EgressProxy(WHO) as proxy,
        room(raw.url, tls=tls, egress=way(proxy, "build:wrong-password")) as made,
    ):
        with pytest.raises(Unavailable) as caught:
            await made.get("/x")
        assert "upstream.proxy" in caught.value.detail
        assert "407" in caught.value.detail
        assert raw.connections == 0


async def test_a_proxy_that_is_not_there_is_said_to_be_that(authority: Authority) -> None:
    tls = client_context(authority.bundle)
    async with EgressProxy() as gone:
        egress = way(gone)
    async with (
        Raw(lambda _: OK, tls=authority.context()) as raw,
        room(raw.url, tls=tls, egress=egress) as made,
    ):
        with pytest.raises(Unavailable) as caught:
            await made.get("/x")
        assert "upstream.proxy" in caught.value.detail
        assert raw.connections == 0


async def test_a_whole_proxy_asks_everything_through_it_and_shows_its_credential_nowhere(
    tmp_path: Path,
) -> None:
    (tmp_path / "egress.pair").write_text(WHO.replace(":", "\n"), encoding="utf-8")
    async with Origin() as origin, EgressProxy(WHO) as egress:
        given = {"proxy": egress.url, "proxy_password_file": str(tmp_path / "egress.pair")}
        given |= {"issuer": origin.issuer_url, "api": origin.api_url}
        async with running(tmp_path, origin, {"upstream": given}) as proxy:
            proxy.keep_secret(WHO.partition(":")[2])
            assert (await proxy.get("/python/simple/alpha/")).status == 200
            artifact = next(iter(origin.content))
            got = await fetch(proxy, artifact.link)
            assert (got.status, got.sha256) == (200, artifact.blob.sha256), got
        asked = {urlsplit(head.split(" ")[1]).netloc for head in egress.heads}
        urls = (origin.url, origin.store_url, origin.issuer_url, origin.api_url)
        assert {urlsplit(url).netloc for url in urls} <= asked
        for head in egress.heads:
            assert f"Host: {urlsplit(head.split(' ')[1]).netloc}" in head


async def test_a_credential_file_that_holds_none_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "egress.pair").write_text("one line only\n", encoding="utf-8")
    async with Origin() as origin:
        given = {
            "proxy": "http://127.0.0.8:1",
            "proxy_password_file": str(tmp_path / "egress.pair"),
        }
        with pytest.raises(CannotStart, match="proxy_password_file"):
            async with running(tmp_path, origin, {"upstream": given}):
                pass
