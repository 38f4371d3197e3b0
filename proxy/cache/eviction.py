"""Eviction: what goes when the store is full, and how much.

Purpose: the store never holds more than its limit, but for what is in flight. The least recently
used go first, down to a little under the limit, so that it is not done for every commit; an entry
whose body is being read is not taken (its bytes would not be free).

Deciding is `goal`, which is pure; the rest acts. Runs in the thread that owns the index.
Reading: `storage/index`. Non-goals: freshness; when to run (`upkeep`).
"""

from __future__ import annotations

import logging
from typing import NamedTuple, final

from proxy.storage.disk import DiskStorage
from proxy.storage.index import Index, Victim
from proxy.storage.index_rows import Books

LOG = logging.getLogger(__name__)
BATCH = 100  # entries in one transaction: no other process waits long


class Evicted(NamedTuple):
    """What one run did. `freed` in bytes."""

    entries: int = 0
    freed: int = 0


def goal(total: int, max_size: int, free: int | None = None) -> int | None:
    """Down to how many bytes to evict; None: not at all. All in bytes.

    `total`: what is stored; `max_size`: what may be. `free`: of a disk that had no room just now:
    a twentieth of what is stored should be. Often it is by now: what did not fit has been removed.
    """
    if total > max_size:
        return max_size - max_size // 20
    if free is not None and free < (wanted := -(-total // 20)):
        return total - (wanted - free)
    return None


@final
class Evictor:
    """Evicts from one store. `max_size` in bytes."""

    def __init__(self, storage: DiskStorage, max_size: int) -> None:
        self._storage = storage
        self._max_size = max_size

    def run(self, index: Index, books: Books, *, full: bool = False) -> Evicted:
        """Evict as far as it is needed. `full`: the disk had no room just now.

        Raises IndexBusy and IndexBroken.
        """
        free = self._storage.folder.free() if full else None
        target = goal(books.total, self._max_size, free)
        entries = freed = passed = 0
        # Each step moves what is in use behind the others: once round, and nothing else is left.
        while target is not None and books.total > target and passed < books.entries:
            step = index.shrink(target, BATCH, self._evict)
            books = step.books
            entries += step.evicted
            freed += step.freed
            passed += step.skipped
            if not step.evicted and not step.skipped:
                break
        if entries:
            LOG.info("evicted %d entries, %d bytes", entries, freed)
        return Evicted(entries, freed)

    def _evict(self, victim: Victim) -> bool:
        if victim.sha256 in self._storage.bodies:
            return False
        self._storage.evict(victim.key, victim.sha256, with_body=victim.last)
        return True
