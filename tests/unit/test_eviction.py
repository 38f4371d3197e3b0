"""What is evicted, how much, and the thread that sees to it."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cache.eviction import BATCH, Evicted, Evictor, goal
from proxy.cache.upkeep import BATCH as NOTES
from proxy.cache.upkeep import Upkeep
from proxy.storage.base import Record
from proxy.storage.changes import Changes, Event, Notes, Removed, Stored
from proxy.storage.disk import DiskStorage
from proxy.storage.folder import Folder
from proxy.storage.index import FOLDER, Index
from proxy.storage.index_rows import Books
from proxy.storage.layout import entry_name
from proxy.storage.lock import UpkeepLock
from proxy.storage.look import Look
from proxy.storage.reconcile import FLIGHT_GRACE, Standing
from proxy.storage.table import IndexBusy, discard
from tests.unit.stored import Elsewhere, get, leave_half_done, put, sha256, until

KIB = 1024


# --- deciding ---------------------------------------------------------------------------------


def test_up_to_the_limit_nothing_is_evicted() -> None:
    assert goal(1000, 1000) is None


def test_over_the_limit_it_goes_down_to_95_percent() -> None:
    assert goal(1001, 1000) == 950


def test_on_a_full_disk_a_twentieth_of_what_is_stored_is_made_free() -> None:
    assert goal(1000, 10_000, free=0) == 950
    assert goal(1000, 10_000, free=20) == 970


def test_on_a_disk_that_has_room_again_nothing_is_evicted() -> None:
    assert goal(1000, 10_000, free=50) is None
    assert goal(0, 10_000, free=0) is None


@given(st.integers(0, 1 << 50), st.integers(1, 1 << 50), st.none() | st.integers(0, 1 << 50))
def test_the_goal_is_never_above_what_is_stored_nor_below_nothing(
    total: int, limit: int, free: int | None
) -> None:
    target = goal(total, limit, free)
    if target is None:
        assert total <= limit
    else:
        assert 0 <= target < total
        assert total <= limit or target <= limit


# --- acting -----------------------------------------------------------------------------------


class Room:
    """Storage, notes and index in this thread."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.changes = Changes()
        self.storage = DiskStorage(folder, watcher=self.changes)
        self.index = Index(folder / "v2/index")
        self.evictor = Evictor(self.storage, limit)

    def put(self, *keys: str, size: int = 10) -> None:
        for key in keys:
            put(self.storage, key, key.encode().ljust(size))

    def run(self) -> Evicted:
        self.index.apply(self.changes.collect())
        return self.evictor.run(self.index, self.index.books())

    def left(self) -> list[str]:
        return [key for key in "abcdefghij" if self.storage.lookup(key) is not None]

    def close(self) -> None:
        self.index.close()
        self.storage.close()


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path, 40)
    yield made
    made.close()


def bodies(folder: Path) -> int:
    """Bytes of all bodies on the disk; some may go meanwhile."""
    disk = Folder(folder / "v2", ())
    return sum(disk.size(name) or 0 for name in disk.walk("bodies"))


def test_below_the_limit_everything_stays(room: Room) -> None:
    room.put(*"abcd")
    assert room.run() == Evicted(0, 0)
    assert room.left() == list("abcd")


def test_the_least_recently_used_goes_with_its_body(room: Room, tmp_path: Path) -> None:
    room.put(*"abcd")
    assert get(room.storage, "a") is not None
    room.put("e")
    assert room.run() == Evicted(2, 20)
    assert room.left() == ["a", "d", "e"]
    assert bodies(tmp_path) == 30


def test_an_open_body_is_not_evicted_and_the_next_ones_are(room: Room) -> None:
    room.put(*"abcd")
    record = room.storage.lookup("a")
    assert record is not None
    body = room.storage.open(record)
    room.changes.collect(used=True)
    room.index.apply(room.changes.collect())
    room.put(*"abcd")  # a is the oldest again
    room.put("e")
    room.run()
    assert room.left() == ["a", "d", "e"]
    assert body is not None
    body.close()


