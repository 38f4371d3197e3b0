"""Random cuts and random wrong bits: none is completed, none is stored, and all is well afterwards.

The seed is printed; CGR_PROXY_TEST_SEED repeats it. CGR_PROXY_TEST_LONG=1: ten times as many.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

from tests.engine import KIB, MIB, Got, fetch, noise, pattern
from tests.faults.chance import LONG, seeded
from tests.origin import Artifact, FaultHandle, Origin, status
from tests.running import Running, running

TIMES = 10 if LONG else 1
AT_ONCE = 10
SIZES = (1, 1000, 40 * KIB, 256 * KIB, 256 * KIB + 1, 700 * KIB, 3 * MIB)


def cut(chance: random.Random, origin: Origin, artifact: Artifact) -> list[FaultHandle]:
    """Cut the body somewhere; half of the time nothing can be asked for after that."""
    what: dict[str, Any] = {
        "cut_at": chance.randrange(artifact.blob.size),
        "cut": chance.choice(["rst", "fin"]),
        "framing": chance.choice(["length", "close", "chunked"]),
    }
    if what["framing"] == "length" and chance.random() < 0.3:
        what["headers"] = (("Content-Length", str(what["cut_at"])),)  # and lies about it
    faults = [origin.fault("store", pattern(artifact), times=None, **what)]
    if chance.random() < 0.5:
        gone = status(418)  # of which the breaker takes no notice
        faults.append(origin.fault("origin", artifact.link, after=1, times=None, **gone))
    return faults


def flip(chance: random.Random, origin: Origin, artifact: Artifact) -> list[FaultHandle]:
    """Flip a bit somewhere, and claim that all is right."""
    lie = (("X-Checksum-Sha256", "{sha256}"), ("Docker-Content-Digest", "sha256:{sha256}"))
    where = chance.choice([0, artifact.blob.size - 1, chance.randrange(artifact.blob.size)])
    framing = chance.choice(["length", "close", "chunked"])
    return [
        origin.fault(
            "store", pattern(artifact), times=None, flip_at=where, headers=lie, framing=framing
        )
    ]


def judge(got: Got, artifact: Artifact) -> None:
    """Right and whole (it was mended), a clean error, or visibly broken: nothing else."""
    if got.status == 200 and got.complete:
        assert got.sha256 == artifact.blob.sha256
    elif got.status == 200:
        assert got.ended == "rst"
    else:
        assert got.status in (502, 503)
        assert got.complete


async def strike(
    origin: Origin, proxy: Running, artifact: Artifact, faults: list[FaultHandle]
) -> None:
    for version in ("1.1", "1.0"):
        judge(await fetch(proxy, artifact.link, version=version), artifact)
    for fault in faults:
        fault.clear()
    proxy.clock.advance(2)
    for _ in range(2):
        got = await fetch(proxy, artifact.link)
        assert (got.status, got.complete, got.sha256) == (200, True, artifact.blob.sha256)
    assert (await fetch(proxy, artifact.link)).cache == "cgr-proxy; hit"


async def rounds(folder: Path, how: Any, count: int) -> None:
    chance = seeded()
    async with Origin() as origin, running(folder, origin) as proxy:
        for first in range(0, count, AT_ONCE):
            struck = []
            for number in range(first, min(first + AT_ONCE, count)):
                size = chance.choice(SIZES)
                artifact = noise(origin.content, size, seed=number, name=f"noise{number}")
                struck.append((artifact, how(chance, origin, artifact)))
            await asyncio.gather(*(strike(origin, proxy, *pair) for pair in struck))
        assert list((folder / "cache" / "v2" / "flights").iterdir()) == []


async def test_sixty_random_truncations(tmp_path: Path) -> None:
    await rounds(tmp_path, cut, 60 * TIMES)


async def test_twenty_random_wrong_bits(tmp_path: Path) -> None:
    await rounds(tmp_path, flip, 20 * TIMES)
