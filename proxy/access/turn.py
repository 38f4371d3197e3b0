"""Whose turn it is to ask the platform, where several processes want to know the same.

Purpose: one of the processes that share a folder asks, the others read what it has kept there. The
kernel drops the lock when its holder dies, and the next one who looks has it.

Reading: flock(2). Non-goals: guarding the file (it is replaced whole).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import final

NAME = "entitlements.turn"


@final
class Turn:
    """The lock of one folder."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / NAME
        self._fd = -1

    def take(self) -> bool:
        """Take it, or have it still; False: somebody else has it. Blocks no longer than the disk.

        Where no file can be made each asks for itself: True.
        """
        if self._fd >= 0:
            return True
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(self._file, flags, 0o600)
        except OSError:
            return True
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
