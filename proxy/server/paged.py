"""Bodies of the hot path that lie in pages of the kernel's, to be sent without copying them.

Purpose: to write a body from this process's memory is to have the kernel make room for it and copy
it, anew for every client. The room is made on one core and given back on another, the reader's; how
far apart in memory these pages are is the kernel's affair (it keeps up to 400 MiB of free ones a
core), and so a page of 60 KiB took 20 us or 33, and one of 1 MiB 220 or 600, from one second to
the next (measured; Linux 6.18). From a file in memory `sendfile` gives the pages themselves: 16 us
and 160 in any. Below `LEAST` the second call costs more than the copy.

Reading: `memfd_create(2)`, `sendfile(2)`, `send(2)` MSG_MORE. Non-goals: files on disk (`sending`).
"""

from __future__ import annotations

import os
import resource
import socket
from typing import Final, final
from weakref import WeakValueDictionary, finalize

LEAST: Final = 32 << 10
"""Bytes of a body from which this is worth it."""
_MOST: Final = 256
_NONE = -1


@final
class Paged:
    """`data`, and the same in pages of the kernel's once it was asked for."""

    __slots__ = ("__weakref__", "_fd", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._fd: int | None = None

    def send(self, head: bytes, peer: socket.socket) -> int:
        """Send as much of both, one behind the other, as a non-blocking socket takes now.

        Raises OSError when it takes nothing; what was sent is known else.
        """
        fd = self._fd
        if fd is None:
            fd = self._fd = self._lay_out()
        if fd == _NONE:
            return peer.sendmsg((head, self.data))
        sent = peer.send(head, socket.MSG_MORE)
        if sent == len(head):
            try:
                sent += os.sendfile(peer.fileno(), fd, 0, len(self.data))
            except OSError:
                return sent  # full, or gone: who sends the rest finds out
        return sent

    def _lay_out(self) -> int:
        """Make the file; `_NONE`: that is not possible here (another system, a sandbox, no room,
        no descriptors), and not tried again."""
        try:
            fd = os.memfd_create("body")
        except (AttributeError, OSError):
            return _NONE
        try:
            whole = os.write(fd, self.data) == len(self.data)
        except OSError:
            whole = False
        if not whole:
            os.close(fd)
            return _NONE
        finalize(self, os.close, fd)
        return fd


@final
class PagedBodies:
    """One `Paged` for each body (the object, not its bytes), as long as somebody holds it.

    At most `most` at a time: each takes a descriptor, of which connections need most. None: a
    sixteenth of what the process may have, 256 if that is many.
    """

    def __init__(self, most: int | None = None) -> None:
        self._by_id: WeakValueDictionary[int, Paged] = WeakValueDictionary()
        self._most = _share() if most is None else most

    def of(self, body: bytes) -> bytes | Paged:
        """The body as it is best sent."""
        if len(body) < LEAST:
            return body
        found = self._by_id.get(id(body))  # which holds the body: no other can have its id
        if found is None:
            if len(self._by_id) >= self._most:
                return body
            found = self._by_id[id(body)] = Paged(body)
        return found


def _share() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else min(_MOST, soft // 16)
