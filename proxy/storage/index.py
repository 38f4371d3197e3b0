"""The secondary index: what is stored, least recently used first, and how many bytes it takes.

Purpose: eviction, purge and statistics without walking the store. The entry files are the truth;
the index follows them by a second or so, is rebuilt from them when it is lost (`reconcile`), and
is never read to answer a request.

One diskcache table, told apart by the type of the key::

    text    an entry's key, as it is, in order             JSON [sha256, size]
    bytes   a body's SHA-256                               how many entries share it
    0       the books                                      JSON {"total", "entries", "complete"}

Rows are ordered by insertion. A row that is used is deleted and set again, its body's row after it
and the books last, so that the first row is always the least recently used entry: eviction costs
the same whatever the store holds, and opening it reads nothing.

An instance belongs to the thread that made it. Several processes may use one index. Every method
raises IndexBusy (try again later, with a new instance) or IndexBroken (discard it): see `table`.

Reading: diskcache `core.py`; sqlite.org/rescode.html. Non-goals: files; deciding what to evict.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from sqlite3 import Error
from typing import Final, NamedTuple, final

from proxy.storage.changes import Notes, Removed, Stored, Stray
from proxy.storage.table import IndexBroken, Table, identity, open_table, translated

FOLDER: Final = "index"
_BOOKS: Final = 0
Look = Callable[[str], tuple[str, int] | None]  # key to SHA-256 and size; None: no entry


class Indexed(NamedTuple):
    """One entry. `size` in bytes; `used_at`: epoch seconds, as of the last flush."""

    key: str
    sha256: str
    size: int
    used_at: float


class Victim(NamedTuple):
    """An entry that may be evicted. `last`: no other entry has its body."""

    key: str
    sha256: str
    size: int
    last: bool


@dataclass(frozen=True, slots=True)
class Books:
    """`total`: bytes of all bodies, shared ones once. `complete`: all entries are in the index."""

    total: int = 0
    entries: int = 0
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Shrunk:
    """What one step of eviction did. `freed` in bytes; `skipped`: entries that are in use."""

    freed: int
    evicted: int
    skipped: int
    books: Books


@final
class Index:
    """The index in a folder. `patience`: seconds to wait for another process's transaction."""

    def __init__(self, directory: Path, *, patience: float = 2.0) -> None:
        self._directory = directory
        with translated():
            self._table = open_table(directory, patience)
            self.identity = identity(directory)

    def close(self) -> None:
        """Close the file. Idempotent."""
        with suppress(Error):
            self._table.close()

    def is_current(self) -> bool:
        """Tell whether the file is still the one that was opened."""
        return self.identity is not None and identity(self._directory) == self.identity

    def books(self) -> Books:
        """The books."""
        with translated():
            return self._read_books()

    def get(self, key: str) -> tuple[str, int] | None:
        """SHA-256 and size (bytes) of an entry's body; None: the entry is not in the index."""
        with translated():
            value = self._table.get(key)
            return None if value is None else _parse(value)

    def refers(self, sha256: str) -> bool:
        """Tell whether an entry has that body."""
        with translated():
            return self._table.get(bytes.fromhex(sha256)) is not None

    def keys_in_order_of_use(self) -> Iterator[str]:
        """Every key, least recently used first. Others may write meanwhile."""
        with translated():
            for key in self._table:
                if type(key) is str:
                    yield key

    def entries(self, prefix: str = "") -> Iterator[Indexed]:
        """Every entry whose key begins so, in the order of the keys."""
        with translated():
            for key, value, used_at in self._table.texts(prefix):
                yield Indexed(key, *_parse(value), float(used_at))

    def apply(
        self, notes: Notes, look: Look | None = None, *, complete: bool | None = None
    ) -> list[str]:
        """Take in what happened, in one transaction; bodies (SHA-256) without an entry come out.

        `look` tells how an entry is at this moment. Several processes tell what they did a while
        after they did it, in any order: with `look`, inside of the transaction, whoever comes last
        writes down what is true. `complete`: what the books say from now on.
        """
        with translated(), self._table.transact():
            change = _Change(self._table, self._read_books())
            for event in notes.events:
                if isinstance(event, Stray):
                    change.stray(event.sha256)
                elif _can_be_held(event.key):
                    change.settle(event, _as_told(event) if look is None else look(event.key))
            for key in filter(_can_be_held, notes.used):
                change.use(key)
            if complete is not None:
                change.books = replace(change.books, complete=complete)
            self._write_books(change.books)
        return change.without_entry

    def shrink(self, target: int, batch: int, evict: Callable[[Victim], bool]) -> Shrunk:
        """One step of eviction: at most `batch` entries, until `target` bytes are left.

        `evict` removes the files, inside of the transaction: where a full disk lets nothing be
        written, it makes the room to write down that they are gone. False: the entry is in use.
        """
        evicted = skipped = 0
        with translated(), self._table.transact():
            change = _Change(self._table, self._read_books())
            before = change.books.total
            while change.books.total > target and evicted + skipped < batch:
                victim = self._oldest()
                if victim is None:
                    break
                if evict(victim):
                    change.remove(victim.key)
                    evicted += 1
                else:
                    change.use(victim.key)
                    skipped += 1
            self._write_books(change.books)
        return Shrunk(before - change.books.total, evicted, skipped, change.books)

    def _oldest(self) -> Victim | None:
        key, value = self._table.peekitem(last=False)
        if key == _BOOKS:
            return None
        if type(key) is not str:
            raise IndexBroken("a body without an entry comes first")
        sha256, size = _parse(value)
        return Victim(key, sha256, size, self._table.get(bytes.fromhex(sha256)) == 1)

    def _read_books(self) -> Books:
        value = self._table.get(_BOOKS)
        if value is None:
            return Books()
        given = json.loads(value)
        return Books(int(given["total"]), int(given["entries"]), bool(given["complete"]))

    def _write_books(self, books: Books) -> None:
        value = {"total": books.total, "entries": books.entries, "complete": books.complete}
        self._table.delete(_BOOKS)
        self._table.set(_BOOKS, json.dumps(value))


