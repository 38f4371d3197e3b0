"""Any sequence of events: what the proxy answers is what `oracle` allows, in every ecosystem.

The upstream changes, refuses, allows again, falls silent in many ways and comes back; entries are
evicted, purged and damaged; the proxy is stopped, killed and restarted; its clock runs and is
stepped. A kill is the cache folder as it stood at that moment, with every half-written file: the
next proxy runs on a copy of it. A power cut besides empties or cuts files that were not synced.

CGR_PROXY_TEST_LONG=1: fifty times as many sequences. CGR_PROXY_TEST_SEED repeats a run.
"""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from proxy.ecosystems import ECOSYSTEMS
from tests.faults.chance import LONG, drawn_seed
from tests.faults.world import SILENCES, World

EXAMPLES, STEPS = (200, 60) if LONG else (4, 40)
# Whoever lists no artifact has no right to one.
NAMES = [ecosystem.name for ecosystem in ECOSYSTEMS if ecosystem.name != "openvex"]
THINGS = st.sampled_from(["document", "artifact"])


class ProxyMachine(RuleBasedStateMachine):
    """See the module."""

    ecosystem = "python"

    @initialize()
    def start(self) -> None:
        self.runner = asyncio.Runner()
        self.world = World(self.ecosystem)
        self.runner.run(self.world.begin())

    @rule(what=THINGS)
    def ask(self, what: str) -> None:
        self.runner.run(self.world.ask(what))

    @rule()
    def ask_for_both(self) -> None:
        self.runner.run(self.world.ask("document"))
        self.runner.run(self.world.ask("artifact"))

    @rule(what=THINGS)
    def ask_twice(self, what: str) -> None:
        self.runner.run(self.world.ask(what))
        self.runner.run(self.world.ask(what))

    @rule()
    def revise(self) -> None:
        self.world.revise()

    @rule(what=THINGS, code=st.sampled_from([403, 409, 404, 410]))
    def refuse(self, what: str, code: int) -> None:
        self.world.refuse(what, code)

    @rule(what=THINGS)
    def allow(self, what: str) -> None:
        self.world.allow(what)

    @rule(what=THINGS, code=st.sampled_from([403, 404]), asked=THINGS)
    def refuse_and_tell(self, what: str, code: int, asked: str) -> None:
        self.world.refuse(what, code)
        self.world.advance(362)
        self.runner.run(self.world.ask(asked))

    @rule(what=THINGS, how=st.sampled_from(["503", "down", "401"]), asked=THINGS)
    def outage(self, what: str, how: str, asked: str) -> None:
        self.runner.run(self.world.fall_silent(how))
        for _ in range(2):
            self.world.advance(362)
            self.runner.run(self.world.ask(asked))

    @rule()
    def all_is_well(self) -> None:
        self.runner.run(self.world.back())
        self.world.allow("document")
        self.world.allow("artifact")
        self.world.advance(400)
        self.ask_for_both()

    @rule(how=st.sampled_from(sorted(SILENCES)))
    def fall_silent(self, how: str) -> None:
        self.runner.run(self.world.fall_silent(how))

    @rule()
    def come_back(self) -> None:
        self.runner.run(self.world.back())

    @rule(what=THINGS, evicted=st.booleans())
    def take_out(self, what: str, evicted: bool) -> None:
        self.world.take_out(what, evicted=evicted)

    @rule(seconds=st.sampled_from([1, 32, 299, 400, 3600, 90_000, -30, -400, -90_000]))
    def let_time_pass(self, seconds: int) -> None:
        self.world.advance(seconds)

    @rule(clean=st.booleans())
    def restart(self, clean: bool) -> None:
        self.runner.run(self.world.restart(clean=clean))

    @rule(chance=st.integers(0, 99))
    def cut_the_power(self, chance: int) -> None:
        self.runner.run(self.world.restart(clean=False, cut=random.Random(chance)))

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        try:
            folder = self.world.proxy.folder
            self.runner.run(self.world.end())
        finally:
            self.runner.close()
        assert not folder.exists()


@pytest.mark.parametrize("ecosystem", NAMES)
def test_any_sequence_of_events_is_answered_as_the_oracle_allows(ecosystem: str) -> None:
    machine = type("Machine", (ProxyMachine,), {"ecosystem": ecosystem})
    run_state_machine_as_test(
        seed(drawn_seed())(machine),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # shrinking runs hundreds of them; the clock is half real
            suppress_health_check=list(HealthCheck),
        ),
    )
