"""A page in a browser must not get at what only being on this machine gives a right to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.origin import Origin
from tests.running import Running, answers, bearer, client, configuration, running, token

PAGE = "/python/simple/alpha/"
ADMIN = "/metrics"
PUBLIC = {"server": {"public_url": "http://host.docker.internal:8080"}}


async def ask(
    proxy: Running, target: str, host: str, *, admin: bool = False, head: str = ""
) -> int:
    """The status of a request for `target` that names `host`."""
    raw = f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{head}Connection: close\r\n\r\n"
    data = await proxy.send(raw.encode(), url=proxy.admin_url if admin else "")
    return answers(data, ["GET"])[0].status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("localhost.:8080", 200),
        ("proxy.localhost", 200),
        ("127.0.0.1", 200),
        ("127.1.2.3:80", 200),
        ("[::1]:8080", 200),
        ("[::ffff:127.0.0.1]", 200),
        ("evil.example", 403),
        ("evil.example:8080", 403),
        ("localhost.evil.example", 403),
        ("notlocalhost", 403),
        ("127.0.0.1.evil.example", 403),
        ("10.1.2.3", 403),
        ("0.0.0.0", 403),
        ("[::]", 403),
        ("host.docker.internal:8080", 403),
        ("a b", 400),
    ],
)
async def test_where_this_machine_may_use_everything_only_its_names_count(
    tmp_path: Path, host: str, status: int
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        assert await ask(proxy, PAGE, host) == status
        assert await ask(proxy, ADMIN, host, admin=True) == status
        assert await ask(proxy, "/api/v1/entitlements", host, admin=True) == status
        assert await ask(proxy, "/healthz", host) == (400 if status == 400 else 200)
        assert origin.count() == (1 if status == 200 else 0)


async def test_the_refusal_says_what_to_do(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        raw = f"GET {PAGE} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".encode()
        (answer,) = answers(await proxy.send(raw), ["GET"])
        assert (answer.status, answer.cache) == (403, "cgr-proxy; detail=denied")
        assert b"server.public_url" in answer.body
        assert b"evil.example is no name of this machine" in answer.body


@pytest.mark.parametrize("admin", [False, True])
async def test_the_host_of_the_public_url_is_a_name_too(tmp_path: Path, *, admin: bool) -> None:
    async with Origin() as origin, running(tmp_path, origin, PUBLIC) as proxy:
        target = ADMIN if admin else PAGE
        assert await ask(proxy, target, "host.docker.internal:8080", admin=admin) == 200
        assert await ask(proxy, target, "Host.Docker.Internal.", admin=admin) == 200
        assert await ask(proxy, target, "docker.internal", admin=admin) == 403


async def test_a_client_with_a_token_may_call_the_proxy_what_it_likes(tmp_path: Path) -> None:
    tables: dict[str, Any] = {"clients": [client("a", "python")]}
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        head = f"Authorization: {bearer(token('a'))}\r\n"
        assert await ask(proxy, PAGE, "proxy.example", head=head) == 200
        assert await ask(proxy, PAGE, "proxy.example") == 401


async def test_the_first_client_that_is_configured_ends_the_rule(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        assert await ask(proxy, PAGE, "proxy.example") == 403
        configuration(tmp_path, origin, {"clients": [client("a", "python")]})
        await proxy.app.reload()
        assert await ask(proxy, PAGE, "proxy.example") == 401


async def test_an_operator_with_the_admin_token_may_call_the_proxy_what_it_likes(
    tmp_path: Path,
) -> None:
    file = tmp_path / "admin-token"
    file.write_text("operators-token-0123456789", "ascii")
    tables = {"server": {"admin_token_file": str(file)}}
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        head = f"Authorization: {bearer('operators-token-0123456789')}\r\n"
        assert await ask(proxy, ADMIN, "proxy.example", admin=True, head=head) == 200
        assert await ask(proxy, ADMIN, "proxy.example", admin=True) == 401


async def test_a_client_of_http_1_0_needs_no_host(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        link = origin.content.find("alpha-1.0-py3-none-any.whl").link
        (answer,) = answers(await proxy.send(f"GET {link} HTTP/1.0\r\n\r\n".encode()), ["GET"])
        assert answer.status == 200


@pytest.mark.parametrize("admin", [False, True])
@pytest.mark.parametrize(
    "line",
    [
        "X-Forwarded-For: 10.1.2.3",
        "X-Forwarded-Port: 443",
        "Forwarded: for=10.1.2.3",
        "Via: 1.1 front",
        "X-Real-IP: 10.1.2.3",
        "CF-Connecting-IP: 10.1.2.3",
    ],
)
async def test_what_a_front_on_this_machine_passes_on_is_nobody_of_this_machine(
    tmp_path: Path, line: str, *, admin: bool
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        target = ADMIN if admin else PAGE
        assert await ask(proxy, target, "127.0.0.1", admin=admin, head=f"{line}\r\n") == 403
        assert await ask(proxy, target, "127.0.0.1", admin=admin) == 200
