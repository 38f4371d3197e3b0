"""Entries that were read before, good as long as their files are the very same ones.

Purpose: reading an entry means opening each folder on the way, reading, parsing and checking it;
looking whether its file is still the same costs a twentieth of that. An entry is never changed in
place but replaced by another file, by whichever process, so a file of the same identity holds what
it held. Changes by this process count at once; those of another one are looked for at most once in
`LOOK` seconds.

A file system's clock ticks a few hundred times a second. What is younger than a tick might be
replaced within it, by a file that reuses the same number: that is not kept (git's "racy" entries).

Reading: `stat(2)`, `inode(7)`. Non-goals: bodies; being the truth.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, time
from typing import final

from proxy.storage.base import Record

MAX_KNOWN = 4096
RACY = 0.02
"""Seconds for which a file is too young to be known by its identity."""
LOOK = 0.001
"""Seconds between two looks at one file: a busy entry is asked for many times in one."""
_Identity = tuple[int, int, int, int, int]


@final
class _Entry:
    """`looked`: when the file was last looked at, by a clock that only goes forward."""

    __slots__ = ("identity", "looked", "path", "record")

    def __init__(self, record: Record, path: str, identity: _Identity) -> None:
        self.record = record
        self.path = path
        self.identity = identity
        self.looked = -LOOK


@final
class Known:
    """At most `limit` records; safe from any thread. `clock`: the system's, epoch seconds."""

    def __init__(self, limit: int = MAX_KNOWN, clock: Callable[[], float] = time) -> None:
        self._limit = limit
        self._clock = clock
        self._records: dict[str, _Entry] = {}

    def find(self, key: str) -> Record | None:
        """The record of a key, if its file is still the one that it was read from."""
        known = self._records.get(key)
        if known is None:
            return None
        now = monotonic()
        if now - known.looked < LOOK:
            return known.record
        try:
            if _identity(os.lstat(known.path)) == known.identity:
                known.looked = now
                return known.record
        except OSError:
            pass
        self._records.pop(key, None)
        return None

    def of(self, key: str, status: os.stat_result) -> Record | None:
        """The record of a key, if it was read from the very file that has this status."""
        known = self._records.get(key)
        return known.record if known is not None and _identity(status) == known.identity else None

    def keep(self, record: Record, path: str, status: os.stat_result) -> None:
        """Keep what was read from the open file at `path`, whose status that is."""
        # A suspect one may be found sound at any moment, and that shows nowhere in the record.
        if record.suspect or self._clock() - status.st_ctime < RACY:
            return
        records = self._records
        records[record.key] = _Entry(record, path, _identity(status))
        if len(records) > self._limit:
            with suppress(KeyError, StopIteration, RuntimeError):  # another thread was faster
                del records[next(iter(records))]

    def forget(self, key: str) -> None:
        """This process has just changed or removed it."""
        self._records.pop(key, None)

    def __len__(self) -> int:
        return len(self._records)


def _identity(status: os.stat_result) -> _Identity:
    return (
        status.st_ino,
        status.st_ctime_ns,
        status.st_mtime_ns,
        status.st_size,
        status.st_dev,
    )
