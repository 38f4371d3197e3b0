"""The numbers of several processes as one exposition.

Purpose: who scrapes wants the proxy, not its processes. Counters and histograms are added up, those
of processes that have ended among them, so that no sum ever goes back; of gauges each has the one
way that makes sense of it. What a process sends is plain data, which JSON can carry.

Reading: prometheus_client's multiprocess mode (files that outlive their writers, and modes by the
metric: the same idea). Non-goals: asking the processes, telling them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock
from typing import Any, final

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

Family = dict[str, Any]
"""`name`, `help`, `type`, and `samples`: lists of name, labels, value."""
_Key = tuple[str, tuple[tuple[str, str], ...]]
_ADDED = frozenset({"counter", "histogram", "summary"})


def _first(values: Sequence[float]) -> float:
    return values[0]


# By name; a gauge that is not here is the highest of them.
_GAUGES: Mapping[str, Callable[[Sequence[float]], float]] = {
    "cgr_proxy_in_flight": sum,
    "process_virtual_memory_bytes": sum,
    "process_resident_memory_bytes": sum,
    "process_open_fds": sum,
    "process_max_fds": min,
    "process_start_time_seconds": min,
    "cgr_proxy_upstream_token_expiry_seconds": min,
    "cgr_proxy_entitlement_allowed": min,
    # These belong together: two processes may be a moment apart.
    "cgr_proxy_entitlement_state": _first,
    "cgr_proxy_entitlement_policy": _first,
    "cgr_proxy_entitlement_age_seconds": _first,
}
_ONE_OF_THEM = frozenset(name for name, how in _GAUGES.items() if how is _first)


def dump(collector: Collector) -> list[Family]:
    """What a collector shows at this moment, as plain data."""
    return [
        {
            "name": metric.name,
            "help": metric.documentation,
            "type": metric.type,
            "samples": [
                [sample.name, dict(sample.labels), sample.value]
                for sample in metric.samples
                if not sample.name.endswith("_created")
            ],
        }
        for metric in collector.collect()
    ]


@final
class Totals(Collector):
    """`living` gives the last dump of every process that runs, at each rendering."""

    def __init__(self, living: Callable[[], Sequence[list[Family]]]) -> None:
        self._living = living
        self._ended: dict[str, Family] = {}
        self._turn = Lock()  # a sum that has it twice, or not at all, looks like a new start

    def ended(self, last: list[Family], forget: Callable[[], object]) -> None:
        """A process has ended: what it had counted stays. `forget`: it is no longer living."""
        counted = [family for family in last if family["type"] in _ADDED]
        with self._turn:
            forget()
            known = [*self._ended.values()]
            self._ended = {family["name"]: family for family in _merged([known, counted])}

    def collect(self) -> Iterable[Metric]:
        """The sums. From any thread."""
        with self._turn:
            every = [*self._living(), list(self._ended.values())]
        for family in _merged(every):
            metric = Metric(family["name"], family["help"], family["type"])
            for name, labels, value in family["samples"]:
                metric.add_sample(name, labels, value)
            yield metric

    def render(self) -> tuple[bytes, str]:
        """The exposition and its content type."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry), CONTENT_TYPE_LATEST


def _merged(dumps: Iterable[list[Family]]) -> Iterable[Family]:
    """One family for all of the same name."""
    found: dict[str, Family] = {}
    values: dict[str, dict[_Key, list[float]]] = {}
    for families in dumps:
        for family in families:
            name = family["name"]
            if name in found and name in _ONE_OF_THEM:
                continue
            found.setdefault(name, family)
            samples = values.setdefault(name, {})
            for sample, labels, value in family["samples"]:
                samples.setdefault((sample, tuple(labels.items())), []).append(value)
    for name, family in found.items():
        how = sum if family["type"] in _ADDED else _GAUGES.get(name, max)
        told = [[key[0], dict(key[1]), how(seen)] for key, seen in values[name].items()]
        yield {**family, "samples": told}
