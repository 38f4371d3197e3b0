"""Power cuts: what was not synced may be empty, cut, or not there at all when the power is back.

A cut is made of an image of the cache folder, taken under load with every half-made file in it:
bodies of up to 1 MiB and entries, which are not synced one by one, lose their end, all they had, or
their name. CGR_PROXY_TEST_LONG=1: 50 cuts in place of 4. The seed is printed; CGR_PROXY_TEST_SEED
repeats it.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.engine import KIB, MIB, fetch, loaded, noise, until
from tests.faults.chance import LONG, seeded
from tests.faults.world import image
from tests.origin import Content, OriginThread
from tests.running import process

CUTS = 50 if LONG else 4
SYNCED = MIB  # larger bodies are synced before they get their name


@pytest.fixture
def origin() -> Iterator[OriginThread]:
    """An origin in a loop of its own."""
    with OriginThread(content=Content()) as running:
        yield running


def empty(folder: Path) -> bool:
    """Whether nothing is half-made."""
    return list(folder.iterdir()) == []


def lose(folder: Path, chance: random.Random) -> int:
    """Lose what was not synced; how many files."""
    lost = 0
    for path in sorted((folder / "v2").rglob("*")):
        part = path.relative_to(folder / "v2").parts[0]
        if not path.is_file() or part not in ("bodies", "entries", "flights"):
            continue
        size = path.stat().st_size
        if chance.random() < 0.6 or (part == "bodies" and size > SYNCED):
            continue
        lost += 1
        if chance.random() < 0.3:
            path.unlink()
        else:
            os.truncate(path, chance.choice([0, 0, size // 2]))
    return lost


async def test_a_power_cut_at_any_moment_costs_no_client_a_wrong_byte(
    tmp_path: Path, origin: OriginThread
) -> None:
    chance, lost, slowest = seeded(), 0, 0.0
    content = origin.origin.content
    sizes = [KIB, 40 * KIB, 300 * KIB, MIB + 1, 3 * MIB]
    artifacts = [noise(content, size, seed=n, name=f"noise{n}") for n, size in enumerate(sizes)]
    origin.call(lambda o: setattr(o.throttle, "rate", 30e6))
    for number in range(CUTS + 1):
        folder = tmp_path / f"{number}"
        flights = folder / "cache" / "v2" / "flights"
        started = time.monotonic()
        with process(folder, origin, {"log": {"level": "info"}}) as proxy:
            slowest = max(slowest, time.monotonic() - started)
            for artifact in artifacts if number else []:
                got = await fetch(proxy, artifact.link)
                assert (got.status, got.sha256) == (200, artifact.blob.sha256)
            await until(partial(empty, flights))
            content_now = noise(content, chance.choice(sizes), seed=number, name=f"new{number}")
            artifacts = [*artifacts[-8:], content_now]
            load = [asyncio.create_task(loaded(proxy, artifacts, chance)) for _ in range(4)]
            await asyncio.sleep(chance.uniform(0.02, 0.4))
            following = tmp_path / f"{number + 1}"
            await asyncio.to_thread(image, folder / "cache", following / "cache")
            proxy.kill()
            for task in load:
                task.cancel()
            for end in await asyncio.gather(*load, return_exceptions=True):
                assert isinstance(end, asyncio.CancelledError), end
        lost += lose(following / "cache", chance)
    print(f"{CUTS} cuts, {lost} files lost, ready after {slowest:.2f} s at the slowest")
    assert slowest < 10  # three on a quiet machine; most of it is the interpreter
