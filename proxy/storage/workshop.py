"""The folder where every file of the store is made, kept open for a moment.

Purpose: each file is made in it and renamed out of it; opening it each time costs as much as the
file does. It is opened as everything is, following no link, and not believed for longer than
`LOOK` to be still where it was: so soon it is noticed that it was moved away, or is a link now. One
that was removed takes no file any more, which is noticed at once.

What is made meanwhile in a folder that was moved away is seen by no other process, which may fetch
the same once more, and is renamed from there to where it belongs.

Threads: whoever uses the descriptor keeps the object for as long; nobody else closes it.
Reading: `openat(2)`. Non-goals: opening it; making it anew (`folder`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import final

LOOK = 0.01
"""Seconds for which the folder is taken to be still where it was opened."""
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@final
class Held:
    """An open folder. `fd`: its descriptor, closed with the last reference to this."""

    __slots__ = ("fd", "since")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.since = monotonic()

    def __del__(self) -> None:
        os.close(self.fd)


@final
class Workshop:
    """The folder that `open_folder` gives a descriptor of. All raise what that raises, and OSError.

    Names are those of files directly below it.
    """

    def __init__(self, open_folder: Callable[[], int]) -> None:
        self._open = open_folder
        self._held: Held | None = None

    def hold(self) -> Held:
        """The folder, opened anew when that is due."""
        held = self._held
        if held is None or monotonic() - held.since >= LOOK:
            held = self._anew()
        return held

    def forget(self) -> None:
        """Have it opened anew the next time."""
        self._held = None

    def create(self, name: str) -> int:
        """Create a file that must not exist, 0600, and open it for reading and writing."""
        held = self.hold()
        try:
            return os.open(name, _NEW, 0o600, dir_fd=held.fd)
        except FileNotFoundError:
            held = self._anew()
        return os.open(name, _NEW, 0o600, dir_fd=held.fd)

    def rename(self, name: str, target: int, new: str) -> None:
        """Give a file its name in another folder, of that descriptor, in place of what has it."""
        held = self.hold()
        try:
            return os.replace(name, new, src_dir_fd=held.fd, dst_dir_fd=target)
        except FileNotFoundError:
            held = self._anew()  # it was made in the one that stands there now, perhaps
        return os.replace(name, new, src_dir_fd=held.fd, dst_dir_fd=target)

    def remove(self, name: str) -> None:
        """Take back a file that was made here a moment ago. Never raises."""
        with suppress(OSError):
            held = self._held or self.hold()
            os.unlink(name, dir_fd=held.fd)

    def _anew(self) -> Held:
        self._held = None
        held = self._held = Held(self._open())
        return held
