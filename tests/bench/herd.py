"""The row of a herd: 200 clients, one cold file, a slow upstream, two processes over one store."""

from __future__ import annotations

import statistics

from tests.bench.compare import percentile, pin
from tests.bench.fetcher import Plan, Report, fetch
from tests.bench.nginx import Nginx
from tests.bench.scene import ALL_CORES, Scene, verify
from tests.bench.table import Need, Result
from tests.bench.upstream import JSON

CLIENTS = 200
SIZE = 50 << 20


def herd(scene: Scene) -> list[Result]:
    """Bodies fetched, and the time to the first byte against nginx with `proxy_cache_lock`."""
    rounds = max(3, scene.rounds // 2)
    files = scene.upstream.names("herd", SIZE, rounds, slow=True)
    tables = {"cache": {"document_ttl": "1h", "directory": str(scene.folder / "shared")}}
    pair = [scene.proxy(name, tables) for name in ("left", "right")]
    nginx = scene.stack.enter_context(Nginx(scene.folder / "locked", scene.address, lock=True))
    pin([*(one.pid for one in pair), nginx.pid, scene.upstream.pid], ALL_CORES)
    urls = tuple(one.url for one in pair)
    for url in (*urls, nginx.url):
        fetch(Plan((url,), ("/python/simple/herd/",), accept=JSON))
    bodies, ratios, ours, theirs = [], [], [], []
    for file in files:
        before = scene.upstream.asked([file.path])
        one = _run(urls, file.path)
        between = scene.upstream.asked([file.path])
        other = _run((nginx.url,), file.path)
        bodies.append(between - before)
        ours.append(one)
        theirs.append(other)
        ratios.append(statistics.median(one.first) / statistics.median(other.first))
    verify(files, urls[0], tuple(file.path for file in files))
    seen = (
        f"first byte p50 {_milliseconds(ours, 0.5)} : {_milliseconds(theirs, 0.5)} ms,"
        f" p99 {_milliseconds(ours, 0.99)} : {_milliseconds(theirs, 0.99)} ms,"
        f" all done {_done(ours):.2f} : {_done(theirs):.2f} s"
    )
    label = f"{CLIENTS} clients on one cold file of 50 MiB, two processes"
    ratio = statistics.median(ratios)
    return [
        Result(f"{label}: bodies fetched", max(bodies), "", Need(1, 1, at_most=True), "the most"),
        Result(
            f"{label}, upstream 25 MiB/s: first byte p50 / nginx with lock",
            *(ratio, "", Need(0.1, 1 / 30, at_most=True), seen),
        ),
    ]


def _run(urls: tuple[str, ...], path: str) -> Report:
    report = fetch(Plan(urls, (path,) * CLIENTS, CLIENTS))
    if report.received != CLIENTS * SIZE:
        raise SystemExit("a client of the herd did not get the whole file")
    return report


def _milliseconds(reports: list[Report], share: float) -> str:
    return f"{statistics.median(percentile(each.first, share) for each in reports) * 1e3:.3g}"


def _done(reports: list[Report]) -> float:
    return statistics.median(each.elapsed for each in reports)
