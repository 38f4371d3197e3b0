"""Storage and index side by side, for one who looks after a store by hand.

Purpose: what the commands of `cgr-proxy cache` do, in this thread and to the end; the proxy may be
running on the same store. Non-goals: the running proxy's own care (`proxy.cache.upkeep`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import final

from proxy.storage.changes import Changes, Notes
from proxy.storage.disk import DiskStorage
from proxy.storage.entries import UNREADABLE, read
from proxy.storage.folder import Folder
from proxy.storage.index import FOLDER, Index
from proxy.storage.reconcile import Reconciled, Standing, reap, reconcile
from proxy.storage.table import IndexBroken, discard

RECENT = 60.0  # seconds; what the running proxy has stored since may not be in the index yet


@final
class Desk:
    """One store, opened. The index is complete, as of a second ago. `clock`: epoch seconds."""

    def __init__(
        self, storage: DiskStorage, changes: Changes, index: Index, clock: Callable[[], float]
    ) -> None:
        self.storage = storage
        self.index = index
        self._changes = changes
        self._clock = clock

    def close(self) -> None:
        """Write down what was done, and leave the store in order."""
        try:
            self._flush()
        finally:
            self.index.close()
            self.storage.close()

    def reconcile(self) -> Reconciled:
        """Make index and files agree, and remove what nobody needs."""
        found = Reconciled()
        for _ in reconcile(self.storage.folder, self.index, self._clock, found):
            pass
        return found

    def purge(self, prefix: str, selected: Callable[[str], bool]) -> tuple[int, int]:
        """Remove the selected entries, and have who looks at the generation forget what it
        remembers: their number, and the bytes of bodies that became free.

        `prefix`: what the keys of all of them begin with.
        """
        before = self.index.books().total
        keys = [entry.key for entry in self.index.entries(prefix) if selected(entry.key)]
        known = set(keys)
        keys += [key for key in self._recent() if key not in known and selected(key)]
        for key in keys:
            self.storage.remove(key)
        self.storage.generation.advance()
        self._flush()
        return len(keys), before - self.index.books().total

    def _recent(self) -> list[str]:
        """Keys of entries that the index may not know yet."""
        folder, since = self.storage.folder, self._clock() - RECENT
        names = [name for name in folder.walk("entries") if (folder.changed(name) or 0) >= since]
        return [key for name in names if (key := _key(folder, name)) is not None]

    def _flush(self) -> None:
        folder = self.storage.folder
        for sha256 in self.index.apply(self._changes.collect(), Standing(folder)):
            reap(folder, self.index, sha256, self._clock())


def open_desk(directory: Path, clock: Callable[[], float]) -> Desk:
    """Open a store. Raises OSError, IndexBusy, IndexBroken."""
    changes = Changes()
    storage = DiskStorage(directory, watcher=changes, clock=clock)
    try:
        where = storage.folder.root / FOLDER
        try:
            index = Index(where)
            complete = index.books().complete
        except IndexBroken:
            discard(where)
            index, complete = Index(where), False
        desk = Desk(storage, changes, index, clock)
        if storage.doubtful:
            # Whatever becomes of us: somebody has to look at all of it.
            index.apply(Notes([], []), complete=False)
            storage.no_doubt()
            complete = False
        if not complete:
            desk.reconcile()
    except BaseException:
        storage.close()
        raise
    return desk


def _key(folder: Folder, name: str) -> str | None:
    try:
        return read(folder, name).key
    except (OSError, *UNREADABLE):
        return None  # no use to anybody: the next look-up, or prune, removes it
