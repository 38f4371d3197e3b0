"""The process from outside: what stops it from starting, signals, the drain."""

from __future__ import annotations

import json
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.origin import Content, OriginThread
from tests.origin.content import Artifact
from tests.running import LIMIT, Answer, Process, answers, bearer, process, request_bytes, until

SIZE = 3 << 20
HALF = 1 << 20


class Herd:
    """Clients in threads of their own that fetch one path."""

    def __init__(self, proxy: Process, target: str, count: int) -> None:
        self.found: list[bytes] = []
        self._threads = [
            threading.Thread(target=self._fetch, args=(proxy, target)) for _ in range(count)
        ]
        for thread in self._threads:
            thread.start()
        until(lambda: proxy.metrics()["cgr_proxy_in_flight"] == count)

    def _fetch(self, proxy: Process, target: str) -> None:
        self.found.append(proxy.send(request_bytes("GET", target, "localhost", {})))

    def join(self) -> list[Answer]:
        """Wait for all of them; what they got."""
        for thread in self._threads:
            thread.join(LIMIT)
        return [answers(raw)[0] for raw in self.found]


@pytest.fixture
def origin() -> Iterator[OriginThread]:
    content = Content.tiny()
    content.synthetic(size=SIZE)
    with OriginThread(content=content) as running:
        yield running


def big(origin: OriginThread) -> Artifact:
    return origin.origin.content.find("bigblob-1.0-py3-none-any.whl")


# --- the drain -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_lets_every_transfer_end_well_and_takes_no_new_ones(
    origin: OriginThread, tmp_path: Path, number: signal.Signals
) -> None:
    wheel = big(origin)
    stalled = origin.fault("store", "bigblob", stall_at=HALF)
    with process(tmp_path, origin) as proxy:
        herd = Herd(proxy, wheel.link, 20)
        stalled.reached()
        assert proxy.get("/readyz", url=proxy.admin_url).json() == {"status": "ok"}
        proxy.signal(number)
        until(proxy.refuses)
        answer = proxy.get("/readyz", url=proxy.admin_url)
        assert (answer.status, answer.json()) == (503, {"status": "draining"})
        assert proxy.get("/healthz", url=proxy.admin_url).status == 200
        stalled.release()
        assert [answer.sha256 for answer in herd.join()] == [wheel.blob.sha256] * 20
        assert proxy.wait() == 0
        assert [record["status"] for record in proxy.access()].count(200) == 20
    assert origin.count("GET", "bigblob-1", "store") == 1


def test_a_second_sigterm_ends_at_once_and_no_client_takes_its_part_for_the_whole(
    origin: OriginThread, tmp_path: Path
) -> None:
    stalled = origin.fault("store", "bigblob", stall_at=HALF)
    with process(tmp_path, origin, {"server": {"shutdown_grace": "1h"}}) as proxy:
        herd = Herd(proxy, big(origin).link, 2)
        stalled.reached()
        proxy.signal(signal.SIGTERM)
        until(proxy.refuses)
        proxy.signal(signal.SIGTERM)
        assert proxy.wait(5) == 0
        assert [answer.complete for answer in herd.join()] == [False, False]


def test_after_the_grace_the_rest_is_reset(origin: OriginThread, tmp_path: Path) -> None:
    stalled = origin.fault("store", "bigblob", stall_at=HALF)
    with process(tmp_path, origin, {"server": {"shutdown_grace": "300ms"}}) as proxy:
        herd = Herd(proxy, big(origin).link, 2)
        stalled.reached()
        proxy.signal(signal.SIGTERM)
        assert proxy.wait(5) == 0
        assert [answer.complete for answer in herd.join()] == [False, False]
        flights = proxy.folder / "cache" / "v2" / "flights"
        assert [path.name for path in flights.glob("*") if path.stat().st_size] == []


def test_connections_without_a_request_do_not_hold_up_the_drain(
    origin: OriginThread, tmp_path: Path
) -> None:
    with process(tmp_path, origin, {"server": {"shutdown_grace": "1h"}}) as proxy:
        silent, kept, partial = proxy.connect(), proxy.connect(), proxy.connect()
        kept.sendall(request_bytes("GET", "/healthz", "localhost", {}, close=False))
        assert kept.recv(12) == b"HTTP/1.1 200"
        partial.sendall(b"GET /healthz HT")
        proxy.signal(signal.SIGTERM)
        assert proxy.wait(5) == 0
        for connection in (silent, kept, partial):
            connection.close()


