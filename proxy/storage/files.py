"""What is done with an open file or folder of the store, wherever it stands.

Purpose: a file is looked at before its content is believed, and written whole or not at all.
Non-goals: opening it (`folder`).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def plain(fd: int) -> os.stat_result:
    """The status of an open file. Raises OSError when it is no plain one."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a plain file")
    return status


def opened(fd: int) -> os.stat_result:
    """The same for who has just opened it: it is closed when this fails."""
    try:
        return plain(fd)
    except OSError:
        os.close(fd)
        raise


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of it: a disk that is nearly full takes a part and says so only the next time."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_at_once(fd: int, parts: Sequence[bytes | memoryview]) -> None:
    """Write an empty file, mostly in one call: a disk that took a part says why when asked again.
    Raises OSError."""
    written = os.pwritev(fd, parts, 0)
    if written != sum(map(len, parts)):
        os.lseek(fd, written, os.SEEK_SET)
        write_all(fd, b"".join(parts)[written:])


def make_folder(folder: int, name: str) -> None:
    """Make a folder, 0700, in an open one; it may be there. Raises OSError."""
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=folder)


def mode_of(folder: int, name: str) -> int:
    """The mode of what has a name in an open folder; 0: there is nothing. Raises OSError."""
    with suppress(FileNotFoundError):
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    return 0


def room(folder: Path) -> int:
    """Bytes that may still be written to the disk of a folder; 0 also when no file can be made."""
    with suppress(OSError):
        status = os.statvfs(folder)
        if status.f_favail or not status.f_files:
            return status.f_bavail * status.f_frsize
    return 0


def sync_all(fd: int) -> None:
    """Make everything durable that was written to a file system (syncfs(2)). Raises OSError."""
    if ctypes.CDLL(None, use_errno=True).syncfs(fd):
        raise OSError(ctypes.get_errno(), "cannot sync")
