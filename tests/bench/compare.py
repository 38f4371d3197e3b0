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

SERVER_CORE, CLIENT_CORE = {0}, {1}
_RATE = re.compile(r"Requests/sec:\s+([0-9.]+)")
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


@dataclass
class Series:
    """One contender's rounds."""

    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)  # microseconds a request


@dataclass(frozen=True)
class Load:
    """What wrk asks."""

    path: str
    connections: int = 16
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 1.0

    def once(self, contender: Contender) -> tuple[float, float]:
        """One round: requests a second, CPU microseconds a request. Answers must be 2xx or 3xx."""
        wrk = shutil.which("wrk")
        if wrk is None:
            raise SystemExit("wrk is missing: apt-get install wrk")
        command = [wrk, "-t1", f"-c{self.connections}", f"-d{self.seconds:g}s"]
        for name, value in self.headers.items():
            command += ["-H", f"{name}: {value}"]
        before = contender.cpu()
        os.sched_setaffinity(0, CLIENT_CORE)  # wrk inherits it
        done = subprocess.run(
            [*command, contender.url + self.path], capture_output=True, text=True, check=True
        )
        used = contender.cpu() - before
        if bad := _BAD.search(done.stdout):
            raise SystemExit(f"{contender.name}: {bad.group(0)}")
        match = _RATE.search(done.stdout)
        rate = float(match.group(1)) if match else 0.0
        return rate, used / max(rate * self.seconds, 1) * 1e6


def pin(pids: Sequence[int]) -> None:
    """Put servers on their core."""
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), SERVER_CORE)


def by_turns(
    load: Callable[[Contender], tuple[float, float]],
    contenders: Sequence[Contender],
    rounds: int,
) -> dict[str, Series]:
    """Measure all contenders, round after round, after one round of warming up."""
    found = {contender.name: Series() for contender in contenders}
    for number in range(rounds + 1):
        for contender in contenders:
            rate, cpu = load(contender)
            if number:
                found[contender.name].rates.append(rate)
                found[contender.name].cpu.append(cpu)
    return found


def ratios(ours: Series, peer: Series) -> str:
    """The paired median of the rates, the ratio of the best, and that of least CPU a request."""
    paired = statistics.median(a / b for a, b in zip(ours.rates, peer.rates, strict=True))
    best = max(ours.rates) / max(peer.rates)
    cpu = min(peer.cpu) / max(min(ours.cpu), 1e-9)
    return f"median {paired:.2f}  best {best:.2f}  cpu {cpu:.2f}"
