"""Rows of small hits beside bulk downloads: what a person waits while a farm downloads.

A small hit is a page of 2 KiB over one connection that asks again at once. The bulk's loader is the
less important one of the two on the clients' core, so that it is the server that is measured.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack

from tests.bench.compare import CLIENT_CORE, Contender, Turn, by_turns, percentile
from tests.bench.fetcher import Fetcher, Plan, Report, fetch
from tests.bench.hits import MIB, PAGES, page_of
from tests.bench.scene import Scene
from tests.bench.table import Need, Result
from tests.bench.upstream import JSON

SECONDS = 3.0
_POLITE = 10


def fairness(scene: Scene) -> list[Result]:
    """p99 of a small hit beside 8 downloads of 100 MiB."""
    if "blob" not in scene.upstream.files:
        scene.warm(scene.upstream.names("blob", 100 * MIB, 1))
    blob = scene.upstream.files["blob"][0].path
    small = page_of(scene, "page-2k", PAGES["page-2k"][1])
    scene.pinned()

    def once(contender: Contender, _: int) -> Turn:
        found = beside(contender.url, small, (blob,), 8, SECONDS)
        return Turn(percentile(found.whole, 0.99), 0.0)

    found = by_turns(once, scene.contenders, scene.rounds)
    ours, nginx, clone = (found[name].rates for name in ("cgr-proxy", "nginx", "clone"))
    ratio = statistics.median(a / b for a, b in zip(ours, nginx, strict=True))
    same = statistics.median(a / b for a, b in zip(nginx, clone, strict=True))
    seen = (
        f"median p99 {statistics.median(ours) * 1e3:.3g} ms : {statistics.median(nginx) * 1e3:.3g},"
        f" worst {max(ours) * 1e3:.3g} : {max(nginx) * 1e3:.3g}"
    )
    label = "p99 of a small hit beside 8 bulk downloads / nginx"
    return [Result(label, ratio, "", Need(1.0, 0.6, at_most=True), seen, same)]


def crowd(scene: Scene) -> list[Result]:
    """p99 of a small hit beside 64 clients on a file of 1 GiB that is, and is not, in the cache."""
    small = page_of(scene, "page-2k", PAGES["page-2k"][1])
    rounds = max(3, scene.rounds // 2)
    files = scene.upstream.names("wheel", 1 << 30, rounds + 1)
    scene.listed(files[:1])
    results = []
    for state in ("cold", "warm"):
        if state == "warm":
            scene.pinned()
            fetch(Plan((scene.ours.url,), (files[-1].path,)))
        else:
            scene.free()
        worst, seen = [], []
        for number in range(rounds):
            path = files[number if state == "cold" else -1].path
            found = beside(scene.ours.url, small, (path,), 64, SECONDS)
            worst.append(percentile(found.whole, 0.99) * 1e3)
            seen.append(max(found.whole) * 1e3)
        label = f"p99 of a small hit beside 64 clients on 1 GiB, {state}"
        text = f"p99 {min(worst):.3g} to {max(worst):.3g} ms, longest {max(seen):.3g} ms"
        need = Need(50, 20, at_most=True)
        results.append(Result(label, statistics.median(worst), " ms", need, text))
        scene.forget_large()
    return results


def beside(url: str, small: str, bulk: tuple[str, ...], clients: int, seconds: float) -> Report:
    """Ask for a page over and over while so many clients download; the page's report."""
    with ExitStack() as stack:
        load = stack.enter_context(
            Fetcher(Plan((url,), bulk, clients, seconds + 1.0, core=CLIENT_CORE, nice=_POLITE))
        )
        ask = stack.enter_context(
            Fetcher(Plan((url,), (small,), 1, seconds, accept=JSON, core=CLIENT_CORE))
        )
        load.begin()
        ask.begin()
        report = ask.report()
        if load.report().received == 0:
            raise SystemExit("the bulk downloads brought nothing")
    return report