def test_when_all_is_in_use_nothing_goes_and_it_ends(room: Room) -> None:
    room.put(*"abcde")
    records = [room.storage.lookup(key) for key in "abcde"]
    open_bodies = [room.storage.open(record) for record in records if record is not None]
    assert room.run() == Evicted(0, 0)
    assert room.left() == list("abcde")
    for body in open_bodies:
        assert body is not None
        body.close()
    assert room.run().entries == 2


def test_a_shared_body_goes_with_the_last_of_its_entries(room: Room, tmp_path: Path) -> None:
    for key in "abc":
        put(room.storage, key, b"s" * 30)
    room.put("d")
    assert room.run() == Evicted(0, 0)
    room.put("e")
    assert room.run() == Evicted(3, 30)
    assert room.left() == ["d", "e"]
    assert bodies(tmp_path) == 20


def test_an_entry_that_was_replaced_meanwhile_stays(room: Room) -> None:
    room.put(*"abcde")
    room.index.apply(room.changes.collect())
    put(room.storage, "a", b"newer")  # not yet in the index
    room.evictor.run(room.index, room.index.books())
    assert room.left() == ["a", "c", "d", "e"] or room.left() == ["a", "d", "e"]
    assert get(room.storage, "a") == b"newer"


def test_more_than_a_batch_goes_in_one_run(tmp_path: Path) -> None:
    room = Room(tmp_path, 100)
    room.put(*(str(number) for number in range(BATCH * 2 + 50)))
    assert room.run().entries == BATCH * 2 + 41
    assert room.index.books() == Books(90, 9)
    room.close()


def test_two_processes_evict_one_store_and_keep_its_books(tmp_path: Path) -> None:
    lines = """
        import time
        from tests.unit.test_eviction import Room
        room = Room(folder, 1000)
        name = hear()
        for number in range(150):
            room.put(f"{name} {number}", size=20)
            if number % 10 == 0:
                room.run()
        room.run()
        say(str(room.index.books().total))
        room.close()
    """
    with Elsewhere(lines, tmp_path) as first, Elsewhere(lines, tmp_path) as second:
        first.tell("first")
        second.tell("second")
        assert int(first.hear()) <= 1000
        assert int(second.hear()) <= 1000
        assert first.wait() == second.wait() == 0
    room = Room(tmp_path, 1000)
    books = room.index.books()
    assert books.total == bodies(tmp_path)
    assert books.entries == len(list(tmp_path.glob("v2/entries/*/*"))) == books.total // 20
    room.close()


def _fill(index: Path, count: int) -> None:
    """Write rows for so many entries as the index would, without taking its time."""
    made = Index(index)
    made.close()
    connection = sqlite3.connect(index / "cache.db")
    connection.execute("DELETE FROM Cache")
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?)"
        " INSERT INTO Cache(rowid, key, raw, store_time, access_time, mode, value)"
        " SELECT 2 * i + 1, printf('python|package-%d|1.0|/files/package-%d', i, i), 1, 0, 0, 1,"
        " printf('[\"%064x\", 10]', i) FROM n",
        (count,),
    )
    connection.create_function("digest", 1, lambda i: i.to_bytes(32, "big"))
    connection.execute(
        "INSERT INTO Cache(rowid, key, raw, store_time, access_time, mode, value)"
        " SELECT rowid + 1, digest((rowid - 1) / 2), 1, 0, 0, 1, 1 FROM Cache"
    )
    connection.execute(
        "INSERT INTO Cache(key, raw, store_time, access_time, mode, value)"
        " VALUES (0, 1, 0, 0, 1, ?)",
        (f'{{"total": {10 * count}, "entries": {count}, "complete": true}}',),
    )
    connection.commit()
    connection.close()


def _cost(index: Path, total: int) -> tuple[float, float]:
    """Seconds of CPU to open the index, and to evict 100 entries."""
    began = time.thread_time()
    opened = Index(index)
    assert opened.books().total == total
    middle = time.thread_time()
    assert opened.shrink(0, 100, lambda _: True).evicted == 100
    ended = time.thread_time()
    opened.close()
    return middle - began, ended - middle


