"""One journey of fresh machines through the proxy: cold, warm, and with the origin gone.

Purpose: what a build tool and its upstream saw at each leg, kept as evidence that tests look at one
question at a time. Non-goals: knowing any build tool.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from tests.clients.machine import Done
from tests.origin import Content, OriginThread, Received
from tests.running import Process, process

Built = TypeVar("Built")


@dataclass(frozen=True, slots=True)
class Leg(Generic[Built]):
    """One build: on which machine, how it ended, what reached the upstream meanwhile."""

    machine: Built
    done: Done
    upstream: tuple[Received, ...]


@dataclass(frozen=True, slots=True)
class Journey(Generic[Built]):
    """The evidence. `access`: the proxy's access lines of the first run; `hosts`: of the origin."""

    legs: dict[str, Leg[Built]]
    access: tuple[dict[str, Any], ...]
    violations: tuple[str, ...]
    hosts: tuple[str, ...]


def travel(
    folder: Path, content: Content, build: Callable[[Path, str], tuple[Built, Done]]
) -> Journey[Built]:
    """Make the journey. `build` gets the folder of a new machine and the proxy's URL."""
    legs: dict[str, Leg[Built]] = {}
    violations: list[str] = []

    def leg(name: str, proxy: Process) -> None:
        origin.reset()
        machine, done = build(folder / name, proxy.url)
        legs[name] = Leg(machine, done, tuple(origin.log))
        violations.extend(origin.violations)

    with OriginThread(content=content) as origin:
        hosts = tuple(url.partition("//")[2] for url in (origin.url, origin.store_url))
        with process(folder / "proxy", origin) as proxy:
            leg("cold", proxy)
            leg("warm", proxy)
            end(proxy)
            access = tuple(proxy.access())
        origin.close_listener()
        # The same cache a restart later, and all that it holds has outlived its ttl.
        with process(folder / "proxy", origin, {"cache": {"document_ttl": "1ms"}}) as proxy:
            leg("cut-off", proxy)
            end(proxy)
    return Journey(legs, access, tuple(violations), hosts)


def end(proxy: Process) -> None:
    """Have the proxy stop by itself, so that its log is whole."""
    proxy.signal(signal.SIGTERM)
    assert proxy.wait() == 0
