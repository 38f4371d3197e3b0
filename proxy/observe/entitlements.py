"""Entitlements as numbers: what is allowed, how old that is, what asking for it came to.

Purpose: read at each rendering from whoever knows; the label values are fixed at construction,
what the platform invents counts as `other`.

Reading: Prometheus "writing exporters". Non-goals: knowing what an entitlement is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from proxy.observe.metrics import NAMESPACE, OTHER

OUTCOMES = ("answered", "not_allowed", "refused", "silent")
STATES = ("fresh", "stale", "expired", "unknown", "unasked", "static", "assumed")
POLICIES = ("POLICY_CHAINGUARD", "POLICY_CHAINGUARD_AND_UPSTREAM")


@dataclass(frozen=True, slots=True)
class Reading:
    """What holds at this moment. `age` in seconds, infinite: no answer was ever had.

    `policies`, `cooldowns` (days): by the platform's name of an ecosystem. `outcomes`: of asking,
    counted.
    """

    state: str
    age: float = math.inf
    policies: Mapping[str, str] = field(default_factory=dict)
    cooldowns: Mapping[str, int] = field(default_factory=dict)
    outcomes: Mapping[str, int] = field(default_factory=dict)


@final
class EntitlementNumbers(Collector):
    """`scopes`: pairs of ecosystem and scope. `names`: the platform's names that may be labels."""

    def __init__(
        self,
        scopes: Sequence[tuple[str, str]],
        names: Iterable[str],
        allowed: Callable[[str, str], bool],
        read: Callable[[], Reading],
    ) -> None:
        self._scopes = tuple(scopes)
        self._names = frozenset(names)
        self._allowed = allowed
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """See `Collector.collect`."""
        reading = self._read()
        allowed = _gauge("allowed", "1: requests of this scope pass.", ("ecosystem", "scope"))
        for ecosystem, scope in self._scopes:
            allowed.add_metric((ecosystem, scope), float(self._allowed(ecosystem, scope)))
        state = _gauge("state", "1 for what the entitlements rest on.", ("state",))
        for name in STATES:
            state.add_metric((name,), float(name == reading.state))
        age = _gauge("age_seconds", "Since the platform's last answer.", ())
        if math.isfinite(reading.age):
            age.add_metric((), reading.age)
        cooldown = _gauge("cooldown_days", "As the platform says.", ("entitlement",))
        for name, days in reading.cooldowns.items():
            if name in self._names:
                cooldown.add_metric((name,), days)
        policy = _gauge("policy", "1 for the policy in force.", ("entitlement", "policy"))
        for name, word in reading.policies.items():
            if name in self._names:
                policy.add_metric((name, word if word in POLICIES else OTHER), 1)
        asked = CounterMetricFamily(
            f"{NAMESPACE}_entitlement_refreshes",
            "What asking the platform came to.",
            labels=("outcome",),
        )
        for outcome in OUTCOMES:
            asked.add_metric((outcome,), reading.outcomes.get(outcome, 0))
        return (allowed, state, age, cooldown, policy, asked)


def _gauge(name: str, text: str, labels: Sequence[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{NAMESPACE}_entitlement_{name}", text, labels=labels)