def test_opening_and_evicting_cost_the_same_for_a_hundred_times_the_entries(
    tmp_path: Path,
) -> None:
    _fill(tmp_path / "few", 1000)
    _fill(tmp_path / "many", 100_000)
    few = [_cost(tmp_path / "few", 10 * (1000 - 100 * turn)) for turn in range(5)]
    many = [_cost(tmp_path / "many", 10 * (100_000 - 100 * turn)) for turn in range(5)]
    for part in (0, 1):
        assert min(cost[part] for cost in many) < 3 * min(cost[part] for cost in few) + 0.002


# --- the thread -------------------------------------------------------------------------------


class Kept:
    """A store with its upkeep running."""

    def __init__(self, folder: Path, limit: int = 1 << 40) -> None:
        self.folder = folder
        self.changes = Changes()
        self.storage = DiskStorage(folder, watcher=self.changes)
        self.upkeep = Upkeep(self.storage, self.changes, limit, patience=0.05, tick=0.05)
        self.upkeep.start()
        self.open = True

    def close(self) -> None:
        if self.open:
            self.open = False
            self.upkeep.close()
            self.storage.close()

    def books(self) -> Books:
        """As they are in the file, once the upkeep has ended."""
        self.close()
        index = Index(self.folder / "v2/index")
        try:
            return index.books()
        finally:
            index.close()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path, 40 * KIB)
    until(lambda: made.upkeep.books.complete)
    yield made
    made.close()


def test_what_was_stored_is_in_the_books_at_the_end(kept: Kept) -> None:
    put(kept.storage, "a", b"x" * 100)
    put(kept.storage, "b", b"y" * 50)
    kept.storage.remove("b")
    assert kept.books() == Books(100, 1, complete=True)


def test_the_limit_is_kept_without_waiting_for_the_next_tick(kept: Kept) -> None:
    for number in range(60):
        put(kept.storage, str(number), bytes([number]) * KIB)
    began = time.monotonic()
    until(lambda: bodies(kept.folder) <= 40 * KIB)
    assert time.monotonic() - began < 0.8
    assert get(kept.storage, "59") == bytes([59]) * KIB
    assert kept.storage.lookup("0") is None
    until(lambda: kept.upkeep.evicted.entries > 0)
    assert kept.upkeep.evicted.freed == kept.upkeep.evicted.entries * KIB


def test_a_reconciliation_is_told_in_words_and_numbers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "proxy.cache.upkeep")
    first = Kept(tmp_path, 40 * KIB)
    put(first.storage, "a", b"x" * 100)
    first.close()
    discard(first.storage.folder.root / FOLDER)
    second = Kept(tmp_path, 40 * KIB)
    until(lambda: second.upkeep.books.entries == 1 and second.upkeep.books.complete)
    second.close()
    assert "the index and the entries agree: 1 entries, 1 new to the index" in caplog.messages


def test_a_store_that_is_over_a_new_limit_shrinks_at_the_start(tmp_path: Path) -> None:
    first = Kept(tmp_path)
    for number in range(60):
        put(first.storage, str(number), bytes([number]) * KIB)
    first.close()
    second = Kept(tmp_path, 40 * KIB)
    until(lambda: bodies(tmp_path) <= 40 * KIB)
    assert second.storage.lookup("59") is not None
    second.close()


def test_what_was_used_survives_what_was_not(kept: Kept) -> None:
    for number in range(36):
        put(kept.storage, str(number), bytes([number]) * KIB)
        get(kept.storage, "0")
    until(lambda: kept.upkeep.books.entries == 36)
    get(kept.storage, "0")
    for number in range(36, 60):
        put(kept.storage, str(number), bytes([number]) * KIB)
    until(lambda: kept.upkeep.books.total <= 40 * KIB and kept.storage.lookup("1") is None)
    assert kept.storage.lookup("0") is not None


