"""Some rows of the table, within one transaction: read at once, changed in memory, written at once.

Purpose: row by row, diskcache asks and writes several times for each, and every time the thread
lets go of the interpreter and must get it back from who answers requests. The rows come out as
diskcache would have written them, one after the other.

Reading: diskcache `core.py`, `Cache.set` and `Cache.delete`. Non-goals: knowing what the rows mean
(`index`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from proxy.storage.table import Key, Table


@final
class Rows:
    """The rows that a transaction is about. Others are read when they are asked for."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._known: set[Key] = set()  # read, be it to find that there is none
        self._there: dict[Key, tuple[int, object]] = {}  # in its place: row number and value
        self._gone: list[int] = []
        self._changed: dict[int, object] = {}
        self._last: dict[Key, object] = {}

    def read(self, keys: Iterable[Key]) -> None:
        """Read those that are not known yet."""
        wanted = [key for key in dict.fromkeys(keys) if key not in self._known]
        self._known.update(wanted)
        for number, key, value in self._table.rows(wanted):
            self._there[key] = number, value

    def read_first(self, count: int) -> list[Key]:
        """Read so many from the beginning of the order; nothing may have been changed yet."""
        keys = []
        for number, key, value in self._table.first_rows(count):
            self._known.add(key)
            self._there[key] = number, value
            keys.append(key)
        return keys

    def get(self, key: Key) -> object | None:
        """The value of a key, as it will be."""
        if (value := self._last.get(key)) is not None:
            return value
        if key not in self._known:
            self.read([key])
        row = self._there.get(key)
        return None if row is None else row[1]

    def keeps_its_place(self, key: Key) -> bool:
        """Tell whether a key's row will stay where it is."""
        return key in self._there

    def put_last(self, key: Key, value: object) -> None:
        """Write a row behind all others."""
        self.remove(key)
        self._last[key] = value

    def change(self, key: Key, value: object) -> None:
        """Write another value where the row is."""
        if key in self._last:
            self._last[key] = value
        else:
            number, _ = self._there[key]
            self._there[key] = number, value
            self._changed[number] = value

    def remove(self, key: Key) -> None:
        """Remove a row, if there is one."""
        self._last.pop(key, None)
        if key not in self._known:
            self.read([key])
        row = self._there.pop(key, None)
        if row is not None:
            self._gone.append(row[0])
            self._changed.pop(row[0], None)

    def write(self) -> None:
        """Write down all of it. Once, and last."""
        self._table.remove_rows(self._gone)
        self._table.change_rows(self._changed)
        self._table.append_rows(self._last)
