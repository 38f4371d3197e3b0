"""What is done with an open file or folder of the store, wherever it stands.

Purpose: a file is looked at before its content is believed, and written whole or not at all.
Non-goals: opening it (`folder`).
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress


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


def make_folder(folder: int, name: str) -> None:
    """Make a folder, 0700, in an open one; it may be there. Raises OSError."""
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=folder)


def mode_of(folder: int, name: str) -> int:
    """The mode of what has a name in an open folder; 0: there is nothing. Raises OSError."""
    with suppress(FileNotFoundError):
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    return 0
