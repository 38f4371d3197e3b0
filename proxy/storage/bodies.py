"""Open bodies of a local disk, and the count of them.

Purpose: eviction asks which bodies are being read by this process, so that it takes others first:
the bytes of an open body are not free before it is closed. Non-goals: other processes' readers;
an open body stays readable whoever removes its name.
"""

from __future__ import annotations

import os
import threading
from typing import final


@final
class OpenBodies:
    """How often each body is open here, by SHA-256. May be used from any thread."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()

    def opened(self, sha256: str) -> None:
        """Count one more."""
        with self._lock:
            self._counts[sha256] = self._counts.get(sha256, 0) + 1

    def closed(self, sha256: str) -> None:
        """Count one less."""
        with self._lock:
            count = self._counts.get(sha256, 0) - 1
            if count > 0:
                self._counts[sha256] = count
            else:
                self._counts.pop(sha256, None)

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._counts


@final
class DiskBody:
    """Implements `Body`: an open file with a known size, counted in `bodies` until it is closed."""

    __slots__ = ("_bodies", "_fd", "_sha256", "size")

    def __init__(
        self, fd: int, size: int, sha256: str = "", bodies: OpenBodies | None = None
    ) -> None:
        self._fd = fd
        self.size = size
        self._sha256 = sha256
        self._bodies = bodies
        if bodies is not None:
            bodies.opened(sha256)

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def close(self) -> None:
        """Close it once."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        os.close(fd)
        if self._bodies is not None:
            self._bodies.closed(self._sha256)
