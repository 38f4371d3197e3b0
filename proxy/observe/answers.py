"""The three numbers that every answer moves: how many, how long, how much.

Purpose: the library's counters take a lock and walk their buckets at each step, three times an
answer: as much as a tenth of a whole hit. Here an answer is four additions in the one thread that
answers, and the families are made when somebody wants to see them.

Reading: the exposition format's rules for histograms (cumulative buckets, `+Inf`). Non-goals: what
the numbers are called and which labels may appear (`proxy.observe.metrics`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from math import inf, isinf
from typing import final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector


@final
class _Group:
    """One ecosystem's answers: those of each bucket's length; seconds and bytes of all of them."""

    __slots__ = ("bounds", "counts", "seconds", "sent")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.seconds = 0.0
        self.sent = 0


@final
class Cell:
    """The answers of one set of labels: ecosystem, status, cache."""

    __slots__ = ("_group", "labels", "number")

    def __init__(self, labels: tuple[str, str, str], group: _Group) -> None:
        self.labels = labels
        self.number = 0
        self._group = group

    def count(self, seconds: float, sent: int) -> None:
        """One more: `sent` bytes of body in so many seconds."""
        group = self._group
        self.number += 1
        group.seconds += seconds
        group.sent += sent
        group.counts[bisect_left(group.bounds, seconds)] += 1


@final
class Answers(Collector):
    """`names`: of ecosystems, each with its series from the start; `bounds`: of the buckets, in
    seconds, ascending. Count in one thread only; collect from any."""

    def __init__(self, namespace: str, names: Sequence[str], bounds: Sequence[float]) -> None:
        self._namespace = namespace
        self._groups = {name: _Group(tuple(bounds)) for name in names}
        self._cells: dict[tuple[str, str, str], Cell] = {}

    def cell(self, ecosystem: str, status: str, cache: str) -> Cell:
        """Where the answers with these labels are counted, each one of a closed set."""
        labels = (ecosystem, status, cache)
        found = self._cells.get(labels)
        if found is None:
            found = self._cells[labels] = Cell(labels, self._groups[ecosystem])
        return found

    def collect(self) -> Iterable[Metric]:
        """The three families."""
        requests = CounterMetricFamily(
            f"{self._namespace}_requests",
            "Answers to clients, by what the cache did.",
            labels=("ecosystem", "status", "cache"),
        )
        for cell in list(self._cells.values()):
            requests.add_metric(cell.labels, cell.number)
        seconds = HistogramMetricFamily(
            f"{self._namespace}_request_seconds",
            "From request to the last byte.",
            labels=("ecosystem",),
        )
        sent = CounterMetricFamily(
            f"{self._namespace}_bytes_sent", "Body bytes to clients.", labels=("ecosystem",)
        )
        for name, group in self._groups.items():
            seconds.add_metric((name,), _cumulated(group), group.seconds)
            sent.add_metric((name,), group.sent)
        return (requests, seconds, sent)


def _cumulated(group: _Group) -> list[tuple[str, float]]:
    total, found = 0, []
    for bound, count in zip((*group.bounds, inf), list(group.counts), strict=True):
        total += count
        found.append(("+Inf" if isinf(bound) else str(bound), float(total)))
    return found
