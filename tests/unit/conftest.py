"""Fixtures of more than one file of these tests."""

from __future__ import annotations

import subprocess

import pytest


@pytest.fixture(scope="session")
def namespace() -> tuple[str, ...]:
    """What to put before a command so that it may mount without anybody else seeing it."""
    for ways in (("unshare", "-m"), ("unshare", "-r", "-m")):
        done = subprocess.run([*ways, "mount", "-t", "tmpfs", "none", "/mnt"], check=False)
        if done.returncode == 0:
            return ways
    pytest.fail("no mount namespace can be had: run as root, or allow user namespaces")
