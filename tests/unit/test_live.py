"""The configuration taken anew while the proxy runs: clients at once, mistakes never."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.origin import Origin, OriginThread
from tests.origin.oidc import JobIssuer, SigningKey
from tests.running import (
    Running,
    basic,
    bearer,
    client,
    configuration,
    process,
    request_bytes,
    running,
    token,
)

PAGE = "/python/simple/alpha/"
OLD = basic(token("old"))
NEW = basic(token("new"))


def clients(*names: str, **more: Any) -> dict[str, Any]:
    return {"clients": [client(name, "python") for name in names], **more}


@asynccontextmanager
async def proxied(folder: Path, *names: str) -> AsyncIterator[tuple[Running, Origin]]:
    async with Origin() as origin, running(folder, origin, clients(*names)) as proxy:
        yield proxy, origin


async def statuses(proxy: Running) -> tuple[int, int]:
    old = await proxy.get(PAGE, authorization=OLD)
    new = await proxy.get(PAGE, authorization=NEW)
    return old.status, new.status


def said(proxy: Running) -> list[str]:
    return [
        record["message"]
        for record in proxy.messages()
        if record["logger"] == "proxy.configuration"
    ]


async def test_clients_are_taken_anew_at_a_reload(tmp_path: Path) -> None:
    async with proxied(tmp_path, "old") as (proxy, origin):
        assert await statuses(proxy) == (200, 401)
        await proxy.reconfigure(origin, clients("old", "new"))
        assert await statuses(proxy) == (200, 200)
        await proxy.reconfigure(origin, clients("new"))
        assert await statuses(proxy) == (401, 200)
        assert said(proxy)[-1].startswith("the configuration was read anew: 1 clients")


async def test_a_changed_file_is_noticed_without_being_told(tmp_path: Path) -> None:
    async with proxied(tmp_path, "old") as (proxy, origin):
        await proxy.reconfigure(origin, clients("new"), told=False)
        assert await statuses(proxy) == (200, 401)
        for _ in range(2):  # seen, and seen to have settled
            await proxy.app.live.poll()
        assert await statuses(proxy) == (401, 200)


async def test_a_removed_client_is_refused_on_its_open_connection(tmp_path: Path) -> None:
    async with proxied(tmp_path, "old") as (proxy, origin):
        reader, writer = await proxy.connect()
        raw = request_bytes("HEAD", PAGE, "x.example", {"authorization": OLD}, close=False)
        for status in (b"200", b"401"):
            writer.write(raw)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.split()[1] == status
            await proxy.reconfigure(origin, clients("new"))
        writer.transport.abort()


@pytest.mark.parametrize(
    "text",
    [
        "[[clients]\n",
        '[[clients]]\nname = "x"\n',
        "",
        '[server]\nlisten = "0.0.0.0:1"\n',
        "\x00",
    ],
)
async def test_a_file_with_mistakes_changes_nothing_and_each_is_said(
    tmp_path: Path, text: str
) -> None:
    async with proxied(tmp_path, "old") as (proxy, _):
        kept = proxy.file.read_text()
        proxy.file.write_text(f"{text}\n{kept}\n[server2]\n[server3]\n")
        await proxy.app.reload()
        assert await statuses(proxy) == (200, 401)
        assert said(proxy)
        assert all(line.startswith("the configuration stays as it was: ") for line in said(proxy))


async def test_every_mistake_is_one_line(tmp_path: Path) -> None:
    async with proxied(tmp_path, "old") as (proxy, _):
        mistakes = "[limits]\nmin_rat = 1\n[upstream2]\n[entitlements]\nsource = 3\n"
        proxy.file.write_text(proxy.file.read_text() + mistakes)
        await proxy.app.reload()
        assert len(said(proxy)) == 3


async def test_a_file_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    async with proxied(tmp_path, "old") as (proxy, _):
        proxy.file.unlink()
        await proxy.app.reload()
        assert await statuses(proxy) == (200, 401)
        assert len(said(proxy)) == 1


async def test_what_takes_a_restart_is_said_and_the_rest_is_taken(tmp_path: Path) -> None:
    async with proxied(tmp_path, "old") as (proxy, origin):
        more = {
            "cache": {"directory": str(tmp_path / "cache"), "document_ttl": "1s"},
            "log": {"level": "error", "format": "json"},
        }
        await proxy.reconfigure(origin, clients("new", **more))
        assert await statuses(proxy) == (401, 200)
        waiting = [line.partition(" ")[0] for line in said(proxy) if "restart" in line]
        assert waiting == ["cache.document_ttl", "log.level"]


async def test_a_file_without_clients_shuts_where_there_were_some(tmp_path: Path) -> None:
    async with proxied(tmp_path, "old") as (proxy, origin):
        await proxy.reconfigure(origin, {})
        assert (await proxy.get(PAGE)).status == 401
        assert await statuses(proxy) == (401, 401)
        assert "nobody may come in" in said(proxy)[-1]
        await proxy.reconfigure(origin, clients("new"))
        assert await statuses(proxy) == (401, 200)


async def test_a_proxy_that_is_open_to_loopback_shuts_with_its_first_client(
    tmp_path: Path,
) -> None:
    async with proxied(tmp_path) as (proxy, origin):
        assert (await proxy.get(PAGE)).status == 200
        await proxy.reconfigure(origin, clients("new"))
        assert (await proxy.get(PAGE)).status == 401
        assert await statuses(proxy) == (401, 200)


async def test_clients_may_not_go_while_the_process_listens_elsewhere(tmp_path: Path) -> None:
    everywhere = {"listen": "0.0.0.0:0", "admin_listen": "127.0.0.1:0"}
    tables = clients("old", server=everywhere)
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        url = proxy.url.replace("0.0.0.0", "127.0.0.1")
        assert (await proxy.get(PAGE, url=url, authorization=OLD)).status == 200
        # The file says loopback now, where no clients are fine; the process is still everywhere.
        await proxy.reconfigure(origin, {})
        assert (await proxy.get(PAGE, url=url)).status == 401
        assert (await proxy.get(PAGE, url=url, authorization=OLD)).status == 401


async def test_issuers_of_id_tokens_are_taken_anew(tmp_path: Path) -> None:
    key = SigningKey.make("key-1", "ES256")
    async with JobIssuer(key) as issuer, proxied(tmp_path, "old") as (proxy, origin):
        job = bearer(issuer.mint())
        assert (await proxy.get(PAGE, authorization=job)).status == 401
        tables = clients("old", oidc=[issuer.stanza("python")])
        await proxy.reconfigure(origin, tables)
        assert (await proxy.get(PAGE, authorization=job)).status == 200
        tables["oidc"] = [issuer.stanza("python", claims={"repository": "others/*"})]
        await proxy.reconfigure(origin, tables)
        assert (await proxy.get(PAGE, authorization=job)).status == 401


async def test_the_keys_of_an_issuer_come_over_the_wire_and_stay_while_it_is_away(
    tmp_path: Path,
) -> None:
    async with JobIssuer() as issuer, Origin() as origin:
        tables = {"oidc": [issuer.stanza("python")]}
        async with running(tmp_path, origin, tables) as proxy:
            assert (await proxy.get(PAGE, authorization=basic(issuer.mint()))).status == 200
            await issuer.close(keep_port=True)
            for hours in range(3):
                proxy.clock.advance(3600)
                proxy.steady.advance(3600)
                issuer.clock = proxy.clock
                proxy.app.live.oidc.poll()
                good = await proxy.get(PAGE, authorization=basic(issuer.mint(sub=str(hours))))
                assert good.status == 200
            issuer.rotate("EdDSA")
            assert (await proxy.get(PAGE, authorization=bearer(issuer.mint()))).status == 401
            await issuer.open()
            proxy.steady.advance(60)
            assert (await proxy.get(PAGE, authorization=bearer(issuer.mint()))).status == 200
            assert issuer.journal.violations == []


async def test_a_reload_asks_issuers_for_their_keys_before_it_is_done(tmp_path: Path) -> None:
    async with (
        JobIssuer(SigningKey.make("key-1", "ES256")) as issuer,
        Origin() as origin,
        running(tmp_path, origin, {"oidc": [issuer.stanza("python")]}) as proxy,
    ):
        job = bearer(issuer.mint())
        assert (await proxy.get(PAGE, authorization=job)).status == 200
        for published in ([SigningKey.make("key-1", "ES256")], []):
            issuer.published = published
            asked = issuer.count()
            await proxy.app.reload()
            assert issuer.count() == asked + 1
            assert (await proxy.get(PAGE, authorization=job)).status == 401
            issuer.published = [issuer.key]
            await proxy.app.reload()
            assert (await proxy.get(PAGE, authorization=job)).status == 200
        await issuer.close()
        await proxy.app.reload()
        assert (await proxy.get(PAGE, authorization=job)).status == 200


@pytest.mark.parametrize(
    ("where", "status"),
    [("http://192.0.2.1/jwks", 503), ("file:///etc/passwd", 503), ("jwks", 503)],
)
async def test_keys_are_not_taken_from_just_anywhere(
    tmp_path: Path, where: str, status: int
) -> None:
    async with JobIssuer(SigningKey.make("k", "ES256")) as issuer, Origin() as origin:
        issuer.jwks_uri = where
        tables = {"oidc": [issuer.stanza("python")]}
        async with running(tmp_path, origin, tables) as proxy:
            answer = await proxy.get(PAGE, authorization=bearer(issuer.mint()))
            assert answer.status == status
            assert answer.header("Retry-After") == "5"
            assert answer.cache == "cgr-proxy; detail=denied"


async def test_an_address_of_keys_that_may_not_be_asked_is_named_with_what_would_allow_it(
    tmp_path: Path,
) -> None:
    # A cluster names its API server's address, which is private.
    async with JobIssuer(SigningKey.make("k", "ES256")) as issuer, Origin() as origin:
        issuer.jwks_uri = "https://10.96.0.1:443/openid/v1/jwks?x=y"
        tables = {"oidc": [issuer.stanza("python")]}
        async with running(tmp_path, origin, tables) as proxy:
            assert (await proxy.get(PAGE, authorization=bearer(issuer.mint()))).status == 503
            (line,) = [m["message"] for m in proxy.messages() if "no keys from" in m["message"]]
            assert "10.96.0.1" in line
            assert "upstream.allow_networks" in line


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 302, "headers": (("Location", "http://127.0.0.1:1/"),)},
        {"status": 200, "body": b"<html>"},
        {"status": 200, "body": b'{"issuer": "https://other.example"}'},
        {"close": True},
        {"status": 200, "body": b" " * (2 << 20)},
    ],
    ids=["500", "redirect", "a page", "another issuer", "closed", "too large"],
)
async def test_an_issuer_that_answers_rubbish_gives_no_keys(
    tmp_path: Path, fault: dict[str, Any]
) -> None:
    async with JobIssuer(SigningKey.make("k", "ES256")) as issuer, Origin() as origin:
        issuer.fault("openid-configuration", times=None, **fault)
        tables = {"oidc": [issuer.stanza("python")]}
        async with running(tmp_path, origin, tables) as proxy:
            answer = await proxy.get(PAGE, authorization=bearer(issuer.mint()))
            assert answer.status == 503
            issuer.faults.clear()
            proxy.steady.advance(5)
            again = await proxy.get(PAGE, authorization=bearer(issuer.mint()))
            assert again.status == 200


async def test_an_issuer_that_is_away_shuts_no_client_out_of_the_registry_paths(
    tmp_path: Path,
) -> None:
    async with JobIssuer(SigningKey.make("k", "ES256")) as issuer, Origin() as origin:
        issuer.fault("openid-configuration", status=500, times=None)
        net = client("net", "python", networks=["127.0.0.0/8"])
        tables = {"clients": [net], "oidc": [issuer.stanza("python")]}
        async with running(tmp_path, origin, tables) as proxy:
            job = bearer(issuer.mint())
            assert (await proxy.get(PAGE, authorization=job)).status == 503
            await proxy.get("/v2/", authorization=job)
            assert proxy.access()[-1]["principal"] == "net"


async def test_another_credential_is_not_held_up_by_an_issuer_that_is_away(
    tmp_path: Path,
) -> None:
    async with JobIssuer(SigningKey.make("k", "ES256")) as issuer, Origin() as origin:
        stall = issuer.fault("openid-configuration", hold=True, times=None)
        tables = clients("old", oidc=[issuer.stanza("python")])
        async with running(tmp_path, origin, tables) as proxy:
            waiting = asyncio.create_task(proxy.get(PAGE, authorization=bearer(issuer.mint())))
            await stall.reached()
            assert (await proxy.get(PAGE, authorization=OLD)).status == 200
            stall.clear()
            assert (await waiting).status == 200


def test_a_running_process_takes_its_file_anew_by_itself_and_by_a_signal(tmp_path: Path) -> None:
    with OriginThread() as origin, process(tmp_path, origin, clients("old")) as proxy:
        assert proxy.get(PAGE, authorization=OLD).status == 200
        configuration(tmp_path, origin, clients("new"))
        ends = time.monotonic() + 10
        while proxy.get(PAGE, authorization=OLD).status != 401:
            assert time.monotonic() < ends
        assert proxy.get(PAGE, authorization=NEW).status == 200
        configuration(tmp_path, origin, clients("old"))
        proxy.signal(signal.SIGHUP)
        ends = time.monotonic() + 10
        while proxy.get(PAGE, authorization=NEW).status != 401:
            assert time.monotonic() < ends
        assert proxy.get(PAGE, authorization=OLD).status == 200


async def test_a_reload_says_when_it_is_done(tmp_path: Path) -> None:
    async with proxied(tmp_path, "old") as (proxy, _):
        await proxy.app.reload()
        (tmp_path / "cgr-proxy.toml").write_text("[server]\nlistn = 1\n", encoding="utf-8")
        await proxy.app.reload()
        lines = [record["message"] for record in proxy.messages()]
        assert [line for line in lines if line.startswith("reloaded")] == [
            "reloaded",
            "reloaded, but for the configuration: it has mistakes",
        ]
