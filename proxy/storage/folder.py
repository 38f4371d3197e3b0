"""One folder that belongs to us alone: the few file operations the disk storage is made of.

Purpose: every path is relative to the root and made of names we chose; files are opened without
following a symbolic link and must be plain; new files are 0600 and exclusive; a folder that was
removed under the running process is made again.

Reading: `openat(2)`, `rename(2)`. Non-goals: knowing what the files mean.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import final

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SHARED = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@final
class Folder:
    """File operations below `root`. All raise OSError."""

    def __init__(self, root: Path, parts: tuple[str, ...]) -> None:
        self.root = root
        self._parts = parts
        self.make()

    def make(self) -> None:
        """Make the root and its parts, 0700, where they are missing."""
        for part in self._parts:
            (self.root / part).mkdir(mode=0o700, parents=True, exist_ok=True)

    def open(self, name: str) -> tuple[int, os.stat_result]:
        """Open a plain file for reading: descriptor and status. Anything else raises OSError."""
        fd = os.open(self.root / name, _READ)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "not a plain file")
        return fd, status

    def read(self, name: str, limit: int) -> tuple[bytes, float]:
        """The first `limit` bytes of a plain file, and when it was written (epoch seconds)."""
        fd, status = self.open(name)
        try:
            return os.read(fd, limit), status.st_mtime
        finally:
            os.close(fd)

    def write(self, temporary: str, name: str, data: bytes, *, durable: bool = False) -> None:
        """Write a whole file into place by way of a temporary one."""
        fd = self.create(temporary)
        try:
            try:
                write_all(fd, data)
                if durable:
                    os.fsync(fd)
            finally:
                os.close(fd)
            self.replace(temporary, name)
        except OSError:
            self.unlink(temporary)
            raise

    def touch(self, name: str) -> None:
        """Mark a file as written now."""
        with suppress(OSError):
            os.utime(self.root / name)

    def create(self, name: str) -> int:
        """Create a file that must not exist and open it for reading and writing."""
        try:
            return os.open(self.root / name, _NEW, 0o600)
        except FileNotFoundError:
            self.make()
            return os.open(self.root / name, _NEW, 0o600)

    def open_or_create(self, name: str) -> int:
        """Open a plain file for reading and writing; create it when it is missing."""
        try:
            fd = os.open(self.root / name, _SHARED, 0o600)
        except FileNotFoundError:
            self.make()
            fd = os.open(self.root / name, _SHARED, 0o600)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "not a plain file")
        return fd

    def is_still(self, name: str, fd: int) -> bool:
        """Tell whether a name still means the open file."""
        with suppress(OSError):
            return os.path.samestat(os.lstat(self.root / name), os.fstat(fd))
        return False

    def append_to(self, name: str) -> tuple[int, int]:
        """Open an existing file for reading and writing at its end: descriptor and size."""
        fd = os.open(self.root / name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        return fd, os.lseek(fd, 0, os.SEEK_END)

    def replace(self, temporary: str, name: str) -> None:
        """Rename into place, making the (two-letter) folder when it is missing."""
        try:
            os.replace(self.root / temporary, self.root / name)
        except FileNotFoundError:
            (self.root / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.replace(self.root / temporary, self.root / name)

    def sync_parent(self, name: str) -> None:
        """Make a rename durable."""
        fd = os.open((self.root / name).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def unlink(self, name: str) -> None:
        """Remove a file; one that is missing or cannot be removed is left to the next prune."""
        with suppress(OSError):
            os.unlink(self.root / name)

    def names(self, part: str) -> list[str]:
        """The names directly below one part, as `part/name`; empty when it is missing."""
        with suppress(OSError), os.scandir(self.root / part) as found:
            return [f"{part}/{item.name}" for item in found]
        return []


def write_all(fd: int, data: bytes) -> None:
    """Write all of it: a disk that is nearly full takes a part and says so only the next time."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def cause(error: Exception) -> str:
    """An error's name without the path: what a log line may say."""
    if isinstance(error, OSError) and error.errno is not None:
        return errno.errorcode.get(error.errno, str(error.errno))
    return type(error).__name__
