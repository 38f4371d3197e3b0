"""Index and files are made to agree, and what is wrong with the bytes is found."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.storage.changes import Changes, Notes, Removed, Stored
from proxy.storage.desk import Desk, open_desk
from proxy.storage.disk import DiskStorage
from proxy.storage.index import Index
from proxy.storage.index_rows import Books
from proxy.storage.reconcile import FLIGHT_GRACE, Reconciled, reap, reconcile
from proxy.storage.verify import Finding, verify
from tests.unit.stored import Elsewhere, get, leave_half_done, put, sha256

LATER = 120.0  # seconds from now: nothing that a test makes is young then


class Store:
    """A storage and its index, in this thread."""

    def __init__(self, folder: Path) -> None:
        self.changes = Changes()
        self.storage = DiskStorage(folder, watcher=self.changes)
        self.index = Index(folder / "v2/index")

    def flush(self) -> list[str]:
        return self.index.apply(self.changes.collect())

    def reconcile(self, ahead: float = LATER) -> Reconciled:
        found = Reconciled()
        clock = lambda: time.time() + ahead  # noqa: E731
        for _ in reconcile(self.storage.folder, self.index, clock, found):
            pass
        return found

    def files(self, part: str) -> list[Path]:
        return sorted(
            path for path in (self.storage.folder.root / part).rglob("*") if path.is_file()
        )

    def close(self) -> None:
        self.index.close()
        self.storage.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.close()


def test_every_entry_is_taken_into_a_new_index(store: Store) -> None:
    for number in range(120):
        put(store.storage, f"key {number}", b"body %d" % (number % 100))
    found = store.reconcile()
    assert (found.entries, found.added) == (120, 120)
    total = sum(len(b"body %d" % number) for number in range(100))
    assert store.index.books() == Books(total, 120, complete=True)


def test_what_agrees_is_left_as_it_is(store: Store) -> None:
    put(store.storage, "b", b"x")
    put(store.storage, "a", b"y")
    store.flush()
    found = store.reconcile()
    assert found == Reconciled(entries=2)
    assert list(store.index.keys_in_order_of_use()) == ["b", "a"]


def test_another_body_than_the_index_knows_is_put_right(store: Store) -> None:
    put(store.storage, "a", b"old")
    store.flush()
    put(store.storage, "a", b"newer")
    store.changes.collect()  # lost
    assert store.reconcile().added == 1
    assert store.index.get("a") == (sha256(b"newer"), 5)
    assert [path.name for path in store.files("bodies")] == [sha256(b"newer")]


def test_rows_without_an_entry_go(store: Store) -> None:
    store.index.apply(Notes([Stored("gone", sha256(b"x"), 1)], []))
    assert store.reconcile().forgotten == 1
    assert store.index.books() == Books(0, 0, complete=True)


def test_entries_that_are_of_no_use_go(store: Store) -> None:
    for key in ("missing", "short", "unreadable", "misplaced"):
        put(store.storage, key, key.encode() * 10)
    put(store.storage, "right", b"right")
    root = store.storage.folder.root
    (root / f"bodies/{sha256(b'missing' * 10)[:2]}/{sha256(b'missing' * 10)}").unlink()
    (root / f"bodies/{sha256(b'short' * 10)[:2]}/{sha256(b'short' * 10)}").write_bytes(b"s")
    entry = root / f"entries/{sha256(b'unreadable')[:2]}/{sha256(b'unreadable')}"
    entry.write_bytes(b"{")
    entry = root / f"entries/{sha256(b'misplaced')[:2]}/{sha256(b'misplaced')}"
    entry.rename(entry.with_name("f" * 64))
    found = store.reconcile()
    assert (found.entries, found.broken) == (1, 4)
    assert [path.name for path in store.files("entries")] == [sha256(b"right")]
    assert [path.name for path in store.files("bodies")] == [sha256(b"right")]


def test_bodies_without_an_entry_go_when_they_are_no_longer_young(store: Store) -> None:
    put(store.storage, "a", b"orphan")
    store.storage.remove("a")
    store.changes.collect()
    assert store.reconcile(ahead=0).orphans == 0
    assert len(store.files("bodies")) == 1
    found = store.reconcile()
    assert (found.orphans, found.freed) == (1, 6)
    assert not store.files("bodies")


def test_what_is_no_body_goes_from_among_them(store: Store) -> None:
    put(store.storage, "a", b"x")
    (body,) = store.files("bodies")
    body.with_name("notes.txt").write_bytes(b"hello")
    store.reconcile()
    assert store.files("bodies") == [body]


def test_only_flights_that_died_long_ago_go(store: Store) -> None:
    folder = store.storage.folder.root.parent
    leave_half_done(folder, 'claim("dead", "dead")', 'create("dead too")')
    claim = store.storage.claim("alive", "alive")
    assert len(store.files("flights")) == 4
    assert store.reconcile().flights == 0
    for path in store.files("flights"):
        os.utime(path)
    found = store.reconcile(ahead=FLIGHT_GRACE + 60)
    assert found.flights >= 3
    assert any(path.name == sha256(b"alive") for path in store.files("flights"))
    claim.close()


def test_a_body_that_another_entry_has_or_that_is_young_is_not_reaped(store: Store) -> None:
    put(store.storage, "a", b"kept")
    store.flush()
    put(store.storage, "b", b"young")
    now = time.time()
    folder = store.storage.folder
    assert reap(folder, store.index, sha256(b"kept"), now + LATER) == 0
    assert reap(folder, store.index, sha256(b"young"), now - LATER) is None
    assert reap(folder, store.index, sha256(b"young"), now + LATER) == 5
    assert reap(folder, store.index, sha256(b"never there"), now + LATER) == 0
    assert [path.name for path in store.files("bodies")] == [sha256(b"kept")]


# --- verify -----------------------------------------------------------------------------------


def findings(store: Store, *, remove: bool = False) -> list[tuple[str, str]]:
    found = [checked.finding for checked in verify(store.storage, remove=remove)]
    return sorted((item.problem, item.key) for item in found if item is not None)


def harmed(store: Store) -> list[tuple[str, str]]:
    """A store with one right entry and many wrong things; the findings to expect."""
    root = store.storage.folder.root
    for key in ("right", "flipped", "grown", "lost", "misplaced", "unreadable", "pipe"):
        put(store.storage, key, key.encode())

    def at(part: str, text: str) -> Path:
        return root / part / sha256(text.encode())[:2] / sha256(text.encode())

    at("bodies", "flipped").write_bytes(b"Flipped")
    at("bodies", "grown").write_bytes(b"grown!")
    at("bodies", "lost").unlink()
    at("bodies", "right").with_name("stranger").write_bytes(b"")
    at("bodies", "pipe").unlink()
    os.mkfifo(at("bodies", "pipe"))
    at("entries", "misplaced").rename(at("entries", "right").with_name("0" * 64))
    at("entries", "unreadable").write_bytes(b"")
    return sorted(
        [
            ("body does not match its digest", ""),
            ("body does not match its digest", ""),
            ("not a body", ""),
            ("not a body", ""),
            ("entry has no body", "lost"),
            ("entry has no body", "pipe"),
            ("entry states another size than its body has", "grown"),
            ("entry stands under another key's name", "misplaced"),
            ("entry cannot be read", ""),
        ]
    )


def test_a_right_store_has_no_findings(store: Store) -> None:
    put(store.storage, "a", b"x")
    put(store.storage, "b", b"x")
    checked = list(verify(store.storage))
    assert [item.finding for item in checked] == [None] * 3
    assert sum(item.size for item in checked) == 1


def test_every_wrong_thing_is_found_and_left_alone(store: Store) -> None:
    expected = harmed(store)
    assert findings(store) == expected
    assert findings(store) == expected


def test_what_is_wrong_is_removed_when_asked_for(store: Store) -> None:
    harmed(store)
    assert findings(store, remove=True)
    assert findings(store) == []
    assert get(store.storage, "right") == b"right"
    assert store.storage.lookup("flipped") is None


def test_a_finding_names_its_file(store: Store) -> None:
    put(store.storage, "a", b"x")
    (body,) = store.files("bodies")
    body.write_bytes(b"y")
    (finding,) = [item.finding for item in verify(store.storage) if item.finding]
    name = f"bodies/{sha256(b'x')[:2]}/{sha256(b'x')}"
    assert finding == Finding(name, "body does not match its digest")


# --- looking after a store by hand ------------------------------------------------------------


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    storage = DiskStorage(tmp_path)
    put(storage, "python\0flask\x001", b"shared")
    put(storage, "python\0flask\x002", b"shared")
    put(storage, "python\0other\x001", b"other")
    storage.close()
    return tmp_path


def desk(folder: Path) -> Desk:
    return open_desk(folder, time.time)


def test_the_index_is_made_when_there_is_none(filled: Path) -> None:
    opened = desk(filled)
    assert opened.index.books() == Books(11, 3, complete=True)
    opened.close()


def test_a_damaged_index_is_made_again(filled: Path) -> None:
    desk(filled).close()
    (filled / "v2/index/cache.db").write_bytes(b"damage, and enough of it to be noticed by all")
    opened = desk(filled)
    assert opened.index.books() == Books(11, 3, complete=True)
    opened.close()


def test_after_an_unclean_stop_the_index_is_compared_with_the_files(filled: Path) -> None:
    desk(filled).close()
    lines = 'storage = DiskStorage(folder)\nput(storage, "new", b"new")\nsay("in")\nhear()\n'
    with Elsewhere(lines, filled) as other:
        assert other.hear() == "in"
    opened = desk(filled)
    assert opened.index.books() == Books(14, 4, complete=True)
    opened.close()


def test_a_purge_removes_entries_and_the_bodies_that_nobody_else_has(filled: Path) -> None:
    opened = desk(filled)
    assert opened.purge("python\0", lambda key: key.endswith("flask\x001")) == (1, 0)
    assert opened.purge("python\0", lambda key: "flask" in key) == (1, 6)
    opened.close()
    assert [path.name for path in filled.glob("v2/bodies/*/*")] == [sha256(b"other")]


def test_a_purge_finds_what_the_index_does_not_know_yet(filled: Path) -> None:
    opened = desk(filled)
    running = DiskStorage(filled)
    put(running, "python\0flask\x003", b"just now")
    assert opened.purge("python\0", lambda key: "flask" in key)[0] == 3
    assert running.lookup("python\0flask\x003") is None
    running.close()
    opened.close()


def test_a_desk_leaves_a_running_store_in_peace(filled: Path) -> None:
    running = DiskStorage(filled)
    writer = running.create("in flight")
    writer.write(b"x")
    opened = desk(filled)
    opened.reconcile()
    opened.close()
    writer.commit(sha256(b"x"), {})
    writer.close()
    assert get(running, "in flight") == b"x"
    running.close()


def test_removed_entries_of_an_old_index_do_not_come_back(filled: Path) -> None:
    opened = desk(filled)
    opened.index.apply(Notes([Removed("python\0other\x001")], []), complete=False)
    opened.close()
    again = desk(filled)
    assert again.index.books().entries == 3  # the file is the truth
    again.close()
    connection = sqlite3.connect(filled / "v2/index/cache.db")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
