"""Was the last stop a clean one?

Purpose: small bodies are not synced to the disk one by one, so after a power cut or a kill some may
be empty or cut under their final names. A session file says whether all processes that used the
store have left it in order; when not, every entry written before this start is *suspect* and is
hashed again at its first use.

All processes that share a store hold the file locked (shared); the first one in and the last one
out hold it alone. Reading: `flock(2)`; ext3's "not cleanly unmounted". Non-goals: repairing.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from typing import final

from proxy.storage.folder import Folder, write_all

NAME = "session"
_MAX = 4096


@final
class Session:
    """Our part in the store's session. `suspect_before`: epoch seconds, 0 when all is in order.

    `first`: no other process uses the store at this moment.
    """

    def __init__(self, folder: Folder, now: float) -> None:
        self.suspect_before = 0.0
        self.first = False
        self._fd = -1
        try:
            self._fd = folder.open_or_create(NAME)
        except OSError:
            # A read-only store: nothing new is written, so nothing new can be wrong.
            return
        if self._alone():
            self.first = True
            before = self._read()
            self.suspect_before = now if before.get("dirty") else before.get("suspect_before", 0.0)
            self._write(dirty=True)
        fcntl.flock(self._fd, fcntl.LOCK_SH)
        self.suspect_before = self._read().get("suspect_before", self.suspect_before)

    def end(self) -> None:
        """Leave in order; the last one out says so in the file. Idempotent."""
        fd = self._fd
        if fd < 0:
            return
        if self._alone():
            self._write(dirty=False)
        self._fd = -1
        os.close(fd)

    def _alone(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _read(self) -> dict[str, float]:
        with suppress(OSError, ValueError):
            data = json.loads(os.pread(self._fd, _MAX, 0))
            if isinstance(data, dict):
                return {name: float(value) for name, value in data.items()}
        return {}

    def _write(self, *, dirty: bool) -> None:
        data = {"dirty": int(dirty), "suspect_before": self.suspect_before}
        with suppress(OSError):
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
            write_all(self._fd, json.dumps(data).encode("ascii"))
            os.fsync(self._fd)
