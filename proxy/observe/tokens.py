"""How long the proxy's own tokens are good, in Prometheus' exposition format.

Purpose: the number to set an alarm on; it goes below zero when a token has ended. Non-goals:
knowing where the tokens come from; ecosystems whose tokens do not say when they end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from proxy.observe.metrics import NAMESPACE


@final
class TokenNumbers(Collector):
    """`read`: seconds since the epoch at which an ecosystem's token ends. `clock`: the same."""

    def __init__(self, read: Callable[[], Mapping[str, float]], clock: Callable[[], float]) -> None:
        self._read = read
        self._clock = clock

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """See `Collector.collect`."""
        left = GaugeMetricFamily(
            f"{NAMESPACE}_upstream_token_expiry_seconds",
            "Until the token for the upstream ends; below zero: it has ended.",
            labels=("ecosystem",),
        )
        now = self._clock()
        for ecosystem, end in self._read().items():
            left.add_metric((ecosystem,), end - now)
        return (left,)
