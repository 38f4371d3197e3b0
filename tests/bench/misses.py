"""Rows of what is not in the cache: every address is asked for the first time.

The servers may use every core: an upstream is at work beside them. Bodies are checked against
their SHA-256 after the run, and the upstream's count says that each was fetched once by each.
"""

from __future__ import annotations

import mmap

from tests.bench.compare import Contender, Turn, by_turns
from tests.bench.fetcher import Plan, fetch
from tests.bench.hits import MIB, compared
from tests.bench.scene import Scene, verify
from tests.bench.table import Need, Result

LARGE = 1 << 30
LITTLE = 50 << 10
BATCH = 400  # files a round
CLIENTS = 16


def large(scene: Scene) -> list[Result]:
    """1 GiB to one client, a new address each round, old ones removed before.

    A turn fills so much memory anew that what counts most may be whether there is any: the host of
    a virtual machine takes back what was free for some seconds (0.45 GB/s in place of 1.3 to fill
    it, measured). So there is, before each turn.
    """
    files = scene.upstream.names(scene.fresh("huge"), LARGE, scene.rounds + 1)
    scene.listed(files[:1])
    scene.free()

    def once(contender: Contender, number: int) -> Turn:
        scene.forget_large()
        touch_memory(LARGE + LARGE // 2)
        before = contender.cpu()
        report = fetch(Plan((contender.url,), (files[number].path,)))
        mib = report.received / MIB
        return Turn(mib / report.elapsed, (contender.cpu() - before) / mib)

    found = by_turns(once, scene.contenders, scene.rounds)
    paths = tuple(file.path for file in files)
    _once_each(scene, paths)
    verify(files[-1:], scene.ours.url, paths[-1:])
    scene.forget_large()
    label = "miss 1 GiB, verified and stored, 1 client / nginx"
    return [compared(label, Need(0.9, 1.4), found, "MiB/s")]


def small(scene: Scene) -> list[Result]:
    """Files of 50 KiB to 16 clients, some hundred a round, of projects of 100 files."""
    rounds, name = range(scene.rounds + 1), scene.fresh("little")
    batches = [
        [
            file
            for part in range(BATCH // 100)
            for file in scene.upstream.many(f"{name}-{number}-{part}", LITTLE, 100)
        ]
        for number in rounds
    ]
    files = [file for batch in batches for file in batch]
    scene.listed(files)
    scene.free()

    def once(contender: Contender, number: int) -> Turn:
        paths = tuple(file.path for file in batches[number])
        before = contender.cpu()
        report = fetch(Plan((contender.url,), paths, CLIENTS))
        used = contender.cpu() - before
        return Turn(len(paths) / report.elapsed, used / len(paths))

    found = by_turns(once, scene.contenders, scene.rounds)
    paths = tuple(file.path for file in files)
    _once_each(scene, paths)
    verify(files, scene.ours.url, paths)
    label = f"miss 50 KiB, verified and stored, {CLIENTS} clients / nginx"
    return [compared(label, Need(0.5, 1.0), found, "files/s")]


def touch_memory(size: int) -> None:
    """Have the machine get hold of so many free bytes."""
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        for start in range(0, size, mmap.PAGESIZE):
            memory[start] = 1


def _once_each(scene: Scene, paths: tuple[str, ...]) -> None:
    """Every server has asked the upstream once for every file. Raises SystemExit."""
    asked, wanted = scene.upstream.asked(paths), len(paths) * len(scene.contenders)
    if asked != wanted:
        raise SystemExit(f"{asked} requests for files at the upstream where {wanted} belong")