@final
class _Change:
    """Changes within one transaction, and what they do to the books."""

    def __init__(self, table: Table, books: Books) -> None:
        self._table = table
        self.books = books
        self.without_entry: list[str] = []

    def settle(self, event: Stored | Removed, body: tuple[str, int] | None) -> None:
        """Write down how an entry is. The body that was told of may be another one's by now."""
        if body is None:
            self.remove(event.key)
        else:
            self.store(event.key, *body)
        if isinstance(event, Stored) and (body is None or body[0] != event.sha256):
            self.stray(event.sha256)

    def store(self, key: str, sha256: str, size: int) -> None:
        value = self._table.get(key)
        if value is not None and _parse(value) == (sha256, size):
            self.use(key)
            return
        if value is not None:
            self.remove(key)
        self._table.set(key, json.dumps([sha256, size]))
        body = bytes.fromhex(sha256)
        count = self._table.get(body, 0)
        if count:
            self._table.delete(body)
        self._table.set(body, count + 1)
        self._count(entries=1, size=0 if count else size)

    def remove(self, key: str) -> None:
        value = self._table.get(key)
        if value is None:
            return
        self._table.delete(key)
        sha256, size = _parse(value)
        body = bytes.fromhex(sha256)
        if self._table.get(body, 0) > 1:
            self._table.incr(body, -1)
            self._count(entries=-1, size=0)
        else:
            self._table.delete(body)
            self._count(entries=-1, size=-size)
            self.without_entry.append(sha256)

    def stray(self, sha256: str) -> None:
        if self._table.get(bytes.fromhex(sha256)) is None:
            self.without_entry.append(sha256)

    def use(self, key: str) -> None:
        """Move an entry to the end, and its body behind it."""
        value = self._table.pop(key)
        if value is None:
            return
        self._table.set(key, value)
        body = bytes.fromhex(_parse(value)[0])
        self._table.set(body, self._table.pop(body))

    def _count(self, *, entries: int, size: int) -> None:
        books = self.books
        self.books = replace(books, entries=books.entries + entries, total=books.total + size)


def _as_told(event: Stored | Removed) -> tuple[str, int] | None:
    return (event.sha256, event.size) if isinstance(event, Stored) else None


def _can_be_held(key: str) -> bool:
    """Tell whether SQLite can hold a key. An entry with another one is never found (`base`)."""
    try:
        key.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _parse(value: object) -> tuple[str, int]:
    sha256, size = json.loads(str(value))
    bytes.fromhex(sha256)
    return sha256, int(size)
