"""`python -m tests.bench [--rounds N] [ROW ...]`: all rows, or the named ones, as one table."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import aiohttp

import proxy
from tests.bench import growth, herd, hits, misses, mixed, peers
from tests.bench.scene import Scene
from tests.bench.table import HEAD, Result, failed, line, machine, version_of, versions

ROWS: dict[str, Callable[[Scene], list[Result]]] = {
    **{name: partial(hits.page, name=name) for name in hits.PAGES},
    "304": hits.not_modified,
    "artifact-8": partial(hits.artifact, connections=8),
    "artifact-1": partial(hits.artifact, connections=1),
    "fairness": mixed.fairness,
    "crowd": mixed.crowd,
    "miss-1g": misses.large,
    "miss-50k": misses.small,
    "herd": herd.herd,
    "devpi": peers.devpi,
    "proxpi": peers.proxpi,
    "memory": growth.memory,
    "growth": growth.growth,
}


TRIES = 3


def measured(row: Callable[[Scene], list[Result]], scene: Scene) -> Iterator[Result]:
    """Measure a row; once more, a few times, where nginx differed from its own clone. What is void
    comes out as well."""
    for _ in range(TRIES):
        results = row(scene)
        yield from results
        if not any(result.void for result in results):
            return


def main() -> int:
    """Run the rows; exit code 1 where a required value was missed or a line stays void."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=9, help="turns of each server that count (default: 9)"
    )
    parser.add_argument("--folder", type=Path, help="where the servers write (default: temporary)")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds: one at least")
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    results: dict[str, Result] = {}  # the last line of each row
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
        scene = Scene(folder, stack, options.rounds)
        print(f"{about()}\n\n{HEAD}", flush=True)
        for name in options.rows or ROWS:
            for result in measured(ROWS[name], scene):
                results[result.row] = result
                print(line(result), flush=True)
    return 1 if failed(results.values()) else 0


def about() -> str:
    """Versions and machine."""
    named = {
        "cgr-proxy": proxy.__version__,
        "aiohttp": aiohttp.__version__,
        "nginx": version_of("nginx", "-v"),
        "wrk": version_of("wrk", "-v"),
    }
    return f"{versions(named)}; {machine()}"


if __name__ == "__main__":
    raise SystemExit(main())
