"""A day without the upstream: everything that is cached is served, and no slower than before.

Every hour of the clock each thing is asked for some times. One request a pause of the breaker asks
whether the upstream is back. CGR_PROXY_TEST_LONG=1: every half hour, and often enough that this one
is no part of the slowest hundredth that counts.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest

from proxy.ecosystems import ECOSYSTEMS
from tests.engine import fetch
from tests.faults.aftermath import aftermath
from tests.faults.chance import LONG
from tests.matrix.samples import samples_of
from tests.origin import Origin
from tests.running import Running

STEP, REPEATED = (1800, 20) if LONG else (3600, 4)
DAY = 86_400 - 600  # documents were confirmed some minutes before
NAMES = [ecosystem.name for ecosystem in ECOSYSTEMS]


async def round_of(proxy: Running, paths: list[tuple[str, str]]) -> list[float]:
    """Ask for everything once; seconds of each."""
    found = []
    for path, accept in paths:
        started = time.perf_counter()
        got = await fetch(proxy, path, accept=accept)
        found.append(time.perf_counter() - started)
        assert (got.status, got.complete) == (200, True), (path, got.body[:200])
    return found


def ahead_by(seconds: float) -> float:
    """What a steady clock shows that is ahead."""
    return time.monotonic() + seconds


async def day_of(proxy: Running, paths: list[tuple[str, str]]) -> list[float]:
    """A day; for who asks upstreams it passes, too."""
    found: list[float] = []
    for number in range(1, DAY // STEP):
        proxy.clock.advance(STEP)
        proxy.drive_upstream(partial(ahead_by, number * STEP))
        for _ in range(REPEATED):
            found += await round_of(proxy, paths)
    return found


@pytest.mark.slow
async def test_a_day_without_upstream_costs_no_hit_and_no_patience(tmp_path: Path) -> None:
    async with Origin() as origin, aftermath(tmp_path, origin) as proxy:
        paths = []
        for name in NAMES:
            samples = samples_of(name)
            paths.append((samples.document, samples.accept))
            if name != "openvex":  # which lists none
                paths.append((samples.artifact(origin), samples.accept))
        await round_of(proxy, paths)
        up = await day_of(proxy, paths)
        await origin.close_listener()
        down = await day_of(proxy, paths)
        await origin.reopen()
    up, down = sorted(up), sorted(down)
    before, during = up[int(len(up) * 0.99)], down[int(len(down) * 0.99)]
    print(f"{len(down)} requests: p50 {up[len(up) // 2] * 1e3:.2f} ms with the upstream, ", end="")
    print(
        f"{down[len(down) // 2] * 1e3:.2f} ms without; p99 {before * 1e3:.2f}, {during * 1e3:.2f}"
    )
    assert down[len(down) // 2] < 2 * up[len(up) // 2] + 0.005
    assert during < 2 * before + 0.02 or not LONG
