"""The three numbers that every answer moves, ours and an upstream's: how many, how long, how much.

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
from typing import NamedTuple, final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector


@final
class _Group:
    """One ecosystem's answers: those of each bucket's length; seconds and bytes of all of them."""

    __slots__ = ("bounds", "bytes", "counts", "seconds")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.seconds = 0.0
        self.bytes = 0


@final
class Cell:
    """The answers of one set of labels, of which the first is the ecosystem."""

    __slots__ = ("_group", "labels", "number")

    def __init__(self, labels: tuple[str, ...], group: _Group) -> None:
        self.labels = labels
        self.number = 0
        self._group = group

    def count(self, seconds: float, size: int) -> None:
        """One more: `size` bytes of body in so many seconds."""
        group = self._group
        self.number += 1
        group.seconds += seconds
        group.bytes += size
        group.counts[bisect_left(group.bounds, seconds)] += 1


class Words(NamedTuple):
    """What the three families are called, and told to be: `number` by these labels, of which the
    first is the ecosystem; `seconds` and `bytes` by that alone."""

    number: tuple[str, str]
    labels: tuple[str, ...]
    seconds: tuple[str, str]
    bytes: tuple[str, str]


@final
class Answers(Collector):
    """`names`: of ecosystems, each with its series from the start; `bounds`: of the buckets, in
    seconds, ascending. Count in one thread only; collect from any."""

    def __init__(self, words: Words, names: Sequence[str], bounds: Sequence[float]) -> None:
        self._words = words
        self._groups = {name: _Group(tuple(bounds)) for name in names}
        self._cells: dict[tuple[str, ...], Cell] = {}

    def cell(self, *labels: str) -> Cell:
        """Where the answers with these labels are counted, each one of a closed set."""
        found = self._cells.get(labels)
        if found is None:
            found = self._cells[labels] = Cell(labels, self._groups[labels[0]])
        return found

    def more(self, ecosystem: str, size: int) -> None:
        """So many bytes of a body that was not counted with its answer."""
        self._groups[ecosystem].bytes += size

    def collect(self) -> Iterable[Metric]:
        """The three families."""
        words = self._words
        numbers = CounterMetricFamily(*words.number, labels=words.labels)
        for cell in list(self._cells.values()):
            numbers.add_metric(cell.labels, cell.number)
        seconds = HistogramMetricFamily(*words.seconds, labels=words.labels[:1])
        volume = CounterMetricFamily(*words.bytes, labels=words.labels[:1])
        for name, group in self._groups.items():
            seconds.add_metric((name,), _cumulated(group), group.seconds)
            volume.add_metric((name,), group.bytes)
        return (numbers, seconds, volume)


def _cumulated(group: _Group) -> list[tuple[str, float]]:
    total, found = 0, []
    for bound, count in zip((*group.bounds, inf), list(group.counts), strict=True):
        total += count
        found.append(("+Inf" if isinf(bound) else str(bound), float(total)))
    return found
