"""The audit log: what is kept, what never is, how large it gets, who asks it."""

from __future__ import annotations

import json
import logging
import os
import resource
import stat
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from proxy.cli import main
from proxy.observe.alike import Alike
from proxy.observe.audit import (
    BATCH,
    MAX_WAITING,
    AuditFile,
    AuditLog,
    AuditRecord,
    line_of,
    previous,
    read_records,
)
from proxy.observe.formats import JsonFormat
from proxy.observe.logs import Logs
from proxy.observe.redaction import Redactor
from proxy.observe.writer import Writer
from tests.origin import Origin
from tests.running import Running, basic, client, configuration, running, token

PAGE = "/python/simple/alpha/"
WHEEL = "alpha-1.0-py3-none-any.whl"
FARM = basic(token("farm"))


def record(**more: Any) -> AuditRecord:
    given: dict[str, Any] = {
        "time": 1_800_000_000.5,
        "request_id": "a" * 16,
        "decision": "served",
        "principal": "farm",
        "kind": "token",
        "peer": "10.0.0.1",
        "ecosystem": "python",
        "purl": "pkg:pypi/flask@3.0.3",
        "path": "/files/x/flask/flask-3.0.3.tar.gz",
        "status": 200,
        "sent": 100,
        "digest": "sha256:" + "ab" * 32,
        "cache": "hit",
        "reason": "",
        **more,
    }
    return AuditRecord(**given)


def kept(proxy: Running) -> list[dict[str, Any]]:
    proxy.log_bytes()  # what was queued before is written with it
    lines = (proxy.folder / "cache" / "audit.jsonl").read_text("ascii").splitlines()
    return [json.loads(line) for line in lines]


@asynccontextmanager
async def audited(folder: Path, **tables: Any) -> AsyncIterator[tuple[Running, Origin, str]]:
    clients = [client("farm", "python"), client("java", "java")]
    async with (
        Origin() as origin,
        running(folder, origin, {"clients": clients, **tables}) as proxy,
    ):
        proxy.keep_secret(token("farm"), token("java"))
        yield proxy, origin, origin.content.find(WHEEL).path


async def test_what_is_served_is_kept_with_who_what_and_which_bytes(tmp_path: Path) -> None:
    async with audited(tmp_path) as (proxy, origin, path):
        blob = origin.content.find(WHEEL).blob
        answers = [
            await proxy.get(path, authorization=FARM),
            await proxy.get(path, authorization=FARM, range="bytes=0-9"),
            await proxy.get(path, authorization=FARM, if_none_match=f'"sha256:{blob.sha256}"'),
        ]
        found = kept(proxy)
        assert [line["request_id"] for line in found] == [a.header("X-Request-Id") for a in answers]
        assert [line["status"] for line in found] == [200, 206, 304]
        assert [line["bytes"] for line in found] == [blob.size, 10, 0]
        assert [line["cache"] for line in found] == ["miss", "hit", "hit"]
        for line in found:
            assert line["decision"] == "served"
            assert (line["principal"], line["kind"], line["peer"]) == ("farm", "token", "127.0.0.1")
            assert (line["ecosystem"], line["purl"]) == ("python", "pkg:pypi/alpha@1.0")
            assert (line["path"], line["digest"]) == (path, f"sha256:{blob.sha256}")


async def test_a_large_artifact_on_its_way_has_its_digest_too(tmp_path: Path) -> None:
    async with audited(tmp_path) as (proxy, origin, _):
        big = origin.content.synthetic(size=1 << 20)
        assert (await proxy.get(big.path, authorization=FARM)).status == 200
        (line,) = kept(proxy)
        assert line["digest"] == f"sha256:{big.blob.sha256}"
        assert line["cache"] == "miss"


async def test_a_transfer_that_breaks_off_is_kept_as_one(tmp_path: Path) -> None:
    async with audited(tmp_path) as (proxy, origin, _):
        big = origin.content.synthetic(size=1 << 20)
        origin.fault("store", flip_at=5, times=None)  # its digest is wrong
        cut = await proxy.get(big.path, authorization=FARM)
        assert not cut.complete
        line = kept(proxy)[-1]
        assert (line["status"], line["digest"]) == (499, "")
        assert 0 < line["bytes"] < 1 << 20


