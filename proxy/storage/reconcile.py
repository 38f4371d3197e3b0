"""Make index and files agree, a slice at a time: the files are the truth.

Purpose: after an unclean stop, when the index was lost, once a day, and on `cache prune`: entries
that the index does not know are taken in, those whose body is missing go, rows without an entry go,
bodies without an entry go, and so does what dead processes left half-done.

`reconcile` is a generator that yields after every slice, so that its caller says how fast it goes
and what is done in between. Reading: "mark and sweep". Non-goals: reading bodies (`verify`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar, final

from proxy.storage.changes import Event, Notes, Removed, Stored
from proxy.storage.claim import remove_dead
from proxy.storage.entries import UNREADABLE, read
from proxy.storage.failures import cause, is_ours
from proxy.storage.folder import Folder
from proxy.storage.index import Index
from proxy.storage.layout import body_id, body_name, entry_name, sha256_of_body

LOG = logging.getLogger(__name__)
SLICE = 50  # of files: a few milliseconds
# A body gets its name just before its entry does, and the index hears of both a second later.
BODY_GRACE = 60.0
FLIGHT_GRACE = 3600.0
Item = TypeVar("Item")


@dataclass(slots=True)
class Reconciled:
    """What was found, in numbers of each; `freed` in bytes."""

    entries: int = 0
    added: int = 0
    broken: int = 0
    forgotten: int = 0
    orphans: int = 0
    flights: int = 0
    freed: int = 0


def reconcile(
    folder: Folder, index: Index, clock: Callable[[], float], found: Reconciled
) -> Iterator[None]:
    """Do all of it; `found` tells how far it is. Raises IndexBusy and IndexBroken.

    `clock`: epoch seconds, of the same clock as the file system's.
    """
    yield from _take_in(folder, index, found)
    yield from _forget(folder, index, found)
    index.apply(Notes([], []), complete=True)
    # Only a complete index knows which bodies nobody needs.
    yield from _reap_bodies(folder, index, clock, found)
    yield from reap_flights(folder, clock, found)


@final
class Standing:
    """Implements `Look`: how the entries in a folder are at this moment."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def is_there(self, key: str) -> bool:
        """See `Look.is_there`. A link on the way is followed, for only the name is looked at."""
        try:
            os.lstat(self._folder.path(entry_name(key)))
        except OSError:
            return False
        return True

    def body(self, key: str) -> tuple[str, int] | None:
        """See `Look.body`."""
        try:
            record = read(self._folder, entry_name(key))
        except OSError as error:
            if is_ours(error):
                raise
            return None
        except UNREADABLE:
            return None
        return (body_id(record), record.size) if record.key == key else None


def reap(folder: Folder, index: Index, sha256: str, before: float) -> int | None:
    """Remove a body that no entry has and that got its name before then (epoch seconds).

    The bytes freed; None: it is too young to tell, ask again later.
    """
    name = body_name(sha256)
    changed = folder.changed(name)
    if changed is None or index.refers(sha256):
        return 0
    if changed > before:
        return None
    size = folder.size(name) or 0
    folder.unlink(name)
    return size


def _take_in(folder: Folder, index: Index, found: Reconciled) -> Iterator[None]:
    for names in _sliced(folder.walk("entries")):
        events: list[Event] = []
        for name in names:
            entry = _read(folder, name, found)
            if entry is None:
                continue
            found.entries += 1
            if index.get(entry.key) != (entry.sha256, entry.size):
                found.added += 1
                events.append(entry)
        if events:
            index.apply(Notes(events, []), Standing(folder))
        yield


def _read(folder: Folder, name: str, found: Reconciled) -> Stored | None:
    """The entry of a file; one that cannot be of use is removed."""
    try:
        record = read(folder, name)
        # What could be read with its body inside is whole.
        here = record.inside or folder.size(body_name(record.sha256)) == record.size
        if here and entry_name(record.key) == name:
            return Stored(record.key, body_id(record), record.size)
    except FileNotFoundError:
        return None
    except (OSError, *UNREADABLE) as error:
        if isinstance(error, OSError) and is_ours(error):
            return None
        LOG.warning("entry %s is unreadable (%s); removed", name, cause(error))
    found.broken += 1
    folder.unlink(name)
    return None


def _forget(folder: Folder, index: Index, found: Reconciled) -> Iterator[None]:
    for keys in _sliced(index.keys_in_order_of_use()):
        gone: list[Event] = [
            Removed(key) for key in keys if folder.changed(entry_name(key)) is None
        ]
        if gone:
            found.forgotten += len(gone)
            index.apply(Notes(gone, []), Standing(folder))
        yield


def _reap_bodies(
    folder: Folder, index: Index, clock: Callable[[], float], found: Reconciled
) -> Iterator[None]:
    for names in _sliced(folder.walk("bodies")):
        before = clock() - BODY_GRACE
        for name in names:
            sha256 = sha256_of_body(name)
            freed = 0 if sha256 is None else reap(folder, index, sha256, before)
            if sha256 is None:
                folder.unlink(name)
            if sha256 is None or freed:
                found.orphans += 1
                found.freed += freed or 0
        yield


def reap_flights(folder: Folder, clock: Callable[[], float], found: Reconciled) -> Iterator[None]:
    """Remove what dead processes left half-done and nobody has gone on with for an hour."""
    for names in _sliced(folder.names("flights")):
        before = clock() - FLIGHT_GRACE
        for name in names:
            changed = folder.changed(name)
            if changed is not None and changed < before and remove_dead(folder, name):
                found.flights += 1
        yield


def _sliced(items: Iterator[Item]) -> Iterator[list[Item]]:
    taken: list[Item] = []
    for item in items:
        taken.append(item)
        if len(taken) == SLICE:
            yield taken
            taken = []
    if taken:
        yield taken
