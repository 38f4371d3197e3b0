"""A project locked and installed by real uv, poetry, pdm and pipenv: cold, again, origin gone.

Purpose: what a lock file holds and what it is good for. Each tool makes one journey: it locks and
installs on a fresh machine, locks again with the cache that it has filled meanwhile, and a second
machine locks and installs with the upstream stopped. The evidence is looked at one question at a
time. Nobody but the proxy holds a credential. Neighbours: `test_python` for pip and uv without a
project, `test_python_lock` for pip's own lock file.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.clients.machine import Done, Machine, Machines
from tests.clients.projects import TOOLS, Tool, Wanted
from tests.origin import Content, OriginThread
from tests.running import Process, process, secrets_of

pytestmark = pytest.mark.client

PACKAGES = {"flask": "", "requests": ""}
WANTED = {"flask": "3.0.3", "requests": "2.32.3", "idna": "3.20", "markupsafe": "3.0.4"}


@dataclass(frozen=True, slots=True)
class Journey:
    """The evidence: what each step said, the lock files, and who sent what."""

    tool: Tool
    url: str
    done: dict[str, Done]
    locks: dict[str, str]
    versions: dict[str, dict[str, str]]
    cold: Counter[str]
    later: tuple[str, ...]
    revalidated: Counter[int]
    upstreams: tuple[str, ...]
    violations: tuple[str, ...]
    leaks: tuple[str, ...]


@pytest.fixture(scope="module", params=TOOLS, ids=[tool.name for tool in TOOLS])
def journey(
    request: pytest.FixtureRequest,
    machines: Machines,
    content: Content,
    tmp_path_factory: pytest.TempPathFactory,
) -> Journey:
    tool: Tool = request.param
    first, second = machines(), machines()
    done, locks, versions = {}, {}, {}
    with (
        OriginThread(content=content) as origin,
        process(tmp_path_factory.mktemp("proxy"), origin) as proxy,
    ):
        for machine in (first, second):
            tool.write(machine, Wanted(proxy.url, PACKAGES))
        done["lock"] = tool.lock(first)
        locks["lock"] = tool.locked(first).read_text()
        done["install"] = tool.install(first)
        cold = Counter(
            one.target.partition("?")[0]
            for one in origin.log
            # Core metadata is made of ranges of wheels that nobody has wanted whole yet.
            if (one.server == "store" and not one.header("range")) or "/simple/" in one.target
        )
        tool.locked(first).unlink()
        before = len(settled(proxy))
        done["lock again"] = tool.lock(first)
        locks["lock again"] = tool.locked(first).read_text()
        revalidated = asked(settled(proxy)[before:], tool.agent)
        violations = tuple(origin.violations)
        origin.reset()
        origin.close_listener()
        done["lock with the origin stopped"] = tool.lock(second)
        locks["lock with the origin stopped"] = tool.locked(second).read_text()
        done["install with the origin stopped"] = tool.install(second)
        for name, machine in (("first", first), ("second", second)):
            versions[name] = {package: machine.version(package) for package in WANTED}
        later = tuple(one.target for one in origin.log)
        upstreams = tuple(urlsplit(url).netloc for url in (origin.url, origin.store_url))
        secrets = secrets_of(origin.username, origin.password)
        leaks = tuple(held(first.folder, [*secrets, *map(str.encode, upstreams)]))
        return Journey(
            tool, proxy.url, done, locks, versions, cold, later, revalidated, upstreams,
            violations, leaks,
        )  # fmt: skip


def settled(proxy: Process) -> list[dict[str, object]]:
    """The access lines, all that were due before this call: the log is written in batches."""
    mark = f"/nowhere/{len(proxy.received)}"
    ends = time.monotonic() + 30
    lines: list[dict[str, object]] = []
    while not any(line["path"] == mark for line in lines):
        assert time.monotonic() < ends
        proxy.get(mark)
        lines = proxy.access()
    return lines


def asked(lines: list[dict[str, object]], agent: str) -> Counter[int]:
    """How a program's requests for pages ended, by status."""
    return Counter(
        int(str(line["status"]))
        for line in lines
        if "/simple/" in str(line["path"]) and str(line["user_agent"]).startswith(agent)
    )


def held(folder: Path, secrets: list[bytes]) -> Iterator[str]:
    """Which files of a machine hold one of some texts, what was installed left out."""
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_relative_to(folder / "env"):
            data = file.read_bytes()
            yield from (f"{secret!r} in {file}" for secret in secrets if secret in data)


def test_every_step_succeeds(journey: Journey) -> None:
    assert not {name: done for name, done in journey.done.items() if done.code != 0}


def test_both_machines_have_what_was_locked(journey: Journey) -> None:
    assert journey.versions == {"first": WANTED, "second": WANTED}


def test_locking_again_gives_the_same_file_on_every_machine(journey: Journey) -> None:
    assert len(set(journey.locks.values())) == 1


def test_the_lock_file_pins_digests_and_names_no_upstream(journey: Journey) -> None:
    lock = journey.locks["lock"]

    assert len(set(re.findall(r"sha256:[0-9a-f]{64}", lock))) >= len(WANTED)
    assert not [host for host in journey.upstreams if host in lock]
    # The proxy's own address is in all of them but pdm's.
    assert (journey.url in lock) == (journey.tool.name != "pdm")


def test_nothing_on_the_machine_names_the_upstream_or_a_credential(journey: Journey) -> None:
    assert journey.leaks == ()


def test_each_page_and_artifact_was_asked_of_the_upstream_once(journey: Journey) -> None:
    assert {target: count for target, count in journey.cold.items() if count > 1} == {}
    assert journey.later == ()


def test_the_tools_own_cache_revalidates(journey: Journey) -> None:
    """Pages that it has are asked for with their validator, and answered 304 without a body.

    pipenv asks once more, for the hashes, with a session that keeps nothing over plain http.
    """
    assert journey.revalidated[304] >= 12
    assert journey.tool.name == "pipenv" or set(journey.revalidated) == {304}


def test_the_upstream_had_no_rule_broken(journey: Journey) -> None:
    assert journey.violations == ()


@pytest.mark.parametrize("program", ["pip-23", "pip"])
def test_pips_own_cache_revalidates(program: str, machine: Machine, tmp_path: Path) -> None:
    """Over plain http it keeps pages only of a host that it was told to trust."""
    with OriginThread() as origin, process(tmp_path, origin) as proxy:
        index, trust = f"{proxy.url}/python/simple/", ("--trusted-host", "127.0.0.1")
        first = machine.install(program, index, *trust, "alpha")
        before = len(settled(proxy))
        again = machine.install(program, index, *trust, "--force-reinstall", "alpha")
        revalidated = asked(settled(proxy)[before:], "pip/")

    assert (first.code, again.code) == (0, 0), first.output + again.output
    assert revalidated == {304: 2}