async def test_what_is_denied_and_what_is_withheld_is_kept(tmp_path: Path) -> None:
    async with audited(tmp_path) as (proxy, origin, path):
        java = basic(token("java"))
        assert (await proxy.get(path, authorization=java)).status == 403
        assert (await proxy.get(PAGE, authorization=java)).status == 403
        origin.block("alpha", "1.0")
        assert (await proxy.get(path, authorization=FARM)).status == 403
        found = [(line["decision"], line["principal"], line["purl"]) for line in kept(proxy)]
        assert found == [
            ("denied", "java", "pkg:pypi/alpha@1.0"),
            ("denied", "java", "pkg:pypi/alpha"),
            ("withheld", "farm", "pkg:pypi/alpha@1.0"),
        ]
        assert kept(proxy)[0]["reason"] == "Client not allowed"


async def test_what_decides_nothing_is_not_kept(tmp_path: Path) -> None:
    async with audited(tmp_path) as (proxy, _, path):
        await proxy.get(PAGE, authorization=FARM)
        await proxy.head(path, authorization=FARM)
        await proxy.get("/healthz")
        await proxy.get("/nothing", authorization=FARM)
        await proxy.get(path)  # nobody: strangers could push everything else out
        await proxy.get(path, authorization=basic("wrong-token"))
        assert kept(proxy) == []


async def test_no_query_and_no_header_stands_in_a_line(tmp_path: Path) -> None:
    async with audited(tmp_path) as (proxy, _, path):
        canary = "canary-in-a-query"
        await proxy.get(f"{path}?token={canary}", authorization=FARM, referer=canary, cookie=canary)
        assert canary not in json.dumps(kept(proxy))
        assert len(kept(proxy)) == 1


async def test_the_file_is_its_owners_alone_and_may_lie_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "audit" / "log.jsonl"
    log = {"audit": str(elsewhere), "format": "json", "level": "debug"}
    async with audited(tmp_path, log=log) as (proxy, _, path):
        await proxy.get(path, authorization=FARM)
        proxy.log_bytes()
        assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o600
        assert elsewhere.read_bytes().count(b"\n") == 1
        assert not (tmp_path / "cache" / "audit.jsonl").exists()


async def test_it_can_be_off(tmp_path: Path) -> None:
    log = {"audit_size": "0B", "format": "json", "level": "debug"}
    async with audited(tmp_path, log=log) as (proxy, _, path):
        assert (await proxy.get(path, authorization=FARM)).status == 200
        assert not (tmp_path / "cache" / "audit.jsonl").exists()


# --- lines and files ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd", ['"', "\n", "\x1b[31m", "\u2028", "\ud800", "\x7f", "eyJ" + "a" * 40]
)
def test_a_line_is_one_line_of_json_whatever_is_in_it(odd: str) -> None:
    line = line_of(record(principal=odd, path=odd, purl=odd, reason=odd, peer=odd), Redactor())
    assert line.count("\n") == 1
    assert line.rstrip("\n").isprintable()
    assert line.isascii()
    assert "eyJ" not in json.loads(line)["path"]


def test_the_line_of_a_decision_made_again_is_that_of_any_other() -> None:
    redactor, again = Redactor(), Alike(record(time=0.0, request_id=""))
    for time, request_id in ((1.5, "b" * 16), (2.5, "c" * 16)):
        whole = line_of(record(time=time, request_id=request_id), redactor)
        assert line_of((time, request_id, again), redactor) == whole


def test_a_secret_that_is_learnt_between_two_repetitions_is_masked_in_the_second() -> None:
    redactor, again = Redactor(), Alike(record(path="/files/not-so-secret"))
    assert "not-so-secret" in line_of((1.0, "a", again), redactor)
    redactor.register("somebody", "not-so-secret")
    assert "not-so-secret" not in line_of((2.0, "b", again), redactor)


