"""The stage that most rows play on: one upstream, this proxy, nginx and its clone in front of it.

Purpose: started once, filled with what the rows ask for, ended by id. Non-goals: measuring.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.bench.compare import Contender, pin
from tests.bench.fetcher import Plan, fetch
from tests.bench.nginx import Nginx
from tests.bench.upstream import JSON, File, Upstream
from tests.running import Process, process

TABLES: dict[str, Any] = {
    "log": {"access": True, "level": "info", "format": "json"},
    "cache": {"document_ttl": "1h", "max_size": "40GiB"},
    "entitlements": {"source": "static", "ecosystems": ["python"]},
}
ALL_CORES = (0, 1)
_LARGE = 64 << 20


class Scene:
    """All servers. `stack` ends them; `rounds`: by turns, after the one that warms up."""

    def __init__(self, folder: Path, stack: ExitStack, rounds: int) -> None:
        self.folder = folder
        self.stack = stack
        self.rounds = rounds
        self._given = 0
        self.upstream = stack.enter_context(Upstream(folder / "upstream"))
        self.address = urlsplit(self.upstream.url).netloc
        self.ours = self.proxy("ours")
        self.nginx = stack.enter_context(Nginx(folder / "nginx", self.address))
        self.clone = stack.enter_context(Nginx(folder / "clone", self.address))
        self.contenders = (
            Contender("cgr-proxy", self.ours.url, (self.ours.pid,)),
            Contender("nginx", self.nginx.url, (self.nginx.pid,)),
            Contender("clone", self.clone.url, (self.clone.pid,)),
        )

    def proxy(self, name: str, tables: dict[str, Any] | None = None) -> Process:
        """Start one more of this proxy."""
        return self.stack.enter_context(
            process(self.folder / name, self.upstream, {**TABLES, **(tables or {})})
        )

    def pinned(self) -> None:
        """Servers on their core: for hits."""
        pin([pid for contender in self.contenders for pid in contender.pids])

    def free(self) -> None:
        """Servers on any core: for misses, which have an upstream at work as well."""
        pids = [pid for contender in self.contenders for pid in contender.pids]
        pin([*pids, self.upstream.pid], ALL_CORES)

    def warm(self, files: list[File]) -> None:
        """Fetch each file from everybody once and look at what came. Raises SystemExit."""
        paths = tuple(file.path for file in files)
        self.listed(files)
        for contender in self.contenders:
            verify(files, contender.url, paths)

    def listed(self, files: list[File]) -> None:
        """Have everybody fetch the pages that list these files, as every client does first."""
        pages = tuple(f"/python/simple/{name}/" for name in {file.project for file in files})
        for contender in self.contenders:
            fetch(Plan((contender.url,), pages, accept=JSON))

    def fresh(self, name: str) -> str:
        """A name like that which nobody has asked for in this run."""
        self._given += 1
        return f"{name}{self._given}"

    def forget_large(self) -> None:
        """Remove large bodies from everybody's store, so that the disk is not what is measured."""
        for root in (
            self.folder / "ours/cache/v2/bodies",
            self.nginx.folder / "cache",
            self.clone.folder / "cache",
        ):
            for path in root.rglob("*"):
                if path.is_file() and path.stat().st_size > _LARGE:
                    path.unlink()


def verify(files: list[File], url: str, paths: tuple[str, ...]) -> None:
    """Fetch and hash, outside of anything that is timed. Raises SystemExit on a wrong body."""
    wanted = {file.path: file.sha256 for file in files}
    found = fetch(Plan((url,), paths, hashed=True)).sha256
    wrong = [path for path in paths if found.get(path) != wanted[path]]
    if wrong:
        raise SystemExit(f"{url}: wrong bytes for {wrong[0]}")


def room(folder: Path) -> int:
    """Free bytes where the servers write."""
    return shutil.disk_usage(folder).free