def test_after_a_kill_the_books_are_put_right(tmp_path: Path) -> None:
    lines = """
        from tests.unit.test_eviction import Kept
        kept = Kept(folder)
        until(lambda: kept.upkeep.books.complete)
        for number in range(30):
            put(kept.storage, str(number), str(number).encode() * 100)
        say("in")
        hear()
    """
    with Elsewhere(lines, tmp_path) as other:
        assert other.hear() == "in"
    kept = Kept(tmp_path)
    until(lambda: kept.upkeep.books.complete and kept.upkeep.books.entries == 30)
    assert kept.books().total == bodies(tmp_path)


def test_a_lost_index_is_made_again_while_it_runs(kept: Kept) -> None:
    put(kept.storage, "a", b"x" * 100)
    until(lambda: kept.upkeep.books.entries == 1)
    (kept.storage.folder.root / "index").rename(kept.folder / "gone")
    put(kept.storage, "b", b"y" * 10)
    until(lambda: kept.upkeep.books == Books(110, 2, complete=True))
    assert get(kept.storage, "a") == b"x" * 100


def test_a_damaged_index_is_made_again_while_it_runs(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    put(kept.storage, "a", b"x" * 100)
    until(lambda: kept.upkeep.books.entries == 1)
    connection = sqlite3.connect(kept.storage.folder.root / "index/cache.db")
    connection.execute("UPDATE Cache SET value = 'nonsense'")
    connection.commit()
    connection.close()
    put(kept.storage, "b", b"y" * 10)
    until(lambda: any("damaged" in record.message for record in caplog.records))
    until(lambda: kept.upkeep.books == Books(110, 2, complete=True))
    assert kept.upkeep.trouble == ""


def test_a_newer_index_is_replaced_at_the_start(tmp_path: Path) -> None:
    first = Kept(tmp_path)
    put(first.storage, "a", b"x")
    first.close()
    connection = sqlite3.connect(tmp_path / "v2/index/cache.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    second = Kept(tmp_path)
    until(lambda: second.upkeep.books == Books(1, 1, complete=True))
    second.close()


def test_a_locked_index_is_only_a_warning_and_nothing_is_lost(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    other = sqlite3.connect(kept.storage.folder.root / "index/cache.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    put(kept.storage, "a", b"x")
    until(lambda: kept.upkeep.trouble)
    put(kept.storage, "b", b"y")
    assert get(kept.storage, "a") == b"x"
    other.execute("ROLLBACK")
    other.close()
    until(lambda: kept.upkeep.books.entries == 2)
    until(lambda: not kept.upkeep.trouble)  # cleared a moment after the books are written
    until(lambda: len(_of_index(caplog)) == 2)
    assert _of_index(caplog) == [logging.WARNING, logging.WARNING]


def _of_index(caplog: pytest.LogCaptureFixture) -> list[int]:
    return [record.levelno for record in caplog.records if "index" in record.getMessage()]


def test_what_cannot_be_told_just_now_holds_up_only_the_notes_from_there_on(kept: Kept) -> None:
    other = DiskStorage(kept.folder)  # it leaves no notes
    events: list[Event] = []
    for number in range(NOTES + 20):
        body = b"%d" % number
        put(other, str(number), body)
        events.append(Stored(str(number), sha256(body), len(body)))
    other.close()
    events.insert(NOTES, Removed("away"))
    folder = kept.storage.folder.root / entry_name("away").rpartition("/")[0]
    folder.mkdir(exist_ok=True)
    folder.rename(kept.folder / "moved")
    folder.symlink_to(kept.folder / "moved")
    kept.changes.give_back(Notes(events, []))
    until(lambda: kept.upkeep.trouble)
    index = Index(kept.storage.folder.root / FOLDER)
    assert index.books().entries == NOTES
    index.close()
    folder.unlink()
    (kept.folder / "moved").rename(folder)
    until(lambda: kept.upkeep.books.entries == NOTES + 20)
    assert kept.books().total == bodies(kept.folder)


class Looking:
    """Implements `Look`: as another one says, and which keys it was asked for."""

    def __init__(self, inner: Look) -> None:
        self.inner = inner
        self.asked: list[str] = []

    def is_there(self, key: str) -> bool:
        self.asked.append(key)
        return self.inner.is_there(key)

    def body(self, key: str) -> tuple[str, int] | None:
        self.asked.append(key)
        return self.inner.body(key)


class Steps:
    """A store with an upkeep that makes a step when it is told to. `limit`: its bytes."""

    def __init__(self, folder: Path, limit: int = 1 << 40) -> None:
        self.changes = Changes()
        self.storage = DiskStorage(folder, watcher=self.changes)
        self.upkeep = Upkeep(self.storage, self.changes, limit)
        self.look = Looking(self.upkeep._look)
        self.upkeep._look = self.look
        while not self.upkeep.books.complete:
            self.upkeep._step()
        self.upkeep._step()

    def looked(self) -> list[str]:
        """Which entries the next step looks at."""
        self.look.asked.clear()
        self.upkeep._step()
        return self.look.asked

    def keys(self) -> list[str]:
        """Those in the index."""
        return sorted(self.upkeep._open().keys_in_order_of_use())

    def close(self) -> None:
        self.upkeep.close()
        self.upkeep._close_index()
        self.storage.close()


@pytest.fixture
def steps(tmp_path: Path) -> Iterator[Steps]:
    made = Steps(tmp_path, 40)
    yield made
    made.close()


def test_what_is_news_to_everybody_is_believed_without_a_look(steps: Steps) -> None:
    for key in "abc":
        put(steps.storage, key, key.encode())
    assert steps.looked() == []
    assert steps.keys() == ["a", "b", "c"]


def test_what_changes_an_entry_is_looked_at_all_the_same(steps: Steps) -> None:
    put(steps.storage, "a", b"x")
    steps.storage.remove("a")
    put(steps.storage, "b", b"y")
    put(steps.storage, "b", b"yy")
    assert steps.looked() == ["a", "b"]
    assert steps.keys() == ["b"]
    assert steps.upkeep.books.total == 2


def test_when_another_process_has_told_of_something_each_note_is_looked_at(
    tmp_path: Path, steps: Steps
) -> None:
    put(steps.storage, "a", b"x")
    other = Room(tmp_path, 40)
    other.storage.remove("a")
    other.index.apply(other.changes.collect(), Standing(other.storage.folder))
    other.close()
    assert "a" in steps.looked()
    assert steps.keys() == []
    put(steps.storage, "b", b"x")
    assert steps.looked() == []


def test_what_another_process_removes_while_it_is_confirmed_is_in_the_index_again(
    tmp_path: Path, steps: Steps
) -> None:
    record = put(steps.storage, "a", b"x")
    steps.upkeep._step()
    other, describe = Room(tmp_path, 40), steps.storage._describe

    def after_the_other(record: Record, content: bytes = b"") -> None:
        other.storage.remove("a")
        other.index.apply(other.changes.collect(), Standing(other.storage.folder))
        describe(record, content)

    steps.storage._describe = after_the_other  # type: ignore[method-assign]
    steps.storage.update(record, {"checked": 2})
    steps.upkeep._step()
    other.close()
    assert steps.keys() == ["a"]
    assert steps.upkeep.books.total == 1


def test_after_an_eviction_each_note_is_looked_at(steps: Steps) -> None:
    put(steps.storage, "a", b"a" * 30)
    steps.looked()
    evict = steps.storage.evict

    def and_meanwhile(key: str, body: str, *, with_body: bool) -> None:
        put(steps.storage, "a", b"a" * 30)  # the same once more, and gone with the old one
        evict(key, body, with_body=with_body)

    steps.storage.evict = and_meanwhile  # type: ignore[method-assign]
    put(steps.storage, "b", b"b" * 30)
    steps.upkeep._step()
    assert "a" in steps.looked()
    assert steps.keys() == ["b"]


def test_notes_that_could_not_be_told_at_first_are_looked_at(steps: Steps) -> None:
    put(steps.storage, "a", b"x")
    steps.upkeep._try(_busy)
    assert steps.looked() == ["a"]


def _busy() -> None:
    raise IndexBusy("SQLITE_BUSY")


def test_a_whole_folder_that_is_removed_comes_back_with_its_index(kept: Kept) -> None:
    put(kept.storage, "a", b"x")
    until(lambda: kept.upkeep.books.entries == 1)
    kept.storage.folder.root.rename(kept.folder / "gone")
    put(kept.storage, "b", b"yy")
    until(lambda: kept.upkeep.books == Books(2, 1, complete=True))


def test_too_many_notes_lead_to_a_reconciliation(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    until(lambda: kept.upkeep.books.complete)
    put(kept.storage, "a", b"x")
    until(lambda: kept.upkeep.books.entries == 1)
    other = DiskStorage(kept.folder)  # its note of it never comes
    put(other, "b", b"y")
    other.close()
    kept.changes.give_back(kept.changes.collect()._replace(lost=True))
    until(lambda: kept.upkeep.books == Books(2, 2, complete=True))
    kept.close()


def test_ending_waits_for_no_lock_and_the_next_start_finds_what_was_missed(kept: Kept) -> None:
    other = sqlite3.connect(kept.storage.folder.root / "index/cache.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    put(kept.storage, "a", b"x")
    began = time.monotonic()
    kept.close()
    assert time.monotonic() - began < 5
    other.execute("ROLLBACK")
    other.close()
    again = Kept(kept.folder)
    until(lambda: again.upkeep.books == Books(1, 1, complete=True))
    assert not again.storage.doubtful
    again.close()


def test_what_the_dead_left_half_done_goes_within_the_hour(
    steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_half_done(tmp_path, 'claim("old", "old")', 'claim("young", "young")')
    names = {name: sha256(name.encode()) for name in ("old", "young")}
    then = time.time()
    monkeypatch.setattr(
        steps.storage.folder,
        "changed",
        lambda name: then - (2 * FLIGHT_GRACE if names["old"] in name else 0),
    )
    steps.upkeep._step()
    flights = tmp_path / "v2/flights"
    assert len(list(flights.iterdir())) == 4  # it is not the time yet
    steps.upkeep._reaped_at -= FLIGHT_GRACE
    steps.upkeep._step()
    left = {names["young"], f"body-{names['young']}"}
    assert {path.name for path in flights.iterdir()} == left


def test_ending_twice_or_before_the_start_is_no_harm(tmp_path: Path) -> None:
    changes = Changes()
    storage = DiskStorage(tmp_path, watcher=changes)
    upkeep = Upkeep(storage, changes, 1000)
    upkeep.close()
    upkeep.close()
    storage.close()


def test_one_process_at_a_time_has_the_lock_until_it_dies(tmp_path: Path) -> None:
    lines = """
        from proxy.storage.lock import UpkeepLock
        storage = DiskStorage(folder)
        lock = UpkeepLock(storage.folder)
        say(str(lock.take()))
        hear()
    """
    with Elsewhere(lines, tmp_path) as other:
        assert other.hear() == "True"
        storage = DiskStorage(tmp_path)
        lock = UpkeepLock(storage.folder)
        assert not lock.take()
        other.kill()
    assert lock.take()
    assert lock.take()
    lock.release()
    storage.close()


def test_two_processes_keep_one_limit_between_them(tmp_path: Path) -> None:
    lines = """
        from tests.unit.test_eviction import Kept
        kept = Kept(folder, 200 * 1024)
        until(lambda: kept.upkeep.books.complete)
        name = hear()
        for number in range(150):
            put(kept.storage, f"{name} {number}", f"{name} {number}".encode().ljust(4096))
        say(str(get(kept.storage, f"{name} 149")[:10]))
        kept.close()
    """
    with Elsewhere(lines, tmp_path) as first, Elsewhere(lines, tmp_path) as second:
        first.tell("first")
        second.tell("second")
        assert first.hear().startswith("b'first 149")
        assert second.hear().startswith("b'second 149"[:12])
        assert first.wait() == second.wait() == 0
    kept = Kept(tmp_path, 200 * 1024)
    until(lambda: kept.upkeep.books.complete)
    until(lambda: bodies(tmp_path) <= 200 * 1024)
    assert kept.books().total == bodies(tmp_path)
    assert sha256(b"") not in kept.storage.bodies
