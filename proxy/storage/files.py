"""What is done with an open file of the store, wherever it stands.

Purpose: a file is looked at before its content is believed, and written whole or not at all.
Non-goals: opening it (`folder`).
"""

from __future__ import annotations

import errno
import os
import stat


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
