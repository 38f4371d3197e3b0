"""A service manager is told how the process is (sd_notify(3)). Its socket here is a real one."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from proxy.server.notify import Notifier
from tests.origin import Content, OriginThread
from tests.running import LIMIT, process


class Manager:
    """What systemd does with its notification socket: it reads datagrams, in order."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(LIMIT)

    def told(self) -> dict[str, str]:
        """The next message."""
        return dict(line.split("=", 1) for line in self._socket.recv(4096).decode().split("\n"))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def origin() -> Iterator[OriginThread]:
    with OriginThread(content=Content.tiny()) as running:
        yield running


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    """One that listens on a file, and one on a name of Linux's abstract namespace."""
    name = f"@cgr-proxy-test-{os.getpid()}-{time.monotonic_ns()}"
    address = str(tmp_path / "notify") if request.param == "path" else name
    with closing(Manager(address)) as listening:
        yield listening


def test_the_manager_learns_of_the_start_a_reload_and_the_stop(
    origin: OriginThread, tmp_path: Path, manager: Manager
) -> None:
    variables = {"NOTIFY_SOCKET": manager.address}
    with process(tmp_path, origin, variables=variables) as proxy:
        ready = {
            "READY": "1",
            "STATUS": f"cgr-proxy ready {proxy.url} admin {proxy.admin_url}",
        }
        assert manager.told() == ready
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        proxy.signal(signal.SIGHUP)
        reloading = manager.told()
        assert reloading["RELOADING"] == "1"
        assert before <= int(reloading["MONOTONIC_USEC"])
        assert manager.told() == ready
        proxy.signal(signal.SIGTERM)
        assert manager.told() == {"STOPPING": "1", "STATUS": "draining"}
        assert proxy.wait() == 0
        assert "reloaded" in {record["message"] for record in proxy.messages()}


def test_a_proxy_that_cannot_start_is_never_ready(origin: OriginThread, tmp_path: Path) -> None:
    with closing(Manager(str(tmp_path / "notify"))) as manager:
        wrong = {"server": {"admin_listen": "", "tls_certificate": "no.pem", "tls_key": "no.pem"}}
        variables = {"NOTIFY_SOCKET": manager.address}
        with process(tmp_path, origin, wrong, ready=False, variables=variables) as proxy:
            assert proxy.wait() == 78
        manager._socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.told()


async def test_a_manager_that_is_not_there_is_said_and_nothing_else_happens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await Notifier(str(tmp_path / "nobody")).ready("serving")

    assert [record.getMessage() for record in caplog.records] == [
        "the service manager could not be told READY=1: No such file or directory"
    ]


async def test_an_address_of_another_kind_is_said_once_and_then_left_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    notifier = Notifier("vsock:2:1234")
    await notifier.ready("serving")
    await notifier.stopping()

    assert len(caplog.records) == 1


async def test_without_a_manager_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    await Notifier().ready("serving")

    assert caplog.records == []


async def test_a_manager_that_reads_nothing_holds_nobody_up(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with closing(Manager(address)), ExitStack() as held:
        room = True
        while room:  # each sender has a limit of its own, below that of the socket
            other = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            other.connect(address)
            other.setblocking(False)
            sent = 0
            with suppress(BlockingIOError):
                while True:
                    sent += other.send(b"STATUS=busy")
            room = sent > 0
        async with asyncio.timeout(LIMIT):
            await Notifier(address).ready("serving")


async def test_an_address_of_odd_bytes_is_that_very_address(tmp_path: Path) -> None:
    address = str(tmp_path) + "/notify-\udcff"
    with closing(Manager(address)) as manager:
        await Notifier(address).stopping()
        assert manager.told()["STOPPING"] == "1"
