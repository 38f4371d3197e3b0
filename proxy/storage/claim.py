"""One body in the making, seen by several processes.

Purpose: a *claim* is a small file that its owner holds locked (`flock`) while it writes the body
beside it, and in which it notes its progress. The kernel drops the lock when the owner dies, so
its death needs no heartbeat: whoever gets the lock is the new owner and may go on with the bytes
that are there.

When the body is whole, the claim file itself becomes its entry (`fill`): the metadata, or body and
metadata of a small one. A file that is made and removed for each fetch costs more than the fetch:
ext4 passes over every inode of the last minutes' removals when it looks for a free one (measured:
0.4 ms after 1000 of them).

The claim is one block written in one call, with a checksum, so that a reader that meets a write
half-way notices and reads again. A body may have any bytes at its beginning, those of a note among
them: no note is as long as a block or has the mark at the end that an entry with a body has.

Reading: `flock(2)`, LMDB's lock table; ext4 `recently_deleted`. Non-goals: network file systems.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from contextlib import suppress
from typing import Literal, final

from proxy.storage.base import Progress
from proxy.storage.files import plain, write_at_once
from proxy.storage.folder import Folder
from proxy.storage.layout import has_footer

_HEAD = struct.Struct("<IBBqqH")  # checksum, state, headed, size (-1 unknown), received, error
_MAX_ERROR = 2000
_MAX_NOTE = _HEAD.size + _MAX_ERROR
_STATES: tuple[Literal["running", "landed", "failed"], ...] = ("running", "landed", "failed")
_TRIES = 8


@final
class ClaimFile:
    """The open claim file of one name. Owned when the lock was got, else only watched.

    `inherited`: somebody else had it before, who may have left a body; `clear` what it says.
    """

    def __init__(self, folder: Folder, name: str) -> None:
        self.name = name
        self._folder = folder
        self._fd = -1
        self.owned = self.inherited = self._blank = self._filled = False
        while not self._open():
            os.close(self._fd)

    def _open(self) -> bool:
        """Open what the name means at this moment, and lock it if it is free. False: it was over
        before we had it. Raises OSError."""
        self._fd, made = self._folder.open_shared(self.name)
        try:
            self.owned = _lock(self._fd)
            status = os.fstat(self._fd) if made else plain(self._fd)
            self._blank = status.st_size == 0
            self.inherited = self.owned and not (made and self._blank)
            # The last owner may have taken the name from the file between our open and our lock.
            # No claim ends as a blank file that has a name.
            blank = self._blank and status.st_nlink > 0
            return not self.owned or blank or self._folder.is_still(self.name, self._fd)
        except BaseException:
            os.close(self._fd)
            raise

    def try_own(self) -> bool:
        """Take the lock if its owner is gone. Raises OSError."""
        if not self.owned:
            self.owned, self._blank = _lock(self._fd), False
            self._filled = True  # perhaps: it may have been about to become an entry
        return self.owned

    def clear(self) -> None:
        """Take back what it says. Raises OSError."""
        if not self._blank:
            os.ftruncate(self._fd, 0)
        self._blank, self._filled, self.inherited = True, False, False

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def write(self, progress: Progress) -> None:
        """Note the progress. A full disk leaves the last note: followers only learn less."""
        with suppress(OSError):
            if self._filled:
                self.clear()
            self._blank = False
            os.pwrite(self._fd, _pack(progress), 0)

    def read(self) -> Progress | None:
        """The last note; None before the first one, or when it cannot be read just now."""
        with suppress(OSError):
            for _ in range(_TRIES):
                raw = os.pread(self._fd, _MAX_NOTE + 1, 0)
                if not raw or len(raw) > _MAX_NOTE or has_footer(raw):
                    return None
                progress = _unpack(raw)
                if progress is not None:
                    return progress
        return None

    def fill(self, *parts: bytes | memoryview, durable: bool = False) -> None:
        """Put other content in it, to be given another name then.

        Who has it open reads no note any more. Raises OSError; it is still a claim then.
        """
        if not self._blank:
            self.clear()
        self._blank, self._filled = False, True
        write_at_once(self._fd, parts)
        if durable:
            os.fsync(self._fd)

    def became(self) -> None:
        """It has got another name: the claim is over, and who has it open finds that out."""
        self.owned = False

    def close(self) -> None:
        """Let go; an owner removes the file first, while nobody else can own it. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if self.owned:
            self._folder.unlink(self.name)
        os.close(fd)


def remove_dead(folder: Folder, name: str) -> bool:
    """Remove a file of the flights unless its owner lives; tell whether it is gone."""
    try:
        fd, _ = folder.open(name)
    except OSError:
        return False
    try:
        if not _lock(fd):
            return False
        # Removed while we hold it: whoever opened it before finds that it is over.
        folder.unlink(name)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pack(progress: Progress) -> bytes:
    error = progress.error.encode("ascii", "replace")[:_MAX_ERROR]
    size = -1 if progress.size is None else progress.size
    rest = struct.pack(
        "<BBqqH",
        _STATES.index(progress.state),
        progress.headed,
        size,
        progress.received,
        len(error),
    )
    return struct.pack("<I", zlib.crc32(rest + error)) + rest + error


def _unpack(raw: bytes) -> Progress | None:
    if len(raw) < _HEAD.size:
        return None
    checksum, state, headed, size, received, length = _HEAD.unpack_from(raw)
    error = raw[_HEAD.size : _HEAD.size + length]
    if zlib.crc32(raw[4 : _HEAD.size] + error) != checksum or state >= len(_STATES):
        return None
    return Progress(
        state=_STATES[state],
        received=received,
        size=None if size < 0 else size,
        headed=bool(headed),
        error=error.decode("ascii", "replace"),
    )
