"""Rows of size: what a store of a million entries costs, and what the process takes of memory.

The entries are copies of a real one under other keys, written as the store writes them, and told to
its index. Start and hits are measured over the store of a million beside one of a thousand.
"""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

from proxy.storage.base import Record
from proxy.storage.changes import Event, Notes, Stored
from proxy.storage.index import FOLDER, Index
from proxy.storage.layout import VERSION, body_name, entry_bytes, entry_name
from tests.bench.compare import CLIENT_CORE, Contender, Load, by_turns, paired, pin
from tests.bench.fetcher import Plan, fetch
from tests.bench.hits import MIB, PAGES, page_of
from tests.bench.mixed import beside
from tests.bench.scene import TABLES, Scene, verify
from tests.bench.table import Need, Result
from tests.bench.upstream import JSON, File
from tests.kept import kept
from tests.running import Process, process

FEW, MANY = 1_000, 1_000_000
REAL = 200
_BATCH = 10_000
_LITTLE = 50 << 10
_STARTS = 5


def growth(scene: Scene) -> list[Result]:
    """Start with a million entries; cost of a hit with a thousand and with a million."""
    files = scene.upstream.many("grown", _LITTLE, REAL)
    stores = {"thousand": FEW, "million": MANY}
    for name, count in stores.items():
        with _proxy(scene, name) as ours:
            _fill(ours, files)
        extend(scene.folder / name / "cache" / VERSION, count)
    starts = {name: [_start(scene, name) for _ in range(_STARTS)] for name in stores}
    seen = f"median of {_STARTS}; with a thousand {statistics.median(starts['thousand']):.2f} s"
    started = statistics.median(starts["million"])
    label = "start with 1 million entries"
    results = [Result(label, started, " s", Need(1.0, 0.4, at_most=True), seen)]
    with ExitStack() as stack:
        running = {name: stack.enter_context(_proxy(scene, name)) for name in stores}
        results += _hits(scene, running, files)
    return results


def _hits(scene: Scene, running: dict[str, Process], files: list[File]) -> list[Result]:
    """A page, and files of 50 KiB in turn."""
    page = Load("/python/simple/grown/", headers={"Accept": JSON})
    script = scene.folder / "files.lua"
    paths = ", ".join(f'"{file.path}"' for file in files)
    script.write_text(
        f"local paths = {{{paths}}}\nlocal at = 0\n"
        "request = function() at = at % #paths + 1; return wrk.format('GET', paths[at]) end\n"
    )
    contenders = [Contender(name, each.url, (each.pid,)) for name, each in running.items()]
    for each in running.values():
        verify(files, each.url, tuple(file.path for file in files))
    pin([each.pid for each in running.values()])
    results = []
    for label, load in (("a page", page), ("files of 50 KiB", Load("", script=script))):
        found = by_turns(load.turn, contenders, scene.rounds)
        few, many = found["thousand"], found["million"]
        cost = statistics.median(
            a.cpu / b.cpu for a, b in zip(many.turns, few.turns, strict=True) if b.cpu
        )
        seen = f"processor time a request; rates {paired(many, few):.2f} of those with a thousand"
        need = Need(1.10, 1.03, at_most=True)
        text = f"cost of a hit, 1 million entries / 1 thousand, {label}"
        results.append(Result(text, cost, "", need, seen))
    return results


def memory(scene: Scene) -> list[Result]:
    """Resident memory of a process that has just started, and its peak under every load."""
    small = page_of(scene, "page-2k", PAGES["page-2k"][1])
    blob = scene.upstream.names("weight", 100 * MIB, 1)
    huge = scene.upstream.names("heavy", 1 << 30, 1)
    little = scene.upstream.many("light", _LITTLE, 400)
    need = Need(60, 35, at_most=True)
    with _proxy(scene, "memory") as ours:
        idle = ours.rss / MIB
        for project in ("page-2k", "weight", "heavy", "light"):
            fetch(Plan((ours.url,), (f"/python/simple/{project}/",), accept=JSON))
        contender = Contender("memory", ours.url, (ours.pid,))
        Load(small, 128, {"Accept": JSON}, 3.0).once(contender)
        fetch(Plan((ours.url,), tuple(file.path for file in little), 16))
        fetch(Plan((ours.url,), (blob[0].path,), 8, 3.0, core=CLIENT_CORE))
        beside(ours.url, small, (huge[0].path,), 64, 3.0)
        after, peak = ours.rss / MIB, ours.peak_rss / MIB
    seen = "small hits (128 clients), misses, 8 x 100 MiB, 64 clients on a cold file of 1 GiB"
    return [
        Result("memory of a process, idle", idle, " MiB", need, "resident, after the start"),
        Result(
            "memory of a process, under load", peak, " MiB", need, f"peak; then {after:.0f}; {seen}"
        ),
    ]


def extend(store: Path, count: int) -> None:
    """Fill a store that nobody uses up to `count` entries with copies of one of its artifacts, that
    share its bytes."""
    present = list(kept(store.parent))
    original = next(one for one in present if one.record.size == _LITTLE)
    template = replace(original.record, inside=False)
    body = store / body_name(template.sha256)
    body.parent.mkdir(exist_ok=True)
    body.write_bytes(original.body() or b"")
    for number in range(256):
        (store / "entries" / f"{number:02x}").mkdir(exist_ok=True)
    copies = (
        replace(template, key=f"{template.key}-copy-{number}")
        for number in range(count - len(present))
    )
    index = Index(store / FOLDER)
    try:
        while batch := list(islice(copies, _BATCH)):
            for record in batch:
                _write(store, record)
            events: list[Event] = [
                Stored(record.key, record.sha256, record.size) for record in batch
            ]
            index.apply(Notes(events, []), complete=True)
    finally:
        index.close()


def _write(store: Path, record: Record) -> None:
    (store / entry_name(record.key)).write_bytes(entry_bytes(record))


@contextmanager
def _proxy(scene: Scene, name: str) -> Iterator[Process]:
    """A proxy that leaves its store in order."""
    with process(scene.folder / name, scene.upstream, TABLES) as ours:
        yield ours
        ours.signal(signal.SIGTERM)
        ours.wait()


def _fill(ours: Process, files: list[File]) -> None:
    fetch(Plan((ours.url,), ("/python/simple/grown/",), accept=JSON))
    fetch(Plan((ours.url,), tuple(file.path for file in files), 4))


def _start(scene: Scene, name: str) -> float:
    began = time.perf_counter()
    with _proxy(scene, name):
        return time.perf_counter() - began
