"""What happened to the entries since the index last heard of it, kept in memory.

Purpose: a hit writes nothing and a commit waits for no database. Both only leave a note here, from
any thread; the one thread that owns the index collects the notes about once a second.

The notes are bounded. Too many of them without a reader: the uses are forgotten (recency is a
hint), and for the rest `lost` says that the index must be compared with the entries.

Non-goals: what the notes mean (`index`), who collects them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, NamedTuple, final

MAX_EVENTS: Final = 100_000
MAX_USED: Final = 100_000


class Stored(NamedTuple):
    """An entry became visible. `sha256`: of its body, or what stands for it (`layout.body_id`).
    `size` in bytes."""

    key: str
    sha256: str
    size: int


class Removed(NamedTuple):
    """An entry became invisible."""

    key: str


class Stray(NamedTuple):
    """A body may be without an entry."""

    sha256: str


Event = Stored | Removed | Stray


class Notes(NamedTuple):
    """What was collected, oldest first. `lost`: there was more."""

    events: list[Event]
    used: list[str]
    lost: bool = False

    def first(self, count: int) -> tuple[Notes, Notes]:
        """So many of them, and the rest, which has lost nothing."""
        left = max(0, count - len(self.events))
        first = Notes(self.events[:count], self.used[:left], self.lost)
        return first, Notes(self.events[count:], self.used[left:])


@final
class Changes:
    """Implements `Watcher`, for the writers, and keeps the notes for the one collector."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._used: dict[str, None] = {}
        self._lost = False
        self._stored = 0
        self._limit: int | None = None
        self._wake: Callable[[], object] = lambda: None
        self._full = False

    # --- what the storage says ---------------------------------------------------------------

    def stored(self, key: str, sha256: str, size: int) -> None:
        """See `Watcher.stored`."""
        with self._lock:
            self._note(Stored(key, sha256, size))
            self._stored += size
            over = self._limit is not None and self._stored > self._limit
        if over:
            self._wake()

    def removed(self, key: str) -> None:
        """See `Watcher.removed`."""
        with self._lock:
            self._note(Removed(key))

    def stray(self, sha256: str) -> None:
        """See `Watcher.stray`."""
        with self._lock:
            self._note(Stray(sha256))

    def used(self, key: str) -> None:
        """See `Watcher.used`."""
        with self._lock:
            self._used.pop(key, None)
            if len(self._used) < MAX_USED:
                self._used[key] = None

    def full(self) -> None:
        """See `Watcher.full`. There is time: what did not fit is being removed."""
        self._full = True

    # --- what the collector does ---------------------------------------------------------------

    def watch(self, wake: Callable[[], object]) -> None:
        """Say whom to wake when there is no time to lose; from any thread."""
        self._wake = wake

    def expect(self, room: int | None) -> None:
        """Wake the collector as soon as more than `room` bytes were stored since `collect`."""
        with self._lock:
            self._limit = room

    def collect(self, *, used: bool = True) -> Notes:
        """Take the notes, those about uses only when asked for."""
        with self._lock:
            notes = Notes(self._events, list(self._used) if used else [], self._lost)
            self._events, self._lost, self._stored = [], False, 0
            if used:
                self._used = {}
        return notes

    def give_back(self, notes: Notes) -> None:
        """Put collected notes in front again: the index could not take them."""
        with self._lock:
            self._events[:0] = notes.events
            self._used = dict.fromkeys(notes.used) | self._used
            self._lost = self._lost or notes.lost

    def take_full(self) -> bool:
        """Tell, once, whether the disk had no room."""
        full, self._full = self._full, False
        return full

    def _note(self, event: Event) -> None:
        if len(self._events) < MAX_EVENTS:
            self._events.append(event)
        else:
            self._lost = True
