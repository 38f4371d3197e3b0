"""Has a file changed? By looking, not by being told.

Purpose: notice every way in which a file is replaced: written in place, renamed over, a symlink
that is swung to another folder (Kubernetes). A change counts when two looks in a row saw the same,
so that what is being written is not read halfway.

Reading: stat(2), inotify(7) (which sees none of this on network file systems). Non-goals: reading.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import final

_Look = tuple[tuple[int, ...], ...]


@final
class Watch:
    """Looks at some files. `changed` may block on a slow disk: call it in a thread."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._files = tuple(files)
        self._accepted = self._last = self._look()

    def changed(self) -> bool:
        """Tell, once for each change, whether there is one that has settled."""
        before, self._last = self._last, self._look()
        if self._last == self._accepted or self._last != before:
            return False
        self._accepted = self._last
        return True

    def _look(self) -> _Look:
        return tuple(_stamp(file) for file in self._files)


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        found = os.stat(file)  # noqa: PTH116  # follows links, and costs half of Path.stat
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