def test_a_slow_reader_gets_the_rest_although_all_is_written(
    origin: OriginThread, tmp_path: Path
) -> None:
    wheel = big(origin)
    with process(tmp_path, origin) as proxy:
        assert proxy.get(wheel.link).sha256 == wheel.blob.sha256
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.settimeout(LIMIT)
            parts = urlsplit(proxy.url)
            reader.connect((parts.hostname, parts.port))
            reader.sendall(request_bytes("GET", wheel.link, "localhost", {}))
            raw = reader.recv(1024)
            proxy.signal(signal.SIGTERM)
            until(proxy.refuses)
            while more := reader.recv(1 << 16):
                raw += more
        (answer,) = answers(raw)
        assert answer.sha256 == wheel.blob.sha256
        assert proxy.wait() == 0


# --- other signals, memory ---------------------------------------------------------------------


def test_sighup_reads_the_admin_token_again_and_keeps_it_when_the_file_is_bad(
    origin: OriginThread, tmp_path: Path
) -> None:
    file = tmp_path / "admin-token"
    file.write_text("first-token\n")
    with process(tmp_path, origin, {"server": {"admin_token_file": str(file)}}) as proxy:

        def status(token: str) -> int:
            fields = {"authorization": bearer(token)}
            return proxy.get("/metrics", url=proxy.admin_url, **fields).status

        assert (status("first-token"), status("second-token")) == (200, 401)
        file.write_text("second-token\n")
        proxy.signal(signal.SIGHUP)
        until(lambda: status("second-token") == 200)
        assert status("first-token") == 401
        file.write_text("")
        proxy.signal(signal.SIGHUP)
        until(lambda: b"the admin token stays as it was" in proxy.log_bytes())
        assert (status("second-token"), status("")) == (200, 401)
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0


def test_a_declared_body_of_5_gb_is_refused_early_and_costs_no_memory(
    origin: OriginThread, tmp_path: Path
) -> None:
    with process(tmp_path, origin) as proxy:
        proxy.get("/nowhere")
        before, sent = proxy.rss, 0
        head = request_bytes("PUT", "/python/x", "localhost", {"content_length": "5000000000"})
        started = time.monotonic()
        with proxy.connect() as sock:
            sock.sendall(head)
            answer = sock.recv(1 << 16)
            assert answer.startswith(b"HTTP/1.1 405 ")
            try:
                while sent < 5_000_000_000:
                    sent += sock.send(bytes(1 << 20))
            except ConnectionError:
                pass
        assert time.monotonic() - started < 10
        assert sent < 5_000_000_000
        assert proxy.rss - before < 20 << 20


def test_r17_ten_thousand_pipelined_requests_cost_no_memory(
    origin: OriginThread, tmp_path: Path
) -> None:
    with process(tmp_path, origin, {"log": {"access": False}}) as proxy:
        proxy.get("/nowhere")
        before, peak, ended = proxy.rss, 0, b""
        one = request_bytes("GET", "/healthz", "localhost", {}, close=False)
        last = request_bytes("GET", "/nowhere", "localhost", {})
        with proxy.connect() as sock:
            sending = threading.Thread(target=sock.sendall, args=(one * 10_000 + last,))
            sending.start()
            while more := sock.recv(1 << 16):
                ended = ended[-1000:] + more
                peak = max(peak, proxy.rss)
            sending.join(LIMIT)
        assert b"HTTP/1.1 404 " in ended
        assert peak - before < 20 << 20


def test_r19_clients_that_leave_in_the_middle_leave_nothing_behind(
    origin: OriginThread, tmp_path: Path
) -> None:
    with process(tmp_path, origin) as proxy:
        wheel = big(origin)
        assert proxy.get(wheel.link).sha256 == wheel.blob.sha256
        before = proxy.descriptors
        for _ in range(500):
            with proxy.connect() as sock:
                sock.sendall(request_bytes("GET", wheel.link, "localhost", {}))
                assert select.select([sock], [], [], LIMIT)[0]
        until(lambda: proxy.descriptors <= before + 2)
        assert proxy.metrics()["cgr_proxy_in_flight"] == 0
        assert proxy.get(wheel.link).sha256 == wheel.blob.sha256


