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
from collections.abc import Callable
from contextlib import suppress
from typing import final

from proxy.storage.company import Company
from proxy.storage.files import write_all
from proxy.storage.folder import Folder

NAME = "session"
_MAX = 4096


@final
class Session:
    """Our part in the store's session. `suspect_before`: epoch seconds, 0 when all is in order.

    `unclean`: we are the first one in, and somebody has not left in order. `when_alone` is run
    before anybody else can come in, and only if nobody else is in.
    """

    def __init__(self, folder: Folder, now: float, when_alone: Callable[[], None]) -> None:
        self.suspect_before = 0.0
        self.unclean = False
        self._folder = folder
        self._fd = -1
        self._company: Company | None = None
        try:
            self._fd = folder.open_or_create(NAME)
        except OSError:
            # A read-only store: nothing new is written, so nothing new can be wrong.
            return
        if self._locked_alone():
            # No session file, or none that can be read, is no proof of order: somebody may have
            # removed it with the rest of the store, while it was in use.
            before = self._read() or {"dirty": any(True for _ in folder.walk("entries"))}
            self.unclean = bool(before.get("dirty", True))
            self.suspect_before = now if self.unclean else before.get("suspect_before", 0.0)
            self._write(dirty=True)
            when_alone()
        fcntl.flock(self._fd, fcntl.LOCK_SH)
        self.suspect_before = self._read().get("suspect_before", self.suspect_before)
        self._company = Company(self._fd, lambda: folder.is_still(NAME, self._fd))

    @property
    def alone(self) -> bool:
        """Whether nobody else was in a moment ago, as far as can be told."""
        return self._company is not None and self._company.is_absent()

    def end(self) -> None:
        """Leave in order; the last one out says so in the file. Idempotent."""
        fd = self._fd
        if fd < 0:
            return
        if self._company is not None:
            self._company.leave()
        if self._locked_alone():
            # What was not synced one by one is synced now: order means that a power cut finds it.
            with suppress(OSError):
                self._folder.sync()
                self._write(dirty=False)
        self._fd = -1
        os.close(fd)

    def _locked_alone(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _read(self) -> dict[str, float]:
        with suppress(OSError, ValueError, TypeError, RecursionError):
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
