"""Measure by turns, report ratios."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SERVER_CORE, CLIENT_CORE = 0, 1
_FIGURES = re.compile(r"(Requests/sec|Transfer/sec):\s+([0-9.]+)([KMG]?)")
_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9}
_BAD = re.compile(r"Non-2xx or 3xx responses: ([0-9]+)|Socket errors: (.*)")
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Contender:
    """A server under test: where it listens and its processes."""

    name: str
    url: str
    pids: tuple[int, ...]

    def cpu(self) -> float:
        """Seconds of processor time used so far."""
        total = 0
        for pid in self.pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / _TICK


@dataclass(frozen=True)
class Turn:
    """One contender's one round. `rate`: what is compared, more is better; `cpu`: seconds of
    processor time a unit of `rate`."""

    rate: float
    cpu: float


@dataclass
class Series:
    """One contender's rounds."""

    turns: list[Turn] = field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        """The rates, in order."""
        return [turn.rate for turn in self.turns]

    @property
    def median(self) -> float:
        """The middle rate."""
        return statistics.median(self.rates)

    @property
    def least_cpu(self) -> float:
        """The cheapest round."""
        return min(turn.cpu for turn in self.turns)


@dataclass(frozen=True)
class Load:
    """What wrk asks. `size` False: answers are counted, True: bytes."""

    path: str
    connections: int = 16
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 1.0
    script: Path | None = None
    size: bool = False

    def once(self, contender: Contender) -> Turn:
        """One round: requests or bytes a second. Answers must be 2xx or 3xx."""
        wrk = shutil.which("wrk")
        if wrk is None:
            raise SystemExit("wrk is missing: apt-get install wrk")
        command = [wrk, "-t1", f"-c{self.connections}", f"-d{self.seconds:g}s", "--timeout", "30s"]
        for name, value in self.headers.items():
            command += ["-H", f"{name}: {value}"]
        if self.script is not None:
            command += ["-s", str(self.script)]
        before = contender.cpu()
        done = subprocess.run(
            [*command, contender.url + self.path],
            capture_output=True,
            text=True,
            check=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {CLIENT_CORE}),
        )
        used = contender.cpu() - before
        if bad := _BAD.search(done.stdout):
            raise SystemExit(f"{contender.name}: {bad.group(0)}")
        figures = {what: float(n) * _UNITS[unit] for what, n, unit in _FIGURES.findall(done.stdout)}
        rate = figures.get("Transfer/sec" if self.size else "Requests/sec", 0.0)
        return Turn(rate, used / max(rate * self.seconds, 1))

    def turn(self, contender: Contender, _: int) -> Turn:
        """One of many rounds, all alike."""
        return self.once(contender)


def pin(pids: Sequence[int], cores: Sequence[int] = (SERVER_CORE,)) -> None:
    """Put servers, all their threads, on some cores."""
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)


def by_turns(
    load: Callable[[Contender, int], Turn],
    contenders: Sequence[Contender],
    rounds: int,
) -> dict[str, Series]:
    """Measure all contenders, round after round, after one round (number 0) of warming up.

    Who begins, and who comes after whom, changes from round to round: all orders of three are had.
    """
    found = {contender.name: Series() for contender in contenders}
    for number in range(rounds + 1):
        first = number % len(contenders)
        order = [*contenders[first:], *contenders[:first]]
        for contender in reversed(order) if number % 2 else order:
            turn = load(contender, number)
            if number:
                found[contender.name].turns.append(turn)
    return found


def paired(ours: Series, peer: Series) -> float:
    """The median over the rounds of the ratio of the rates."""
    pairs = zip(ours.rates, peer.rates, strict=True)
    return statistics.median(a / max(b, 1e-9) for a, b in pairs)  # a slow peer may answer nothing


def ratios(ours: Series, peer: Series) -> str:
    """What stands beside the paired median: the ratio of the best, and of least CPU a unit."""
    best = max(ours.rates) / max(peer.rates)
    cpu = peer.least_cpu / max(ours.least_cpu, 1e-9)
    return f"best {best:.2f}, cpu {cpu:.2f}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
