"""One proxy, one upstream and one oracle, for sequences of events.

Purpose: everything that can happen to a proxy is a method here, done to the real thing in this loop
and told to the oracle. The proxy's clocks are driven: the wall clock may be stepped, the steady one
only runs. Non-goals: choosing what happens (`test_state_machine`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from proxy.cache import artifacts, documents
from proxy.storage.layout import body_id
from tests.engine import fetch, quick
from tests.faults.oracle import Answer, Oracle, Thing
from tests.faults.revisions import Subject, subject_of
from tests.kept import kept
from tests.origin import FaultHandle, Origin, garbage, html_page, status
from tests.running import Running, running

REASON = b'{"reason": "MALWARE", "errors": [{"code": "DENIED", "message": "MALWARE"}]}'
FIRST = 1000  # revisions are numbered from here, so that none is a status

SILENCES: dict[str, dict[str, Any]] = {
    "500": status(500),
    "503": status(503, Retry_After="1"),
    "429": status(429, Retry_After="1"),
    "401": status(401),
    "closed": {"close": True},
    "garbage": garbage(),
    "page": status(403, html_page()["body"], Content_Type="text/html"),
    "slow": {"hold": True},
    "down": {},
}


class World:
    """One proxy, one upstream, one oracle; every method runs in the loop."""

    def __init__(self, ecosystem: str) -> None:
        self.subject: Subject = subject_of(ecosystem)
        self.folder = Path(tempfile.mkdtemp(prefix="cgr-proxy-machine-"))
        self.number = 0
        self.offset = 0.0  # of the steady clock
        self.wall = 0.0  # of the proxy's
        self.silence: FaultHandle | None = None
        self.silent = False
        self.refusals: dict[str, FaultHandle] = {}
        self.codes = {"document": 0, "artifact": 0}
        self.stack = AsyncExitStack()
        self.life = AsyncExitStack()
        self.lives = 0

    async def begin(self) -> None:
        self.origin = await self.stack.enter_async_context(Origin())
        samples = self.subject.samples
        self.paths = {"document": samples.document, "artifact": samples.artifact(self.origin)}
        digest = samples.sha256(self.origin)
        self.oracle = Oracle(
            Thing(FIRST), Thing(digest), self.subject.listed, self.subject.falls_back
        )
        self.oracle.digests[FIRST] = digest
        await self.live(self.folder / "0")

    async def end(self) -> None:
        await self.back()
        await self.life.aclose()
        await self.stack.aclose()
        shutil.rmtree(self.folder)

    # --- the proxy ---------------------------------------------------------------------------

    async def live(self, folder: Path) -> None:
        tables = {"limits": {"first_byte_timeout": "2s", "connect_timeout": "2s"}}
        self.life = AsyncExitStack()
        self.proxy: Running = await self.life.enter_async_context(
            running(folder, self.origin, tables)
        )
        self.proxy.clock.offset = self.wall
        self.proxy.drive_upstream(lambda: self.steady)
        upstream = self.proxy.app.upstream
        limits = replace(upstream._limits, retry_pause=0.001)
        upstream._limits = upstream._exchange._limits = limits

    async def restart(self, *, clean: bool, cut: random.Random | None = None) -> None:
        self.lives += 1
        old, new = self.proxy.folder, self.folder / str(self.lives)
        new.mkdir()
        if clean:
            await self.life.aclose()
        image(old / "cache", new / "cache")
        if not clean:
            await self.life.aclose()
        if cut is not None:
            self.cut_power(new / "cache" / "v2", cut)
        shutil.rmtree(old)
        await self.live(new)
        self.oracle.calm_at = min(self.oracle.calm_at, self.steady)

    def cut_power(self, folder: Path, chance: random.Random) -> None:
        """Small bodies and entries are not synced one by one: any may be empty, or cut."""
        for part in ("bodies", "entries"):
            for path in sorted((folder / part).rglob("*")):
                if path.is_file() and chance.random() < 0.4:
                    os.truncate(path, chance.choice([0, path.stat().st_size // 2]))
        for thing in (self.oracle.document, self.oracle.artifact):
            thing.lose()

    async def ask(self, what: str, method: str = "GET") -> None:
        silent = self.silent
        patience = 0.1 if silent else 10.0  # an upstream that answers is waited for
        with (
            quick(artifacts, FOREGROUND=patience),
            quick(documents, PATIENCE=patience, FOREGROUND=patience),
        ):
            got = await fetch(
                self.proxy, self.paths[what], method=method, accept=self.subject.samples.accept
            )
        assert got.complete
        assert got.body or got.status != 200, (got.headers, self.proxy.messages())
        content: int | str = ""
        if got.status == 200 and what == "document":
            content = FIRST + self.subject.number(got.body)
        elif got.status == 200:
            content = got.sha256
        assert ("retry-after" in got.headers) or got.status not in (429, 503)
        self.oracle.judge(
            "document" if what == "document" else "artifact",
            Answer(got.status, content),
            now=self.proxy.clock(),
            steady=self.steady,
            silent=silent,
            note=got.cache,
        )

    @property
    def steady(self) -> float:
        return time.monotonic() + self.offset

    # --- the upstream ------------------------------------------------------------------------

    def revise(self) -> None:
        self.number += 1
        self.subject.revise(self.origin, self.number)
        oracle = self.oracle
        oracle.document.content = FIRST + self.number
        if self.subject.ecosystem != "oci":
            oracle.artifact.content = self.subject.samples.sha256(self.origin)
        oracle.digests[oracle.document.content] = oracle.artifact.content

    def refuse(self, what: str, code: int) -> None:
        self.allow(what)
        path = self.subject.refused_path(what, self.paths[what])
        self.refusals[what] = self.origin.fault(
            self.subject.server, path, times=None,
            **status(code, REASON, Content_Type="application/json"),
        )  # fmt: skip
        self.codes[what] = code
        self.tell()

    def allow(self, what: str) -> None:
        if (handle := self.refusals.pop(what, None)) is not None:
            handle.clear()
        self.codes[what] = 0
        self.tell()

    def tell(self) -> None:
        """Tell the oracle what is refused: what strikes a whole package strikes its document."""
        document, artifact = self.codes["document"], self.codes["artifact"]
        both = artifact if self.subject.of_package else 0
        self.oracle.document.refusal = self.first(document, both)
        self.oracle.artifact.refusal = artifact

    def first(self, document: int, both: int) -> int:
        """Which of two refusals of the document strikes: the one that was there first."""
        if not (document and both):
            return document or both
        return self.codes[next(iter(self.refusals))]

    async def fall_silent(self, how: str) -> None:
        await self.back()
        self.silent = True
        if how == "down":
            await self.origin.close_listener()
            return
        self.silence = self.origin.fault(times=None, **SILENCES[how])
        handles = self.origin.faults.handles
        handles.insert(0, handles.pop())  # it strikes before any refusal does

    async def back(self) -> None:
        if not self.silent:
            return
        await self.origin.reopen()
        if self.silence is not None:
            self.silence.clear()
            self.silence = None
        self.silent = False
        self.oracle.calm_at = self.steady
        await asyncio.wait_for(self.origin.journal.idle.wait(), 10)

    # --- the store and the clock ---------------------------------------------------------------

    def take_out(self, what: str, *, evicted: bool) -> None:
        thing = getattr(self.oracle, what)
        path = self.subject.upstream_path(self.paths[what])
        for record, _ in kept(self.proxy.folder / "cache"):
            if path in record.key.split("\0"):
                if evicted:
                    self.proxy.app.storage.evict(record.key, body_id(record), with_body=True)
                else:
                    self.proxy.app.storage.remove(record.key)
        thing.lose()
        if evicted:  # another entry may have had the same body
            self.oracle.document.lose()
            self.oracle.artifact.lose()

    def advance(self, seconds: float) -> None:
        self.offset += max(seconds, 0.0)
        self.wall += seconds
        self.proxy.clock.advance(seconds)


def image(old: Path, new: Path) -> None:
    """Copy a folder that somebody is writing to: files come and go meanwhile."""
    for path in sorted(old.rglob("*")):
        target = new / path.relative_to(old)
        with contextlib.suppress(FileNotFoundError):
            if path.is_dir():
                target.mkdir(parents=True, exist_ok=True, mode=0o700)
            else:
                shutil.copy2(path, target)
