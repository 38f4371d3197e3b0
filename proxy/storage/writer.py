"""Bodies in the making on a local disk: ours, and those of other processes.

Reading: see `base` and `claim`. Non-goals: finished entries (`disk`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import final

from proxy.errors import StorageFailed
from proxy.storage.base import Fields, Progress, Record
from proxy.storage.claim import ClaimFile
from proxy.storage.folder import Folder, cause, write_all
from proxy.storage.layout import body_name, entry_bytes, entry_name

FSYNC_FROM = 1 << 20
Committed = Callable[[Record], None]


@final
class DiskBody:
    """An open file with a known size."""

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
class DiskWriter:
    """Implements `Writer`: one temporary file, and the claim on it if it is shared.

    `adopt`: go on at the end of the file that is there.
    """

    def __init__(  # noqa: PLR0913  # made only in this room
        self,
        folder: Folder,
        key: str,
        name: str,
        committed: Committed,
        *,
        claim: ClaimFile | None = None,
        adopt: bool = False,
    ) -> None:
        self._folder = folder
        self._key = key
        self._name = name
        self._committed = committed
        self._claim = claim
        self.size = 0
        try:
            if adopt:
                self._fd, self.size = folder.append_to(name)
            else:
                self._fd = folder.create(name)
        except OSError as error:
            raise StorageFailed(cause(error)) from error

    def write(self, piece: bytes) -> None:
        """See `Writer.write`."""
        try:
            write_all(self._fd, piece)
        except OSError as error:
            raise StorageFailed(cause(error)) from error
        self.size += len(piece)

    def commit(self, sha256: str, fields: Fields) -> Record:
        """See `Writer.commit`."""
        record = Record(self._key, sha256, self.size, dict(fields))
        durable = self.size > FSYNC_FROM
        name = body_name(sha256)
        try:
            if durable:
                os.fsync(self._fd)
            self._folder.replace(self._name, name)
            if durable:
                self._folder.sync_parent(name)
            # The temporary name is free again: the body has moved away from it.
            self._folder.write(
                self._name, entry_name(self._key), entry_bytes(record), durable=durable
            )
        except OSError as error:
            raise StorageFailed(cause(error)) from error
        self._committed(record)
        return record

    def open(self) -> DiskBody:
        """See `Writer.open`."""
        return DiskBody(os.dup(self._fd), self.size)

    def rewind(self) -> None:
        """See `Writer.rewind`."""
        self._folder.unlink(self._name)
        try:
            fd = self._folder.create(self._name)
        except OSError as error:
            raise StorageFailed(cause(error)) from error
        os.close(self._fd)
        self._fd, self.size = fd, 0

    def tell(self, progress: Progress) -> None:
        """See `Writer.tell`."""
        if self._claim is not None:
            self._claim.write(progress)

    def close(self) -> None:
        """See `Writer.close`. The claim goes last: until then nobody else begins this body."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        os.close(fd)
        self._folder.unlink(self._name)
        if self._claim is not None:
            self._claim.close()


@final
class ForeignFlight:
    """Implements `Foreign`."""

    def __init__(
        self, folder: Folder, key: str, name: str, claim: ClaimFile, committed: Committed
    ) -> None:
        self._folder = folder
        self._key = key
        self._name = name
        self._claim: ClaimFile | None = claim
        self._committed = committed
        self._last = Progress()

    def progress(self) -> Progress:
        """See `Foreign.progress`."""
        if self._claim is not None:
            self._last = self._claim.read() or self._last
        return self._last

    def open(self) -> DiskBody | None:
        """See `Foreign.open`."""
        try:
            fd, status = self._folder.open(self._name)
        except OSError:
            return None
        return DiskBody(fd, status.st_size)

    def adopt(self) -> DiskWriter | None:
        """See `Foreign.adopt`."""
        claim = self._claim
        try:
            if claim is None or not claim.try_own():
                return None
            if not self._folder.is_still(claim.name, claim.fileno()):
                # The owner has ended in order and taken the file away: nothing to take over.
                claim.owned = False
                raise StorageFailed("the claim is over")
        except OSError as error:
            raise StorageFailed(cause(error)) from error
        writer = DiskWriter(
            self._folder, self._key, self._name, self._committed, claim=claim, adopt=True
        )
        self._claim = None
        return writer

    def close(self) -> None:
        """See `Foreign.close`."""
        claim, self._claim = self._claim, None
        if claim is not None:
            claim.close()
