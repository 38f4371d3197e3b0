"""Fixtures that any test may want; what belongs to one room stands beside its tests.

Purpose: the event loop is guarded against blocking calls of ours, and client programs start in an
environment that holds nothing of this machine. Non-goals: fakes of a room, the origin.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster

import proxy
from tests.clients.machine import clean_environment

# Short calls on local files are made on the loop on purpose (measured: handing them to a thread
# costs several times as much as they take); waiting for somebody else never is.
_WAITING = ("time.", "socket.", "ssl.", "sqlite3.", "subprocess.")


@pytest.fixture(autouse=True)
def _nothing_of_ours_blocks_the_loop() -> Iterator[None]:
    """A call from `proxy` that waits while an event loop runs raises BlockingError."""
    guard = BlockBuster(scanned_modules=[proxy])
    watched = [call for name, call in guard.functions.items() if name.startswith(_WAITING)]
    for call in watched:
        call.activate()
    yield
    for call in watched:
        call.deactivate()


@pytest.fixture(scope="session")
def client_tools() -> Path:
    """The folder of installed client programs: `pip-23/bin/pip`, `uv/bin/uv`, `pdm/bin/pdm` ...,
    `npm/node_modules/...`, `nuget/node_modules/...`.

    `sh tests/run.sh python` and `... npm` make it. A missing program fails the test: it is never
    skipped.
    """
    folder = os.environ.get("CGR_PROXY_TEST_CLIENTS", "")
    if not folder or not Path(folder).is_dir():
        pytest.fail("no client programs: run `sh tests/run.sh python`, which installs them")
    return Path(folder)


@pytest.fixture
def client_environment(tmp_path: Path) -> dict[str, str]:
    """Environment variables for a client program: an empty home and no settings of this machine."""
    home = tmp_path / "home"
    home.mkdir()
    return clean_environment(home)
