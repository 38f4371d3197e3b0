"""flask, requests and numpy through the proxy, by real pip and uv: cold, warm, origin gone.

Purpose: the proxy's main job, watched from both ends. Each program makes one journey: four fresh
machines install the same packages, while the evidence is taken down; the tests then look at it one
question at a time. Nobody but the proxy holds a credential. Neighbours: `test_python_indexes` for
what else an index offers, `test_python_access` for who may have it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.journey import end
from tests.clients.machine import PROGRAMS, Done, Machine, Machines
from tests.origin import Content, OriginThread, Received
from tests.running import Process, process, secrets_of

pytestmark = pytest.mark.client

WANTED = ("flask", "requests", "numpy")
ARTIFACTS = ("/files/", "/python-upstream/")


@dataclass(frozen=True, slots=True)
class Leg:
    """One installation: on which machine, how it ended, what reached the upstream meanwhile."""

    machine: Machine
    done: Done
    upstream: tuple[Received, ...]

    def asked(self, server: str, *prefixes: str) -> list[Received]:
        """The requests that one server saw, by the beginning of their path."""
        return [
            one
            for one in self.upstream
            if one.server == server and one.target.startswith(prefixes or ("/",))
        ]


@dataclass(frozen=True, slots=True)
class Journey:
    """The evidence. `stale_answers`: how the log calls the cache's part in the last leg's pages."""

    cold: Leg
    warm: Leg
    cut_off: Leg
    stale: Leg
    stale_answers: frozenset[str]
    violations: tuple[str, ...]
    leaks: tuple[str, ...]

    @property
    def legs(self) -> dict[str, Leg]:
        """By name."""
        return {
            "cold": self.cold,
            "warm": self.warm,
            "cut off": self.cut_off,
            "stale": self.stale,
        }


@pytest.fixture(scope="module", params=PROGRAMS)
def journey(
    request: pytest.FixtureRequest,
    machines: Machines,
    content: Content,
    tmp_path_factory: pytest.TempPathFactory,
) -> Journey:
    folder = tmp_path_factory.mktemp("proxy")

    def leg() -> Leg:
        origin.reset()
        machine = machines()
        done = machine.install(request.param, f"{proxy.url}/python/simple/", *WANTED)
        violations.extend(origin.violations)
        return Leg(machine, done, tuple(origin.log))

    violations: list[str] = []
    leaks: list[str] = []
    with OriginThread(content=content) as origin:
        # Metadata made of parts of a wheel costs requests of its own: see test_python_metadata.
        with process(folder, origin, {"cache": {"core_metadata": False}}) as proxy:
            cold = leg()
            warm = leg()
            proxy.get("/metrics", url=proxy.admin_url)
            leaks += leaks_of_processes(proxy, origin)
            origin.close_listener()
            cut_off = leg()
            end(proxy)
            leaks += proxy.leaks()
            before = len(proxy.access())
        # The same cache a restart later, and all that it holds has outlived its ttl.
        with process(folder, origin, {"cache": {"document_ttl": "1ms"}}) as proxy:
            stale = leg()
            leaks += leaks_of_processes(proxy, origin)
            end(proxy)
            leaks += proxy.leaks()
            pages = [line for line in proxy.access()[before:] if "/simple/" in line["path"]]
    answers = frozenset(page["cache"] for page in pages)
    return Journey(cold, warm, cut_off, stale, answers, tuple(violations), tuple(leaks))


def leaks_of_processes(proxy: Process, origin: OriginThread) -> Iterator[str]:
    """Where the pull token stands in an argument or environment variable of the proxy."""
    for pid in [proxy.pid, *children(proxy.pid)]:
        for name in ("cmdline", "environ"):
            data = Path(f"/proc/{pid}/{name}").read_bytes()
            for secret in secrets_of(origin.username, origin.password):
                if secret in data:
                    yield f"{secret!r} in {name} of {pid}"


def children(pid: int) -> Iterator[int]:
    """Every process that a process started, and those that they started."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text("ascii").split()):
            yield child
            yield from children(child)


def test_every_installation_succeeds_with_no_credential_on_the_client(journey: Journey) -> None:
    failed = {name: leg.done for name, leg in journey.legs.items() if leg.done.code != 0}

    assert not failed


def test_what_was_installed_runs(journey: Journey) -> None:
    for leg in journey.legs.values():
        assert leg.machine.ask("import numpy; print(numpy.arange(3).sum())") == "3"
        assert leg.machine.ask("import requests; print(requests.__version__)") == "2.32.3"
    flask = journey.stale.machine.run(journey.stale.machine.python, "-m", "flask", "--version")

    assert flask.code == 0
    assert "Flask 3.0.3" in flask.output


def test_a_cold_installation_asks_once_for_each_artifact_and_each_page(journey: Journey) -> None:
    asked = Counter(
        one.target.partition("?")[0]
        for one in journey.cold.upstream
        # On a slow machine a page may be stale before the last file is here: asked again, that is
        # a revalidation.
        if "if-none-match" not in {name.lower() for name, _ in one.headers}
    )
    artifacts = journey.cold.asked("origin", *ARTIFACTS)

    assert set(asked.values()) == {1}
    assert len(artifacts) == len(journey.cold.asked("store")) == installed(journey.cold.machine)
    assert {one.method for one in journey.cold.upstream} == {"GET"}


def test_the_object_store_sees_the_bare_request_and_nothing_else(journey: Journey) -> None:
    sent = {name.lower() for one in journey.cold.asked("store") for name, _ in one.headers}

    assert sent <= {"host", "accept", "accept-encoding", "user-agent", "connection"}


def test_a_second_machine_costs_the_upstream_nothing(journey: Journey) -> None:
    assert journey.warm.upstream == ()


def test_documents_past_their_ttl_are_served_while_the_upstream_is_gone(journey: Journey) -> None:
    assert journey.stale_answers == {"stale"}


def test_the_upstream_had_no_rule_broken(journey: Journey) -> None:
    assert journey.violations == ()


def test_no_upstream_secret_is_in_any_answer_log_metric_file_or_argument(journey: Journey) -> None:
    assert journey.leaks == ()


def installed(machine: Machine) -> int:
    """How many packages a machine has."""
    return int(machine.ask("import importlib.metadata as m; print(len(list(m.distributions())))"))
