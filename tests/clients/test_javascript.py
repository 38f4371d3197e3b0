"""express and types through the proxy, by npm, pnpm, yarn and bun: cold, warm, origin gone.

Purpose: each program makes one journey over five fresh machines, while the evidence is taken down;
the tests then look at it one question at a time. Nobody but the proxy holds a credential.
Neighbours: `test_javascript_calls` for audits and refusals, `test_javascript_forms` for what the
abbreviated form holds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest

from tests.clients.machine import Done
from tests.clients.node import PROGRAMS, NodeMachine, NodeMachines
from tests.origin import Origin, OriginThread, Received
from tests.origin.tarballs import RealNpm
from tests.running import process

pytestmark = pytest.mark.client

WANTED = ("express", "@types/node", "alpha-js", "fallback-js")


@dataclass(frozen=True, slots=True)
class Leg:
    """One installation: on which machine, how it ended, what reached the upstream meanwhile."""

    machine: NodeMachine
    done: Done
    upstream: tuple[Received, ...]

    def tarballs(self, server: str) -> Counter[str]:
        """How often each tarball was asked for."""
        paths = (one.target.partition("?")[0] for one in self.upstream if one.server == server)
        return Counter(path for path in paths if path.endswith(".tgz"))


@dataclass(frozen=True, slots=True)
class Journey:
    """The evidence. `hosts`: what no lock file may name."""

    legs: dict[str, Leg]
    hosts: tuple[str, ...]
    violations: tuple[str, ...]
    leaks: tuple[str, ...]


def fill(origin: Origin, content: RealNpm) -> None:
    """Give the origin real packages besides the made-up ones."""
    content.fill(origin.content)
    origin.javascript.packuments.update(content.packuments)


@pytest.fixture(scope="module", params=PROGRAMS)
def journey(
    request: pytest.FixtureRequest,
    node_machines: NodeMachines,
    npm_content: RealNpm,
    tmp_path_factory: pytest.TempPathFactory,
) -> Journey:
    folder = tmp_path_factory.mktemp("proxy")
    legs: dict[str, Leg] = {}
    violations: list[str] = []

    def leg(name: str, url: str, *, locked: bool = False) -> None:
        origin.reset()
        machine = node_machines(request.param)
        machine.use(url)
        if locked:
            machine.take_lock_of(legs["cold"].machine)
        done = machine.install_locked() if locked else machine.add(*WANTED)
        violations.extend(origin.violations)
        legs[name] = Leg(machine, done, tuple(origin.log))

    with OriginThread() as origin:
        origin.call(lambda running: fill(running, npm_content))
        hosts = (origin.url, origin.store_url, "javascript-upstream")
        with process(folder, origin, {"cache": {"document_ttl": "1h"}}) as proxy:
            leg("cold", proxy.url)
            leg("warm", proxy.url)
            leg("locked", proxy.url, locked=True)
            origin.close_listener()
            leg("cut off", proxy.url)
            leg("cut off, locked", proxy.url, locked=True)
            leaks = tuple(proxy.leaks())
    return Journey(legs, hosts, tuple(violations), leaks)


def test_every_installation_succeeds_with_no_credential_on_the_client(journey: Journey) -> None:
    failed = {name: leg.done for name, leg in journey.legs.items() if leg.done.code != 0}

    assert not failed


def test_what_was_installed_runs(journey: Journey) -> None:
    for leg in journey.legs.values():
        assert leg.machine.requires("express").startswith("5.")
        assert leg.machine.requires("alpha-js") == "1.0.0"
        assert leg.machine.requires("fallback-js") == "3.1.0"
        assert (leg.machine.project / "node_modules/@types/node/package.json").exists()


def test_a_cold_installation_asks_once_for_each_tarball_and_each_packument(
    journey: Journey,
) -> None:
    cold = journey.legs["cold"]
    asked = Counter(one.target for one in cold.upstream if one.server == "origin")

    assert set(asked.values()) == {1}
    assert len(cold.tarballs("origin")) == cold.tarballs("store").total() > 60


def test_no_later_installation_asks_the_upstream_for_anything(journey: Journey) -> None:
    # But for attestations: pnpm asks, before it trusts a lock file, whether there are any.
    later = [one for name, leg in journey.legs.items() if name != "cold" for one in leg.upstream]
    asked = [one.target for one in later if "/-/npm/v1/attestations/" not in one.target]

    assert asked == []


def test_nothing_is_probed_with_head_and_no_rule_of_the_upstream_is_broken(
    journey: Journey,
) -> None:
    methods = {one.method for leg in journey.legs.values() for one in leg.upstream}

    assert methods == {"GET"}
    assert journey.violations == ()


def test_the_object_store_sees_no_credential(journey: Journey) -> None:
    store = [one for one in journey.legs["cold"].upstream if one.server == "store"]

    assert store
    assert {one.header("Authorization") for one in store} == {None}
    assert journey.leaks == ()


def test_no_lock_file_names_the_upstream(journey: Journey) -> None:
    for leg in journey.legs.values():
        text = leg.machine.lock.decode()
        assert [host for host in journey.hosts if host in text] == []


def test_two_lockings_give_the_same_file(journey: Journey) -> None:
    locks = {leg.machine.lock for leg in journey.legs.values()}

    assert len(locks) == 1
