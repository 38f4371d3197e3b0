"""deploy/cgr-proxy.service: what systemd says of it, and what the proxy needs of it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from proxy.config import Settings, load
from proxy.config.settings import ECOSYSTEMS
from proxy.ecosystems import ECOSYSTEMS as BUILT
from tests.deploy.tools import DEPLOY, Tools

UNIT = DEPLOY / "cgr-proxy.service"
TEXT = UNIT.read_text("utf-8")


def values(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", TEXT, re.MULTILINE)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that is there: where it is installed is the operator's choice."""
    program = tmp_path / "cgr-proxy"
    shutil.copy(shutil.which("true") or "/bin/true", program)
    file = tmp_path / "cgr-proxy.service"
    file.write_text(TEXT.replace("/opt/cgr-proxy/bin/cgr-proxy", str(program)), encoding="utf-8")
    return file


def test_systemd_finds_no_mistake(tools: Tools, unit: Path) -> None:
    done = tools.run("systemd-analyze", "verify", "--man=no", unit)

    assert (done.code, done.output) == (0, "")


def test_systemd_finds_it_well_sandboxed(tools: Tools, unit: Path) -> None:
    done = tools.run(
        "systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", unit
    )

    assert done.code == 0, done.output[-300:]


def loaded(folder: Path, *, username: bool = True) -> Settings:
    """The configuration with the unit's environment, and the credentials in a folder."""
    (line,) = values("Environment")
    environ = dict(word.split("=", 1) for word in line.split())
    credentials = folder / "credentials"
    credentials.mkdir()
    for name in values("LoadCredential"):
        if username or not name.startswith("default-"):
            (credentials / name.partition(":")[0]).write_text("x", encoding="utf-8")
    file = folder / "cgr-proxy.toml"
    file.write_text("", encoding="utf-8")
    return load(file, {**environ, "CREDENTIALS_DIRECTORY": str(credentials)}, {})


def test_the_cache_is_the_folder_that_systemd_makes(tmp_path: Path) -> None:
    (name,) = values("CacheDirectory")

    assert loaded(tmp_path).cache.directory == Path("/var/cache") / name


def test_every_ecosystem_finds_the_credential_that_systemd_loads(tmp_path: Path) -> None:
    settings = loaded(tmp_path, username=False)

    assert {ecosystem.name for ecosystem in BUILT} - {"openvex"} <= set(settings.credentials)
    assert set(settings.credentials) <= set(ECOSYSTEMS)


def test_it_waits_longer_than_the_proxy_for_transfers_to_end(tmp_path: Path) -> None:
    (seconds,) = values("TimeoutStopSec")

    assert int(seconds) > loaded(tmp_path).server.shutdown_grace


def test_it_tells_of_readiness_and_reload() -> None:
    assert values("Type") == ["notify"]
    assert values("ExecReload") == ["kill -HUP $MAINPID"]
    assert values("RestartPreventExitStatus") == ["78"]