def heaps(proxy: Process) -> int:
    """Heaps of threads: for each glibc reserves 64 MiB of addresses that are out of bounds."""
    mapped = Path(f"/proc/{proxy.pid}/maps").read_text().splitlines()
    spans = [line.split()[0].split("-") for line in mapped if " ---p " in line]
    return sum(int(end, 16) - int(start, 16) > 32 << 20 for start, end in spans)


def test_threads_share_one_heap(origin: OriginThread, tmp_path: Path) -> None:
    with process(tmp_path, origin) as proxy:
        pages = [artifact.link for artifact in origin.origin.content]
        for target in [*dict.fromkeys(pages), "/healthz"]:
            proxy.get(target)
        assert heaps(proxy) <= 1  # of one that is older than the rule


def test_r8_unknown_paths_cost_no_memory_and_no_series(
    origin: OriginThread, tmp_path: Path
) -> None:
    with process(tmp_path, origin, {"log": {"access": False}}) as proxy:

        def ask(first: int, last: int) -> None:
            with proxy.connect() as sock:
                for number in range(first, last):
                    target = f"/{number:x}/odd-{number}"
                    fields = {"user_agent": f"agent-{number}"}
                    method = ("GET", "HEAD", "PUT")[number % 3] if number + 1 == last else "GET"
                    raw = request_bytes(method, target, "localhost", fields, close=False)
                    sock.sendall(raw)
                    assert sock.recv(4096).startswith(b"HTTP/1.1 40")

        ask(0, 1000)
        series, memory = len(proxy.metrics()), proxy.rss
        ask(1000, 10_000)
        assert len(proxy.metrics()) <= series + 2  # the metrics' own answers are not counted
        assert proxy.rss - memory < 10 << 20


# --- what stops it from starting ---------------------------------------------------------------


def fails(
    tmp_path: Path, origin: OriginThread, table: str, key: str, value: str, *, told: bool = False
) -> list[str]:
    """Start with one wrong key: exit 78, one line, nothing on standard output; the line.

    `told`: the line names the path as well.
    """
    with process(tmp_path, origin, {table: {key: value}}, ready=False) as proxy:
        assert proxy.wait() == 78
        lines = [json.loads(line) for line in proxy.log_bytes().splitlines()]
    said = [str(line["message"]) for line in lines if line["level"] != "debug"]
    assert len(said) == 1
    assert f"{table}.{key}" in said[0]
    assert (str(tmp_path) in said[0]) is told
    return said


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"\xff\xfe"])
def test_a_ca_bundle_that_cannot_be_used_is_one_line_and_exit_78(
    origin: OriginThread, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "bundle.pem"
    if content is not None:
        file.write_bytes(content)
    fails(tmp_path, origin, "upstream", "ca_bundle", str(file))


@pytest.mark.parametrize(
    "content", [None, b"", b"\n", b"two words", b"\xff\xfe", b"a\nb\n", b"x" * 5000]
)
def test_an_admin_token_that_cannot_be_used_is_one_line_and_exit_78(
    origin: OriginThread, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "admin-token"
    if content is not None:
        file.write_bytes(content)
    fails(tmp_path, origin, "server", "admin_token_file", str(file))


def test_a_cache_folder_that_is_a_file_is_one_line_and_exit_78(
    origin: OriginThread, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    (line,) = fails(tmp_path, origin, "cache", "directory", str(tmp_path / "file"), told=True)
    assert "Not a directory" in line or "File exists" in line


@pytest.mark.parametrize("key", ["listen", "admin_listen"])
def test_an_address_that_is_taken_is_one_line_and_exit_69(
    origin: OriginThread, tmp_path: Path, key: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        tables = {"server": {key: f"127.0.0.1:{port}"}}
        with process(tmp_path, origin, tables, ready=False) as proxy:
            assert proxy.wait() == 69
            lines = [json.loads(line) for line in proxy.log_bytes().splitlines()]
    said = [line["message"] for line in lines if line["level"] != "debug"]
    assert len(said) == 1
    assert str(port) in said[0]
