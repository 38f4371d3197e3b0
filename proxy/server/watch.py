"""Has a file changed? By looking, not by being told.

Purpose: notice every way in which a file is replaced: written in place, renamed over, a symlink
that is swung to another folder (Kubernetes). A change counts when two looks in a row saw the same,
so that what is being written is not read halfway; who wants it at once (a signal) reads until two
readings agree.

Reading: stat(2), inotify(7) (which sees none of this on network file systems). Non-goals: reading.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar, final

SETTLE: Final = 0.25  # seconds between two readings that must agree
LOOKS: Final = 8  # readings; then somebody is writing all the time
_MAX_READ: Final = 4 << 20
_Look = tuple[tuple[int, ...], ...]
Seen = tuple[tuple[int, ...], bytes]
"""Stamp and digest of a file; the digest is empty where it could not be read."""
T = TypeVar("T")


@final
class Watch:
    """Looks at some files. `changed` may block on a slow disk: call it in a thread.

    `taken` False: they were read before this was made, and may have changed in between; the first
    settled look counts as a change then.
    """

    def __init__(self, files: Iterable[Path], *, taken: bool = True) -> None:
        self._files = tuple(files)
        self._last = self._look()
        self._accepted: _Look | None = self._last if taken else None

    def changed(self) -> bool:
        """Tell, once for each change, whether there is one that has settled."""
        before, self._last = self._last, self._look()
        if self._last == self._accepted or self._last != before:
            return False
        self._accepted = self._last
        return True

    def doubt(self) -> None:
        """What was found could not be taken: the next settled look counts as a change."""
        self._accepted = None

    def _look(self) -> _Look:
        return tuple(_stamp(file) for file in self._files)


async def settled(read: Callable[[], T]) -> T | None:
    """Read, in a thread, until two readings in a row are equal; None when they never are.

    A reading must hold what tells it from a later one: a `fingerprint`, say.
    """
    before = await asyncio.to_thread(read)
    for _ in range(LOOKS - 1):
        await asyncio.sleep(SETTLE)
        again = await asyncio.to_thread(read)
        if again == before:
            return again
        before = again
    return None


def fingerprint(file: Path) -> Seen:
    """Stamp and digest of a file as it is now; empty where there is none. Never raises OSError."""
    stamp = _stamp(file)
    try:
        with file.open("rb") as opened:
            return stamp, hashlib.sha256(opened.read(_MAX_READ)).digest()
    except OSError:
        return stamp, b""


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        found = os.stat(file)  # noqa: PTH116  # follows links, and costs half of Path.stat
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
