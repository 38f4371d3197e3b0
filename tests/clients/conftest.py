"""Fixtures for tests that run real client programs; the programs come from `tests/run.sh`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.clients import jvm
from tests.clients.engines import Engine, Engines
from tests.clients.machine import Machine, Machines
from tests.clients.node import NodeMachine, NodeMachines
from tests.origin import Content, jars, real
from tests.origin.maven import real_jars
from tests.origin.tarballs import RealNpm, real_npm


@pytest.fixture(scope="session")
def machines(client_tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Machines:
    """Call it for a machine that nothing was installed on yet."""
    top = tmp_path_factory.mktemp("machines")
    numbers = count(1)
    return lambda: Machine.new(top / str(next(numbers)), client_tools)


@pytest.fixture
def machine(machines: Machines) -> Machine:
    """One such machine."""
    return machines()


@pytest.fixture(scope="session")
def node_machines(client_tools: Path, tmp_path_factory: pytest.TempPathFactory) -> NodeMachines:
    """Call it with a program for a machine that nothing was installed on yet."""
    top = tmp_path_factory.mktemp("node-machines")
    numbers = count(1)
    return lambda program: NodeMachine.new(program, top / str(next(numbers)), client_tools)


@pytest.fixture(scope="session")
def npm_content() -> RealNpm:
    """Real packages: express, vite, esbuild and types, with all that they need."""
    return real_npm()


@pytest.fixture(scope="session")
def content() -> Content:
    """Real packages: flask, requests and numpy with all that they need."""
    return real()


@pytest.fixture(scope="session")
def short() -> Iterator[Path]:
    """A folder whose name is short: podman takes no long ones, and sockets neither."""
    with TemporaryDirectory(prefix="cgr-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def engines(client_tools: Path, short: Path) -> Iterator[Engines]:
    """Container tools by name, each started when it is first asked for."""
    with ExitStack() as stack:
        yield Engines(short, client_tools / "containers", stack)


@pytest.fixture(
    scope="session",
    params=[
        *("skopeo", "podman", "docker", "containerd"),
        *(pytest.param(name, marks=pytest.mark.extra) for name in ("containerd-2", "crane")),
    ],
)
def engine(engines: Engines, request: pytest.FixtureRequest) -> Engine:
    """Each container tool."""
    return engines[request.param]


@pytest.fixture(scope="session")
def mavens() -> Mapping[str, str]:
    """The Mavens there are, by version."""
    return jvm.mavens()


@pytest.fixture(scope="session")
def java_content(mavens: Mapping[str, str]) -> Content:
    """Everything that the projects need, and a remediated build of one of their dependencies."""
    files = real_jars(jvm.PROJECTS / "maven", mavens)
    return Content((*files, *jars.remediated(files, "commons-io:commons-io")))
