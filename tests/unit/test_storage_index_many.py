"""The secondary index takes in many notes at once: the same rows, and few statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.storage.changes import Event, Removed, Stored
from proxy.storage.index import Index
from proxy.storage.index_rows import Books
from proxy.storage.table import open_table
from tests.unit.indexed import EVENTS, X, Y, apply, order, take_all
from tests.unit.stored import sha256


def many(count: int) -> list[Event]:
    """So many new entries, each with a body of its own."""
    return [Stored(f"python\0package-{n}\0", sha256(b"%d" % n), n) for n in range(count)]


def statements(index: Index, work: Callable[[], object]) -> int:
    """How many statements are run; those of triggers are told as the one that they belong to."""
    told: list[str] = []
    index._table._con.set_trace_callback(told.append)
    work()
    index._table._con.set_trace_callback(None)
    return len(set(told))


@pytest.mark.parametrize(
    "work",
    [
        lambda index, events: apply(index, *events),
        lambda index, events: apply(index, *events[::-1]),
        lambda index, events: apply(index, used=tuple(event.key for event in events)),
        lambda index, events: index.shrink(0, len(events), take_all),
    ],
)
def test_many_entries_take_as_many_statements_as_one(
    tmp_path: Path, work: Callable[[Index, list[Event]], object]
) -> None:
    one, hundred = Index(tmp_path / "one"), Index(tmp_path / "hundred")
    apply(one, *many(1))
    apply(hundred, *many(50))
    assert statements(hundred, lambda: work(hundred, many(100))) <= 3 + statements(
        one, lambda: work(one, many(1))
    )
    one.close()
    hundred.close()


def test_more_rows_than_fit_in_one_statement_are_all_written(index: Index) -> None:
    events = many(1001)
    apply(index, *events)
    apply(index, *events[:500])
    assert len(order(index)) == index.books().entries == 1001
    assert index.books().total == sum(range(1001))
    assert index.shrink(0, 1001, take_all).evicted == 1001
    assert index.books() == Books(0, 0)


@settings(max_examples=25, deadline=None)
@given(events=st.lists(EVENTS, max_size=30))
def test_many_at_once_come_to_the_same_as_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event | str | int]
) -> None:
    together = Index(tmp_path_factory.mktemp("together"))
    single = Index(tmp_path_factory.mktemp("single"))
    told: list[Event] = [event for event in events if isinstance(event, Stored | Removed)]
    used = tuple(event for event in events if isinstance(event, str))
    alone = [body for event in told for body in apply(single, event)]
    for key in used:
        apply(single, used=(key,))
    assert apply(together, *told, used=used) == alone
    assert order(together) == order(single)
    assert together.books() == single.books()
    together.close()
    single.close()


def rows(folder: Path) -> list[tuple[object, ...]]:
    """Every row but for its number and its times."""
    with closing(sqlite3.connect(folder / "cache.db")) as connection:
        columns = "key, raw, expire_time, access_count, tag, size, mode, filename, value"
        assert connection.execute(
            "SELECT COUNT(*) FROM Cache WHERE typeof(store_time) <> 'real'"
            " OR access_time <> store_time"
        ).fetchone() == (0,)
        return connection.execute(f"SELECT {columns} FROM Cache ORDER BY rowid").fetchall()  # noqa: S608


def test_the_rows_are_those_that_diskcache_writes_and_it_finds_nothing_wrong(
    tmp_path: Path,
) -> None:
    index = Index(tmp_path / "ours")
    apply(index, *many(300), Stored("a", X, 1), Stored("b", X, 1), Stored("c", Y, 1))
    apply(index, Removed("b"), Removed("c"), used=("python\0package-7\0",))
    index.shrink(0, 200, take_all)
    index.close()
    ours = open_table(tmp_path / "ours", 1.0)
    theirs = open_table(tmp_path / "theirs", 1.0)
    for key in ours:
        theirs.set(key, ours[key])
    assert ours[bytes.fromhex(X)] == 1
    assert len(ours) == len(theirs) == 2 * 101 + 1
    assert ours.check() == theirs.check() == []
    ours.close()
    theirs.close()
    assert rows(tmp_path / "ours") == rows(tmp_path / "theirs")
