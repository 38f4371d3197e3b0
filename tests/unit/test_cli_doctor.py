"""`cgr-proxy doctor`: exit codes, what goes to stdout and to a terminal; no secret does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.cli.doctor import Progress, table
from proxy.doctor.findings import bad, good
from tests.origin import OriginThread, html_page
from tests.running import TOP, Process, free_port, process, secrets_of
from tests.unit.doctored import content

LIMIT = 60.0
FINDINGS = [good("-", "clock", "right"), bad("python", "token", "it has ended", "Renew it.")]


@pytest.fixture
def origin() -> Iterator[OriginThread]:
    with OriginThread(content=content()) as running:
        yield running
        assert running.violations == []


@pytest.fixture
def farm(origin: OriginThread, tmp_path: Path) -> Iterator[Process]:
    platform = origin.call(lambda it: {"issuer": it.issuer_url, "api": it.api_url})
    tables = {"server": {"listen": f"127.0.0.1:{free_port()}"}, "upstream": platform}
    with process(tmp_path, origin, tables) as proxy:
        yield proxy


def doctor(folder: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), **variables}
    return subprocess.run(
        [sys.executable, "-m", "proxy", "doctor", *options],
        cwd=TOP,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


def test_where_all_is_well_the_code_is_0_and_stderr_empty(farm: Process, tmp_path: Path) -> None:
    done = doctor(tmp_path, "--config", str(tmp_path / "cgr-proxy.toml"))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.endswith("all is well\n")
    assert "\x1b" not in done.stdout
    assert farm.get("/healthz").status == 200


def test_anything_wrong_is_code_1_and_json_has_what_scripts_read(
    farm: Process, origin: OriginThread, tmp_path: Path
) -> None:
    origin.fault("store", times=None, **html_page())
    done = doctor(tmp_path, "--config", str(tmp_path / "cgr-proxy.toml"), "--json")
    assert (done.returncode, done.stderr) == (1, "")
    found = json.loads(done.stdout)
    assert all(set(item) == {"ecosystem", "check", "ok", "detail", "fix"} for item in found)
    wrong = [(item["ecosystem"], item["check"]) for item in found if not item["ok"]]
    assert ("python", "object-store") in wrong
    assert all(item["fix"] for item in found if not item["ok"])
    assert farm.get("/healthz").status == 200


@pytest.mark.parametrize("trouble", ["none", "expired", "store", "echo"])
def test_no_secret_is_printed_whatever_is_wrong(
    trouble: str, farm: Process, origin: OriginThread, tmp_path: Path
) -> None:
    token = "cgrp_canary-of-a-client-0123456789"
    secrets = [*secrets_of(origin.username, origin.password), token.encode()]
    echo = f"refused: {origin.username}:{origin.password}".encode()
    match trouble:
        case "expired":
            origin.call(lambda it: it.credentials.retire(it.pair))
        case "store":
            origin.close_listener("store")
        case "echo":
            origin.fault("origin", times=None, status=403, body=echo)
            origin.fault("apk", times=None, status=403, body=echo)
        case _:
            pass
    for options in ((), ("--json",)):
        file = str(tmp_path / "cgr-proxy.toml")
        done = doctor(tmp_path, "--config", file, *options, CGR_PROXY_TOKEN=token)
        said = (done.stdout + done.stderr).encode()
        assert [secret for secret in secrets if secret in said] == []
        assert b"Traceback" not in said
    assert farm.get("/healthz").status == 200


def test_a_wrong_configuration_is_told_as_everywhere(tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text("[server]\nlistn = 1\n")
    done = doctor(tmp_path, "--config", str(file))
    assert (done.returncode, done.stdout) == (78, "")
    assert "server.listn" in done.stderr


def test_a_bundle_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    bundle, file = tmp_path / "bundle.pem", tmp_path / "cgr-proxy.toml"
    bundle.write_text("no certificate")
    file.write_text(f'[upstream]\nca_bundle = "{bundle}"\n')
    done = doctor(tmp_path, "--config", str(file), "--json")
    assert done.returncode == 1
    (found,) = json.loads(done.stdout)
    assert (found["check"], "ca_bundle" in found["detail"]) == ("tls", True)


def test_the_table_says_below_a_line_what_to_do() -> None:
    assert table(FINDINGS, colour=False).splitlines() == [
        "-       clock  ok    right",
        "python  token  FAIL  it has ended",
        "               fix:  Renew it.",
        "2 checks, 1 of them failed",
    ]


def test_on_a_narrow_terminal_lines_are_broken_between_words() -> None:
    long = bad("python", "token", "one two three four five six seven", "Do this, and then that.")
    assert table([long], colour=False, width=51).splitlines() == [
        "python  token  FAIL  one two three four five six",
        "                     seven",
        "               fix:  Do this, and then that.",
        "1 checks, 1 of them failed",
    ]


def test_on_a_terminal_the_table_has_colours() -> None:
    shown = table(FINDINGS, colour=True)
    assert "\x1b[32mok  \x1b[0m" in shown
    assert "\x1b[1;31mFAIL\x1b[0m" in shown


class Terminal:
    """A terminal, or a file, that remembers."""

    def __init__(self, *, tty: bool) -> None:
        self.said = ""
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty

    def write(self, text: str) -> int:
        self.said += text
        return len(text)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize("tty", [True, False])
def test_progress_is_one_line_of_a_terminal_and_nothing_elsewhere(*, tty: bool) -> None:
    terminal = Terminal(tty=tty)
    progress = Progress(terminal)
    progress.begun("python")
    progress.begun("java")
    progress.ended("python")
    progress.clear()
    assert ("1 of 2 done, asking java" in terminal.said) is tty
    assert "\n" not in terminal.said
    assert terminal.said.endswith("\x1b[K") is tty
