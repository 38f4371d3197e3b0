"""`cgr-proxy health` against a proxy that runs and one that is not there."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from proxy.config import Address
from tests.certificates import Authority
from tests.origin import Content, OriginThread
from tests.running import LIMIT, TOP, Process, client, process


@pytest.fixture
def origin() -> Iterator[OriginThread]:
    with OriginThread(content=Content.tiny()) as running:
        yield running


def health(proxy: Process, folder: Path, *options: str) -> tuple[int, str]:
    """What the command says of a proxy whose port was free to choose: exit code and output."""
    file = folder / "asked.toml"
    text = (folder / "cgr-proxy.toml").read_text("utf-8")
    file.write_text(text.replace("127.0.0.1:0", urlsplit(proxy.url).netloc, 1), encoding="utf-8")
    return ask("--config", str(file), *options)


def ask(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "health", *arguments],
        cwd=TOP,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    return done.returncode, done.stdout


def test_a_proxy_that_runs_is_well_and_ready(origin: OriginThread, tmp_path: Path) -> None:
    with process(tmp_path, origin) as proxy:
        assert health(proxy, tmp_path) == (0, '{"status": "ok"}\n')
        assert health(proxy, tmp_path, "--ready") == (0, '{"status": "ok"}\n')


def test_it_is_asked_by_tls_where_it_has_a_certificate(
    origin: OriginThread, tmp_path: Path
) -> None:
    pair = Authority("farm", tmp_path).server("127.0.0.1")
    server = {"tls_certificate": str(pair.certificate), "tls_key": str(pair.key)}
    with process(tmp_path, origin, {"server": server}) as proxy:
        assert health(proxy, tmp_path) == (0, '{"status": "ok"}\n')


def test_one_that_is_not_there_is_not_well(origin: OriginThread, tmp_path: Path) -> None:
    with process(tmp_path, origin) as proxy:
        port = urlsplit(proxy.url).port
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0
        code, said = health(proxy, tmp_path)
    assert (code, said.startswith(f"no answer from 127.0.0.1:{port}: ")) == (1, True)


def test_a_port_that_nobody_knows_is_said(tmp_path: Path) -> None:
    file = tmp_path / "free.toml"
    file.write_text('[server]\nlisten = "127.0.0.1:0"\n', encoding="utf-8")

    assert ask("--config", str(file)) == (
        1,
        "server.listen has port 0: which one it has become is not known\n",
    )


def test_a_wrong_configuration_is_told_as_by_every_command(tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text("[server]\nlisten = 1\n", encoding="utf-8")

    assert ask("--config", str(file))[0] == 78


@pytest.mark.parametrize(
    ("listen", "asked"),
    [
        (Address("0.0.0.0", 80), ("127.0.0.1", 80)),
        (Address("::", 80), ("::1", 80)),
        (Address("10.0.0.1", 80), ("10.0.0.1", 80)),
        (Address("localhost", 80), ("localhost", 80)),
    ],
)
def test_every_address_is_reached_over_loopback(listen: Address, asked: tuple[str, int]) -> None:
    assert listen.from_here == Address(*asked)


def test_a_client_is_not_needed_for_it(origin: OriginThread, tmp_path: Path) -> None:
    with process(tmp_path, origin, {"clients": [client("farm", "python")]}) as proxy:
        assert health(proxy, tmp_path)[0] == 0
