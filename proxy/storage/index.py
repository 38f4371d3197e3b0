"""The secondary index: what is stored, least recently used first, and how many bytes it takes.

Purpose: eviction, purge and statistics without walking the store. The entry files are the truth;
the index follows them by a second or so, is rebuilt from them when it is lost (`reconcile`), and
is never read to answer a request.

One diskcache table, told apart by the type of the key::

    text    an entry's key, as it is, in order             JSON [`layout.body_id`, size]
    bytes   the SHA-256 of a body with its own file        how many entries share it
    0       the books                                      JSON {"total", "entries", "complete"}

What is said of a body's SHA-256 here is meant of its `body_id`: where it is inside of its entry,
nobody shares it, and it has no row.

Rows are ordered by insertion. A row that is used is deleted and set again, its body's row after it
and the books last, so that the first row is always the least recently used entry: eviction costs
the same whatever the store holds, and opening it reads nothing.

An instance belongs to the thread that made it. Several processes may use one index. Every method
raises IndexBusy (try again later, with a new instance) or IndexBroken (discard it): see `table`.

Reading: diskcache `core.py`; sqlite.org/rescode.html. Non-goals: files; deciding what to evict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from sqlite3 import Error
from typing import Final, NamedTuple, final

from proxy.storage.changes import Event, Notes, Removed, Stored, Stray
from proxy.storage.index_rows import Books, books_row, parse_books, parse_row, row
from proxy.storage.layout import is_shared
from proxy.storage.look import Look, News
from proxy.storage.rows import Rows
from proxy.storage.table import IndexBroken, Table, identity, open_table, translated

FOLDER: Final = "index"
_BOOKS: Final = 0


class Indexed(NamedTuple):
    """One entry. `size` in bytes; `used_at`: epoch seconds, as of the last flush."""

    key: str
    sha256: str
    size: int
    used_at: float


class Victim(NamedTuple):
    """An entry that may be evicted. `last`: no other entry has its body, which has a file."""

    key: str
    sha256: str
    size: int
    last: bool


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
            return None if value is None else parse_row(value)

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
                yield Indexed(key, *parse_row(value), float(used_at))

    def told_by_others(self) -> int:
        """A number that is another one as soon as another process has written into the index."""
        with translated():
            return self._table.version()

    def apply(
        self,
        notes: Notes,
        look: Look | None = None,
        *,
        since: int | None = None,
        complete: bool | None = None,
    ) -> list[str]:
        """Take in what happened, in one transaction; bodies (SHA-256) without an entry come out.

        Several processes tell what they did a while after they did it, in any order. With `look`,
        what is told is compared with what is true, inside of the transaction, so that the index
        says the truth of an entry as soon as whoever changed it last has told (`_Change.settle`).
        `since`: what `told_by_others` was before the first of this was noted. Is it still that,
        then an entry that is new to the index is taken to be there: nobody can have told of its
        end. (Measured: to look is a third of the work, and hands the interpreter to and fro.)
        `complete`: what the books say from now on.
        """
        events = [event for event in notes.events if _can_be_held(event)]
        used = [key for key in notes.used if _is_text(key)]
        with translated(), self._table.transact():
            if look is not None and since is not None and self._table.version() == since:
                look = News(look)
            change = _Change(self._table)
            change.read(events, used)
            for event in events:
                if isinstance(event, Stray):
                    change.stray(event.sha256)
                else:
                    change.settle(event, look)
            for key in used:
                change.use(key)
            if complete is not None:
                change.books = replace(change.books, complete=complete)
            change.write()
        return change.without_entry

    def shrink(self, target: int, batch: int, evict: Callable[[Victim], bool]) -> Shrunk:
        """One step of eviction: at most `batch` entries, until `target` bytes are left.

        `evict` removes the files, inside of the transaction: where a full disk lets nothing be
        written, it makes the room to write down that they are gone. False: the entry is in use.
        """
        evicted = skipped = 0
        with translated(), self._table.transact():
            change = _Change(self._table)
            before = change.books.total
            for victim in change.oldest(batch):
                if change.books.total <= target:
                    break
                if evict(victim):
                    change.remove(victim.key)
                    evicted += 1
                else:
                    change.use(victim.key)
                    skipped += 1
            change.write()
        return Shrunk(before - change.books.total, evicted, skipped, change.books)

    def _read_books(self) -> Books:
        return parse_books(self._table.get(_BOOKS))


@final
class _Change:
    """Changes within one transaction, and what they do to the books."""

    def __init__(self, table: Table) -> None:
        self._rows = Rows(table)
        self.books = parse_books(self._rows.get(_BOOKS))
        self.without_entry: list[str] = []
        self._parsed: dict[object, tuple[str, int]] = {}

    def read(self, events: list[Event], used: list[str]) -> None:
        """Read at once what these will ask for."""
        keys = [event.key for event in events if not isinstance(event, Stray)]
        keys += used
        told = [event.sha256 for event in events if not isinstance(event, Removed)]
        self._rows.read([*keys, *map(bytes.fromhex, filter(is_shared, told))])
        self._read_bodies(keys)

    def _read_bodies(self, keys: list[str]) -> None:
        held = [body[0] for key in keys if (body := self._body_of(key)) is not None]
        self._rows.read(map(bytes.fromhex, filter(is_shared, held)))

    def oldest(self, count: int) -> Iterator[Victim]:
        """At most so many entries, in order. Each MUST be removed or used before the next."""
        keys = self._rows.read_first(2 * count)  # an entry and its body, mostly
        self._read_bodies([key for key in keys if type(key) is str])
        for key in keys:
            if type(key) is str and count and (held := self._body_of(key)):
                count -= 1
                last = is_shared(held[0]) and self._entries_of(bytes.fromhex(held[0])) == 1
                yield Victim(key, *held, last)
            elif key == _BOOKS or not count:
                return
            elif self._rows.keeps_its_place(key):
                raise IndexBroken("a body without an entry comes first")

    def settle(self, event: Stored | Removed, look: Look | None) -> None:
        """Write down how an entry is. The body that was told of may be another one's by now.

        What somebody has stored is true, or whoever changed it since has still to tell. Not so
        where he may have told already: there is no entry any more, or a row that says otherwise.
        """
        told = (event.sha256, event.size) if isinstance(event, Stored) else None
        body = told
        if look is not None and not self._can_be_so(event.key, told, look):
            body = look.body(event.key)
        if body is None:
            self.remove(event.key)
        else:
            self.store(event.key, *body)
        if told is not None and (body is None or body[0] != told[0]):
            self.stray(told[0])

    def _can_be_so(self, key: str, told: tuple[str, int] | None, look: Look) -> bool:
        held = self._body_of(key)
        if held is None:
            return told is not None and look.is_there(key)
        return held == told

    def store(self, key: str, sha256: str, size: int) -> None:
        held = self._body_of(key)
        if held == (sha256, size):
            self.use(key)
            return
        if held is not None:
            self.remove(key)
        self._rows.put_last(key, row(sha256, size))
        self._count(entries=1, size=size if self._joined(sha256) else 0)

    def remove(self, key: str) -> None:
        held = self._body_of(key)
        if held is None:
            return
        self._rows.remove(key)
        sha256, size = held
        self._count(entries=-1, size=-size if self._left(sha256) else 0)

    def stray(self, sha256: str) -> None:
        if is_shared(sha256) and not self._entries_of(bytes.fromhex(sha256)):
            self.without_entry.append(sha256)

    def use(self, key: str) -> None:
        """Move an entry to the end, and its body behind it."""
        held = self._body_of(key)
        if held is None:
            return
        self._rows.put_last(key, row(*held))
        if is_shared(held[0]):
            body = bytes.fromhex(held[0])
            if not (count := self._entries_of(body)):
                raise IndexBroken("an entry without the row of its body")
            self._rows.put_last(body, count)

    def write(self) -> None:
        """Write down all of it, and the books last."""
        self._rows.put_last(_BOOKS, books_row(self.books))
        self._rows.write()

    def _body_of(self, key: str) -> tuple[str, int] | None:
        """SHA-256 and size of an entry's body, as they will be; None: it is not in the index."""
        value = self._rows.get(key)
        if value is None:
            return None
        if (known := self._parsed.get(value)) is None:
            known = self._parsed[value] = parse_row(value)
        return known

    def _joined(self, sha256: str) -> bool:
        """One more entry has a body; tell whether it is the only one."""
        if not is_shared(sha256):
            return True
        body = bytes.fromhex(sha256)
        count = self._entries_of(body)
        self._rows.put_last(body, count + 1)
        return not count

    def _left(self, sha256: str) -> bool:
        """One entry less has a body; tell whether it was the last."""
        if not is_shared(sha256):
            return True
        body = bytes.fromhex(sha256)
        count = self._entries_of(body)
        if count > 1:
            self._rows.change(body, count - 1)
            return False
        self._rows.remove(body)
        self.without_entry.append(sha256)
        return True

    def _entries_of(self, body: bytes) -> int:
        """How many entries share a body."""
        count = self._rows.get(body)
        if count is None:
            return 0
        if type(count) is not int or count < 1:
            raise IndexBroken("a body that is shared by no number of entries")
        return count

    def _count(self, *, entries: int, size: int) -> None:
        books = self.books
        self.books = Books(books.total + size, books.entries + entries, books.complete)


def _can_be_held(event: Event) -> bool:
    return isinstance(event, Stray) or _is_text(event.key)


def _is_text(key: str) -> bool:
    """Tell whether SQLite can hold a key. An entry with another one is never found (`base`)."""
    try:
        key.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
