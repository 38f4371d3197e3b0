"""The secondary index: the books, the order, and what is not an index."""

from __future__ import annotations

import json
import os
import pickle
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.storage.changes import MAX_EVENTS, Changes, Event, Notes, Removed, Stored, Stray
from proxy.storage.index import Books, Index, Victim
from proxy.storage.table import Forbidden, IndexBroken, IndexBusy, PlainDisk, discard, open_table
from tests.unit.stored import sha256

X, Y, Z = sha256(b"x"), sha256(b"y"), sha256(b"z")
KEYS = st.sampled_from(["a", "b", "c", "d", "e\0f"])
BODIES = st.sampled_from([X, Y, Z])
SIZES = {X: 1, Y: 20, Z: 300}
EVENTS = st.one_of(
    st.builds(lambda key, body: Stored(key, body, SIZES[body]), KEYS, BODIES),
    st.builds(Removed, KEYS),
    st.builds(lambda key: key, KEYS),  # a use
    st.integers(0, 320),  # shrink to
)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    made = Index(tmp_path / "index")
    yield made
    made.close()


def apply(index: Index, *events: Event, used: tuple[str, ...] = ()) -> list[str]:
    return index.apply(Notes(list(events), list(used)))


def order(index: Index) -> list[str]:
    return list(index.keys_in_order_of_use())


def take_all(_: Victim) -> bool:
    return True


def taking(went: list[Victim]) -> Callable[[Victim], bool]:
    """Take all, and note them."""

    def take(victim: Victim) -> bool:
        went.append(victim)
        return True

    return take


def test_a_new_index_is_empty_and_not_complete(index: Index) -> None:
    assert index.books() == Books(0, 0, complete=False)


def test_it_keeps_digest_and_size_and_counts(index: Index) -> None:
    apply(index, Stored("a", X, 10), Stored("b", Y, 5))
    assert index.get("a") == (X, 10)
    assert index.get("c") is None
    assert index.books() == Books(15, 2)


def test_a_shared_body_counts_once_and_goes_with_its_last_entry(index: Index) -> None:
    apply(index, Stored("a", X, 10), Stored("b", X, 10))
    assert index.books() == Books(10, 2)
    assert apply(index, Removed("a")) == []
    assert index.refers(X)
    assert apply(index, Removed("b")) == [X]
    assert not index.refers(X)
    assert index.books() == Books(0, 0)


def test_another_body_under_the_same_key_lets_the_old_one_go(index: Index) -> None:
    apply(index, Stored("a", X, 10))
    assert apply(index, Stored("a", Y, 3)) == [X]
    assert index.books() == Books(3, 1)


def test_the_same_again_changes_nothing_but_the_order(index: Index) -> None:
    apply(index, Stored("a", X, 10), Stored("b", Y, 1))
    assert apply(index, Stored("a", X, 10)) == []
    assert index.books() == Books(11, 2)
    assert order(index) == ["b", "a"]


def test_removing_what_is_not_there_changes_nothing(index: Index) -> None:
    apply(index, Stored("a", X, 10))
    assert apply(index, Removed("b")) == []
    assert index.books() == Books(10, 1)


def test_a_stray_body_is_one_that_no_entry_has(index: Index) -> None:
    apply(index, Stored("a", X, 10))
    assert apply(index, Stray(X), Stray(Y)) == [Y]


def test_what_is_used_comes_last(index: Index) -> None:
    apply(index, Stored("a", X, 1), Stored("b", Y, 1), Stored("c", Z, 1))
    apply(index, used=("a", "unknown"))
    assert order(index) == ["b", "c", "a"]


def test_entries_are_found_by_the_beginning_of_their_key_in_order(index: Index) -> None:
    keys = ["python\0flask\0", "python\0flask\x003.0\0", "python\0flask-login\0", "oci\0flask\0"]
    apply(index, *(Stored(key, sha256(key.encode()), 1) for key in keys))
    assert [entry.key for entry in index.entries("python\0flask\0")] == keys[:2]
    assert [entry.key for entry in index.entries()] == sorted(keys)


def test_it_walks_more_entries_than_a_page(index: Index) -> None:
    apply(index, *(Stored(f"k{n:05}", sha256(b"%d" % n), 1) for n in range(2500)))
    assert [entry.key for entry in index.entries("k")] == [f"k{n:05}" for n in range(2500)]


def test_it_says_when_an_entry_was_used(index: Index) -> None:
    apply(index, Stored("a", X, 1))
    apply(index, Stored("b", Y, 1))
    times = [entry.used_at for entry in index.entries()]
    assert times == sorted(times)
    assert times[0] > 1_700_000_000


