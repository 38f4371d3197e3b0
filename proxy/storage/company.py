"""Does any other process use the store at this moment?

Purpose: what processes do for each other's sake (a claim on each body, a second look) is a tenth of
what a small body costs. Each process holds a shared record lock on the session file for as long as
it is in; the kernel tells whether somebody else's stands in the way of an exclusive one, and drops
it when its holder dies. It is asked at most once in `LOOK` seconds: what somebody begins within
that time after another one has come in, or has begun before, the other may fetch once more.

Reading: `fcntl(2)`, "Open file description locks". Non-goals: order (`session`, whose lock is
another one).
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable
from time import monotonic
from typing import final

LOOK = 0.01
_FLOCK = struct.Struct("hhqqi0q")  # type, whence, start, length, pid (0); as C lays them out
_MINE = _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 1, 0)
_ALONE = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)


@final
class Company:
    """`fd`: of a file that every process in the store has opened for itself. `is_there`: tells
    whether others still find that file; where the store was removed they have another one."""

    def __init__(self, fd: int, is_there: Callable[[], bool]) -> None:
        self._fd = fd
        self._is_there = is_there
        self._looked = -LOOK
        self._is_alone = False
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _MINE)
        except OSError:
            self._fd = -1  # a file system without such locks: others cannot be told of us

    def is_absent(self) -> bool:
        """Tell whether nobody else was in a moment ago. False: that cannot be told, too."""
        if (now := monotonic()) - self._looked >= LOOK:
            self._looked, self._is_alone = now, self._look()
        return self._is_alone

    def _look(self) -> bool:
        if self._fd < 0:
            return False
        try:
            found = fcntl.fcntl(self._fd, fcntl.F_OFD_GETLK, _ALONE)
        except OSError:
            return False
        return _FLOCK.unpack(found)[0] == fcntl.F_UNLCK and self._is_there()

    def leave(self) -> None:
        """The file is about to be closed. Idempotent."""
        self._fd, self._is_alone = -1, False
