"""The look-alike's pip keeps the settings that it was started with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.origin.settled import settled

INDEX = "http://{}.example/simple/"


def index(environment: Mapping[str, str]) -> str:
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    done = subprocess.run(  # this interpreter's own pip
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout.strip()


@pytest.mark.parametrize("where", [".config/pip/pip.conf", ".pip/pip.conf"])
def test_an_index_that_the_user_names_afterwards_is_not_asked(tmp_path: Path, where: str) -> None:
    file = tmp_path / where
    file.parent.mkdir(parents=True)
    file.write_text(f"[global]\nindex-url = {INDEX.format('before')}\n")
    user = {**os.environ, "HOME": str(tmp_path)}
    for name in ("XDG_CONFIG_HOME", "PIP_CONFIG_FILE"):
        user.pop(name, None)
    with settled(user) as environment:
        file.write_text(f"[global]\nindex-url = {INDEX.format('after')}\n")
        assert index(environment) == INDEX.format("before")
        assert index(user) == INDEX.format("after")
    assert not Path(environment["HOME"]).exists()


def test_where_the_user_had_no_settings_those_made_afterwards_do_not_count(tmp_path: Path) -> None:
    user = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "own")}
    user.pop("PIP_CONFIG_FILE", None)
    with settled(user) as environment:
        file = tmp_path / "own" / "pip" / "pip.conf"
        file.parent.mkdir(parents=True)
        file.write_text(f"[global]\nindex-url = {INDEX.format('after')}\n")
        assert index(user) == INDEX.format("after")
        assert index(environment) != INDEX.format("after")