def test_the_books_survive_a_restart(tmp_path: Path) -> None:
    first = Index(tmp_path / "index")
    first.apply(Notes([Stored("a", X, 7)], []), complete=True)
    first.close()
    second = Index(tmp_path / "index")
    assert second.books() == Books(7, 1, complete=True)
    second.close()


def test_two_connections_see_one_truth(index: Index, tmp_path: Path) -> None:
    other = Index(tmp_path / "index")
    apply(index, Stored("a", X, 7))
    apply(other, Stored("b", X, 7), Stored("c", Y, 1))
    assert index.books() == other.books() == Books(8, 3)
    other.close()


class Files(dict[str, tuple[str, int]]):
    """Implements `Look`: entries that are only thought of. `asked`: whose body was looked at."""

    def __init__(self, **entries: tuple[str, int]) -> None:
        super().__init__(entries)
        self.asked: list[str] = []

    def is_there(self, key: str) -> bool:
        return key in self

    def body(self, key: str) -> tuple[str, int] | None:
        self.asked.append(key)
        return self.get(key)


def test_what_is_told_late_does_not_undo_what_was_told_before(index: Index) -> None:
    files = Files(a=(Y, 5))
    assert index.apply(Notes([Stored("a", Y, 5)], []), files) == []
    strays = index.apply(Notes([Stored("a", X, 10), Stored("b", Z, 1)], []), files)
    assert index.get("a") == (Y, 5)
    assert index.get("b") is None
    assert strays == [X, Z]
    assert index.apply(Notes([Removed("a")], []), files) == []
    assert index.get("a") == (Y, 5)


def test_the_index_says_the_truth_once_whoever_changed_an_entry_last_has_told(index: Index) -> None:
    files = Files(a=(Y, 5))
    assert index.apply(Notes([Stored("a", X, 10)], []), files) == []
    assert index.apply(Notes([Stored("a", Y, 5)], []), files) == [X]
    assert index.get("a") == (Y, 5)
    assert index.books() == Books(5, 1)


