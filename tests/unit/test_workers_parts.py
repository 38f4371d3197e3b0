"""What the supervisor and a worker say to each other, and what a worker starts with."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.config import Address
from proxy.server.process import EX_UNAVAILABLE, CannotStart
from proxy.storage.disk import DiskStorage
from proxy.storage.generation import Generation
from proxy.workers.channel import (
    MAX_WAITING,
    Message,
    framed,
    open_channel,
    receive_blocking,
)
from proxy.workers.crew import HANGS, START, Crew
from proxy.workers.reserving import reserve
from proxy.workers.terms import Loading, Terms, terms_of
from tests.engine import until
from tests.origin import Origin
from tests.running import configuration

# --- the line ------------------------------------------------------------------------------------


async def test_messages_come_whole_and_in_order_whatever_the_pieces() -> None:
    ours, theirs = socket.socketpair()
    channel = await open_channel(ours)
    sent: list[Message] = [{"a": 1}, {"text": "\udcff" * 100_000}, {"b": [1.5, None]}]
    raw = b"".join(map(framed, sent))

    def trickle() -> None:
        for start in range(0, len(raw), 100_001):
            theirs.sendall(raw[start : start + 100_001])
        theirs.close()

    sending = asyncio.to_thread(trickle)
    task = asyncio.ensure_future(sending)
    assert [await channel.receive() for _ in sent] == sent
    await task
    assert await channel.receive() is None  # the other side is gone
    channel.send({"too": "late"})  # is no error
    channel.close()


@pytest.mark.parametrize("raw", [b"\0\0\0\5", b"\0\0\0\2{]", b"\0\0\0\4null", b"\0"])
async def test_what_is_no_message_is_the_end_of_the_line(raw: bytes) -> None:
    ours, theirs = socket.socketpair()
    channel = await open_channel(ours)
    theirs.sendall(raw)
    theirs.close()
    assert await channel.receive() is None
    channel.close()


async def test_who_does_not_read_gets_no_more_of_what_can_be_spared() -> None:
    ours, theirs = socket.socketpair()
    channel = await open_channel(ours)
    for _ in range(100):
        channel.send({"report": "x" * 100_000}, spare=True)
    assert channel.waiting <= MAX_WAITING + 200_000
    channel.send({"stop": True})

    def last() -> Message:
        with theirs:
            while "stop" not in (message := receive_blocking(theirs)):
                pass
            return message

    assert await asyncio.to_thread(last) == {"stop": True}
    channel.close()


# --- terms ---------------------------------------------------------------------------------------

FIRST = (
    b'[cache]\nmax_size = "1GiB"\n[limits]\nmax_connections = 10\nmax_upstream_connections = 9\n'
)
CLIENT = b'[[clients]]\nname = "a"\nnetworks = ["10.0.0.0/8"]\necosystems = ["python"]\n'


def terms(tmp_path: Path, last: bytes) -> Terms:
    file = tmp_path / "cgr-proxy.toml"
    file.write_bytes(b"[cache]\nmax_size = broken")
    environ = {"HOME": str(tmp_path), "CHAINGUARD_JAVA_IDENTITY_ID": "u", "ODD": "\udcff"}
    environ["CHAINGUARD_JAVA_TOKEN"] = "secret"
    loading = Loading(file, environ, {"server.workers": "4"}).at(Address("127.0.0.1", 4711))
    made = Terms(2, 4, loading, FIRST, last, opens=False, disorder=True)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(framed(made.message()))
        return terms_of(receive_blocking(theirs))


def test_a_worker_has_the_settings_of_the_start_and_the_clients_of_now(tmp_path: Path) -> None:
    settings = terms(tmp_path, b'[cache]\nmax_size = "2GiB"\n' + CLIENT).settings()
    assert settings.cache.max_size == 1 << 30
    assert [client.name for client in settings.clients] == ["a"]
    assert str(settings.server.listen) == "127.0.0.1:4711"
    (credential,) = settings.credentials["java"]
    assert credential.password is not None
    assert credential.password.reveal() == "secret"


def test_a_worker_has_its_part_of_the_limits_and_no_admin_listener(tmp_path: Path) -> None:
    settings = terms(tmp_path, FIRST).settings()
    assert settings.server.admin_listen is None
    assert settings.limits.max_connections == 3
    assert settings.limits.max_upstream_connections == 2


# --- the address ---------------------------------------------------------------------------------


def test_a_reserved_port_is_nobody_else_s_and_can_be_shared_by_those_who_know() -> None:
    held = reserve(Address("127.0.0.1", 0))
    try:
        with pytest.raises(OSError, match="in use"), socket.socket() as other:
            other.bind(("127.0.0.1", held.port))
        with socket.create_server(("127.0.0.1", held.port), reuse_port=True):
            # Who holds it does not listen: all connections come to who does.
            socket.create_connection(("127.0.0.1", held.port), 5).close()
    finally:
        held.close()


@pytest.mark.parametrize("shared", [False, True])
def test_an_address_on_which_somebody_listens_is_taken(shared: bool) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=shared) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=f"port {port}") as caught:
            reserve(Address("127.0.0.1", port))
        assert caught.value.code == EX_UNAVAILABLE


# --- the generation of a store -------------------------------------------------------------------


def test_an_advance_is_seen_once_by_every_other_process(tmp_path: Path) -> None:
    one, two = (DiskStorage(tmp_path) for _ in range(2))
    assert not one.generation.changed()
    for _ in range(3):
        two.generation.advance()
        assert one.generation.changed()
        assert not one.generation.changed()
    one.generation.advance()
    one.generation.advance()
    assert two.generation.changed()
    assert not two.generation.changed()
    for storage in (one, two):
        storage.close()


def test_a_store_that_cannot_be_written_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = DiskStorage(tmp_path)
    flights = tmp_path / "v2" / "flights"
    os.rename(flights, tmp_path / "away")  # noqa: PTH104  # as the storage tests do
    flights.write_text("in its place")
    Generation(storage.folder).advance()
    assert "cannot be told to forget" in caplog.text
    storage.close()


# --- the crew ------------------------------------------------------------------------------------


@asynccontextmanager
async def crew_of_one(folder: Path) -> AsyncIterator[Crew]:
    async with Origin() as origin:
        file = configuration(folder, origin, {"server": {"listen": "127.0.0.1:0", "workers": 2}})
        loading = Loading(file, {}, {})
        settings = await asyncio.to_thread(loading.load)
        held = reserve(settings.server.listen)
        at = loading.at(Address("127.0.0.1", held.port))
        crew = Crew(
            1,
            lambda number, disorder: Terms(
                number, 1, at, loading.text, loading.text, opens=True, disorder=disorder
            ),
        )
        try:
            await crew.start()
            yield crew
        finally:
            hurry = asyncio.Event()
            hurry.set()
            await crew.stop(hurry, 10.0)
            held.close()


async def test_a_worker_that_says_nothing_for_a_minute_is_killed_and_started_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its process is stopped, as one that hangs; the crew's clock is ahead."""
    async with crew_of_one(tmp_path) as crew:
        (worker,) = crew.ready
        os.kill(worker.pid, signal.SIGSTOP)
        await crew.look()
        worker.heard -= HANGS
        assert crew.troubles() == ["workers that do not say how they are: 1"]
        await crew.look()
        await until(lambda: bool(crew.ready) and crew.ready[0] is not worker)
        assert crew.restarts == 1
        assert "hangs for 60 s; it is killed" in caplog.text


async def test_a_worker_that_hangs_before_it_is_ready_is_killed_and_started_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with crew_of_one(tmp_path) as crew:
        (first,) = crew.ready
        first.kill()
        await until(lambda: bool(crew.starting))
        (second,) = crew.starting
        os.kill(second.pid, signal.SIGSTOP)
        await crew.look()
        second.heard -= START
        assert crew.troubles() == ["0 of 1 workers run"]
        await crew.look()
        await until(lambda: bool(crew.ready))
        assert crew.ready[0].pid not in {first.pid, second.pid}
        assert crew.restarts == 2
        assert "hangs for 120 s; it is killed" in caplog.text


async def test_workers_are_not_blamed_for_a_pause_of_the_whole_machine(tmp_path: Path) -> None:
    """Frozen with them, the supervisor may be the first to run again."""
    async with crew_of_one(tmp_path) as crew:
        (worker,) = crew.ready
        await crew.look()
        crew.looked -= 2 * HANGS
        worker.heard -= 2 * HANGS
        await crew.look()
        await until(lambda: worker.heard > asyncio.get_running_loop().time() - HANGS)
        await crew.look()
        assert crew.ready == [worker]
        assert crew.restarts == 0
