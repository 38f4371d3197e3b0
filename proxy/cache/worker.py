"""Another process for what would hold up the event loop: parsing and rewriting large documents.

Purpose: JSON in a thread stalls the loop for most of the parse (measured), so it is done in one
worker process, which is started when it is first needed. Jobs are pure functions of an ecosystem;
they take turns, so that a document which kills the worker is known, tried once more in a new one,
and then refused. What waits is bounded, and so is the time of a job. The worker ends with us,
however we end. Where no process can be started at all, a thread has to do.

Reading: design rule 14; `concurrent.futures`. Non-goals: keeping results (`variants`).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar, final

from proxy.cache.threads import in_thread
from proxy.ecosystems.base import Catalogue, Cataloguing, Ecosystem, Table, Tabulating
from proxy.errors import Malformed, Unavailable
from proxy.model import ArtifactTarget, Document, DocumentTarget, Further, Links, Source

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

LOG = logging.getLogger(__name__)
MAX_WAITING = 1000
MAX_WAITING_BYTES = 256 << 20
JOB_SECONDS = 60
SMALL_CATALOGUE = 16 << 10  # bytes, packed
T = TypeVar("T")


@final
class Worker:
    """The one worker process of this one. Nothing is started before the first job.

    `seconds`: that a job may take. `make_pool`: makes the pool of one process.
    """

    def __init__(
        self, seconds: int = JOB_SECONDS, make_pool: Callable[[], ProcessPoolExecutor] | None = None
    ) -> None:
        self._seconds = seconds
        self._make_pool = make_pool or _make_pool
        self._pool: ProcessPoolExecutor | None = None
        self._turn = asyncio.Lock()
        self._waiting = self._waiting_bytes = 0
        self.pid = 0

    async def rewrite(
        self, ecosystem: Ecosystem, target: DocumentTarget, document: Document, links: Links
    ) -> tuple[Document, str]:
        """`Ecosystem.rewrite`, and the SHA-256 (lower-case hex) of the new body."""
        job = partial(rewritten, ecosystem, target, document, links)
        return await self._run(job, len(document.body))

    async def locate(
        self, ecosystem: Ecosystem, target: ArtifactTarget, listing: Document
    ) -> Source | Further:
        """`Ecosystem.locate`."""
        return await self._run(partial(ecosystem.locate, target, listing), len(listing.body))

    async def tabulate(self, ecosystem: Ecosystem, package: str, listing: Document) -> Table:
        """`Tabulating.tabulate`."""
        job = partial(tabulated, ecosystem, package, listing)
        return await self._run(job, len(listing.body))

    async def catalogue(self, ecosystem: Ecosystem, listing: Document) -> Catalogue:
        """`Cataloguing.catalogue`; of a small one at once."""
        if len(listing.body) <= SMALL_CATALOGUE:
            return catalogued(ecosystem, listing)
        return await self._run(partial(catalogued, ecosystem, listing), len(listing.body))

    async def close(self) -> None:
        """End the process, whatever it is doing."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)

    async def _run(self, job: Callable[[], T], size: int) -> T:
        """Run a job that can be pickled, on so many bytes. Raises what it raises, Unavailable when
        too much waits, Malformed when it was the end of two workers.

        A build farm that starts cold asks for hundreds of middling documents at once: what has to
        be bounded is the memory that they wait in.
        """
        too_much = self._waiting and self._waiting_bytes + size > MAX_WAITING_BYTES
        if too_much or self._waiting >= MAX_WAITING:
            raise Unavailable(
                "Too many large documents are being worked on; try again.",
                retry_after=2,
                asked=False,
            )
        self._waiting += 1
        self._waiting_bytes += size
        try:
            async with self._turn:
                return await self._insist(job)
        finally:
            self._waiting -= 1
            self._waiting_bytes -= size

    async def _insist(self, job: Callable[[], T]) -> T:
        try:
            return await self._once(job)
        except BrokenExecutor:
            LOG.warning("the worker process died over a document; one more try")
        try:
            return await self._once(job)
        except BrokenExecutor as error:
            LOG.warning("the worker process died over the same document again")
            raise Malformed("The upstream's document could not be worked on.") from error

    async def _once(self, job: Callable[[], T]) -> T:
        try:
            pool = self._pool or await self._start()
        except OSError as error:
            LOG.warning("no worker process can be started (%s); using a thread", error)
            return await in_thread(job)
        try:
            return await asyncio.wrap_future(pool.submit(_do, job, self._seconds))
        except BrokenExecutor:
            self._pool = None
            await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)
            raise

    async def _start(self) -> ProcessPoolExecutor:
        pool = self._make_pool()
        # The first job starts the process, which takes a while: in a thread.
        first = await asyncio.to_thread(pool.submit, os.getpid)
        self.pid = await asyncio.wrap_future(first)
        self._pool = pool
        return pool


def _make_pool() -> ProcessPoolExecutor:
    # Late: 0.6 MiB of every process, and many never need it.
    import multiprocessing  # noqa: PLC0415
    from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415

    # Not forked: this process has threads and open connections.
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_prepare)


# --- in the other process --------------------------------------------------------------------


def rewritten(
    ecosystem: Ecosystem, target: DocumentTarget, document: Document, links: Links
) -> tuple[Document, str]:
    """Rewrite, and hash the result: both take long when it is large."""
    made = ecosystem.rewrite(target, document, links)
    return made, hashlib.sha256(made.body).hexdigest()


def catalogued(ecosystem: Ecosystem, listing: Document) -> Catalogue:
    """`Cataloguing.catalogue`."""
    if not isinstance(ecosystem, Cataloguing):
        raise TypeError(f"{ecosystem.name} has no catalogues")
    return ecosystem.catalogue(listing)


def tabulated(ecosystem: Ecosystem, package: str, listing: Document) -> Table:
    """Read a listing of an ecosystem that tabulates them."""
    if not isinstance(ecosystem, Tabulating):
        raise TypeError(f"{ecosystem.name} has no tables")
    return ecosystem.tabulate(package, listing)


def _do(job: Callable[[], T], seconds: int) -> T:
    """Run one job; a process that takes too long over it is ended by the kernel."""
    signal.alarm(seconds)
    try:
        return job()
    finally:
        signal.alarm(0)


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the parent's to act on
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the parent's end. Our own copy of the queue's pipe would never tell us."""
    from multiprocessing import parent_process  # noqa: PLC0415  # it is there, in this process

    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
