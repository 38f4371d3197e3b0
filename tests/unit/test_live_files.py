"""Files that change at the worst moment: before the first look, and while they are read."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.access.asking import PlatformHttp
from proxy.config import Settings, load
from proxy.errors import Unauthenticated
from proxy.live import Live
from proxy.server.watch import LOOKS
from proxy.upstream.tls import client_context
from tests.descriptors import exhausted
from tests.origin import Origin
from tests.running import Running, bearer, client, configuration, running, token

LOOPBACK = ipaddress.ip_address("127.0.0.1")


def table(*names: str) -> dict[str, object]:
    return {"clients": [client(name, "python") for name in names]}


@asynccontextmanager
async def alive(settings: Settings, load: Callable[[], Settings]) -> AsyncIterator[Live]:
    http = PlatformHttp(client_context(None))
    live = Live(settings, http, load=load, wall=time.time, clock=time.monotonic)
    try:
        yield live
    finally:
        await live.close()


async def knows(live: Live, name: str) -> bool:
    try:
        await live.gate.identify([bearer(token(name))], LOOPBACK, forwarded=False)
    except Unauthenticated:
        return False
    return True


class Writer:
    """A loader whose file goes on being written while it is read."""

    def __init__(self, file: Path, *texts: str) -> None:
        self._file = file
        self._texts = list(texts)
        self.read: list[tuple[str, ...]] = []

    def __call__(self) -> Settings:
        found = load(self._file, {}, {})
        self.read.append(tuple(item.name for item in found.clients))
        if self._texts:
            self._file.write_text(self._texts.pop(0), "utf-8")
        return found


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as running:
        yield running


def text_of(folder: Path, origin: Origin, *names: str) -> str:
    return configuration(folder, origin, table(*names)).read_text("utf-8")


async def test_a_client_removed_between_the_load_and_the_first_look_is_refused(
    tmp_path: Path, origin: Origin
) -> None:
    file = configuration(tmp_path, origin, table("old", "new"))
    settings = load(file, {}, {})
    configuration(tmp_path, origin, table("new"))
    async with alive(settings, lambda: load(file, {}, {})) as live:
        assert await knows(live, "old")
        for _ in range(2):
            await live.poll()
        assert not await knows(live, "old")
        assert await knows(live, "new")


async def test_half_of_a_file_is_never_taken_at_a_signal(tmp_path: Path, origin: Origin) -> None:
    whole = text_of(tmp_path, origin, "new", "late")
    file = configuration(tmp_path, origin, table("old"))
    settings = load(file, {}, {})
    file.write_text(text_of(tmp_path, origin, "new"), "utf-8")  # all but the last stanza
    writer = Writer(file, whole)
    async with alive(settings, writer) as live:
        assert await live.reload() == ""
        assert writer.read == [("new",), ("new", "late"), ("new", "late")]
        assert [await knows(live, name) for name in ("old", "new", "late")] == [False, True, True]


async def test_a_file_that_is_written_all_the_time_changes_nothing_until_it_rests(
    tmp_path: Path, origin: Origin
) -> None:
    texts = [text_of(tmp_path, origin, f"name-{number}") for number in range(LOOKS)]
    file = configuration(tmp_path, origin, table("old"))
    settings = load(file, {}, {})
    file.write_text(text_of(tmp_path, origin, "new"), "utf-8")
    writer = Writer(file, *texts)
    async with alive(settings, writer) as live:
        assert await live.reload() == "it is being written"
        assert await knows(live, "old")
        for _ in range(2):
            await live.poll()
        assert await knows(live, f"name-{LOOKS - 1}")


async def test_a_change_that_no_descriptor_was_left_to_read_is_taken_once_there_is_one(
    tmp_path: Path, origin: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    file = configuration(tmp_path, origin, table("old", "new"))
    settings = load(file, {}, {})
    async with alive(settings, lambda: load(file, {}, {})) as live:
        for _ in range(2):
            await live.poll()
        configuration(tmp_path, origin, table("new"))
        with exhausted():
            for _ in range(4):
                await live.poll()
        assert await knows(live, "old")
        for _ in range(2):
            await live.poll()
        assert not await knows(live, "old")
        assert await knows(live, "new")
    assert [text for text in caplog.messages if "stays as it was" in text] == [
        f"the configuration stays as it was: {file}: cannot be read: Too many open files"
    ]


# --- the admin listener's token ------------------------------------------------------------------


@asynccontextmanager
async def guarded(folder: Path, origin: Origin) -> AsyncIterator[tuple[Running, Path]]:
    file = folder / "admin-token"
    file.write_text("first-token-0123456789", "ascii")
    tables = {"server": {"admin_token_file": str(file)}}
    async with running(folder, origin, tables) as proxy:
        yield proxy, file


async def status(proxy: Running, secret: str) -> int:
    answer = await proxy.get("/metrics", url=proxy.admin_url, authorization=bearer(secret))
    return answer.status


async def test_a_replaced_admin_token_is_taken_without_being_told(
    tmp_path: Path, origin: Origin
) -> None:
    async with guarded(tmp_path, origin) as (proxy, file):
        file.write_text("second-token-0123456789\n", "ascii")
        for _ in range(2):
            await proxy.app.admin_endpoint.poll()
        assert await status(proxy, "first-token-0123456789") == 401
        assert await status(proxy, "second-token-0123456789") == 200


@pytest.mark.parametrize("text", ["", "two words", "\x00"])
async def test_an_admin_token_that_is_none_leaves_the_old_one(
    tmp_path: Path, origin: Origin, text: str
) -> None:
    async with guarded(tmp_path, origin) as (proxy, file):
        file.write_text(text, "ascii")
        await proxy.app.reload()
        assert await status(proxy, "first-token-0123456789") == 200
        lines = [record["message"] for record in proxy.messages()]
        assert "the admin token stays as it was: ValueError" in lines


async def test_an_admin_token_that_no_descriptor_was_left_to_read_is_taken_once_there_is_one(
    tmp_path: Path, origin: Origin
) -> None:
    async with guarded(tmp_path, origin) as (proxy, file):
        file.write_text("second-token-0123456789\n", "ascii")
        with exhausted():
            for _ in range(4):
                await proxy.app.admin_endpoint.poll()
        for _ in range(2):
            await proxy.app.admin_endpoint.poll()
        assert await status(proxy, "first-token-0123456789") == 401
        assert await status(proxy, "second-token-0123456789") == 200
        lines = [record["message"] for record in proxy.messages()]
        assert lines.count("the admin token stays as it was: OSError") == 1
