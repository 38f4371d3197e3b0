"""diskcache without pickles, without files of its own, and with its errors sorted.

Purpose: `diskcache.Disk` unpickles what it finds in its database, which is code execution for
whoever can write there (CVE-2025-69872, no fixed version); it also reads, and removes, any file
that a row names. Here a row holds text, bytes or a whole number in the database itself, both ways,
and anything else raises `Forbidden`. What is wrong with the file is told apart from what is wrong
with the machine.

Reading: diskcache `core.py`, classes Disk and Cache; sqlite.org/rescode.html. Non-goals: knowing
what the rows mean (`index`).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NoReturn, TypeVar, final

import diskcache

_FILE: Final = "cache.db"  # diskcache's name
_VERSION: Final = 2  # of the rows: another one is another program's, and is discarded
_RAW: Final = 1  # diskcache.core.MODE_RAW
_OUT_OF_REACH: Final = 1 << 60
_AT_ONCE: Final = 200  # rows in one statement: SQLite may be built to take no more than 999 values
_INSERT: Final = (
    "INSERT INTO Cache(key, raw, store_time, access_time, access_count, size, mode, value) VALUES"
)
Key = str | bytes | int
Item = TypeVar("Item")
_SETTINGS: Final = {
    "eviction_policy": "none",
    "cull_limit": 0,
    "size_limit": _OUT_OF_REACH,
    "statistics": 0,
    "tag_index": 0,
    "disk_min_file_size": _OUT_OF_REACH,
    "sqlite_auto_vacuum": 0,
    "sqlite_cache_size": 1024,  # pages: 4 MiB
    "sqlite_mmap_size": 0,  # a file cut short under a mapping kills the process
    "sqlite_journal_mode": "wal",
    "sqlite_synchronous": 1,
}
# Conditions of the machine, not of the file.
_PASSING: Final = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_AUTH,
    }
)


class IndexBusy(Exception):
    """Not just now: locked, full, read-only, an I/O error."""


class IndexBroken(Exception):
    """Not an index, not ours, or damaged."""


class Forbidden(Exception):
    """A row that we did not write, or a value that we do not store."""


@final
class PlainDisk(diskcache.Disk):  # type: ignore[misc]  # ships no types
    """Stores str, bytes and int as they are. Raises Forbidden for anything else, both ways."""

    def put(self, key: object) -> tuple[object, bool]:
        """Check a key on its way in."""
        return _plain(key), True

    def get(self, key: object, raw: object) -> object:
        """Check a key on its way out: one that is not raw would be unpickled."""
        if raw != 1:
            raise Forbidden("a key that is not plain")
        return _plain(key)

    def store(
        self,
        value: object,
        read: object,
        key: object = None,  # noqa: ARG002  # diskcache's signature
    ) -> tuple[int, int, None, object]:
        """Check a value on its way in."""
        if read:
            raise Forbidden("a file")
        return 0, _RAW, None, _plain(value)

    def fetch(self, mode: object, filename: object, value: object, read: object) -> object:
        """Check a value on its way out."""
        if mode != _RAW or filename is not None or read:
            raise Forbidden("a value that is not plain")
        return _plain(value)

    def filename(self, *_given: object) -> NoReturn:
        """Refuse to make a file."""
        raise Forbidden("a file")

    def remove(self, file_path: object) -> None:
        """Do nothing: we have no files, and a row that names one is not ours."""


@final
class Table(diskcache.Cache):  # type: ignore[misc]  # ships no types
    """diskcache's table, with what it has not: a walk over a range of keys, many rows at once."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        try:
            super().__init__(*args, **kwargs)
        except BaseException:
            with suppress(sqlite3.Error):
                self.close()  # of a damaged one it would leave the file open
            raise

    def version(self) -> int:
        """A number that only what other connections commit makes another one."""
        (number,) = self._sql("PRAGMA data_version").fetchone()
        return int(number)

    def texts(self, prefix: str) -> Iterator[tuple[str, str, float]]:
        """Key, value and time of every text key that begins so, in order, a page at a time."""
        after, high = prefix, f"{prefix}\U0010ffff"
        comparison = ">="
        while True:
            rows = self._sql(
                "SELECT key, value, store_time FROM Cache"  # noqa: S608  # one of two constants
                f" WHERE typeof(key) = 'text' AND raw = 1 AND key {comparison} ? AND key < ?"
                " AND mode = 1 AND filename IS NULL ORDER BY key LIMIT 1000",
                (after, high),
            ).fetchall()
            if not rows:
                return
            yield from rows
            after, comparison = rows[-1][0], ">"

    def rows(self, keys: Sequence[Key]) -> Iterator[tuple[int, Key, object]]:
        """Row number, key and value of those keys that there are, in any order."""
        for some in _sliced(keys):
            yield from self._checked(f"WHERE raw = 1 AND key IN ({_marks('?', some)})", some)

    def first_rows(self, count: int) -> Iterator[tuple[int, Key, object]]:
        """Row number, key and value of so many rows, in order."""
        return self._checked("ORDER BY rowid LIMIT ?", [count])

    def _checked(self, which: str, given: Sequence[object]) -> Iterator[tuple[int, Key, object]]:
        select = "SELECT rowid, key, raw, mode, filename, value FROM Cache"
        get, fetch = self._disk.get, self._disk.fetch
        for number, key, raw, mode, filename, value in self._sql(
            f"{select} {which}", given
        ).fetchall():
            yield number, get(key, raw), fetch(mode, filename, value, read=False)

    def remove_rows(self, numbers: Sequence[int]) -> None:
        """Remove rows by their numbers."""
        for some in _sliced(numbers):
            self._sql(f"DELETE FROM Cache WHERE rowid IN ({_marks('?', some)})", some)  # noqa: S608  # no values

    def change_rows(self, values: Mapping[int, object]) -> None:
        """Set values by the numbers of their rows, which stay where they are."""
        now = time.time()
        self._con.executemany(
            "UPDATE Cache SET store_time = ?, access_time = ?, value = ? WHERE rowid = ?",
            [(now, now, _plain(value), number) for number, value in values.items()],
        )

    def append_rows(self, values: Mapping[Key, object]) -> None:
        """Add rows behind all others, in order. Their keys MUST be new."""
        now = time.time()
        for some in _sliced(list(values.items())):
            given: list[object] = []
            for key, value in some:
                given += (_plain(key), now, now, _plain(value))
            self._sql(f"{_INSERT} {_marks('(?, 1, ?, ?, 0, 0, 1, ?)', some)}", given)


