"""A real apk client through the proxy: apko, which reads indexes and installs packages itself.

Purpose: it verifies the index's signature with the key and each package with the index, so what it
installs has come through unharmed. Non-goals: apk-tools, which no package client of this machine
has; a reader of the tests' own stands in for it (`tests/unit/test_origin_apk.py`).
"""

from __future__ import annotations

import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.origin import OriginThread, apks
from tests.printed import printed
from tests.running import Process, client, process, token

ALPHA = "alpha-apk-1.1-r2.apk"
CLIENTS = {"clients": [client("farm", "apk")]}
LIMIT = 120


@pytest.fixture
def apko(client_tools: Path) -> Path:
    """The program, as the stage has built it."""
    return client_tools / "apko" / "apko"


def install(apko: Path, folder: Path, proxy: Process, who: str = "farm") -> tuple[int, str]:
    """Install a package and what it depends on into an archive; exit code and words."""
    folder.mkdir()
    (folder / apks.KEY).write_bytes(apks.public_key())
    address = repository(proxy.url, token(who))
    (folder / "apko.yaml").write_text(
        f"contents:\n  keyring: ['{folder / apks.KEY}']\n"
        f"  repositories: ['{address}']\n  packages: [alpha-apk]\n"
        "archs: [x86_64]\n",
        encoding="utf-8",
    )
    command: list[str | Path] = [apko, "build-minirootfs", "--build-arch", "x86_64"]
    done = subprocess.run(
        [*command, folder / "apko.yaml", folder / "root.tar"],
        env={"HOME": str(folder), "TMPDIR": str(folder)},
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).decode()


def repository(url: str, secret: str) -> str:
    """The address that `cgr-proxy setup` names where clients are configured, with a token."""
    (guarded,) = re.findall(
        r'^# "(\S+\$CGR_PROXY_TOKEN\S+)"$', printed("apk", url)[0], re.MULTILINE
    )
    return guarded.replace("$CGR_PROXY_TOKEN", secret).replace("ORGANISATION", "example")


def content(folder: Path, name: str) -> str:
    """What a file holds that was installed."""
    with tarfile.open(folder / "root.tar") as archive:
        file = archive.extractfile(name)
        assert file is not None
        return file.read().decode()


def test_apko_installs_cold_warm_and_with_the_upstream_away(apko: Path, tmp_path: Path) -> None:
    with OriginThread() as origin, process(tmp_path / "proxy", origin, CLIENTS) as proxy:
        for name in ("cold", "warm", "away"):
            if name == "away":
                origin.close_listener()
            code, words = install(apko, tmp_path / name, proxy)
            assert code == 0, words
            assert content(tmp_path / name, "usr/share/alpha-apk/version") == "1.1-r2\n"
            assert content(tmp_path / name, "usr/share/beta-apk/version") == "2.0_rc1-r0\n"
        assert origin.count("GET", "alpha-apk", "store") == 1
        assert origin.violations == []


def test_apko_is_refused_with_a_wrong_token(apko: Path, tmp_path: Path) -> None:
    with OriginThread() as origin, process(tmp_path / "proxy", origin, CLIENTS) as proxy:
        code, words = install(apko, tmp_path / "client", proxy, who="nobody")
        assert (code != 0, "401" in words) == (True, True)
        assert origin.log == []


def test_apko_installs_nothing_that_is_not_what_the_index_lists(apko: Path, tmp_path: Path) -> None:
    with OriginThread() as origin, process(tmp_path / "proxy", origin, CLIENTS) as proxy:
        origin.fault("store", r"alpha-apk-1\.1", flip_at=900, times=None)
        code, words = install(apko, tmp_path / "client", proxy)
        assert code != 0, words
        assert not [path for path in proxy.stored() if ALPHA.encode() in path.read_bytes()]
