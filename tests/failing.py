"""A disk that fails when a test wants it to, in front of a real one.

Purpose: each operation of the storage port can be told to fail, writing also half-way; what does
not fail is done by the real storage. Non-goals: failing by itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from proxy.errors import StorageFailed
from proxy.storage.base import Body, Fields, Foreign, Progress, Record, Storage, Writer
from tests.running import Running


class Unreadable:
    """A body whose reading fails (EIO): the first page of a process's memory."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._fd = os.open("/proc/self/mem", os.O_RDONLY)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class FailingStorage:
    """`broken`: names of the methods that fail (`read`: bodies open, but cannot be read).

    `after`: bytes that a body may have before its writing fails.
    """

    def __init__(self, real: Storage) -> None:
        self.real = real
        self.broken: set[str] = set()
        self.after = 0
        self.is_alone: bool | None = None  # in place of what the real one says
        self.sought: list[str] = []  # keys that were looked up

    def fail(self, *methods: str, after: int = 0) -> None:
        """From now on these fail."""
        self.broken, self.after = set(methods), after

    def mend(self) -> None:
        """From now on nothing fails."""
        self.broken = set()

    def check(self, method: str) -> None:
        if method in self.broken:
            raise StorageFailed(f"{method} fails, as the test wants it")

    @property
    def alone(self) -> bool:
        return self.real.alone if self.is_alone is None else self.is_alone

    def lookup(self, key: str) -> Record | None:
        self.sought.append(key)
        return self.real.lookup(key)

    def open(self, record: Record) -> Body | None:
        return Unreadable(record.size) if "read" in self.broken else self.real.open(record)

    def recheck(self, record: Record) -> bool:
        return self.real.recheck(record)

    def create(self, key: str) -> Writer:
        self.check("create")
        return FailingWriter(self, self.real.create(key))

    def claim(self, key: str, name: str) -> Writer | Foreign:
        self.check("claim")
        claimed = self.real.claim(key, name)
        return claimed if isinstance(claimed, Foreign) else FailingWriter(self, claimed)

    def update(self, record: Record, fields: Fields) -> Record:
        self.check("update")
        return self.real.update(record, fields)

    def holds(self, sha256: str) -> bool:
        return self.real.holds(sha256)

    def share(self, key: str, sha256: str, fields: Fields) -> Record | None:
        return self.real.share(key, sha256, fields)

    def remove(self, key: str) -> None:
        self.real.remove(key)


class FailingWriter:
    def __init__(self, storage: FailingStorage, real: Writer) -> None:
        self._storage = storage
        self._real = real

    @property
    def size(self) -> int:
        return self._real.size

    def write(self, piece: bytes | memoryview) -> None:
        if "write" in self._storage.broken:
            room = self._storage.after - self._real.size
            if room < len(piece):
                self._real.write(piece[: max(room, 0)])  # a full disk takes a part
                self._storage.check("write")
        self._real.write(piece)

    def commit(self, sha256: str, fields: Fields) -> Record:
        self._storage.check("commit")
        return self._real.commit(sha256, fields)

    def commit_whole(self, content: bytes | memoryview, sha256: str, fields: Fields) -> Record:
        if self._storage.broken & {"write", "commit"}:
            self.write(content)
            return self.commit(sha256, fields)
        return self._real.commit_whole(content, sha256, fields)

    def open(self) -> Body:
        self._storage.check("view")
        return self._real.open()

    def rewind(self) -> None:
        self._storage.check("rewind")
        self._real.rewind()

    def tell(self, progress: Progress) -> None:
        self._real.tell(progress)

    def close(self) -> None:
        self._real.close()


def failing(proxy: Running) -> FailingStorage:
    """Put a failing storage in front of a running proxy's own."""
    app = proxy.app
    storage = FailingStorage(app.documents._shelf._storage)
    rooms: Iterable[Any] = (
        app.documents._shelf,
        app.bulk,
        app.artifacts,
        app.artifacts._rights,
        app.artifacts._opening,
        app.artifacts._grounds,
        app.artifacts._flights,
        app.artifacts._flights._download,
        app.artifacts._flights._download._untended,
        app.artifacts._flights._download._relay,
        app.artifacts._flights._download._extracts,
    )
    for room in rooms:
        room._storage = storage
    return storage
