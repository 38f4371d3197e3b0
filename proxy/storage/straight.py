"""Opening a file below a folder in one call that follows no symbolic link on the way.

Purpose: to open each folder from the one before it costs as many calls as there are folders, three
times over (open, open the next, close); Linux can do the same walk by itself. Where it cannot (an
old kernel, a container's filter on system calls), or will not, the caller walks step by step and
finds out why.

Reading: `openat2(2)`, RESOLVE_NO_SYMLINKS. Non-goals: what `folder` says about errors.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path
from typing import final

_OPENAT2 = 437  # on every architecture
_FROM_ROOT = -100  # AT_FDCWD: the path is absolute anyway
_NO_SYMLINKS = 0x04
_HOW = struct.Struct("=QQQ")  # flags, mode, resolve
_UNKNOWN = frozenset({errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.E2BIG})


@final
class StraightWay:
    """Opens below `root` (its own place is resolved here, once). `usable` False: always refuses."""

    def __init__(self, root: Path) -> None:
        self._root = (
            os.fsencode(os.path.realpath(root.parent)) + b"/" + os.fsencode(root.name) + b"/"
        )
        self._call = ctypes.CDLL(None, use_errno=True).syscall
        self._hows: dict[int, bytes] = {}
        self.usable = True
        fd = self.open("", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if fd >= 0:
            os.close(fd)
        self.usable = -fd not in _UNKNOWN

    def open(self, name: str, flags: int) -> int:
        """A descriptor of `name` (no leading slash), a new file being 0600; or the negative
        `errno`, also where a link is on the way. What may well be missing is no error here."""
        if not self.usable:
            return -errno.ENOSYS
        try:
            how = self._hows[flags]
        except KeyError:
            mode = 0o600 if flags & os.O_CREAT else 0
            how = self._hows[flags] = _HOW.pack(flags, mode, _NO_SYMLINKS)
        fd: int = self._call(_OPENAT2, _FROM_ROOT, self._root + name.encode(), how, _HOW.size)
        return fd if fd >= 0 else -ctypes.get_errno()
