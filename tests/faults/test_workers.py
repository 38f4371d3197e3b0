"""Several workers behind one address: how they start, die and end.

CGR_PROXY_TEST_LONG=1 kills workers fifty times and lets larger herds come.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.certificates import Authority
from tests.faults.chance import LONG
from tests.faults.workers import (
    HALF,
    PAGE,
    SIZE,
    SOON,
    Load,
    big,
    crew,
    everywhere,
    lines,
    replace,
    served,
    state,
    tables,
    who,
)
from tests.origin import Content, OriginThread
from tests.running import (
    LIMIT,
    Answer,
    answers,
    basic,
    client,
    configuration,
    process,
    request_bytes,
    token,
    until,
)

KILLS = 50 if LONG else 3
HERD = 200 if LONG else 60


@pytest.fixture
def origin() -> Iterator[OriginThread]:
    content = Content.tiny()
    content.synthetic(size=SIZE)
    with OriginThread(content=content) as running:
        yield running


# --- one proxy, whatever the number of its processes --------------------------------------------


def test_all_workers_answer_and_the_numbers_are_their_sum(
    origin: OriginThread, tmp_path: Path
) -> None:
    with crew(tmp_path, origin, 4) as proxy:
        assert len(proxy.workers()) == 4
        assert state(proxy) == (200, {"status": "ok"})
        found = everywhere(proxy, PAGE, 4, accept="text/html")
        assert {answer.status for answer in found} == {200}
        assert served(proxy) == len(found)
        assert proxy.metrics()["cgr_proxy_workers_ready"] == 4
        shown = proxy.get("/api/v1/entitlements", url=proxy.admin_url).json()
        assert shown["state"] == "assumed"
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0
        assert proxy.said() == b""  # besides the one ready line
        assert len(proxy.access()) == len(found)
        assert sum(proxy.log_bytes().count(end) for end in (b"draining", b"stopped")) == 10


def test_one_body_comes_from_the_upstream_for_a_herd_at_all_workers(
    origin: OriginThread, tmp_path: Path
) -> None:
    wheel = big(origin)
    with crew(tmp_path, origin, log={"format": "json", "level": "warning"}) as proxy:
        found: list[Answer] = []
        herd = [
            threading.Thread(target=lambda: found.append(proxy.get(wheel.link)))
            for _ in range(HERD)
        ]
        for one in herd:
            one.start()
        for one in herd:
            one.join(LIMIT)
        assert [answer.sha256 for answer in found] == [wheel.blob.sha256] * HERD
        assert len({who(answer) for answer in found}) == 2
        assert origin.count("GET", "bigblob-1", "store") == 1
        audit = tmp_path / "cache" / "audit.jsonl"
        until(lambda: audit.read_bytes().count(b"\n") == HERD)
        assert {json.loads(line)["decision"] for line in audit.read_bytes().splitlines()} == {
            "served"
        }


def test_nothing_secret_is_in_the_arguments_or_the_environment_of_a_worker(
    origin: OriginThread, tmp_path: Path
) -> None:
    environ = {
        "CHAINGUARD_PYTHON_IDENTITY_ID": origin.username,
        "CHAINGUARD_PYTHON_TOKEN": origin.password,
    }
    started = process(tmp_path, origin, tables(2), credentials={}, variables=environ)
    with started as proxy:
        assert {answer.status for answer in everywhere(proxy, PAGE)} == {200}
        for pid in proxy.workers():
            for file in ("cmdline", "environ"):
                assert origin.password.encode() not in Path(f"/proc/{pid}/{file}").read_bytes()
        replace(proxy)
        assert {answer.status for answer in everywhere(proxy, PAGE)} == {200}


# --- deaths --------------------------------------------------------------------------------------


def test_a_killed_worker_comes_back_and_the_others_go_on_meanwhile(
    origin: OriginThread, tmp_path: Path
) -> None:
    with crew(tmp_path, origin, 3) as proxy:
        everywhere(proxy, PAGE, 3, accept="text/html")
        load = Load(proxy, PAGE)
        for _ in range(KILLS):
            before, counted = proxy.workers(), served(proxy)
            replace(proxy)
            load.goes_on()
            assert before[0] not in proxy.workers()
            assert served(proxy) >= counted  # a sum that goes back would look like a restart
        load.end()
        assert load.wrong == []
        assert load.reset <= 4 * KILLS
        assert proxy.metrics()["cgr_proxy_worker_restarts_total"] == KILLS
        assert len(lines(proxy, "was ended by SIGKILL; it is started again")) == KILLS
        assert {answer.status for answer in everywhere(proxy, PAGE, 3)} == {200}


def test_a_missing_worker_is_said_and_one_that_dies_at_once_is_started_ever_more_slowly(
    origin: OriginThread, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(Authority("farm", tmp_path).file.read_bytes())
    with crew(tmp_path, origin, 2, upstream={"ca_bundle": str(bundle)}) as proxy:
        bundle.rename(tmp_path / "gone")
        os.kill(proxy.workers()[0], signal.SIGKILL)
        until(lambda: len(lines(proxy, "it is started again in")) >= 4)
        found = lines(proxy, "it is started again in")
        assert [line.rpartition(" in ")[2] for line in found[:4]] == [
            "0.1 s",
            "0.2 s",
            "0.4 s",
            "0.8 s",
        ]
        assert "upstream.ca_bundle" in found[1]
        assert state(proxy) == (200, {"status": "degraded", "reasons": ["1 of 2 workers run"]})
        assert {answer.status for answer in everywhere(proxy, PAGE, 1)} == {200}
        (tmp_path / "gone").rename(bundle)
        until(lambda: state(proxy) == (200, {"status": "ok"}))


def test_without_any_worker_the_proxy_is_not_ready(origin: OriginThread, tmp_path: Path) -> None:
    with crew(tmp_path, origin, 2) as proxy:
        for pid in proxy.workers():
            os.kill(pid, signal.SIGKILL)
        until(lambda: state(proxy)[0] == 503)
        assert proxy.get("/metrics", url=proxy.admin_url).status == 200
        until(lambda: state(proxy) == (200, {"status": "ok"}))
        assert {answer.status for answer in everywhere(proxy, PAGE)} == {200}


def test_workers_end_with_their_supervisor_and_leave_the_port(
    origin: OriginThread, tmp_path: Path
) -> None:
    with crew(tmp_path, origin, 2) as proxy:
        workers = proxy.workers()
        proxy.signal(signal.SIGKILL)
        proxy.wait()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
        parts = urlsplit(proxy.url)
        with socket.create_server((parts.hostname or "", parts.port or 0)):
            pass  # nobody listens there


def test_what_stops_one_process_from_starting_is_one_line_and_its_exit_code_for_several_too(
    origin: OriginThread, tmp_path: Path
) -> None:
    given = tables(3, cache={"directory": str(tmp_path / "file")})
    (tmp_path / "file").write_text("x")
    with process(tmp_path, origin, given, ready=False) as proxy:
        assert proxy.wait() == 78
        said = [line["message"] for line in proxy.messages() if line["level"] == "error"]
        assert len(said) == 1
        assert "cannot start: cache.directory" in said[0]


def test_an_address_that_other_workers_share_is_taken(origin: OriginThread, tmp_path: Path) -> None:
    with crew(tmp_path / "one", origin, 2) as proxy:
        taken = {"listen": urlsplit(proxy.url).netloc}
        given = tables(2, server=taken)
        with process(tmp_path / "two", origin, given, ready=False) as second:
            assert second.wait() == 69
            said = [line["message"] for line in second.messages() if line["level"] == "error"]
        assert len(said) == 1
        assert "Address already in use" in said[0]


# --- TLS -----------------------------------------------------------------------------------------


def test_every_worker_speaks_tls_knows_certificates_and_takes_a_new_one_at_sighup(
    origin: OriginThread, tmp_path: Path
) -> None:
    farm = Authority("farm", tmp_path)
    build, files = farm.client("CN=build-7,O=farm"), farm.server("127.0.0.1")
    server = {
        "tls_certificate": str(files.certificate),
        "tls_key": str(files.key),
        "client_ca": str(farm.file),
    }
    who = [{"name": "build", "subjects": ["CN=build-7,O=farm"], "ecosystems": ["python"]}]

    def shown() -> tuple[str, bytes | None, bytes]:
        """Which worker, with which certificate, with which status."""
        with (
            proxy.connect() as sock,
            farm.context(build).wrap_socket(sock, server_hostname="127.0.0.1") as secure,
        ):
            secure.sendall(request_bytes("GET", PAGE, "127.0.0.1", {}))
            raw = b"".join(iter(lambda: secure.recv(1 << 16), b""))
            worker = (answers(raw)[0].header("X-Request-Id") or "")[:8]
            return worker, secure.getpeercert(binary_form=True), raw[:12]

    with crew(tmp_path, origin, server=server, clients=who) as proxy:
        assert proxy.url.startswith("https://")
        seen = {shown() for _ in range(20)}
        (old,) = {certificate for _, certificate, _ in seen}
        assert {status for _, _, status in seen} == {b"HTTP/1.1 200"}
        assert len(seen) == 2
        new = farm.server("127.0.0.1")
        new.key.replace(files.key)
        new.certificate.replace(files.certificate)
        proxy.signal(signal.SIGHUP)
        until(lambda: bool(lines(proxy, "reloaded")))
        seen = {shown() for _ in range(20)}
        assert old not in {certificate for _, certificate, _ in seen}
        assert len(seen) == 2


# --- signals -------------------------------------------------------------------------------------


def test_sigterm_lets_the_transfers_of_all_workers_end_well(
    origin: OriginThread, tmp_path: Path
) -> None:
    wheel = big(origin)
    stalled = origin.fault("store", "bigblob", stall_at=HALF)
    with crew(tmp_path, origin, 3) as proxy:
        found: list[bytes] = []
        raw = request_bytes("GET", wheel.link, "localhost", {})
        herd = [threading.Thread(target=lambda: found.append(proxy.send(raw))) for _ in range(24)]
        for one in herd:
            one.start()
        stalled.reached()
        until(lambda: proxy.metrics()["cgr_proxy_in_flight"] == 24)
        proxy.signal(signal.SIGTERM)
        until(proxy.refuses)
        assert state(proxy) == (503, {"status": "draining"})
        stalled.release()
        for one in herd:
            one.join(LIMIT)
        got = [answers(each)[0] for each in found]
        assert [answer.sha256 for answer in got] == [wheel.blob.sha256] * 24
        assert len({who(answer) for answer in got}) == 3
        assert proxy.wait() == 0
    assert origin.count("GET", "bigblob-1", "store") == 1


@pytest.mark.parametrize(("grace", "signals"), [("1h", 2), ("300ms", 1)])
def test_a_second_sigterm_and_the_end_of_the_grace_end_all_workers_at_once(
    origin: OriginThread, tmp_path: Path, grace: str, signals: int
) -> None:
    stalled = origin.fault("store", "bigblob", stall_at=HALF)
    with crew(tmp_path, origin, 2, server={"shutdown_grace": grace}) as proxy:
        found: list[bytes] = []
        raw = request_bytes("GET", big(origin).link, "localhost", {})
        herd = [threading.Thread(target=lambda: found.append(proxy.send(raw))) for _ in range(8)]
        for one in herd:
            one.start()
        stalled.reached()
        until(lambda: proxy.metrics()["cgr_proxy_in_flight"] == 8)
        workers = proxy.workers()
        for _ in range(signals):
            proxy.signal(signal.SIGTERM)
            until(proxy.refuses)
        assert proxy.wait(10) == 0
        for one in herd:
            one.join(LIMIT)
        assert [answers(each)[0].complete for each in found] == [False] * 8
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_sighup_removes_a_client_at_all_workers_within_a_second_and_for_later_ones(
    origin: OriginThread, tmp_path: Path
) -> None:
    both = [client("kept", "python"), client("gone", "python")]
    with crew(tmp_path, origin, clients=both) as proxy:
        kept, gone = (basic(token(name)) for name in ("kept", "gone"))
        assert {one.status for one in everywhere(proxy, PAGE, authorization=gone)} == {200}
        configuration(tmp_path, origin, tables(2, clients=[client("kept", "python")]))
        proxy.signal(signal.SIGHUP)
        until(
            lambda: {one.status for one in everywhere(proxy, PAGE, authorization=gone)} == {401},
            SOON,
        )
        until(lambda: b'"reloaded"' in proxy.log_bytes())
        replace(proxy)
        assert {one.status for one in everywhere(proxy, PAGE, authorization=gone)} == {401}
        assert {one.status for one in everywhere(proxy, PAGE, authorization=kept)} == {200}


def test_a_worker_that_comes_later_does_not_open_what_was_shut_meanwhile(
    origin: OriginThread, tmp_path: Path
) -> None:
    with crew(tmp_path, origin, clients=[client("gone", "python")]) as proxy:
        configuration(tmp_path, origin, tables(2))  # nobody: on loopback a start would open
        proxy.signal(signal.SIGHUP)
        until(lambda: bool(lines(proxy, "reloaded")))
        replace(proxy)
        gone = basic(token("gone"))
        assert {one.status for one in everywhere(proxy, PAGE, authorization=gone)} == {401}
        assert {one.status for one in everywhere(proxy, PAGE)} == {401}


def test_a_worker_that_comes_later_runs_with_the_settings_of_the_start(
    origin: OriginThread, tmp_path: Path
) -> None:
    with crew(tmp_path, origin, 2, clients=[client("kept", "python")]) as proxy:
        (tmp_path / "cgr-proxy.toml").write_text("[cache]\nmax_size = nonsense")
        replace(proxy)
        kept = basic(token("kept"))
        assert {one.status for one in everywhere(proxy, PAGE, authorization=kept)} == {200}
        assert {one.status for one in everywhere(proxy, PAGE)} == {401}