def test_the_log_never_grows_beyond_its_size_and_keeps_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    file = AuditFile(path, 2000)
    for number in range(100):
        file.write(b'{"number": %d}\n' % number * 3)
        total = sum(p.stat().st_size for p in (path, previous(path)) if p.exists())
        assert total <= 2000 + 2 * 60
    file.close()
    found = [line["number"] for line in read_records(path, lambda _: True)]
    assert found == sorted(found)
    assert found[-1] == 99
    assert len(found) > 50


def test_two_processes_share_a_file_and_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    files = [AuditFile(path, 1 << 20) for _ in range(4)]

    def write(file: AuditFile, name: int) -> None:
        for number in range(500):
            file.write(json.dumps({"name": name, "number": number}).encode() + b"\n")

    threads = [threading.Thread(target=write, args=(file, n)) for n, file in enumerate(files)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    found = {(line["name"], line["number"]) for line in read_records(path, lambda _: True)}
    assert len(found) == 2000
    for file in files:
        file.close()


def test_a_file_that_was_taken_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    file = AuditFile(path, 1000)
    file.write(b'{"n": 1}\n')
    path.rename(tmp_path / "elsewhere")
    file.write(b'{"n": 2}\n')
    assert path.read_bytes() == b'{"n": 2}\n'
    file.close()


def test_a_link_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic"):
        AuditFile(tmp_path / "a.jsonl", 1000)


def test_what_does_not_fit_or_cannot_be_written_is_counted(tmp_path: Path) -> None:
    file = AuditFile(tmp_path / "a.jsonl", 1 << 30)
    log = AuditLog(Redactor(), file)
    for _ in range(MAX_WAITING + 5):
        log.append(record())
    assert log.dropped == 5
    os.close(file._descriptor)
    log.drain()
    assert log.dropped == MAX_WAITING + 5


class Made:
    """Implements `Later`. `made` None: it fails."""

    def __init__(self, made: AuditRecord | None) -> None:
        self.made = made

    def audited(self) -> AuditRecord:
        if self.made is None:
            raise ValueError("odd")
        return self.made


def test_a_record_that_is_made_late_stands_in_the_same_line() -> None:
    assert line_of(Made(record(status=206)), Redactor()) == line_of(record(status=206), Redactor())


def test_one_odd_decision_takes_no_others_along(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = AuditLog(Redactor(), AuditFile(tmp_path / "a.jsonl", 1 << 20))
    for made in (record(path="/1"), None, record(path="/2")):
        log.append(Made(made))
    log.close()
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == ["/1", "/2"]
    assert log.dropped == 1
    assert "could not be written" in caplog.text


def test_many_decisions_wake_their_writer_before_its_time(tmp_path: Path) -> None:
    """A busy farm's half second would not fit."""
    path = tmp_path / "audit.jsonl"
    log = AuditLog(Redactor(), AuditFile(path, 1 << 20))
    log.start(period=60)
    try:
        for _ in range(BATCH + 1):
            log.append(record())
        assert comes(path, BATCH)
    finally:
        log.close()
    assert path.read_bytes().count(b"\n") == BATCH + 1


def test_decisions_are_written_while_nobody_reads_the_other_log(tmp_path: Path) -> None:
    path, hanging, go_on = tmp_path / "audit.jsonl", threading.Event(), threading.Event()

    class Hanging:
        def write(self, lines: bytes) -> None:
            hanging.set()
            go_on.wait(10)

        def close(self) -> None:
            pass

    writer = Writer(Hanging(), JsonFormat(Redactor()))
    logs = Logs(writer, Redactor(), logging.WARNING, access=False)
    try:
        logs.keep_audit(AuditFile(path, 1 << 20))
        logging.getLogger("test").error("a line for nobody")
        assert hanging.wait(10)
        logs.audit.append(record())
        assert comes(path, 1)
    finally:
        go_on.set()
        logs.stop()


def comes(path: Path, count: int) -> bool:
    """Wait until a file has so many lines; whether it has."""
    deadline = monotonic() + 10
    while path.read_bytes().count(b"\n") < count and monotonic() < deadline:
        pass
    return path.read_bytes().count(b"\n") >= count


def test_a_line_that_a_full_disk_cut_off_costs_the_next_one_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    file = AuditFile(path, 1 << 20)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(b'{"n": 1}') + 4, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            file.write(b'{"n": 1}\n{"n": 2}\n')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    file.write(b'{"n": 3}\n')
    file.close()
    assert [line["n"] for line in read_records(path, lambda _: True)] == [1, 3]


def test_lines_that_are_none_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n": \xff\n[]\n\n{"n": 2}\n{"n"')
    assert [line["n"] for line in read_records(path, lambda _: True)] == [1, 2]
    assert list(read_records(tmp_path / "none", lambda _: True)) == []


# --- asking it ----------------------------------------------------------------------------------


@pytest.fixture
def asked(tmp_path: Path) -> list[str]:
    """The options of a command that asks a log with some records in it."""
    path = tmp_path / "cache" / "audit.jsonl"
    file = AuditFile(path, 1 << 20)
    lines = [
        record(),
        record(principal="lab", purl="pkg:pypi/flask@3.0.2", status=206),
        record(purl="pkg:pypi/flask-login@1.0"),
        record(decision="denied", principal="java", status=403),
    ]
    file.write("".join(line_of(line, Redactor()) for line in lines).encode())
    file.close()
    config = tmp_path / "cgr-proxy.toml"
    config.write_text(f"[cache]\ndirectory = {json.dumps(str(path.parent))}\n")
    return ["--config", str(config)]


@pytest.mark.parametrize(
    ("purl", "who"),
    [
        ("pkg:pypi/flask", ["farm", "lab"]),
        ("pkg:pypi/Flask", ["farm", "lab"]),
        ("pkg:pypi/flask@3.0.3", ["farm"]),
        ("pkg:pypi/flask*", ["farm", "lab", "farm"]),
        ("pkg:pypi/numpy", []),
    ],
)
def test_who_pulled_names_whoever_was_served(
    asked: list[str], capsys: pytest.CaptureFixture[str], purl: str, who: list[str]
) -> None:
    assert main(["audit", "who-pulled", purl, *asked]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[1] for line in out.splitlines()] == who
    assert ("nobody" in err) == (not who)
    assert main(["audit", "who-pulled", purl, "--json", *asked]) == 0
    assert [line["principal"] for line in json.loads(capsys.readouterr().out)] == who


def test_a_line_says_when_who_where_what_and_which_file(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["audit", "who-pulled", "pkg:pypi/flask@3.0.3", *asked])
    assert capsys.readouterr().out.split() == [
        "2027-01-15T08:00:00.500Z",
        "farm",
        "10.0.0.1",
        "pkg:pypi/flask@3.0.3",
        "200",
        "sha256:" + "ab" * 32,
        "/files/x/flask/flask-3.0.3.tar.gz",
    ]


@pytest.mark.parametrize("purl", ["flask", "pkg:pypi", "pkg:pypi/*x", "pkg:pypi/flask@", ""])
def test_what_is_no_package_url_is_wrong_usage(
    asked: list[str], capsys: pytest.CaptureFixture[str], purl: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["audit", "who-pulled", purl, *asked])
    assert caught.value.code == 2
    assert "pkg:pypi/flask" in capsys.readouterr().err


def test_a_log_that_cannot_be_read_is_exit_code_1(
    tmp_path: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "cache" / "audit.jsonl"
    log.unlink()
    log.mkdir()
    assert main(["audit", "who-pulled", "pkg:pypi/flask", *asked]) == 1
    assert "cannot be read" in capsys.readouterr().err


async def test_the_command_reads_what_the_proxy_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with audited(tmp_path) as (proxy, origin, path):
        await proxy.get(path, authorization=FARM)
        proxy.log_bytes()
        file = configuration(tmp_path, origin, {"clients": [client("farm", "python")]})
        assert main(["audit", "who-pulled", "pkg:pypi/alpha", "--config", str(file)]) == 0
        assert capsys.readouterr().out.split()[1:4] == ["farm", "127.0.0.1", "pkg:pypi/alpha@1.0"]
