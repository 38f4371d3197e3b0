"""The thread that looks after the store: it owns the index, evicts, and repairs.

Purpose: requests leave notes (`storage/changes`); here, about once a second, they reach the index,
and whatever follows from them is done: bodies that nobody needs go, the least recently used entries
go when the limit is passed (at once then, not at the next tick), and an index that was lost, or a
store that was not left in order, is reconciled in slices that leave most of the time to others.

An index that cannot be used is never more than a warning: the proxy serves from the entries, the
notes are kept for later, and a damaged one is thrown away and made again, ever more patiently.

Reading: varnish's expiry thread. Non-goals: deciding what is evicted (`eviction`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, final

from proxy.cache.eviction import Evicted, Evictor
from proxy.storage.changes import Changes
from proxy.storage.disk import DiskStorage
from proxy.storage.index import FOLDER, Index
from proxy.storage.index_rows import Books
from proxy.storage.lock import UpkeepLock
from proxy.storage.look import Look
from proxy.storage.reconcile import (
    FLIGHT_GRACE,
    Reconciled,
    Standing,
    reap,
    reap_flights,
    reconcile,
)
from proxy.storage.table import IndexBroken, IndexBusy, discard, identity

LOG = logging.getLogger(__name__)
TICK: Final = 1.0
BATCH: Final = 500  # notes in one transaction: some 10 ms that another process may have to wait
USED_EVERY: Final = 30.0  # uses are gathered for so long, so that a busy entry costs one write
STRAY_GRACE: Final = 10.0  # another process may be about to tell of an entry with that body
RECONCILE_EVERY: Final = 86_400.0  # what a killed process could not tell is found then
IDLE: Final = 3  # of a reconciliation: so many times as long as it works
MAX_STRAYS: Final = 100_000
LONGEST_PAUSE: Final = 60.0


@final
class Upkeep:
    """Looks after one store. `max_size`: bytes that its bodies may take.

    `clock`: epoch seconds, of the same clock as the file system's. `patience`: seconds that
    a transaction waits for one of another process; `tick`: seconds between two looks.
    """

    def __init__(  # noqa: PLR0913  # three of them for tests
        self,
        storage: DiskStorage,
        changes: Changes,
        max_size: int,
        *,
        clock: Callable[[], float] = time.time,
        patience: float = 2.0,
        tick: float = TICK,
    ) -> None:
        self._storage = storage
        self._changes = changes
        self._max_size = max_size
        self._clock = clock
        self._patience = patience
        self._tick = tick
        self._folder = storage.folder
        self._look: Look = Standing(storage.folder)
        self._where = storage.folder.root / FOLDER
        self._evictor = Evictor(storage, max_size)
        self._lock = UpkeepLock(storage.folder)
        self._index: Index | None = None
        # What others had told the index when the notes of next time began; None: it is not known,
        # or we have removed entries since of which no note is made.
        self._quiet: int | None = None
        self._books = Books()
        self._evicted = Evicted()
        self._doubt = storage.doubtful
        self._work: Iterator[None] | None = None
        self._found = Reconciled()
        self._strays: list[str] = []
        self._used_at = self._reconciled_at = self._reaped_at = time.monotonic()
        self._pause = self._not_before = 0.0
        self._broken: tuple[int, int] | None = None
        self._trouble = ""
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        changes.watch(self._wake.set)

    @property
    def books(self) -> Books:
        """What the store holds, as of the last look."""
        return self._books

    @property
    def evicted(self) -> Evicted:
        """What was evicted by this process, in all."""
        return self._evicted

    @property
    def trouble(self) -> str:
        """Why the index cannot be used just now; empty: it can."""
        return self._trouble

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Write down what is known and end. Waits: not for an event loop. Idempotent."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            began = time.monotonic()
            self._try(self._step)
            wait = self._tick
            if self._work is not None:
                wait = min(wait, max(0.01, IDLE * (time.monotonic() - began)))
            self._wake.wait(wait)
            self._wake.clear()
        self._not_before = 0.0
        self._try(self._last)
        if self._trouble:
            self._storage.doubt()
        self._close_index()
        self._lock.release()

    def _try(self, step: Callable[[], None]) -> None:
        now = time.monotonic()
        if now < self._not_before:
            return
        try:
            step()
        except IndexBusy as error:
            if "FULL" in str(error):
                self._changes.full()
            self._stumble(f"the index cannot be used just now ({error})")
        except IndexBroken as error:
            self._stumble(f"the index is damaged ({error}); it is made again")
            self._discard()
        except Exception:
            # A defect here must not end the upkeep, nor spin.
            LOG.exception("the upkeep of the store failed")
            self._stumble("the upkeep failed inside the proxy")
        else:
            if self._trouble:
                LOG.warning("the index can be used again")
            self._trouble, self._pause = "", 0.0

    def _stumble(self, trouble: str) -> None:
        """Note it, once, and try again later, with a new connection."""
        if trouble != self._trouble:
            LOG.warning("%s", trouble)
        self._trouble = trouble
        self._pause = min(LONGEST_PAUSE, max(self._tick, 2 * self._pause))
        self._not_before = time.monotonic() + self._pause
        self._work = None
        self._broken = self._index.identity if self._index is not None else identity(self._where)
        self._close_index()

    def _discard(self) -> None:
        """Throw the damaged index away, unless another process was faster."""
        if self._lock.take() and identity(self._where) == self._broken:
            try:
                discard(self._where)
            except OSError as error:
                LOG.warning("the damaged index cannot be removed (%s)", type(error).__name__)
            else:
                self._not_before = 0.0 if self._pause <= self._tick else self._not_before
        self._lock.release()

    def _step(self) -> None:
        index = self._open()
        if self._changes.take_full() and self._lock.take():
            # Before anything else: on a full disk not even the notes can be written down.
            self._evict(index, index.books(), full=True)
        self._flush(index, used=time.monotonic() - self._used_at >= USED_EVERY)
        if self._books.total > self._max_size and self._lock.take():
            self._flush(index, used=True)
            self._evict(index, self._books)
            self._books = index.books()
        self._reap_flights()
        self._reconcile(index)
        if self._work is None:
            self._lock.release()
        self._changes.expect(max(0, self._max_size - self._books.total))

    def _evict(self, index: Index, books: Books, *, full: bool = False) -> None:
        self._quiet = None
        done, before = self._evictor.run(index, books, full=full), self._evicted
        self._evicted = Evicted(before.entries + done.entries, before.freed + done.freed)

    def _last(self) -> None:
        self._flush(self._open(), used=True)

    def _open(self) -> Index:
        if self._index is not None and not self._index.is_current():
            LOG.warning("the index was removed; it is made again")
            self._work = None
            self._close_index()
        if self._index is None:
            self._index = Index(self._where, patience=self._patience)
        return self._index

    def _close_index(self) -> None:
        index, self._index, self._quiet = self._index, None, None
        if index is not None:
            index.close()

    def _flush(self, index: Index, *, used: bool) -> None:
        since, self._quiet = self._quiet, index.told_by_others()
        notes = self._changes.collect(used=used)
        if used:
            self._used_at = time.monotonic()
        self._doubt = self._doubt or notes.lost
        while notes.events or notes.used or self._doubt:
            some, rest = notes.first(BATCH)
            try:
                doubt = False if self._doubt else None
                strays = index.apply(some, self._look, since=since, complete=doubt)
            except (IndexBusy, IndexBroken):
                self._changes.give_back(notes)
                raise
            if self._doubt:
                self._storage.no_doubt()
            self._doubt, notes = False, rest
            self._strays = (self._strays + strays)[-MAX_STRAYS:]
        self._books = index.books()
        if self._books.complete and self._strays:
            before = self._clock() - STRAY_GRACE
            self._strays = [
                sha256
                for sha256 in self._strays
                if reap(self._folder, index, sha256, before) is None
            ]

    def _reap_flights(self) -> None:
        """More often than all is looked at: what a killed process was fetching may be large."""
        now = time.monotonic()
        if now - self._reaped_at >= FLIGHT_GRACE and self._lock.take():
            self._reaped_at, found = now, Reconciled()
            for _ in reap_flights(self._folder, self._clock, found):
                pass
            if found.flights:
                LOG.info("%d dead transfers removed", found.flights)

    def _reconcile(self, index: Index) -> None:
        now = time.monotonic()
        if self._work is None:
            due = now - self._reconciled_at >= RECONCILE_EVERY
            if (self._books.complete and not due) or not self._lock.take():
                return
            self._found = Reconciled()
            self._work = reconcile(self._folder, index, self._clock, self._found)
        broken, self._quiet = self._found.broken, None
        try:
            next(self._work)
            for _ in range(self._found.broken - broken):
                self._storage.healed()
        except StopIteration:
            self._work = None
            self._reconciled_at = now
            self._books = index.books()
            changed = self._found != Reconciled(entries=self._found.entries)
            level = logging.INFO if changed else logging.DEBUG
            LOG.log(level, "the index and the entries agree: %s", _words(self._found))


def _words(found: Reconciled) -> str:
    """What a reconciliation came to, for the log: nothing that came to nothing."""
    did = {
        "new to the index": found.added,
        "of no use removed": found.broken,
        "rows of the index forgotten": found.forgotten,
        "bodies without an entry removed": found.orphans,
        "dead transfers removed": found.flights,
        "bytes freed": found.freed,
    }
    said = [
        f"{found.entries} entries",
        *(f"{count} {what}" for what, count in did.items() if count),
    ]
    return ", ".join(said)
