"""One process at a time looks after the store.

Purpose: several processes may share a store, but one of them at a time evicts and reconciles.
Whoever does not get the lock leaves the work to who has it. The kernel drops it when its holder
dies. Reading: `flock(2)`. Non-goals: guarding data; the index has transactions for that.
"""

from __future__ import annotations

import fcntl
import os
from typing import final

from proxy.storage.folder import Folder

_NAME = "upkeep"


@final
class UpkeepLock:
    """The lock of one store. Belongs to one thread."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._fd = -1

    def take(self) -> bool:
        """Take it, or see that we still have it; False: somebody else has it, or nobody can."""
        if self._fd >= 0 and self._folder.is_still(_NAME, self._fd):
            return True
        self.release()
        try:
            fd = self._folder.open_or_create(_NAME)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def release(self) -> None:
        """Let go. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
