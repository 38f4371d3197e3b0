"""Small bodies inside the files of their entries: read, damaged, replaced, looked after."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.errors import StorageFailed
from proxy.storage.base import Record
from proxy.storage.changes import Changes
from proxy.storage.disk import DiskStorage
from proxy.storage.entries import UNREADABLE
from proxy.storage.index import Index
from proxy.storage.index_rows import Books
from proxy.storage.layout import FOOTER, body_id, body_name, entry_name, entry_tail, parse_entry
from proxy.storage.reconcile import Reconciled, Standing, reap, reconcile
from proxy.storage.verify import Finding, verify
from tests.kept import record_in_file
from tests.unit.stored import Elsewhere, get, put, put_whole, read_stored, sha256

BODY = b"the right bytes"
LONG = {"long": "x" * 20_000}  # the metadata is longer than what is read at once


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[DiskStorage]:
    disk = DiskStorage(tmp_path)
    yield disk
    disk.close()


def files(folder: Path, part: str) -> list[Path]:
    return [path for path in (folder / "v2" / part).rglob("*") if path.is_file()]


def entry(storage: DiskStorage, key: str = "key") -> Path:
    return Path(storage.folder.path(entry_name(key)))


# --- how it is read, and what becomes of a damaged one --------------------------------------------


def test_an_entry_that_was_cut_anywhere_is_a_miss_and_heals(storage: DiskStorage) -> None:
    put_whole(storage, "key", BODY, a="b")
    whole = entry(storage).read_bytes()
    for size in range(len(whole)):
        entry(storage).write_bytes(whole[:size])
        assert storage.lookup("key") is None
        assert not entry(storage).exists()
    put_whole(storage, "key", BODY)
    assert get(storage, "key") == BODY


@pytest.mark.parametrize("fields", [{}, LONG])
def test_a_footer_with_any_other_byte_is_a_miss_and_heals(
    storage: DiskStorage, fields: dict[str, str]
) -> None:
    put_whole(storage, "key", BODY, **fields)
    whole = entry(storage).read_bytes()
    for at in range(1, FOOTER.size + 1):
        for flip in (1, 0x80, 0xFF):
            harmed = bytearray(whole)
            harmed[-at] ^= flip
            entry(storage).write_bytes(harmed)
            assert storage.lookup("key") is None
            assert not entry(storage).exists()


@pytest.mark.parametrize(
    "harm",
    [
        lambda whole: whole + b"x",
        lambda whole: b"x" + whole,
        lambda whole: whole[1:],
        lambda whole: whole[: len(BODY)] + b"[" * 100_000 + whole[-FOOTER.size :],
        lambda whole: whole[-FOOTER.size :],
        lambda whole: FOOTER.pack(0, 1, whole[-8:]),
        lambda whole: whole + FOOTER.pack(0xFFFFFFFF, 1, whole[-8:]),
        lambda _: BODY + entry_tail(Record("other", sha256(BODY), len(BODY), {}, inside=True)),
        lambda _: BODY + entry_tail(Record("key", sha256(BODY), 1 << 40, {}, inside=True)),
    ],
)
def test_a_file_that_is_not_exactly_one_entry_is_a_miss_and_heals(
    storage: DiskStorage, harm: Callable[[bytes], bytes]
) -> None:
    record = put_whole(storage, "key", BODY)
    entry(storage).write_bytes(harm(entry(storage).read_bytes()))
    assert storage.open(record) is None
    assert not entry(storage).exists() or storage.lookup("key") is None
    assert storage.lookup("key") is None
    put_whole(storage, "key", BODY)
    assert get(storage, "key") == BODY


def test_what_a_body_lets_a_cut_file_pass_for_has_the_digest_that_it_states(
    storage: DiskStorage,
) -> None:
    """Whoever makes a body may put an entry into it, of another one under the same key: no more
    than it could do by that other body. Whether its digest is the wanted one is asked each time."""
    fake = BODY + entry_tail(Record("key", sha256(BODY), len(BODY), {}, inside=True))
    record = put_whole(storage, "key", fake + b"more")
    os.truncate(entry(storage), len(fake))
    assert storage.open(record) is None  # never for the record of the whole one
    assert get(storage, "key") == BODY


def test_an_old_proxy_finds_an_entry_that_it_cannot_read(storage: DiskStorage) -> None:
    put_whole(storage, "key", b"")
    for body in (b"", BODY, b"{}"):
        put_whole(storage, "key", body)
        with pytest.raises(UNREADABLE):
            parse_entry(entry(storage).read_bytes())


def test_long_metadata_of_a_body_with_its_own_file_is_read(storage: DiskStorage) -> None:
    record = put(storage, "key", BODY, **LONG)
    assert storage.lookup("key") == record
    assert record_in_file(entry(storage)) == record


def test_what_was_removed_meanwhile_is_not_opened_and_no_damage(tmp_path: Path) -> None:
    healed: list[None] = []
    disk = DiskStorage(tmp_path, healed=lambda: healed.append(None))
    record = put_whole(disk, "key", BODY)
    entry(disk).unlink()
    assert disk.open(record) is None
    assert not healed
    disk.close()


@pytest.mark.parametrize("again", [put, put_whole])
def test_an_old_record_is_given_none_of_another_body_and_the_new_one_stays(
    storage: DiskStorage, again: Callable[[DiskStorage, str, bytes], Record]
) -> None:
    old = put_whole(storage, "key", b"old")
    again(storage, "key", b"new")
    assert storage.open(old) is None
    assert not storage.recheck(old)
    assert get(storage, "key") == b"new"


def test_a_record_is_good_for_the_same_bytes_stored_again(storage: DiskStorage) -> None:
    old = put_whole(storage, "key", BODY)
    put_whole(storage, "key", BODY, a="b")
    assert read_stored(storage.open(old)) == BODY
    put(storage, "key", BODY)
    assert read_stored(storage.open(old)) == BODY


def test_a_record_of_a_body_apart_takes_no_entry_with_it_that_has_it_inside(
    storage: DiskStorage,
) -> None:
    old = put(storage, "key", BODY)
    put_whole(storage, "key", BODY)
    storage.folder.unlink(body_name(old.sha256))  # nobody has it any more
    assert storage.open(old) is None
    assert get(storage, "key") == BODY


def test_a_known_file_is_opened_without_being_read_again(storage: DiskStorage) -> None:
    record = put_whole(storage, "key", BODY)
    time.sleep(0.03)  # no longer too young to be known
    assert storage.lookup("key") == record
    assert storage._known.of("key", entry(storage).stat()) == record
    assert read_stored(storage.open(record)) == BODY
    os.utime(entry(storage), (1, 1))
    assert storage._known.of("key", entry(storage).stat()) is None
    assert read_stored(storage.open(record)) == BODY


def test_an_open_one_outlives_its_removal_and_its_replacement(storage: DiskStorage) -> None:
    record = put_whole(storage, "key", b"old")
    first, second = storage.open(record), storage.open(record)
    put_whole(storage, "key", b"new")
    storage.remove("key")
    assert (read_stored(first), read_stored(second)) == (b"old", b"old")


# --- what is done with it -------------------------------------------------------------------------


def test_a_flipped_bit_is_found_by_the_recheck(storage: DiskStorage) -> None:
    record = put_whole(storage, "key", BODY)
    entry(storage).write_bytes(b"T" + entry(storage).read_bytes()[1:])
    assert not storage.recheck(record)
    assert storage.lookup("key") is None


def test_after_an_unclean_stop_it_is_suspect_until_it_was_hashed(tmp_path: Path) -> None:
    with Elsewhere("put_whole(DiskStorage(folder), 'key', b'x')\nsay('')\nhear()", tmp_path) as it:
        it.hear()
    disk = DiskStorage(tmp_path, clock=lambda: time.time() + 1)
    record = disk.lookup("key")
    assert record is not None
    assert record.suspect
    changed = disk.update(record, {"a": "b"})
    assert changed.suspect
    assert disk.lookup("key") == changed  # a new file proves nothing about old bytes
    assert disk.recheck(changed)
    found = disk.lookup("key")
    assert found is not None
    assert not found.suspect
    disk.close()


@pytest.mark.parametrize("body", [b"", BODY])
def test_an_update_takes_the_body_along(storage: DiskStorage, body: bytes) -> None:
    record = put_whole(storage, "key", body, checked=1)
    view = storage.open(record)
    changed = storage.update(record, {"checked": 2})
    assert (changed.fields, changed.inside) == ({"checked": 2}, True)
    assert storage.lookup("key") == changed
    assert get(storage, "key") == read_stored(view) == body


def test_an_update_of_what_is_gone_changed_or_unreadable_fails(storage: DiskStorage) -> None:
    record = put_whole(storage, "key", BODY)
    put_whole(storage, "key", b"new")
    with pytest.raises(StorageFailed):
        storage.update(record, {})
    assert get(storage, "key") == b"new"
    record = put_whole(storage, "key", BODY)
    lookup = storage.lookup

    def harmed_after(key: str) -> Record | None:
        found = lookup(key)
        os.truncate(entry(storage), 3)
        return found

    storage.lookup = harmed_after  # type: ignore[method-assign]
    with pytest.raises(StorageFailed):
        storage.update(record, {})


class Room:
    """A storage and its index."""

    def __init__(self, folder: Path) -> None:
        self.changes = Changes()
        self.storage = DiskStorage(folder, watcher=self.changes)
        self.index = Index(folder / "v2/index")

    def flush(self) -> list[str]:
        return self.index.apply(self.changes.collect(), Standing(self.storage.folder))

    def reconcile(self) -> Reconciled:
        found = Reconciled()
        for _ in reconcile(self.storage.folder, self.index, lambda: time.time() + 1000, found):
            pass
        return found


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path)
    yield made
    made.index.close()
    made.storage.close()


def test_the_same_bytes_inside_of_two_entries_are_counted_twice(room: Room) -> None:
    for key in ("a", "b"):
        put_whole(room.storage, key, BODY)
    for key in ("c", "d"):
        put(room.storage, key, BODY)
    room.flush()
    assert room.index.books() == Books(3 * len(BODY), 4)
    assert room.reconcile() == Reconciled(entries=4)
    assert room.index.books() == Books(3 * len(BODY), 4, complete=True)


def test_the_index_is_made_again_of_the_files(room: Room, tmp_path: Path) -> None:
    record = put_whole(room.storage, "a", BODY)
    room.changes.collect()  # lost
    assert room.reconcile() == Reconciled(entries=1, added=1)
    assert room.index.get("a") == (body_id(record), len(BODY))
    os.truncate(entry(room.storage, "a"), 20)
    assert room.reconcile().broken == 1
    assert not files(tmp_path, "entries")


def test_a_body_with_its_own_file_goes_when_the_same_bytes_came_inside(
    room: Room, tmp_path: Path
) -> None:
    put(room.storage, "a", BODY)
    room.flush()
    put_whole(room.storage, "a", BODY)
    (stray,) = room.flush()
    assert stray == sha256(BODY)
    assert reap(room.storage.folder, room.index, stray, time.time() + 1000) == len(BODY)
    assert not files(tmp_path, "bodies")
    assert room.index.books() == Books(len(BODY), 1)
    assert get(room.storage, "a") == BODY


def test_each_is_evicted_by_itself_and_not_while_it_is_read(room: Room) -> None:
    for key in ("a", "b"):
        put_whole(room.storage, key, BODY)
    record = room.storage.lookup("a")
    assert record is not None
    body = room.storage.open(record)
    assert body is not None
    assert body_id(record) in room.storage.bodies
    room.storage.evict("b", body_id(record), with_body=True)  # of another entry
    assert get(room.storage, "b") == BODY
    other = room.storage.lookup("b")
    assert other is not None
    assert body_id(other) not in room.storage.bodies
    room.storage.evict("b", body_id(other), with_body=True)
    assert room.storage.lookup("b") is None
    assert get(room.storage, "a") == BODY
    body.close()
    assert body_id(record) not in room.storage.bodies


def test_one_that_was_replaced_meanwhile_is_not_evicted(room: Room) -> None:
    old = put_whole(room.storage, "a", b"old")
    put_whole(room.storage, "a", b"new")
    room.storage.evict("a", body_id(old), with_body=True)
    assert get(room.storage, "a") == b"new"


def test_every_wrong_one_is_found_and_removed_when_asked_for(room: Room) -> None:
    for key in ("right", "flipped", "cut", "misplaced"):
        put_whole(room.storage, key, BODY)
    flipped, cut, misplaced = (entry(room.storage, k) for k in ("flipped", "cut", "misplaced"))
    flipped.write_bytes(b"T" + flipped.read_bytes()[1:])
    os.truncate(cut, 20)
    strange = misplaced.rename(misplaced.with_name("f" * 64))
    checked = list(verify(room.storage))
    assert sum(item.size for item in checked) == 2 * len(BODY)
    expected = {
        Finding(entry_name("flipped"), "body does not match its digest", "flipped"),
        Finding(entry_name("cut"), "entry cannot be read"),
        Finding(
            f"entries/{strange.parent.name}/{strange.name}",
            "entry stands under another key's name",
            "misplaced",
        ),
    }
    assert {item.finding for item in checked if item.finding} == expected
    assert sum(item.finding is not None for item in verify(room.storage, remove=True)) == 3
    assert [item.finding for item in verify(room.storage)] == [None]
    assert get(room.storage, "right") == BODY
