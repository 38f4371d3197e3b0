"""Fixtures of the deployment's checks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy.tools import Tools


@pytest.fixture
def tools(client_tools: Path, tmp_path: Path) -> Tools:
    """The programs, with an empty home."""
    return Tools(client_tools, tmp_path / "home")
