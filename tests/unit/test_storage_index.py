"""The secondary index: the books, the order, eviction; what is told late."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.storage.changes import Event, Notes, Removed, Stored, Stray
from proxy.storage.index import Index, Victim
from proxy.storage.index_rows import Books
from proxy.storage.table import IndexBroken
from tests.unit.indexed import (
    BODIES,
    EVENTS,
    KEYS,
    X,
    Y,
    Z,
    apply,
    order,
    own,
    stored,
    take_all,
)
from tests.unit.stored import sha256


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


def test_a_body_inside_of_its_entry_is_one_row_with_it_and_leaves_nothing(
    index: Index, tmp_path: Path
) -> None:
    one, other = Stored("a", own("a"), 10), Stored("b", own("b"), 5)
    assert apply(index, one, other) == []
    assert (index.get("a"), index.books()) == ((own("a"), 10), Books(15, 2))
    with closing(sqlite3.connect(tmp_path / "index/cache.db")) as connection:
        assert connection.execute("SELECT COUNT(*) FROM Cache").fetchone() == (3,)  # and the books
    apply(index, used=("a",))
    assert order(index) == ["b", "a"]
    assert apply(index, Stored("a", own("a", Y), 3), Stray(own("a"))) == []
    assert (index.get("a"), index.books()) == ((own("a", Y), 3), Books(8, 2))
    assert apply(index, Stored("a", X, 4)) == []  # with a file of its own now, and back again
    assert apply(index, Stored("a", own("a"), 4)) == [X]
    went: list[Victim] = []
    index.shrink(4, 2, taking(went))
    assert went == [Victim("b", own("b"), 5, last=False)]
    assert apply(index, Removed("a")) == []
    assert index.books() == Books(0, 0)


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


# --- several tell ------------------------------------------------------------------------------


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
    with closing(Index(tmp_path_factory.mktemp("index"))) as index:
        _tell_all(index, data)


def _tell_all(index: Index, data: st.DataObject) -> None:
    files, untold = Files(), list[Event]()

    def evict(victim: Victim) -> bool:
        if files.get(victim.key) == (victim.sha256, victim.size):
            del files[victim.key]
        return True

    for step in data.draw(st.lists(st.sampled_from(["store", "remove", "tell", "evict"]))):
        if step == "store":
            key, body = data.draw(KEYS), data.draw(BODIES)
            untold.append(event := stored(key, body))
            files[key] = event.sha256, event.size
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


class Teller:
    """One of several processes: what it has not told yet, and what it knows of the others.

    `quiet`: what the others had told when the notes of next time began.
    """

    def __init__(self, folder: Path) -> None:
        self.index = Index(folder)
        self.untold: list[Event] = []
        self.quiet: int | None = None

    def tell(self, files: Files) -> None:
        since, self.quiet = self.quiet, self.index.told_by_others()
        notes, self.untold = Notes(self.untold, []), []
        self.index.apply(notes, files, since=since)

    def evict(self, files: Files, target: int) -> None:
        def take(victim: Victim) -> bool:
            if files.get(victim.key) == (victim.sha256, victim.size):
                del files[victim.key]
            return True

        self.quiet = None
        self.index.shrink(target, 2, take)


STEPS = st.tuples(
    st.integers(0, 1),
    st.sampled_from(["store", "remove", "tell", "tell", "evict"]),
    st.sampled_from("ab"),
    BODIES,
)


@settings(max_examples=50, deadline=None)
@given(steps=st.lists(STEPS, min_size=10, max_size=30), target=st.integers(0, 320))
def test_who_hears_of_no_others_need_not_look(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str, str, str]], target: int
) -> None:
    folder = tmp_path_factory.mktemp("index")
    tellers, files = [Teller(folder), Teller(folder)], Files()
    for number, step, key, body in steps:
        teller = tellers[number]
        if step == "store":
            teller.untold.append(event := stored(key, body))
            files[key] = event.sha256, event.size
        elif step == "remove":
            files.pop(key, None)
            teller.untold.append(Removed(key))
        elif step == "tell":
            teller.tell(files)
        else:
            teller.evict(files, target)
    for teller in tellers:
        teller.tell(files)
    index = tellers[0].index
    assert {entry.key: (entry.sha256, entry.size) for entry in index.entries()} == files
    assert index.books().total == sum(size for _, size in set(files.values()))
    for teller in tellers:
        teller.index.close()


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
    with closing(Index(tmp_path_factory.mktemp("index"))) as index:
        _compare(index, events)


def _compare(index: Index, events: list[Event | str | int]) -> None:
    model: dict[str, tuple[str, int]] = {}

    def total() -> int:
        return sum(size for _, size in set(model.values()))

    for event in events:
        if isinstance(event, Stored):
            model.pop(event.key, None)
            model[event.key] = event.sha256, event.size
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
