"""One folder that belongs to us alone: the few file operations the disk storage is made of.

Purpose: every path is relative to the root and made of names we chose; files are opened without
following a symbolic link and must be plain; new files are 0600 and exclusive; a folder that was
removed under the running process is made again; a root that others may write to is refused.

Reading: `openat(2)`, `rename(2)`. Non-goals: knowing what the files mean.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import final

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SHARED = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_APPEND = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# What a call fails with for want of something, not because of the file.
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@final
class Folder:
    """File operations below `root`. All raise OSError."""

    def __init__(self, root: Path, parts: tuple[str, ...]) -> None:
        self.root = root
        self._parts = parts
        self.make()
        self._own()

    def make(self) -> None:
        """Make the root and its parts, 0700, where they are missing."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for part in self._parts:
            (self.root / part).mkdir(mode=0o700, exist_ok=True)

    def _own(self) -> None:
        """Refuse a root that somebody else may have filled; close one that the group may enter.

        A group's rights are nobody's fault: Kubernetes gives them to every folder of a volume.
        """
        status = os.lstat(self.root)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "the store is not a folder")
        if status.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "the store belongs to another user")
        if status.st_mode & stat.S_IWOTH:
            raise PermissionError(errno.EPERM, "anybody may write to the store")
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            with suppress(OSError):  # a read-only disk
                os.chmod(self.root, stat.S_IRWXU)

    def open(self, name: str) -> tuple[int, os.stat_result]:
        """Open a plain file for reading: descriptor and status. Anything else raises OSError."""
        fd = os.open(self.root / name, _READ)
        return fd, _plain(fd)

    def read(self, name: str, limit: int) -> tuple[bytes, float]:
        """The first `limit` bytes of a plain file, and when it was written (epoch seconds)."""
        fd, status = self.open(name)
        try:
            return os.read(fd, min(limit, status.st_size)), status.st_mtime
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

    def written(self, name: str, when: float) -> None:
        """Say when a file was written (epoch seconds)."""
        with suppress(OSError):
            os.utime(self.root / name, (when, when))

    def changed(self, name: str) -> float | None:
        """When a file got its name or content last, by the system's clock; None: it is missing."""
        with suppress(OSError):
            return os.lstat(self.root / name).st_ctime
        return None

    def size(self, name: str) -> int | None:
        """The size of a plain file in bytes; None: there is none."""
        with suppress(OSError):
            status = os.lstat(self.root / name)
            return status.st_size if stat.S_ISREG(status.st_mode) else None
        return None

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
        _plain(fd)
        return fd

    def is_still(self, name: str, fd: int) -> bool:
        """Tell whether a name still means the open file."""
        with suppress(OSError):
            return os.path.samestat(os.lstat(self.root / name), os.fstat(fd))
        return False

    def append_to(self, name: str) -> tuple[int, int]:
        """Open an existing file for reading and writing at its end: descriptor and size."""
        fd = os.open(self.root / name, _APPEND)
        _plain(fd)
        return fd, os.lseek(fd, 0, os.SEEK_END)

    def replace(self, temporary: str, name: str) -> None:
        """Rename into place, making the (two-letter) folder when it is missing."""
        try:
            os.replace(self.root / temporary, self.root / name)
        except (FileNotFoundError, NotADirectoryError):
            parent = (self.root / name).parent
            if not parent.is_dir():
                with suppress(FileNotFoundError, IsADirectoryError):  # another process was faster
                    parent.unlink()
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.replace(self.root / temporary, self.root / name)

    def free(self) -> int:
        """Bytes that may still be written to the disk; 0 also when no file can be made."""
        with suppress(OSError):
            status = os.statvfs(self.root)
            if status.f_favail or not status.f_files:
                return status.f_bavail * status.f_frsize
        return 0

    def sync(self) -> None:
        """Make everything durable that was written to this file system (syncfs(2))."""
        fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(fd):
                raise OSError(ctypes.get_errno(), "cannot sync")
        finally:
            os.close(fd)

    def sync_parent(self, name: str) -> None:
        """Make a rename durable."""
        fd = os.open((self.root / name).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def unlink(self, name: str) -> None:
        """Remove a file; one that is missing or cannot be removed is left to the next prune."""
        path = self.root / name
        try:
            os.unlink(path)
        except IsADirectoryError:
            # Nobody of us makes a folder there, and while it stands no file can take its place.
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            return

    def names(self, part: str) -> Iterator[str]:
        """The names directly below one part, as `part/name`; none when it is missing."""
        with suppress(OSError), os.scandir(self.root / part) as found:
            for item in found:
                yield f"{part}/{item.name}"

    def walk(self, part: str) -> Iterator[str]:
        """The names two below one part, as `part/aa/name`, a folder at a time."""
        for inner in sorted(self.names(part)):
            yield from list(self.names(inner))


def _plain(fd: int) -> os.stat_result:
    """The status of an open file; closes it and raises OSError when it is no plain one."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a plain file")
    return status


def is_ours(error: OSError) -> bool:
    """Tell whether a call failed for want of descriptors or memory: the file may be right."""
    return error.errno in _OURS


def is_full(error: OSError) -> bool:
    """Tell whether a call failed for want of room."""
    return error.errno in _FULL


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
