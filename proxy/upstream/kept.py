"""Connections to one origin that nobody uses at the moment.

Purpose: the library's own pool asks for a key of seven parts and makes a new handle each time.
These keep the handle, and the one that was used last is the first to be used again: the others may
go. One that is closed, has heard what nobody asked for, or was kept too long is never given out.

Reading: RFC 9112 section 9.3. Non-goals: making connections (the library's connector).
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import final

from aiohttp.connector import Connection

from proxy.upstream.wire import Wire


@final
class Kept:
    """`longest`: seconds for which one is kept."""

    __slots__ = ("_idle", "_longest", "is_over")

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._idle: deque[tuple[Connection, Wire, float]] = deque()  # by the time they were put
        self.is_over = False  # nothing is kept any more

    def take(self) -> Connection | None:
        """One that can be asked on; None: there is none."""
        while self._idle:
            connection, wire, since = self._idle.pop()
            if wire.is_ready and monotonic() - since <= self._longest:
                return connection
            connection.close()
        return None

    def put(self, connection: Connection) -> None:
        """Keep one whose answer was received whole, or close it."""
        wire = connection.protocol
        if not isinstance(wire, Wire) or wire.should_close:
            connection.release()  # which closes those that are to be closed
        elif self.is_over:
            connection.close()
        else:
            wire.is_idle = True
            self._idle.append((connection, wire, monotonic()))

    def sweep(self) -> None:
        """Close those that nobody can use any more."""
        overdue = monotonic() - self._longest
        idle, self._idle = self._idle, deque()
        for connection, wire, since in idle:
            if wire.is_ready and since >= overdue:
                self._idle.append((connection, wire, since))
            else:
                connection.close()

    def close(self) -> None:
        """Close all of them, and whatever is put from now on."""
        self.is_over = True
        while self._idle:
            self._idle.pop()[0].close()
