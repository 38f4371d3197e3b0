"""Fixtures of the deployment's checks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.deploy.containers import Engine
from tests.deploy.tools import Tools


@pytest.fixture
def tools(client_tools: Path, tmp_path: Path) -> Tools:
    """The programs, with an empty home."""
    return Tools(client_tools, tmp_path / "home")


@pytest.fixture(scope="session")
def short() -> Iterator[Path]:
    """A folder whose name is short: podman takes no long ones."""
    with TemporaryDirectory(prefix="cgr-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="session")
def engine(client_tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that has the image."""
    home = tmp_path_factory.mktemp("engine")
    with TemporaryDirectory(prefix="cgr-", ignore_cleanup_errors=True) as short:
        engine = Engine(Tools(client_tools, home), Path(short))
        engine.build()
        yield engine
        engine.run("podman", "rm", "--all", "--force", "--time=0")
