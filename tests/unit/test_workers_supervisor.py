"""The supervisor in this loop, with real workers: its answers to the operator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.server.process import CannotStart
from proxy.workers.supervisor import Supervisor
from proxy.workers.terms import Loading
from tests.engine import until
from tests.origin import Content, Origin
from tests.running import client, configuration, token

PAGE = "/python/simple/alpha/"


def tables(**more: Any) -> dict[str, Any]:
    server = {"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0", "workers": 2}
    return {"server": server, "log": {"level": "warning"}, **more}


class Scene:
    """A supervisor that runs, and who asks it and its workers."""

    def __init__(self, supervisor: Supervisor, session: aiohttp.ClientSession) -> None:
        self.supervisor = supervisor
        self._session = session
        _, _, self.url, _, self.admin_url = supervisor.ready_line.split()

    async def get(self, path: str, name: str = "", *, admin: bool = False) -> tuple[int, str]:
        url = (self.admin_url if admin else self.url) + path
        fields = {"Authorization": f"Bearer {token(name)}"} if name else {}
        async with self._session.get(url, headers=fields) as answer:
            return answer.status, await answer.text()


@asynccontextmanager
async def supervised(folder: Path, origin: Origin, **more: Any) -> AsyncIterator[Scene]:
    loading = Loading(configuration(folder, origin, tables(**more)), {}, {})
    supervisor = Supervisor(await asyncio.to_thread(loading.load), loading)
    connector = aiohttp.TCPConnector(force_close=True)  # any worker, each time
    try:
        await supervisor.start()
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Scene(supervisor, session)
    finally:
        hurry = asyncio.Event()
        hurry.set()
        await supervisor.stop(hurry)


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin(content=Content.tiny()) as running:
        yield running


async def test_the_operator_is_answered_for_all_workers(tmp_path: Path, origin: Origin) -> None:
    async with supervised(tmp_path, origin) as scene:
        for _ in range(8):
            assert (await scene.get(PAGE))[0] == 200
        _, numbers = await scene.get("/metrics", admin=True)
        counted = [
            float(line.rpartition(" ")[2])
            for line in numbers.splitlines()
            if line.startswith("cgr_proxy_requests_total{")
        ]
        assert sum(counted) == 8
        assert "cgr_proxy_workers_ready 2.0" in numbers
        assert await scene.get("/readyz", admin=True) == (200, '{"status": "ok"}')
        status, shown = await scene.get("/api/v1/entitlements", admin=True)
        assert status == 200
        assert '"state": "assumed"' in shown
        status, said = await scene.get("/api/v1/nothing", admin=True)
        assert status == 404
        assert "/api/v1/entitlements" in said


async def test_a_reload_is_read_once_and_reaches_all_workers(
    tmp_path: Path, origin: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with supervised(tmp_path, origin, clients=[client("old", "python")]) as scene:
        assert (await scene.get(PAGE, "old"))[0] == 200
        assert (await scene.get(PAGE, "new"))[0] == 401
        file = configuration(tmp_path, origin, tables(clients=[client("new", "python")]))
        await scene.supervisor.reload()
        for _ in range(8):
            assert (await scene.get(PAGE, "new"))[0] == 200
            assert (await scene.get(PAGE, "old"))[0] == 401
        assert caplog.text.count("the configuration was read anew") == 1
        file.write_text("[server]\nworkers = 0")
        await scene.supervisor.reload()
        assert "reloaded, but for the configuration: it has mistakes" in caplog.text
        assert (await scene.get(PAGE, "new"))[0] == 200


async def test_what_a_worker_cannot_start_with_is_the_supervisor_s_to_say(
    tmp_path: Path, origin: Origin
) -> None:
    file = tmp_path / "bundle.pem"
    file.write_text("no certificate")
    with pytest.raises(CannotStart, match=r"upstream\.ca_bundle") as caught:
        async with supervised(tmp_path, origin, upstream={"ca_bundle": str(file)}):
            pass
    assert caught.value.code == 78


async def test_a_worker_that_is_told_to_end_is_replaced(tmp_path: Path, origin: Origin) -> None:
    async with supervised(tmp_path, origin) as scene:
        crew = scene.supervisor._crew
        first = crew.ready[0]
        first.send({"stop": True})
        await until(lambda: len(crew.ready) == 2 and first not in crew.ready)
        assert crew.restarts == 1
        assert (await scene.get(PAGE))[0] == 200
