"""What a row has to reach, what it reached, and the table of it.

Purpose: one markdown table with required and aim beside each value. Non-goals: measuring.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_CLONE_LOW, _CLONE_HIGH = 0.9, 1.1


@dataclass(frozen=True)
class Need:
    """What a value must reach. `at_most`: small is good."""

    required: float
    aim: float
    at_most: bool = False

    def met(self, value: float) -> tuple[bool, bool]:
        """Required, and aim."""
        if self.at_most:
            return value <= self.required, value <= self.aim
        return value >= self.required, value >= self.aim


@dataclass(frozen=True)
class Result:
    """One line of the table. `clone`: nginx against its own clone in the same run; None: no nginx.

    `detail`: what else was seen, in a few words.
    """

    row: str
    value: float
    unit: str
    need: Need
    detail: str
    clone: float | None = None

    @property
    def void(self) -> bool:
        """Tell whether the machine was too restless for this line."""
        return self.clone is not None and not _CLONE_LOW <= self.clone <= _CLONE_HIGH


HEAD = (
    "| row | value | required | | aim | | nginx / clone | seen |\n|---|---|---|---|---|---|---|---|"
)


def line(result: Result) -> str:
    """One line of the table."""
    required, aim = result.need.met(result.value)
    sign = "<=" if result.need.at_most else ">="
    clone = "" if result.clone is None else f"{result.clone:.2f}"
    said = (
        ["**void**", "**void**"]
        if result.void
        else ["yes" if it else "no" for it in (required, aim)]
    )
    return (
        f"| {result.row} | {number(result.value)}{result.unit}"
        f" | {sign} {number(result.need.required)}{result.unit} | {said[0]}"
        f" | {sign} {number(result.need.aim)}{result.unit} | {said[1]}"
        f" | {clone} | {result.detail} |"
    )


def number(value: float) -> str:
    """Two or three digits that mean something."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def failed(results: Iterable[Result]) -> int:
    """How many lines are void or miss what is required."""
    return sum(result.void or not result.need.met(result.value)[0] for result in results)


def machine() -> str:
    """The processor, the cores that may be used, memory and kernel."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    gib = int(memory.group(1)) / (1 << 20) if memory else 0
    return (
        f"{cpu.group(1) if cpu else platform.machine()}, {os.cpu_count()} cores, {gib:.0f} GiB,"
        f" Linux {platform.release()}, Python {platform.python_version()}"
    )


def version_of(*command: str) -> str:
    """The first thing that looks like a version in what a program says of itself."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d[\w.]*", done.stdout + done.stderr)
    return found.group(0) if found else "?"


def versions(named: Mapping[str, str]) -> str:
    """`name version` of all, in a line."""
    return ", ".join(f"{name} {version}" for name, version in named.items())
