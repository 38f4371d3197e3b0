"""Open bodies of a local disk, and the count of them.

Purpose: eviction asks which bodies are being read by this process, so that it takes others first:
the bytes of an open body are not free before it is closed. Non-goals: other processes' readers;
an open body stays readable whoever removes its name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from typing import final

_CHUNK = 1 << 20  # bytes


@final
class OpenBodies:
    """How often each body is open here, by its `layout.body_id`. May be used from any thread."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()

    def opened(self, body_id: str) -> None:
        """Count one more."""
        with self._lock:
            self._counts[body_id] = self._counts.get(body_id, 0) + 1

    def closed(self, body_id: str) -> None:
        """Count one less."""
        with self._lock:
            count = self._counts.get(body_id, 0) - 1
            if count > 0:
                self._counts[body_id] = count
            else:
                self._counts.pop(body_id, None)

    def __contains__(self, body_id: str) -> bool:
        return body_id in self._counts


@final
class DiskBody:
    """Implements `Body`: an open file with a known size, counted in `bodies` until it is closed."""

    __slots__ = ("_bodies", "_fd", "_id", "size")

    def __init__(
        self, fd: int, size: int, body_id: str = "", bodies: OpenBodies | None = None
    ) -> None:
        self._fd = fd
        self.size = size
        self._id = body_id
        self._bodies = bodies
        if bodies is not None:
            bodies.opened(body_id)

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
            self._bodies.closed(self._id)


def content_of(body: DiskBody) -> bytes:
    """All of a body. Raises OSError, also when the file is shorter; it is closed."""
    try:
        content = os.pread(body.fileno(), body.size, 0)
    finally:
        body.close()
    if len(content) != body.size:
        raise OSError(errno.EIO, "the body is cut")
    return content


def digest_of(body: DiskBody) -> str:
    """The SHA-256 of a body (lower-case hex), all of which is read. Raises OSError."""
    digest = hashlib.sha256()
    offset = 0
    while piece := os.pread(body.fileno(), min(_CHUNK, body.size - offset), offset):
        digest.update(piece)
        offset += len(piece)
    return digest.hexdigest()
