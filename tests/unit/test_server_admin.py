"""The admin listener and the probes."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from multidict import CIMultiDict
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from proxy.observe.metrics import Metrics
from proxy.server.admin import Admin
from proxy.server.health import Health
from proxy.server.own_names import OwnNames
from tests.origin import Content, Origin
from tests.running import Running, answers, basic, bearer, running

TOKEN = "operators-token-0123456789"


def guarded(folder: Path) -> dict[str, dict[str, str]]:
    file = folder / "admin-token"
    file.write_text(f"{TOKEN}\n")
    return {"server": {"admin_token_file": str(file)}}


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("", 401),
        (bearer("wrong"), 401),
        (bearer(TOKEN[:-1]), 401),
        (bearer(TOKEN + " "), 200),  # blanks at the end of a field are no part of it
        ("Bearer", 401),
        ("Bearer ", 401),
        ("Basic !!!", 401),
        ("Digest x", 401),
        (bearer("é"), 401),
        (bearer(TOKEN), 200),
        (bearer(TOKEN).replace("Bearer", "bearer"), 200),
        (basic(TOKEN), 200),
    ],
)
async def test_metrics_want_the_admin_token(
    authorization: str, status: int, tmp_path: Path
) -> None:
    async with Origin() as origin, running(tmp_path, origin, guarded(tmp_path)) as proxy:
        fields = {"authorization": authorization} if authorization else {}
        for target in ("/metrics", "/metrics/", "/", "/api/v1"):
            answer = await proxy.get(target, url=proxy.admin_url, **fields)
            assert answer.status == (status if status == 401 or target == "/metrics" else 404)
        challenged = (await proxy.get("/metrics", url=proxy.admin_url)).header("WWW-Authenticate")
        assert challenged == 'Basic realm="cgr-proxy"'
        for probe in ("/healthz", "/readyz"):
            assert (await proxy.get(probe, url=proxy.admin_url)).status == 200
        assert TOKEN.encode() not in proxy.log_bytes()


async def test_two_authorization_fields_are_400(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin, guarded(tmp_path)) as proxy:
        line = f"Authorization: Bearer {TOKEN}\r\n".encode()
        raw = b"GET /metrics HTTP/1.1\r\nHost: a\r\n" + line * 2 + b"\r\n"
        (answer,) = answers(await proxy.send(raw, url=proxy.admin_url))
        assert answer.status == 400


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/metrics", 200),
        ("HEAD", "/metrics", 200),
        ("POST", "/metrics", 405),
        ("DELETE", "/metrics", 405),
        ("GET", "/METRICS", 404),
        ("GET", "//metrics", 404),
        ("GET", "/metrics%2f", 404),
        ("GET", "/./metrics", 404),
        ("GET", "/metrics?x", 404),
        ("GET", "/", 404),
        ("GET", "/python/simple/alpha/", 404),
        ("HEAD", "/healthz", 200),
        ("GET", "/healthz?x", 200),
        ("POST", "/healthz", 404),
        ("GET", "/healthz/", 404),
        ("GET", "/HEALTHZ", 404),
    ],
)
async def test_every_other_spelling_is_404(
    method: str, target: str, status: int, tmp_path: Path
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        answer = await proxy.request(method, target, url=proxy.admin_url)
        assert answer.status == status
        assert answer.header("Cache-Control") == "no-store"
        assert answer.header("X-Content-Type-Options") == "nosniff"
        assert answer.header("X-Request-Id") is not None
        assert origin.log == []


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /metrics HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: a\r\nBad : x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"GET /metrics HTTP/2.0\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01",
    ],
)
async def test_a_bad_request_is_refused_and_nothing_behind_it_is_answered(
    raw: bytes, tmp_path: Path
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        behind = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
        (answer,) = answers(await proxy.send(raw + behind, url=proxy.admin_url))
        assert answer.status in {400, 413, 505}


async def test_metrics_are_rendered_off_the_loop_because_they_read_files(tmp_path: Path) -> None:
    seen: list[threading.Thread] = []

    class Watch(Collector):
        def collect(self) -> Iterable[Metric]:
            seen.append(threading.current_thread())
            return ()

    async with Origin() as origin, running(tmp_path, origin) as proxy:
        proxy.app.metrics.watch(Watch())
        await proxy.metrics()
    # A collector is read once when it is registered, too.
    assert seen[-1] is not threading.main_thread()


async def test_ready_is_said_only_between_start_and_drain() -> None:
    silent: list[str] = []
    health = Health(lambda: silent)

    def ready() -> tuple[int, bytes]:
        probe = health.probe("/readyz", "GET")
        assert probe is not None
        response = probe(CIMultiDict())
        assert isinstance(response.body, bytes)
        return response.status, response.body

    assert ready() == (503, b'{"status": "starting"}')
    health.started = True
    assert ready() == (200, b'{"status": "ok"}')
    silent.append("https://upstream.example")
    assert ready()[0] == 200
    assert b'"degraded"' in ready()[1]
    health.draining = True
    assert ready() == (503, b'{"status": "draining"}')


async def test_a_dead_upstream_degrades_readiness_and_takes_nothing_away(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        wheel = origin.content.find("alpha-1.0-py3-none-any.whl")
        assert (await proxy.get(wheel.link)).status == 200
        await origin.close_listener()
        for number in range(20):
            answer = await proxy.get(f"/python/simple/missing-{number}/")
            assert answer.status == 503
        ready = await proxy.get("/readyz")
        assert (ready.status, ready.json()["status"]) == (200, "degraded")
        assert (await proxy.get(wheel.link)).sha256 == wheel.blob.sha256


async def test_a_thousand_probes_ask_no_upstream(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin, {"log": {"access": False}}) as proxy:
        reader, writer = await proxy.connect()
        for _ in range(500):
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
            writer.write(b"GET /healthz?x HTTP/1.1\r\nHost: a\r\n\r\n")
        writer.write_eof()
        found = answers(await reader.read())
        writer.close()
        assert [answer.status for answer in found] == [200] * 1000
        assert origin.log == []


async def test_labels_come_from_no_client(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        await proxy.metrics()
        before = set(await proxy.metrics())
        await _odd_requests(proxy, 300)
        after = set(await proxy.metrics())
        # Per status one counter and its moment of creation, whatever the paths.
        assert len(after - before) <= 2 * 4
        assert not any("odd" in name for name in after)


async def _odd_requests(proxy: Running, count: int) -> None:
    reader, writer = await proxy.connect()
    for number in range(count):
        method = ("GET", "HEAD", "OPTIONS")[number % 3]
        writer.write(
            f"{method} /odd-{number}/ HTTP/1.1\r\nHost: odd-{number}.localhost\r\n"
            f"User-Agent: odd-{number}\r\nX-Odd-{number}: 1\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        if method == "GET":
            await reader.readuntil(b"\n")
    writer.close()


def test_an_admin_without_a_readable_token_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Admin(Metrics(["python"]), Health(list), tmp_path / "none", OwnNames(""))


async def test_probes_leave_no_access_line(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        assert (await proxy.get("/healthz")).status == 200
        assert (await proxy.get("/readyz")).status == 200
        await proxy.get("/nowhere/")
        assert [line["path"] for line in proxy.access()] == ["/nowhere/"]


async def test_what_the_store_holds_and_whether_the_upstream_is_up_are_numbers(
    tmp_path: Path,
) -> None:
    tables = {"cache": {"max_size": "64MiB"}}
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        page = await proxy.get("/python/simple/alpha/")
        assert page.status == 200
        before = await proxy.metrics()
        assert before["cgr_proxy_cache_limit_bytes"] == 64 << 20
        assert before['cgr_proxy_breaker_open{upstream="libraries"}'] == 0
        assert before['cgr_proxy_upstream_bytes_total{ecosystem="python"}'] > 0
        assert {"cgr_proxy_cache_bytes", "cgr_proxy_cache_entries"} <= before.keys()
        await origin.close_listener()
        for number in range(20):
            await proxy.get(f"/python/simple/missing-{number}/")
        after = await proxy.metrics()
        assert after['cgr_proxy_breaker_open{upstream="libraries"}'] == 1
        said = [line["message"] for line in proxy.messages() if line["level"] == "warning"]
        assert sum("is held to be down" in line for line in said) == 1


async def test_the_access_line_of_a_refusal_says_why(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        assert (await proxy.get("/python/simple/alpha/")).status == 200
        assert (await proxy.get("/python/simple/alpha/", authorization=basic("x"))).status == 401
        origin.fault(path="missing", times=None, status=503)
        assert (await proxy.get("/python/simple/missing/")).status == 503
        fine, refused, failed = proxy.access()
        assert "error" not in fine
        assert refused["error"].startswith("Client token required: ")
        assert failed["error"].startswith("Upstream unavailable: ")


async def test_a_transfer_that_breaks_off_says_why_in_its_access_line(tmp_path: Path) -> None:
    content = Content.tiny()
    content.synthetic(size=3 << 20)
    async with Origin(content=content) as origin, running(tmp_path, origin) as proxy:
        wheel = origin.content.find("bigblob-1.0-py3-none-any.whl")
        origin.fault("store", "bigblob", times=None, cut_at=1 << 20, ignore_range=True)
        answer = await proxy.get(wheel.link)
        assert not answer.complete
        (line,) = proxy.access()
        assert line["error"].startswith("Upstream unavailable: ")
