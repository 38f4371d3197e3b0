"""Entries in memory: for tests, and the spool of a flight whose disk has failed.

Purpose: the same contract as the disk, kept in anonymous memory files, so that a reader needs to
know nothing of the difference (positional reads, sendfile). Nothing here outlives the process.

Reading: `memfd_create(2)`. Non-goals: a budget; whoever uses it bounds it.
"""

from __future__ import annotations

import ctypes
import os
from typing import final

from proxy.errors import StorageFailed
from proxy.storage.base import Fields, Progress, Record
from proxy.storage.failures import cause
from proxy.storage.files import write_all

_PAGE = 4096
_DISCARD_FROM = 1 << 20
_PUNCH_HOLE_KEEP_SIZE = 3


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

    @property
    def alone(self) -> bool:
        """See `Storage.alone`."""
        return True

    def lookup(self, key: str) -> Record | None:
        """See `Storage.lookup`."""
        found = self._entries.get(key)
        return found[0] if found else None

    def open(self, record: Record) -> MemoryBody | None:
        """See `Storage.open`."""
        found = self._entries.get(record.key)
        if found is None or found[0].sha256 != record.sha256:
            return None
        try:
            return MemoryBody(os.dup(found[1].fileno()), record.size)
        except OSError:
            return None

    def create(self, key: str) -> MemoryWriter:
        """See `Storage.create`."""
        return MemoryWriter(key, self._entries)

    def claim(self, key: str, name: str) -> MemoryWriter:  # noqa: ARG002  # nobody to share with
        """See `Storage.claim`."""
        return MemoryWriter(key, self._entries)

    def recheck(self, record: Record) -> bool:
        """See `Storage.recheck`: memory does not survive what would make a record suspect."""
        return record.key in self._entries

    def update(self, record: Record, fields: Fields) -> Record:
        """See `Storage.update`."""
        found = self._entries.get(record.key)
        if found is None or found[0].sha256 != record.sha256:
            raise StorageFailed("the entry is gone")
        changed = Record(record.key, record.sha256, record.size, dict(fields))
        self._entries[record.key] = (changed, found[1])
        return changed

    def holds(self, sha256: str) -> bool:
        """See `Storage.holds`."""
        return any(record.sha256 == sha256 for record, _ in self._entries.values())

    def share(self, key: str, sha256: str, fields: Fields) -> Record | None:
        """See `Storage.share`."""
        for record, body in list(self._entries.values()):
            if record.sha256 == sha256:
                try:
                    shared = MemoryBody(os.dup(body.fileno()), record.size)
                except OSError as error:
                    raise StorageFailed(cause(error)) from error
                self.remove(key)
                made = Record(key, sha256, record.size, dict(fields))
                self._entries[key] = (made, shared)
                return made
        return None

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
        self._fd = _new()
        self.size = 0
        self._discarded = 0

    def write(self, piece: bytes | memoryview) -> None:
        """See `Writer.write`."""
        try:
            write_all(self._fd, piece)
        except OSError as error:
            raise StorageFailed(cause(error)) from error
        self.size += len(piece)

    def discard(self, offset: int) -> None:
        """Give the memory before `offset` back; nobody will read it again."""
        whole = offset - offset % _PAGE
        if whole - self._discarded >= _DISCARD_FROM:
            _punch(self._fd, self._discarded, whole - self._discarded)
            self._discarded = whole

    def commit(self, sha256: str, fields: Fields) -> Record:
        """See `Writer.commit`."""
        if self._entries is None:
            raise StorageFailed("a spool is never stored")
        record = Record(self._key, sha256, self.size, dict(fields))
        body = self.open()
        old = self._entries.pop(self._key, None)
        if old is not None:
            old[1].close()
        self._entries[self._key] = (record, body)
        self.close()
        return record

    def commit_whole(self, content: bytes | memoryview, sha256: str, fields: Fields) -> Record:
        """See `Writer.commit_whole`."""
        self.write(content)
        return self.commit(sha256, fields)

    def open(self) -> MemoryBody:
        """See `Writer.open`."""
        try:
            return MemoryBody(os.dup(self._fd), self.size)
        except OSError as error:
            raise StorageFailed(cause(error)) from error

    def rewind(self) -> None:
        """See `Writer.rewind`."""
        fd = _new()
        os.close(self._fd)
        self._fd = fd
        self.size = self._discarded = 0

    def tell(self, progress: Progress) -> None:
        """See `Writer.tell`: there is no other process."""

    def close(self) -> None:
        """See `Writer.close`."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _new() -> int:
    try:
        return os.memfd_create("flight", os.MFD_CLOEXEC)
    except OSError as error:
        raise StorageFailed(cause(error)) from error


def _punch(fd: int, offset: int, length: int) -> None:
    """Free a part of a memory file (fallocate(2)); where that fails it stays until the end."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate(
        ctypes.c_int(fd),
        ctypes.c_int(_PUNCH_HOLE_KEEP_SIZE),
        ctypes.c_int64(offset),
        ctypes.c_int64(length),
    )
