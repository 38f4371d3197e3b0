"""What is not an index, or damaged, or planted: told as such, never run, and thrown away."""

from __future__ import annotations

import os
import pickle
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from proxy.storage.changes import Event, Removed, Stored
from proxy.storage.index import Index
from proxy.storage.index_rows import Books
from proxy.storage.table import Forbidden, IndexBroken, IndexBusy, PlainDisk, discard
from tests.unit.indexed import X, Y, apply, order, take_all
from tests.unit.stored import sha256


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str, int], int], tuple[str, int]]:
        return os.open, (str(self.target), os.O_CREAT | os.O_WRONLY)


def plant(folder: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(folder / "index/cache.db") as connection:
        connection.execute(statement, values)
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO Cache(rowid, key, raw, mode, value) VALUES (-1, 'a', 1, 4, ?)",
        "UPDATE Cache SET mode = 4, value = ? WHERE key = 'a'",
        "UPDATE Cache SET mode = 4, value = ? WHERE key = 0",
        "INSERT INTO Cache(rowid, key, raw, mode, value) VALUES (-1, ?, 0, 1, '[]')",
        "INSERT OR REPLACE INTO Settings VALUES ('disk_min_file_size', ?)",
    ],
)
def test_a_planted_pickle_is_never_run(tmp_path: Path, statement: str) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"))
    index = Index(tmp_path / "index")
    apply(index, Stored("b", Y, 1))
    if statement.startswith("UPDATE"):
        apply(index, Stored("a", X, 1))
    index.close()
    plant(tmp_path, statement, bomb)
    calls: list[Callable[[Index], object]] = [
        lambda index: index.books(),
        lambda index: index.get("a"),
        order,
        lambda index: list(index.entries()),
        lambda index: index.shrink(0, 100, take_all),
        lambda index: apply(index, Stored("a", X, 1), Removed("a"), used=("a", "b")),
    ]
    with suppress(IndexBroken):
        index = Index(tmp_path / "index")
        for call in calls:
            with suppress(IndexBroken):
                call(index)
        index.close()
    assert not (tmp_path / "exploded").exists()
    assert pickle.loads(bomb) is not None  # it is a real one  # noqa: S301
    assert (tmp_path / "exploded").exists()


def test_a_planted_file_name_is_neither_read_nor_removed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"x")
    index = Index(tmp_path / "index")
    apply(index, Stored("a", X, 1), Stored("b", Y, 1))
    index.close()
    plant(tmp_path, "UPDATE Cache SET mode = 2, filename = '../precious' WHERE key = 'a'")
    index = Index(tmp_path / "index")
    with pytest.raises(IndexBroken):
        index.get("a")
    with pytest.raises(IndexBroken):
        apply(index, Removed("a"))
    assert [entry.key for entry in index.entries()] == ["b"]
    index.close()
    assert (tmp_path / "precious").exists()


def test_the_disk_removes_no_file_whatever_a_row_says(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"x")
    PlainDisk(str(tmp_path / "index")).remove("../precious")
    PlainDisk(str(tmp_path)).remove("precious")
    assert (tmp_path / "precious").exists()


@pytest.mark.parametrize("value", [object(), 1.5, None, [1], {"a": 1}, True])
def test_nothing_but_text_bytes_and_whole_numbers_is_stored(tmp_path: Path, value: object) -> None:
    disk = PlainDisk(str(tmp_path))
    with pytest.raises(Forbidden):
        disk.put(value)
    with pytest.raises(Forbidden):
        disk.store(value, read=False)


def _overwrite_pages(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[100:] = os.urandom(len(data) - 100)
    file.write_bytes(data)


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _sql(*statements: str) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        connection = sqlite3.connect(file)
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()

    return change


@pytest.mark.parametrize(
    "harm",
    [
        lambda file: file.write_bytes(b"no database at all, but long enough to be asked for one"),
        lambda file: file.write_bytes(file.read_bytes()[:5000]),
        _overwrite_pages,
        _sql("PRAGMA user_version = 1"),
        _sql("PRAGMA user_version = 3"),
        _sql("ALTER TABLE Cache RENAME COLUMN value TO worth"),
        _sql("UPDATE Cache SET value = 'x' WHERE key = 0"),
        _sql("UPDATE Cache SET value = '[1]' WHERE key = 0"),
        _sql("INSERT INTO Settings VALUES ('append_rows', 'x')"),
        _sql("INSERT INTO Settings VALUES ('disk_colour', 'x')"),
        _sql("UPDATE Cache SET value = 'x'"),
        _sql("PRAGMA user_version = 0"),
        lambda file: (file.unlink(), file.symlink_to(file.parents[1] / "elsewhere")),
        _pipe,
        lambda file: (file.unlink(), file.mkdir()),
    ],
)
def test_damage_is_told_as_such_and_can_be_thrown_away(
    tmp_path: Path, harm: Callable[[Path], object]
) -> None:
    folder = tmp_path / "index"
    index = Index(folder)
    apply(index, *(Stored(f"k{n}", sha256(b"%d" % n), 1) for n in range(300)))
    index.close()
    harm(folder / "cache.db")

    def work() -> None:
        index = Index(folder)
        try:
            index.books()
            apply(index, Stored("a", X, 1), used=tuple(f"k{n}" for n in range(300)))
            index.shrink(0, 1000, take_all)
        finally:
            index.close()

    with pytest.raises(IndexBroken):
        work()
    discard(folder)
    work()
    assert not (tmp_path / "elsewhere").exists()


def test_a_lock_of_another_process_is_no_damage(index: Index, tmp_path: Path) -> None:
    apply(index, Stored("a", X, 1))
    other = sqlite3.connect(tmp_path / "index/cache.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    impatient = None
    with pytest.raises(IndexBusy):
        impatient = Index(tmp_path / "index", patience=0.01)
    assert impatient is None
    other.execute("ROLLBACK")
    other.close()
    apply(index, Stored("b", Y, 1))
    assert index.books() == Books(2, 2)


def test_a_file_in_place_of_the_folder_is_thrown_away(tmp_path: Path) -> None:
    (tmp_path / "index").write_bytes(b"in the way")
    with pytest.raises(IndexBroken):
        Index(tmp_path / "index")
    discard(tmp_path / "index")
    Index(tmp_path / "index").close()


def test_it_notices_that_its_file_is_another_one_or_gone(index: Index, tmp_path: Path) -> None:
    assert index.is_current()
    (tmp_path / "index").rename(tmp_path / "old")
    assert not index.is_current()
    other = Index(tmp_path / "index")
    assert not index.is_current()
    assert other.is_current()
    other.close()


@pytest.mark.parametrize(
    "event", [Stored("b", X, 1), Stored("a", X, 1), Removed("a"), Stored("a", Y, 1)]
)
@pytest.mark.parametrize("count", ["'x'", "0", "x'31'"])
def test_a_body_shared_by_no_number_of_entries_is_damage(
    index: Index, tmp_path: Path, event: Event, count: str
) -> None:
    apply(index, Stored("a", X, 1))
    plant(tmp_path, f"UPDATE Cache SET value = {count} WHERE typeof(key) = 'blob'")  # noqa: S608
    with pytest.raises(IndexBroken):
        apply(index, event)


def test_keys_that_no_index_can_hold_are_no_damage(index: Index) -> None:
    apply(index, Stored("\ud800", X, 1), Removed("\ud800"), Stored("a", Y, 1), used=("\ud800",))
    assert index.books() == Books(1, 1)
