"""What a lock file is good for: real uv, poetry, pdm, pipenv, and pip's own lock file.

Purpose: what is installed is what was locked, digest by digest; fixed and CUDA builds stand beside
plain ones, each from its index; nothing is built where only wheels are wanted. Neighbours: see
`test_python_projects`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.clients.machine import PROGRAMS, Machine
from tests.clients.projects import TOOLS, Tool, Wanted
from tests.origin import Artifact, Content, OriginThread
from tests.origin.blobs import BytesBlob
from tests.origin.wheels import make_sdist, make_wheel, wheel_name
from tests.running import Process, process

pytestmark = pytest.mark.client
tools = pytest.mark.parametrize("tool", TOOLS, ids=[tool.name for tool in TOOLS])


@dataclass(frozen=True, slots=True)
class Site:
    """A proxy for the tests below."""

    origin: OriginThread
    proxy: Process


@pytest.fixture(scope="module")
def site(content: Content, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    content = content.copy()
    # The newest version is to be had as source only.
    for name, data in (
        (wheel_name("gamma", "1.0"), make_wheel("gamma", "1.0")),
        ("gamma-1.1.tar.gz", make_sdist("gamma", "1.1")),
    ):
        version = "1.1" if name.endswith(".gz") else "1.0"
        content.add(Artifact(name, "gamma", version, BytesBlob(data)))
    with (
        OriginThread(content=content) as origin,
        process(tmp_path_factory.mktemp("proxy"), origin) as proxy,
    ):
        yield Site(origin, proxy)
        assert origin.violations == []


@tools
def test_a_file_that_the_lock_does_not_know_is_not_installed(
    tool: Tool, machine: Machine, site: Site
) -> None:
    tool.write(machine, Wanted(site.proxy.url, {"idna": "==3.20"}))
    locked = tool.lock(machine)
    assert locked.code == 0, locked.output
    lock = tool.locked(machine)
    lock.write_text(re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", lock.read_text()))

    done = tool.install(machine)

    assert done.code != 0
    assert machine.packages() == {}


@tools
def test_fixed_and_cuda_builds_stand_beside_the_plain_ones(
    tool: Tool, machine: Machine, site: Site
) -> None:
    packages = {"flask": "", "itsdangerous": "==2.2.0+cu128", "requests": "==2.32.3+cgr.1"}
    elsewhere = {"itsdangerous": "cu128", "requests": "python-remediated"}
    tool.write(machine, Wanted(site.proxy.url, packages, elsewhere))

    locked, done = tool.lock(machine), tool.install(machine)

    assert (locked.code, done.code) == (0, 0), locked.output + done.output
    installed = machine.packages()
    assert installed["itsdangerous"] == "2.2.0+cu128"
    assert installed["requests"] == "2.32.3+cgr.1"
    assert installed["flask"] == "3.0.3"
    assert installed["idna"] == "3.20"


@pytest.mark.parametrize("program", PROGRAMS)
def test_only_binary_takes_the_newest_wheel_and_leaves_newer_sources(
    program: str, machine: Machine, site: Site
) -> None:
    index = f"{site.proxy.url}/python/simple/"

    done = machine.install(program, index, "--only-binary", ":all:", "gamma")

    assert done.code == 0, done.output
    assert machine.packages() == {"gamma": "1.0"}
    assert site.origin.count("GET", "/gamma-1.1", "store") == 0


@tools
def test_with_wheels_only_no_source_is_built(tool: Tool, machine: Machine, site: Site) -> None:
    tool.write(machine, Wanted(site.proxy.url, {"gamma": ""}))

    locked, done = tool.lock(machine, **tool.only_wheels), tool.install(machine, **tool.only_wheels)

    assert locked.code == 0, locked.output
    if tool.name == "poetry":  # it looks at this when it installs, not when it chooses
        assert done.code != 0
        assert machine.packages() == {}
    else:
        assert done.code == 0, done.output
        assert machine.packages() == {"gamma": "1.0"}


def test_pips_own_lock_file_is_the_same_again_and_can_be_installed(
    machine: Machine, site: Site
) -> None:
    pip = str(machine.tools / "pip" / "bin" / "pip")
    index = ("--index-url", f"{site.proxy.url}/python/simple/")
    locks = []
    for name in ("pylock.toml", "pylock.again.toml"):
        command = ("--python", machine.python, "lock", *index, "-o", name, "flask", "requests")
        done = machine.run(pip, *command)
        assert done.code == 0, done.output
        locks.append((machine.folder / name).read_text())

    done = machine.install("pip", index[1], "-r", "pylock.toml")

    assert done.code == 0, done.output
    assert locks[0] == locks[1]
    assert f"{site.proxy.url}/files/" in locks[0]
    assert site.origin.url not in locks[0]
    assert site.origin.store_url not in locks[0]
    assert machine.version("flask") == "3.0.3"
