"""A file that says that what processes remember of the store's contents counts no more.

Purpose: an entry that goes is noticed by its file (`known`); what processes hold in memory beside
the store (refusals, packages that are open, ready answers) has no file. Whoever changes the store
from outside, `cache purge` say, advances the generation, and every process that looks (ten times a
second costs nothing: one `lstat`) forgets what it remembers.

Reading: varnish's bans. Non-goals: saying what has changed.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Final, final

from proxy.storage.folder import Folder

LOG = logging.getLogger(__name__)
NAME: Final = "generation"
LOOK: Final = 0.1
"""Seconds between two looks of a process that shares the store."""


@final
class Generation:
    """Of one store. For one thread."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._path = folder.path(NAME)
        self._seen = self._look()

    def changed(self) -> bool:
        """Tell, once for each advance (or several), whether it was advanced since."""
        before, self._seen = self._seen, self._look()
        return self._seen != before

    def advance(self) -> None:
        """Have every process forget what it remembers. Never raises."""
        stamp = f"{os.getpid()}-{time.time_ns()}"
        try:
            # Another file in its place: its identity changes, whatever the clock's ticks.
            self._folder.write(f"flights/{stamp}", NAME, stamp.encode("ascii"))
        except OSError as error:
            LOG.warning("running proxies cannot be told to forget: %s", error.strerror)

    def _look(self) -> tuple[int, ...]:
        try:
            status = os.lstat(self._path)
        except OSError:
            return ()
        return (status.st_dev, status.st_ino, status.st_ctime_ns)
