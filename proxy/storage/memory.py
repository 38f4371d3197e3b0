"""Entries in memory: for tests, and the spool of a flight whose disk has failed.

Purpose: the same contract as the disk, kept in anonymous memory files, so that a reader needs to
know nothing of the difference (positional reads, sendfile). Nothing here outlives the process.

Reading: `memfd_create(2)`. Non-goals: a budget; whoever uses it bounds it.
"""

from __future__ import annotations

import os
from typing import final

from proxy.errors import StorageFailed
from proxy.storage.base import Fields, Record
from proxy.storage.folder import cause, write_all


@final
class MemoryBody:
    """One descriptor of an anonymous file."""

    __slots__ = ("_fd", "size")

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self.size = size

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def close(self) -> None:
        """Close it once."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


@final
class MemoryStorage:
    """Implements `Storage`."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[Record, MemoryBody]] = {}

    def lookup(self, key: str) -> Record | None:
        """See `Storage.lookup`."""
        found = self._entries.get(key)
        return found[0] if found else None

    def open(self, record: Record) -> MemoryBody | None:
        """See `Storage.open`."""
        found = self._entries.get(record.key)
        if found is None or found[0].sha256 != record.sha256:
            return None
        return MemoryBody(os.dup(found[1].fileno()), record.size)

    def create(self, key: str) -> MemoryWriter:
        """See `Storage.create`."""
        return MemoryWriter(key, self._entries)

    def update(self, record: Record, fields: Fields) -> Record:
        """See `Storage.update`."""
        found = self._entries.get(record.key)
        if found is None or found[0].sha256 != record.sha256:
            raise StorageFailed("the entry is gone")
        changed = Record(record.key, record.sha256, record.size, dict(fields))
        self._entries[record.key] = (changed, found[1])
        return changed

    def remove(self, key: str) -> None:
        """See `Storage.remove`."""
        found = self._entries.pop(key, None)
        if found is not None:
            found[1].close()


@final
class MemoryWriter:
    """Implements `Writer`. Without `entries` it can be read and closed, but never committed."""

    def __init__(
        self, key: str = "", entries: dict[str, tuple[Record, MemoryBody]] | None = None
    ) -> None:
        self._key = key
        self._entries = entries
        self._fd = os.memfd_create("flight", os.MFD_CLOEXEC)
        self._size = 0

    def write(self, piece: bytes) -> None:
        """See `Writer.write`."""
        try:
            write_all(self._fd, piece)
        except OSError as error:
            raise StorageFailed(cause(error)) from error
        self._size += len(piece)

    def commit(self, sha256: str, fields: Fields) -> Record:
        """See `Writer.commit`."""
        if self._entries is None:
            raise StorageFailed("a spool is never stored")
        record = Record(self._key, sha256, self._size, dict(fields))
        old = self._entries.pop(self._key, None)
        if old is not None:
            old[1].close()
        self._entries[self._key] = (record, MemoryBody(os.dup(self._fd), self._size))
        self.close()
        return record

    def open(self) -> MemoryBody:
        """See `Writer.open`."""
        return MemoryBody(os.dup(self._fd), self._size)

    def close(self) -> None:
        """See `Writer.close`."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
