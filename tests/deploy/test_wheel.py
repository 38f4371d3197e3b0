"""The wheel that the project builds, installed where nothing else is, serves."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy import __version__
from tests.clients.machine import clean_environment
from tests.deploy.tools import TOP
from tests.origin import Content, OriginThread
from tests.running import process

PAGE = "/python/simple/alpha/"


def run(*command: str | Path, home: Path) -> str:
    done = subprocess.run(
        list(map(str, command)),
        cwd=home,
        env=clean_environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the checkout, with the build backend that the lock file pins."""
    folder = tmp_path_factory.mktemp("built")
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index")
    run(*pip, "--no-build-isolation", "--wheel-dir", folder, TOP, home=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture
def installed(wheel: Path, client_tools: Path, tmp_path: Path) -> Path:
    """The program in an environment that had nothing, not even pip; by the wheel's own word on
    what it needs."""
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment, home=tmp_path)
    pip = (sys.executable, "-m", "pip", "--python", environment / "bin" / "python", "install")
    wheels = client_tools / "bases" / "wheels"
    run(*pip, "--quiet", "--no-index", "--find-links", wheels, wheel, home=tmp_path)
    return environment / "bin" / "cgr-proxy"


@pytest.fixture
def origin() -> Iterator[OriginThread]:
    with OriginThread(content=Content.tiny()) as running:
        yield running


def test_it_serves(installed: Path, origin: OriginThread, tmp_path: Path) -> None:
    # No source folder of ours is on its way to the modules.
    where = run(installed.parent / "python", "-c", "import proxy; print(proxy.__file__)",
                home=tmp_path)  # fmt: skip
    assert Path(where.strip()).is_relative_to(installed.parents[1])
    assert run(installed, "--version", home=tmp_path) == f"cgr-proxy {__version__}\n"
    with process(tmp_path, origin, command=[str(installed)]) as proxy:
        assert proxy.get(PAGE).status == 200
        assert proxy.get(PAGE).cache == "cgr-proxy; hit"


def test_it_holds_the_program_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}

    assert tops == {"proxy", f"cgr_proxy-{__version__}.dist-info"}
    assert "proxy/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert not [name for name in names if "__pycache__" in name]
