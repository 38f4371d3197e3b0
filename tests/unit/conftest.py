"""Fixtures of more than one file of these tests."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.storage.index import Index


@pytest.fixture(scope="session")
def namespace() -> tuple[str, ...]:
    """What to put before a command so that it may mount without anybody else seeing it."""
    for ways in (("unshare", "-m"), ("unshare", "-r", "-m")):
        done = subprocess.run([*ways, "mount", "-t", "tmpfs", "none", "/mnt"], check=False)
        if done.returncode == 0:
            return ways
    pytest.fail("no mount namespace can be had: run as root, or allow user namespaces")


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """An index that is empty."""
    made = Index(tmp_path / "index")
    yield made
    made.close()