def open_table(directory: Path, patience: float) -> Table:
    """Open the table in a folder, made where it is missing. Raises as `translated` says."""
    with translated():
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError:
            raise IndexBroken("something else stands in its place") from None
        if directory.is_symlink():
            raise IndexBroken("a link stands in its place")
        _probe(directory / _FILE, patience)
        return Table(str(directory), timeout=patience, disk=PlainDisk, **_SETTINGS)


def identity(directory: Path) -> tuple[int, int] | None:
    """Which file the index is at this moment; None: there is none."""
    with suppress(OSError):
        status = os.lstat(directory / _FILE)
        return status.st_dev, status.st_ino
    return None


def discard(directory: Path) -> None:
    """Remove the index, whatever it is. Who has it open notices (`identity`). Raises OSError."""
    if directory.is_symlink() or directory.is_file():
        directory.unlink()
    else:
        shutil.rmtree(directory)


def _probe(file: Path, patience: float) -> None:
    """Look before diskcache does: it would write into anything, and wait a minute for a lock."""
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(file).st_mode):
            raise IndexBroken("not a plain file")
    connection = sqlite3.connect(file, timeout=patience, isolation_level=None)
    try:
        # Nothing is lost with a file that was only just made: no need to wait for the disk.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if version == 0 and tables == 0:
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        elif version != _VERSION:
            raise IndexBroken("of another version")
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()


def _sliced(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]


def _marks(mark: str, given: Sequence[object]) -> str:
    return ", ".join([mark] * len(given))


def _plain(value: object) -> object:
    if type(value) not in {str, bytes, int}:
        raise Forbidden("not plain")
    return value


@contextmanager
def translated() -> Iterator[None]:
    """Say in our words what went wrong below; anything unknown counts as damage."""
    try:
        yield
    except (IndexBusy, IndexBroken):
        raise
    except (diskcache.Timeout, OSError) as error:
        raise IndexBusy(type(error).__name__) from error
    except Exception as error:
        if (name := _passing(error)) is not None:
            raise IndexBusy(name) from error
        raise IndexBroken(f"{type(error).__name__}: {error}") from error


def _passing(error: BaseException) -> str | None:
    """The name of the condition of the machine behind an error, if that is what it is.

    Behind: where SQLite has given up a transaction, diskcache's own rollback fails as well.
    """
    seen: BaseException | None = error
    while seen is not None:
        code = getattr(seen, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in _PASSING:
            return str(getattr(seen, "sqlite_errorname", "SQLITE"))
        seen = seen.__context__
    return None
