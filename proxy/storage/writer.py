"""Bodies in the making on a local disk: ours, and those of other processes.

Reading: see `base` and `claim`. Non-goals: finished entries (`disk`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, final

from proxy.errors import StorageFailed
from proxy.storage.base import Fields, Progress, Record
from proxy.storage.bodies import DiskBody
from proxy.storage.claim import ClaimFile
from proxy.storage.entries import UNREADABLE, record_in
from proxy.storage.failures import cause, is_full
from proxy.storage.files import write_all
from proxy.storage.folder import Folder
from proxy.storage.layout import (
    MAX_INSIDE,
    body_id,
    body_name,
    entry_bytes,
    entry_name,
    entry_tail,
)

FSYNC_FROM = 1 << 20


class Watcher(Protocol):
    """Who hears of everything that comes and goes (the secondary index). From any thread."""

    def stored(self, key: str, sha256: str, size: int) -> None:
        """An entry became visible, in place of an older one perhaps. `sha256`: its `body_id`."""
        ...

    def removed(self, key: str) -> None:
        """An entry became invisible."""
        ...

    def used(self, key: str) -> None:
        """An entry was used: it is the most recent one now."""
        ...

    def stray(self, sha256: str) -> None:
        """A body with a file of its own may have been left without an entry."""
        ...

    def full(self) -> None:
        """The disk has no room."""
        ...


@final
class Nobody:
    """Implements `Watcher`: nobody wants to know."""

    def stored(self, key: str, sha256: str, size: int) -> None:
        """See `Watcher`."""

    def removed(self, key: str) -> None:
        """See `Watcher`."""

    def used(self, key: str) -> None:
        """See `Watcher`."""

    def stray(self, sha256: str) -> None:
        """See `Watcher`."""

    def full(self) -> None:
        """See `Watcher`."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where writers write and whom they tell. `max_body`: bytes of the largest that is kept.

    `changed`: told of the key of each entry that was replaced, before anybody else.
    """

    folder: Folder
    watcher: Watcher
    max_body: int | None
    changed: Callable[[str], None]

    def failed(self, error: OSError) -> StorageFailed:
        """Make the error to raise; whoever can make room hears that there is none."""
        if is_full(error):
            self.watcher.full()
        return StorageFailed(cause(error))


@final
class DiskWriter:
    """Implements `Writer`: one temporary file, and the claim on it if it is shared.

    The file is made when there is something to be written, or somebody wants to see it: a body
    that comes to nothing leaves no work, and one that is written at once is there for a moment.
    `adopt`: go on at the end of the file that is there.
    """

    def __init__(
        self,
        place: Place,
        key: str,
        name: str,
        *,
        claim: ClaimFile | None = None,
        adopt: bool = False,
    ) -> None:
        self._place = place
        self._folder = place.folder
        self._key = key
        self._name = name
        self._claim = claim
        self._placed = False  # body and entry have their final names
        self._closed = False
        self._fd = -1
        self.size = 0
        if adopt:
            try:
                self._fd, self.size = place.folder.append_to(name)
            except FileNotFoundError:
                return  # its owner had nothing yet
            except OSError as error:
                raise place.failed(error) from error

    def _file(self) -> int:
        """The descriptor of the temporary file. Raises OSError."""
        if self._fd < 0:
            if self._closed:
                raise OSError(errno.EBADF, "the writer is closed")
            self._fd = self._create()
        return self._fd

    def _create(self) -> int:
        try:
            return self._folder.create(self._name)
        except FileExistsError:
            if self._claim is None:
                raise
            self._folder.unlink(self._name)  # of an owner that died
            return self._folder.create(self._name)

    def write(self, piece: bytes | memoryview) -> None:
        """See `Writer.write`."""
        try:
            write_all(self._file(), piece)
        except OSError as error:
            raise self._place.failed(error) from error
        self.size += len(piece)

    def commit(self, sha256: str, fields: Fields) -> Record:
        """See `Writer.commit`."""
        record = Record(self._key, sha256, self._bounded(self.size), dict(fields))
        try:
            self._make_visible(record)
        except OSError as error:
            self._place.watcher.stray(sha256)
            raise self._place.failed(error) from error
        return self._committed(record)

    def commit_whole(self, content: bytes | memoryview, sha256: str, fields: Fields) -> Record:
        """See `Writer.commit_whole`: a small body goes into the file of its entry."""
        size = len(content)
        if self._fd >= 0 or size > MAX_INSIDE:
            self.write(content)
            return self.commit(sha256, fields)
        record = Record(self._key, sha256, self._bounded(size), dict(fields), inside=True)
        try:
            self._make_whole(content, record)
        except OSError as error:
            raise self._place.failed(error) from error
        self.size = size
        return self._committed(record)

    def _bounded(self, size: int) -> int:
        """The size of a body that may be kept. Raises StorageFailed."""
        limit = self._place.max_body
        if limit is not None and size > limit:
            raise StorageFailed("larger than the whole store")
        return size

    def _committed(self, record: Record) -> Record:
        self._placed = True
        self._place.changed(record.key)
        self._place.watcher.stored(record.key, body_id(record), record.size)
        return record

    def _make_whole(self, content: bytes | memoryview, record: Record) -> None:
        """Put all of it into the file that is to become the entry: the claim, if there is one."""
        if self._closed:
            raise OSError(errno.EBADF, "the writer is closed")
        tail, entry, claim = entry_tail(record), entry_name(self._key), self._claim
        if claim is None:
            self._folder.write(self._name, entry, content, tail)
            return
        claim.fill(content, tail)
        self._folder.replace((claim.name, entry))
        claim.became()

    def _make_visible(self, record: Record) -> None:
        fd, data, entry = self._file(), entry_bytes(record), entry_name(self._key)
        body = (self._name, body_name(record.sha256))
        try:
            if record.size > FSYNC_FROM:
                os.fsync(fd)
                self._folder.replace(body)
                self._folder.sync_parent(body[1])
                # Not before: whoever comes while the disk is slow reads the claim.
                self._folder.replace((self._describe(data, durable=True), entry))
            else:
                self._folder.replace(body, (self._describe(data, durable=False), entry))
        except OSError:
            if self._claim is None:
                self._folder.unlink(self._entry)
            raise
        if self._claim is not None:
            self._claim.became()

    def _describe(self, data: bytes, *, durable: bool) -> str:
        """Write the entry into a file that is to become it: the claim, where there is one."""
        if self._claim is not None:
            self._claim.fill(data, durable=durable)
            return self._claim.name
        self._folder.write_new(self._entry, data, durable=durable)
        return self._entry

    @property
    def _entry(self) -> str:
        """A name beside that of the body, which somebody may be about to open."""
        return f"{self._name}-entry"

    def open(self) -> DiskBody:
        """See `Writer.open`."""
        try:
            return DiskBody(os.dup(self._file()), self.size)
        except OSError as error:
            raise self._place.failed(error) from error

    def rewind(self) -> None:
        """See `Writer.rewind`."""
        if self._fd < 0:
            return
        self._folder.unlink(self._name)
        try:
            fd = self._folder.create(self._name)
        except OSError as error:
            raise self._place.failed(error) from error
        os.close(self._fd)
        self._fd, self.size = fd, 0

    def tell(self, progress: Progress) -> None:
        """See `Writer.tell`."""
        if self._claim is not None and self._claim.owned:
            self._claim.write(progress)

    def close(self) -> None:
        """See `Writer.close`. The claim goes last: until then nobody else begins this body."""
        fd, self._fd, self._closed = self._fd, -1, True
        if fd >= 0:
            os.close(fd)
            if not self._placed:
                self._folder.unlink(self._name)
        claim, self._claim = self._claim, None
        if claim is not None:
            claim.close()


@final
class ForeignFlight:
    """Implements `Foreign`."""

    def __init__(self, place: Place, key: str, name: str, claim: ClaimFile) -> None:
        self._place = place
        self._key = key
        self._name = name
        self._claim: ClaimFile | None = claim
        self._last = Progress()

    def progress(self) -> Progress:
        """See `Foreign.progress`."""
        if self._claim is not None:
            self._last = self._claim.read() or self._landed(self._claim) or self._last
        return self._last

    def _landed(self, claim: ClaimFile) -> Progress | None:
        """What a claim without a note says when it has become the entry."""
        if self._place.folder.is_still(claim.name, claim.fileno()):
            return None
        try:
            size = record_in(claim.fileno()).size
        except (OSError, *UNREADABLE):
            return None
        return Progress("landed", size, size, headed=True)

    def open(self) -> DiskBody | None:
        """See `Foreign.open`."""
        try:
            fd, status = self._place.folder.open(self._name)
        except OSError:
            return None
        return DiskBody(fd, status.st_size)

    def adopt(self) -> DiskWriter | None:
        """See `Foreign.adopt`."""
        claim = self._claim
        try:
            if claim is None or not claim.try_own():
                return None
        except OSError as error:
            raise self._place.failed(error) from error
        if not self._place.folder.is_still(claim.name, claim.fileno()):
            # The owner has ended in order and taken the file away: nothing to take over.
            claim.owned = False
            raise StorageFailed("the claim is over")
        writer = DiskWriter(self._place, self._key, self._name, claim=claim, adopt=True)
        self._claim = None
        return writer

    def close(self) -> None:
        """See `Foreign.close`."""
        claim, self._claim = self._claim, None
        if claim is not None:
            claim.close()
