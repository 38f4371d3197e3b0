"""Before the path is looked at: fronts, hosts, base URLs; and how one request is noted."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from proxy.access.peer import parse_address
from proxy.errors import BadRequest
from proxy.server import wire
from proxy.server.front import Peer, base_url
from tests.origin import Origin
from tests.running import Running, answers, bearer, client, request_bytes, running, token

PAGE = "/python/simple/alpha/"
WHEEL = "alpha-1.0-py3-none-any.whl"
CANARY = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ"
FARM = {"clients": [client("farm", "python", networks=["10.1.0.0/16"]), client("token", "python")]}
BEHIND = FARM | {"server": {"trusted_proxies": ["127.0.0.0/8", "192.168.0.0/16"]}}
BESIDE = FARM | {"server": {"trusted_proxies": ["192.168.0.0/16"]}}


@pytest.mark.parametrize(
    ("tables", "hops", "peer", "status"),
    [
        (BEHIND, "10.1.2.3", "10.1.2.3", 200),
        (BEHIND, "10.1.2.3:4711", "10.1.2.3", 200),
        (BEHIND, "9.9.9.9, 10.1.2.3", "10.1.2.3", 200),
        (BEHIND, "10.1.2.3, 192.168.1.1", "10.1.2.3", 200),
        (BEHIND, "10.1.2.3, 9.9.9.9", "9.9.9.9", 401),
        (BEHIND, "10.1.2.3, garbage", "127.0.0.1", 401),
        (BEHIND, "", "127.0.0.1", 401),
        (BEHIND, "10.1.2.3, unknown", "127.0.0.1", 401),
        (BEHIND, "10.1.2.3," + "192.168.1.1," * 100 + "192.168.1.1", "127.0.0.1", 401),
        (BESIDE, "10.1.2.3", "127.0.0.1", 401),
        (FARM, "10.1.2.3", "127.0.0.1", 401),
    ],
)
async def test_a_front_is_believed_as_far_as_it_is_trusted(
    tables: dict[str, Any], hops: str, peer: str, status: int, tmp_path: Path
) -> None:
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        answer = await proxy.get(PAGE, x_forwarded_for=hops)
        assert answer.status == status
        assert proxy.access()[-1]["peer"] == peer
        assert len(origin.log) == (1 if status == 200 else 0)


# Everybody by network: what a front, whose own address lies in them, must not be taken for.
ANYBODY = {
    "clients": [client("all", "python", networks=["0.0.0.0/0", "::/0"]), client("token", "python")],
    "server": {"trusted_proxies": ["127.0.0.0/8"]},
}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 401),
        ({"x_forwarded_for": ""}, 401),
        ({"x_forwarded_for": "unknown"}, 401),
        ({"x_forwarded_for": "127.0.0.1"}, 401),
        ({"x_forwarded_for": "10.1.2.3, 127.0.0.2, garbage"}, 401),
        ({"x_forwarded_proto": "https", "x_forwarded_host": "proxy.example"}, 401),
        ({"via": "1.1 front"}, 401),
        ({"x_real_ip": "10.1.2.3"}, 401),
        # RFC 7239: not read, alone or beside the other
        ({"forwarded": "for=10.1.2.3"}, 401),
        ({"forwarded": 'for="[2001:db8::1]:4711";proto=https'}, 401),
        ({"forwarded": "for=unknown", "x_forwarded_for": "10.1.2.3"}, 200),
        ({"forwarded": "for=10.1.2.3", "x_forwarded_for": "unknown"}, 401),
        ({"x_forwarded_for": "10.1.2.3"}, 200),
        ({"x_forwarded_for": "[2001:db8::1]:4711"}, 200),
    ],
)
async def test_a_trusted_front_that_names_no_client_is_nobody_itself(
    fields: dict[str, str], status: int, tmp_path: Path
) -> None:
    async with Origin() as origin, running(tmp_path, origin, ANYBODY) as proxy:
        answer = await proxy.get(PAGE, **fields)
        assert answer.status == status
        assert (b"X-Forwarded-For" in answer.body) is (status == 401)
        named = await proxy.get(PAGE, authorization=bearer(token("token")), **fields)
        assert named.status == 200


async def test_several_lines_of_a_front_are_one_list(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin, BEHIND) as proxy:
        for lines, status in (
            (["9.9.9.9", "10.1.2.3"], 200),
            (["10.1.2.3", "9.9.9.9"], 401),
            (["10.1.2.3", "192.168.1.1"], 200),
            (["10.1.2.3", ""], 401),
        ):
            head = "".join(f"X-Forwarded-For: {line}\r\n" for line in lines)
            raw = f"HEAD {PAGE} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{head}\r\n"
            (answer,) = answers(await proxy.send(raw.encode()), ["HEAD"])
            assert answer.status == status, lines


@pytest.mark.parametrize(
    "fields",
    [
        {"x_forwarded_for": "10.1.2.3"},
        {"x_forwarded_host": "evil.example"},
        {"x_forwarded_proto": "gopher"},
        {"x_forwarded_prefix": "//evil.example"},
        {"forwarded": "for=10.1.2.3"},
        {"via": "1.1 evil"},
        {"x_real_ip": "10.1.2.3", "true_client_ip": "10.1.2.3"},
    ],
)
async def test_b65_with_clients_what_an_untrusted_front_says_is_ignored(
    fields: dict[str, str], tmp_path: Path
) -> None:
    async with Origin() as origin, running(tmp_path, origin, FARM) as proxy:
        with_it = await proxy.get(PAGE, authorization=bearer(token("token")), **fields)
        without = await proxy.get(PAGE, authorization=bearer(token("token")))
        assert (with_it.status, with_it.body) == (200, without.body)
        assert (await proxy.get(PAGE, **fields)).status == 401


HERE = parse_address("127.0.0.1")
PEER = Peer(HERE, HERE, trusted=False, forwarded=False)
FRONT = Peer(HERE, None, trusted=True, forwarded=True)


def made(**fields: str) -> Any:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return make_mocked_request("GET", "/", headers=headers)


@pytest.mark.parametrize(
    ("fields", "peer", "url"),
    [
        ({"Host": "Proxy.example"}, PEER, "http://proxy.example"),
        ({"Host": "proxy.example:8080"}, PEER, "http://proxy.example:8080"),
        ({"Host": "[2001:db8::1]:80"}, PEER, "http://[2001:db8::1]:80"),
        ({"Host": "a", "X_Forwarded_Host": "b", "X_Forwarded_Proto": "https"}, PEER, "http://a"),
        ({"Host": "a", "X_Forwarded_Prefix": "/p"}, PEER, "http://a"),
        ({"Host": "a", "X_Forwarded_Host": "b"}, FRONT, "http://b"),
        ({"Host": "a", "X_Forwarded_Proto": "https"}, FRONT, "https://a"),
        ({"Host": "a", "X_Forwarded_Proto": "HTTPS "}, FRONT, "https://a"),
        ({"Host": "a", "X_Forwarded_Proto": "javascript"}, FRONT, "http://a"),
        ({"Host": "a", "X_Forwarded_Prefix": "/p/"}, FRONT, "http://a/p"),
        ({"Host": "a", "X_Forwarded_Prefix": "p"}, FRONT, "http://a"),
        ({"Host": "a", "X_Forwarded_Prefix": "/"}, FRONT, "http://a"),
        ({"Host": "a", "X_Forwarded_Prefix": "//evil.example"}, FRONT, "http://a"),
        ({"Host": "a", "X_Forwarded_Prefix": '/"><script>'}, FRONT, "http://a"),
        ({"Host": "a", "X_Forwarded_Prefix": "/a/../b"}, FRONT, "http://a"),
        ({"Host": "a", "X_Forwarded_Prefix": "/p?x#y"}, FRONT, "http://a"),
    ],
)
def test_the_base_of_links_is_a_checked_host_and_what_a_trusted_front_says(
    fields: dict[str, str], peer: Peer, url: str
) -> None:
    assert base_url(made(**fields), "", peer) == url


def test_the_configured_url_wins_over_everything() -> None:
    request = made(Host="evil.example", X_Forwarded_Host="evil.example")
    assert base_url(request, "https://public.example/x", FRONT) == "https://public.example/x"


@pytest.mark.parametrize("host", ["", "u:p@a", "a/b", "a b", "a:0", "evil\r\n.example", "<x>"])
def test_no_link_is_made_of_a_host_that_is_none(host: str) -> None:
    with pytest.raises(BadRequest):
        base_url(made(Host=host), "", PEER)
    with pytest.raises(BadRequest):
        base_url(made(Host="a", X_Forwarded_Host=host or " "), "", FRONT)


# --- one request, noted ------------------------------------------------------------------------


async def test_the_access_line_says_who_what_how_much_and_from_where(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        wheel = origin.content.find(WHEEL)
        got = [
            await proxy.get(wheel.link, user_agent="pip/26.3"),
            await proxy.get(wheel.link, range="bytes=0-9"),
            await proxy.head(wheel.link),
            await proxy.get(wheel.link, if_none_match="*"),
            await proxy.get("/nowhere?token=hunter2hunter2"),
        ]
        lines = proxy.access()
        assert [line["request_id"] for line in lines] == [a.header("X-Request-Id") for a in got]
        assert [line["bytes"] for line in lines] == [len(answer.body) for answer in got]
        assert [line["status"] for line in lines] == [200, 206, 200, 304, 404]
        assert [line["cache"] for line in lines] == ["miss", "hit", "hit", "hit", ""]
        assert [line["ecosystem"] for line in lines] == ["python"] * 4 + [""]
        assert {line["method"] for line in lines} == {"GET", "HEAD"}
        first = lines[0]
        assert (first["user_agent"], first["peer"]) == ("pip/26.3", "127.0.0.1")
        assert first["path"] == wheel.path
        assert 0 < first["duration_ms"] < 30_000
        assert lines[-1]["path"] == "/nowhere"
        sent = (await proxy.metrics())['cgr_proxy_bytes_sent_total{ecosystem="python"}']
        assert sent == sum(len(answer.body) for answer in got[:4])


async def test_a_defect_is_a_500_and_one_traceback_under_the_same_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("an inner detail")

    async with Origin() as origin, running(tmp_path, origin, tracebacks=True) as proxy:
        monkeypatch.setattr(proxy.app.documents, "get", broken)
        raw = request_bytes("GET", PAGE, "localhost", {}, close=False)
        (answer,) = answers(await proxy.send(raw + raw, end=True))
        assert (answer.status, answer.header("Connection")) == (500, "close")
        assert b"inner detail" not in answer.body
        assert b"ZeroDivision" not in answer.body
        request_id = answer.header("X-Request-Id")
        (record,) = [entry for entry in proxy.messages() if entry["level"] == "error"]
        assert record["request_id"] == request_id
        assert "an inner detail" in record["exception"]
        assert [(line["request_id"], line["status"]) for line in proxy.access()] == [
            (request_id, 500)
        ]


async def test_a_client_that_leaves_early_is_noted_as_499(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        held = origin.fault("origin", "/simple/", hold=True)
        _, writer = await proxy.connect()
        writer.write(request_bytes("GET", PAGE, "localhost", {}))
        await held.reached()
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await _noted(proxy)
        held.release()
        assert [line["status"] for line in proxy.access()] == [499]
        await _closed(proxy, 0)


async def test_a_half_closed_client_on_which_nothing_moves_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "HALF_CLOSED", 0.05)
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        held = origin.fault("origin", "/simple/", hold=True)
        _, writer = await proxy.connect()
        writer.write(request_bytes("GET", PAGE, "localhost", {}))
        await held.reached()
        writer.close()  # as a client program does that is interrupted: FIN, no reset
        await _noted(proxy)
        held.release()
        assert [line["status"] for line in proxy.access()] == [499]


async def test_a_half_closed_client_gets_every_answer_that_it_asked_for(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        one = request_bytes("GET", PAGE, "localhost", {"accept": "text/html"}, close=False)
        found = answers(await proxy.send(one * 3, end=True))
        assert [answer.status for answer in found] == [200] * 3
        assert len({answer.body for answer in found}) == 1


async def test_connections_over_the_limit_are_ended_at_once(tmp_path: Path) -> None:
    tables = {"limits": {"max_connections": 2}}
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        held = [await proxy.connect() for _ in range(2)]
        for reader, writer in held:
            writer.write(request_bytes("GET", "/healthz", "localhost", {}, close=False))
            await reader.readuntil(b"\r\n\r\n")
        reader, writer = await proxy.connect()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        held[0][1].close()
        await _closed(proxy, 1)
        assert (await proxy.get("/healthz")).status == 200
        held[1][1].close()
        assert (await proxy.get("/readyz", url=proxy.admin_url)).status == 200


async def _noted(proxy: Running) -> None:
    """Wait until no request is under way."""
    async with asyncio.timeout(10):
        while proxy.app.health.running:  # noqa: ASYNC110  # the proxy tells nobody
            await asyncio.sleep(0)


async def _closed(proxy: Running, left: int) -> None:
    """Wait until so many connections are left."""
    async with asyncio.timeout(10):
        while proxy.app.listener.connections > left:  # noqa: ASYNC110  # the same
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    "target",
    [
        f"/python/simple/?token={CANARY}",
        f"/python/simple/%3Ftoken%3D{CANARY}",
        f"/python/simple/%2563%67rp_{CANARY}/",
        f"/python/simple/{CANARY}/",
        f"/python//simple/?auth={CANARY}",
        f"/nowhere/;key={CANARY}",
    ],
)
async def test_what_an_unknown_client_writes_into_its_address_is_not_in_the_log(
    tmp_path: Path, target: str
) -> None:
    async with (
        Origin() as origin,
        running(tmp_path, origin, {"clients": [client("a", "python")]}) as proxy,
    ):
        assert (await proxy.get(target)).status == 401
        await proxy.send(f"GET {target} HTTP/1.1\r\nHost: a\r\nBad Header\r\n\r\n".encode())
        assert [line["status"] for line in proxy.access()] == [401, 400]
        assert proxy.access()[0]["path"].startswith(("/python", "/nowhere"))
        assert CANARY.encode() not in proxy.log_bytes()
