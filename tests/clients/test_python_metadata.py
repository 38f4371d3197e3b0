"""Resolving a real tree of more than 40 packages, cold, with core metadata made by the proxy.

Purpose: what it saves, watched at the object store: the wheels' bytes that are fetched before any
wheel was chosen, with core metadata on offer and without. The upstream has none of its own. The
choice must be the same, and what is then installed is verified like anything else.

pip 23 knows only the name that core metadata had before PEP 714; it goes on as it always did.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.machine import Done, Machine, Machines
from tests.origin import TREE, Content, OriginThread, tree
from tests.running import Process, process

pytestmark = pytest.mark.client

LEAST = 10
"""Times fewer bytes."""


@pytest.fixture(scope="module")
def packages() -> Content:
    return tree()


@dataclass(frozen=True, slots=True)
class Resolved:
    """`chosen`: what the program says that it would install. `sent`: bytes of the object store."""

    done: Done
    chosen: frozenset[str]
    sent: int
    whole: int


def resolve(program: str, machine: Machine, proxy: Process) -> tuple[Done, frozenset[str]]:
    """Have a program choose versions and nothing more; what it chose, as `name==version`."""
    index = f"{proxy.url}/python/simple/"
    if program == "uv":
        (machine.folder / "wanted.in").write_text("\n".join(TREE), encoding="utf-8")
        python = ("--python", machine.python, "--default-index", index)
        done = machine.uv("pip", "compile", *python, "wanted.in", "--no-annotate", "--no-header")
        lines = [line for line in done.output.splitlines() if "==" in line]
        return done, frozenset(lines)
    pip = str(machine.tools / program / "bin" / "pip")
    start = (pip, "--python", machine.python, "install", "--dry-run", "--index-url", index)
    done = machine.run(*start, *TREE)
    words = done.output.rpartition("Would install ")[2].split()
    return done, frozenset("==".join(word.rsplit("-", 1)) for word in words)


def cold(
    program: str, machine: Machine, folder: Path, content: Content, *, offered: bool
) -> Resolved:
    """Resolve through a proxy that has nothing yet."""
    tables = {"cache": {"core_metadata": offered, "directory": str(folder / "cache")}}
    with OriginThread(content=content) as origin, process(folder, origin, tables) as proxy:
        done, chosen = resolve(program, machine, proxy)
        assert origin.violations == []
        sent = origin.call(lambda inner: inner.journal.body_bytes["store"])
        asked = [dict(one.headers) for one in origin.log if one.server == "store"]
        return Resolved(done, chosen, sent, sum("Range" not in headers for headers in asked))


@pytest.mark.parametrize("program", ["uv", "pip"])
def test_resolving_cold_fetches_a_tenth_of_the_bytes_at_most(
    program: str, machines: Machines, packages: Content, tmp_path: Path
) -> None:
    with_it, without = (
        cold(program, machines(), tmp_path / str(offered), packages, offered=offered)
        for offered in (True, False)
    )
    for resolved in (with_it, without):
        assert resolved.done.code == 0, resolved.done.output
        assert len(resolved.chosen) > 40
    assert with_it.chosen == without.chosen
    assert with_it.whole == 0
    print(f"{program}: {with_it.sent} bytes of wheels, {without.sent} without core metadata")
    assert with_it.sent * LEAST <= without.sent


@pytest.fixture(scope="module")
def filled(
    packages: Content, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Process, OriginThread]]:
    """A proxy for several machines in a row."""
    folder = tmp_path_factory.mktemp("filled")
    with OriginThread(content=packages) as origin, process(folder, origin) as proxy:
        yield proxy, origin


@pytest.mark.parametrize("program", ["uv", "pip", "pip-23"])
def test_what_was_resolved_with_it_is_installed_and_verified(
    program: str, machines: Machines, filled: tuple[Process, OriginThread]
) -> None:
    proxy, origin = filled
    machine = machines()
    done = machine.install(program, f"{proxy.url}/python/simple/", "flask", "httpx", "rich")
    assert done.code == 0, done.output
    assert machine.ask("import flask, httpx, rich; print('fine')") == "fine"
    assert origin.violations == []


def test_the_metadata_is_that_of_the_wheel(
    packages: Content, filled: tuple[Process, OriginThread]
) -> None:
    proxy, _ = filled
    wheels = list(packages)
    for artifact in wheels:
        answer = proxy.get(f"{artifact.link}.metadata")
        assert (answer.status, answer.body) == (200, artifact.metadata), artifact.filename
    for artifact in wheels[:10]:  # again, from the whole wheel
        assert proxy.get(artifact.link).sha256 == artifact.blob.sha256
        answer = proxy.get(f"{artifact.link}.metadata")
        assert (answer.status, answer.body) == (200, artifact.metadata), artifact.filename