def test_new_entries_and_those_that_are_as_told_are_not_read(index: Index) -> None:
    files = Files(a=(X, 10), b=(Y, 5))
    index.apply(Notes([Stored("a", X, 10), Stored("b", Y, 5)], []), files)
    index.apply(Notes([Stored("a", X, 10)], []), files)
    assert files.asked == []
    assert order(index) == ["b", "a"]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_notes_told_in_any_order_by_several_come_to_the_truth(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Every change leaves a note, every note is told at some time, alone or with others."""
    index = Index(tmp_path_factory.mktemp("index"))
    files, untold = Files(), list[Event]()

    def evict(victim: Victim) -> bool:
        if files.get(victim.key) == (victim.sha256, victim.size):
            del files[victim.key]
        return True

    for step in data.draw(st.lists(st.sampled_from(["store", "remove", "tell", "evict"]))):
        if step == "store":
            key, body = data.draw(KEYS), data.draw(BODIES)
            files[key] = body, SIZES[body]
            untold.append(Stored(key, body, SIZES[body]))
        elif step == "remove":
            key = data.draw(KEYS)
            files.pop(key, None)
            untold.append(Removed(key))
        elif step == "tell":
            untold = data.draw(st.permutations(untold))
            count = data.draw(st.integers(0, len(untold)))
            index.apply(Notes(untold[:count], []), files)
            untold = untold[count:]
        else:
            index.shrink(data.draw(st.integers(0, 320)), 2, evict)
    index.apply(Notes(data.draw(st.permutations(untold)), []), files)
    assert {entry.key: (entry.sha256, entry.size) for entry in index.entries()} == files
    assert index.books().total == sum(size for _, size in set(files.values()))
    index.close()


# --- many at once -----------------------------------------------------------------------------


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


# --- eviction ---------------------------------------------------------------------------------


def test_the_least_recently_used_go_first_and_no_more_than_needed(index: Index) -> None:
    apply(index, *(Stored(key, sha256(key.encode()), 10) for key in "abcde"), used=("a",))
    went: list[Victim] = []
    step = index.shrink(25, 100, taking(went))
    assert [victim.key for victim in went] == ["b", "c", "d"]
    assert (step.freed, step.evicted, step.books) == (30, 3, Books(20, 2))


def test_an_entry_in_use_stays_and_counts_as_used(index: Index) -> None:
    apply(index, Stored("a", X, 10), Stored("b", Y, 10), Stored("c", Z, 10))
    step = index.shrink(20, 100, lambda victim: victim.key != "a")
    assert (step.evicted, step.skipped) == (1, 1)
    assert order(index) == ["c", "a"]


def test_a_step_is_bounded(index: Index) -> None:
    apply(index, *(Stored(key, sha256(key.encode()), 10) for key in "abcde"))
    assert index.shrink(0, 2, take_all).evicted == 2
    assert index.shrink(0, 2, lambda _: False).skipped == 2


def test_only_the_last_entry_of_a_body_takes_it_along(index: Index) -> None:
    apply(index, Stored("a", X, 10), Stored("b", X, 10))
    went: list[Victim] = []
    index.shrink(0, 10, taking(went))
    assert [victim.last for victim in went] == [False, True]


def test_an_eviction_that_fails_half_way_leaves_the_books_as_they_were(index: Index) -> None:
    apply(index, Stored("a", X, 10), Stored("b", Y, 10))

    def fail(victim: Victim) -> bool:
        if victim.key == "b":
            raise sqlite3.OperationalError("no")
        return True

    with pytest.raises(IndexBroken):
        index.shrink(0, 10, fail)
    assert index.books() == Books(20, 2)


@settings(max_examples=25, deadline=None)
@given(events=st.lists(EVENTS, max_size=30))
def test_books_and_order_agree_with_a_model(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event | str | int]
) -> None:
    index = Index(tmp_path_factory.mktemp("index"))
    model: dict[str, str] = {}

    def total() -> int:
        return sum(SIZES[body] for body in set(model.values()))

    for event in events:
        if isinstance(event, Stored):
            model.pop(event.key, None)
            model[event.key] = event.sha256
            apply(index, event)
        elif isinstance(event, Removed):
            model.pop(event.key, None)
            apply(index, event)
        elif isinstance(event, str):
            if event in model:
                model[event] = model.pop(event)
            apply(index, used=(event,))
        elif isinstance(event, int):
            while total() > event:
                model.pop(next(iter(model)))
            index.shrink(event, 100, take_all)
        assert order(index) == list(model)
        assert index.books() == Books(total(), len(model))
    index.close()


# --- what is not an index ---------------------------------------------------------------------


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
        _sql("PRAGMA user_version = 2"),
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


# --- the notes --------------------------------------------------------------------------------


def test_notes_come_out_once_and_in_order() -> None:
    changes = Changes()
    changes.stored("a", X, 1)
    changes.removed("a")
    changes.stray(X)
    for key in ("a", "b", "a"):
        changes.used(key)
    assert changes.collect() == Notes([Stored("a", X, 1), Removed("a"), Stray(X)], ["b", "a"])
    assert changes.collect() == Notes([], [])


def test_uses_are_kept_until_they_are_asked_for() -> None:
    changes = Changes()
    changes.used("a")
    assert changes.collect(used=False).used == []
    assert changes.collect().used == ["a"]


def test_notes_that_were_given_back_come_first() -> None:
    changes = Changes()
    changes.removed("a")
    changes.used("a")
    notes = changes.collect()
    changes.removed("b")
    changes.used("b")
    changes.give_back(notes)
    assert changes.collect() == Notes([Removed("a"), Removed("b")], ["a", "b"])


def test_the_first_notes_are_taken_from_the_rest_events_before_uses() -> None:
    notes = Notes([Removed("a"), Removed("b"), Removed("c")], ["d", "e", "f"], lost=True)
    first, rest = notes.first(2)
    assert first == Notes([Removed("a"), Removed("b")], [], lost=True)
    second, rest = rest.first(2)
    assert second == Notes([Removed("c")], ["d"])
    assert rest == Notes([], ["e", "f"])


def test_too_many_notes_are_lost_but_not_silently() -> None:
    changes = Changes()
    for number in range(MAX_EVENTS + 1):
        changes.removed(str(number))
        changes.used(str(number))
    notes = changes.collect()
    assert (len(notes.events), len(notes.used), notes.lost) == (MAX_EVENTS, MAX_EVENTS, True)
    assert not changes.collect().lost


def test_the_collector_is_woken_as_soon_as_there_is_no_room_left() -> None:
    changes, woken = Changes(), []
    changes.watch(lambda: woken.append(1))
    changes.stored("a", X, 1000)
    changes.collect()
    changes.expect(100)
    changes.stored("b", X, 60)
    assert not woken
    changes.stored("c", X, 60)
    assert woken


def test_the_books_are_readable_by_eye(index: Index, tmp_path: Path) -> None:
    apply(index, Stored("python\0flask\x003.0\0", X, 12))
    connection = sqlite3.connect(tmp_path / "index/cache.db")
    rows = connection.execute("SELECT key, value FROM Cache ORDER BY rowid").fetchall()
    connection.close()
    assert rows == [
        ("python\0flask\x003.0\0", json.dumps([X, 12])),
        (bytes.fromhex(X), 1),
        (0, json.dumps({"total": 12, "entries": 1, "complete": False})),
    ]
