"""What `proxy.storage.base` says of every storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from proxy.errors import StorageFailed
from proxy.storage.base import Field, Fields, Foreign, Progress, Record, Storage, Writer
from proxy.storage.disk import DiskStorage
from proxy.storage.memory import MemoryStorage, MemoryWriter
from tests.descriptors import exhausted
from tests.unit.stored import get, put, read, read_stored, sha256


class InOnePiece:
    """A disk whose writers commit all that they were given in one piece, by a writer of its own."""

    def __init__(self, disk: DiskStorage) -> None:
        self._disk = disk

    def __getattr__(self, name: str) -> object:
        return getattr(self._disk, name)

    def create(self, key: str) -> OnePiece:
        return OnePiece(self._disk, key)


class OnePiece:
    def __init__(self, disk: DiskStorage, key: str) -> None:
        self._disk = disk
        self._key = key
        self._writer = disk.create(key)

    def __getattr__(self, name: str) -> object:
        return getattr(self._writer, name)

    def commit(self, digest: str, fields: Fields) -> Record:
        content = read(self._writer.open())
        whole = self._disk.create(self._key)
        record = whole.commit_whole(content, digest, fields)
        whole.close()
        assert record.inside
        return record


@pytest.fixture(params=["disk", "disk in one piece", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    if request.param == "memory":
        yield MemoryStorage()
    else:
        disk = DiskStorage(tmp_path)
        # What a wrapper has not itself, the disk has.
        yield disk if request.param == "disk" else cast("Storage", InOnePiece(disk))
        disk.close()


@pytest.fixture(params=["disk", "memory"])
def sharing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """One whose bodies may be shared."""
    disk = DiskStorage(tmp_path)
    yield disk if request.param == "disk" else MemoryStorage()
    disk.close()


def begun(storage: Storage, key: str, *pieces: bytes) -> Writer:
    writer = storage.create(key)
    for piece in pieces:
        writer.write(piece)
    return writer


def test_an_unknown_key_is_a_miss(storage: Storage) -> None:
    assert storage.lookup("python\0a") is None


def test_what_was_committed_is_found_with_its_fields(storage: Storage) -> None:
    fields: dict[str, Field] = {
        "text": "ä\0\n",
        "whole": 1 << 60,
        "broken": 1.5,
        "yes": True,
        "nothing": None,
    }
    record = put(storage, "python\0a", b"abc", **fields)
    found = storage.lookup("python\0a")
    assert found == record
    assert found is not None
    assert (found.sha256, found.size, dict(found.fields)) == (sha256(b"abc"), 3, fields)
    assert not found.suspect
    assert get(storage, "python\0a") == b"abc"


def test_an_empty_body_is_a_body(storage: Storage) -> None:
    put(storage, "a", b"")
    assert get(storage, "a") == b""


def test_nothing_is_visible_before_the_commit(storage: Storage) -> None:
    put(storage, "a", b"old")
    writer = begun(storage, "a", b"new")
    assert get(storage, "a") == b"old"
    writer.commit(sha256(b"new"), {})
    writer.close()
    assert get(storage, "a") == b"new"


def test_a_writer_that_is_closed_leaves_no_trace(storage: Storage, tmp_path: Path) -> None:
    writer = begun(storage, "a", b"x" * 100)
    writer.close()
    writer.close()
    assert storage.lookup("a") is None
    assert not list(tmp_path.glob("v2/flights/*"))


def test_closing_after_the_commit_takes_nothing_back(storage: Storage) -> None:
    writer = begun(storage, "a", b"x")
    writer.commit(sha256(b"x"), {})
    writer.close()
    assert get(storage, "a") == b"x"


def test_a_view_of_a_body_in_the_making_grows_with_it(storage: Storage) -> None:
    writer = begun(storage, "a", b"one")
    view = writer.open()
    writer.write(b"two")
    assert writer.size == 6
    assert read(view) == b"onetwo"
    writer.close()


def test_a_view_of_a_body_in_the_making_outlives_the_writer(storage: Storage) -> None:
    writer = begun(storage, "a", b"one")
    view = writer.open()
    writer.close()
    assert read(view) == b"one"


def test_a_rewound_writer_begins_again_and_views_keep_the_old_bytes(storage: Storage) -> None:
    writer = begun(storage, "a", b"wrong")
    view = writer.open()
    writer.rewind()
    assert writer.size == 0
    writer.write(b"right")
    writer.commit(sha256(b"right"), {})
    writer.close()
    assert get(storage, "a") == b"right"
    assert read(view) == b"wrong"


def test_two_writers_of_one_key_do_not_meet_and_the_last_commit_stands(storage: Storage) -> None:
    first, second = begun(storage, "a", b"1"), begun(storage, "a", b"2")
    first.write(b"1")
    second.commit(sha256(b"2"), {})
    first.commit(sha256(b"11"), {})
    first.close()
    second.close()
    assert get(storage, "a") == b"11"


def test_entries_that_have_the_same_bytes_are_independent(storage: Storage) -> None:
    put(storage, "a", b"same")
    put(storage, "b", b"same")
    storage.remove("a")
    assert get(storage, "a") is None
    assert get(storage, "b") == b"same"


def test_an_open_body_outlives_its_removal_and_its_replacement(storage: Storage) -> None:
    record = put(storage, "a", b"old")
    first, second = storage.open(record), storage.open(record)
    put(storage, "a", b"new")
    storage.remove("a")
    assert (read_stored(first), read_stored(second)) == (b"old", b"old")


def test_a_body_may_be_closed_twice(storage: Storage) -> None:
    body = storage.open(put(storage, "a", b"x"))
    assert body is not None
    body.close()
    body.close()


def test_an_update_changes_the_fields_and_keeps_the_body(storage: Storage) -> None:
    record = put(storage, "a", b"x", checked=1)
    changed = storage.update(record, {"checked": 2})
    assert changed.fields == {"checked": 2}
    assert storage.lookup("a") == changed
    assert get(storage, "a") == b"x"


def test_an_update_of_an_entry_that_is_gone_brings_nothing_back(storage: Storage) -> None:
    record = put(storage, "a", b"x")
    storage.remove("a")
    with pytest.raises(StorageFailed):
        storage.update(record, {"checked": 2})
    assert storage.lookup("a") is None


def test_an_update_of_an_entry_that_has_another_body_now_changes_nothing(storage: Storage) -> None:
    record = put(storage, "a", b"old", checked=1)
    put(storage, "a", b"new", checked=2)
    with pytest.raises(StorageFailed):
        storage.update(record, {"checked": 3})
    assert get(storage, "a") == b"new"
    found = storage.lookup("a")
    assert found is not None
    assert found.fields == {"checked": 2}


def test_a_body_that_is_here_makes_an_entry_of_another_key(sharing: Storage) -> None:
    put(sharing, "oci\0a", b"shared", of="a")
    assert sharing.holds(sha256(b"shared"))
    record = sharing.share("oci\0b", sha256(b"shared"), {"of": "b"})
    assert record is not None
    assert record == sharing.lookup("oci\0b")
    assert (record.size, record.fields["of"], record.suspect) == (6, "b", False)
    sharing.remove("oci\0a")
    assert get(sharing, "oci\0b") == b"shared"


def test_sharing_replaces_what_the_key_had(sharing: Storage) -> None:
    put(sharing, "oci\0a", b"new")
    put(sharing, "oci\0b", b"old")
    sharing.share("oci\0b", sha256(b"new"), {})
    assert get(sharing, "oci\0b") == b"new"


def test_a_body_that_is_not_here_cannot_be_shared(sharing: Storage) -> None:
    put(sharing, "oci\0a", b"one")
    assert not sharing.holds(sha256(b"other"))
    assert sharing.share("oci\0b", sha256(b"other"), {}) is None
    assert sharing.lookup("oci\0b") is None


def test_what_was_removed_is_a_miss_and_may_be_removed_again(storage: Storage) -> None:
    put(storage, "a", b"x")
    storage.remove("a")
    storage.remove("a")
    assert storage.lookup("a") is None


def test_a_right_body_passes_its_recheck(storage: Storage) -> None:
    assert storage.recheck(put(storage, "a", b"x"))
    assert get(storage, "a") == b"x"


def test_a_claim_that_nobody_else_has_is_a_writer(storage: Storage) -> None:
    writer = storage.claim("a", "a and its digest")
    assert not isinstance(writer, Foreign)
    writer.tell(Progress(received=1))
    writer.write(b"x")
    writer.commit(sha256(b"x"), {})
    writer.tell(Progress("landed", received=1))
    writer.close()
    assert get(storage, "a") == b"x"


@pytest.mark.parametrize("key", ["python\0a/../../b", "é\n", "k" * 5000, "../../../x", " "])
def test_any_text_may_be_a_key(storage: Storage, key: str) -> None:
    put(storage, key, b"x")
    assert get(storage, key) == b"x"


def test_without_descriptors_reading_is_a_miss_and_nothing_is_lost(storage: Storage) -> None:
    record = put(storage, "a", b"x")
    with exhausted():
        body = storage.open(record)
        storage.lookup("a")
    assert body is None
    assert get(storage, "a") == b"x"


def test_without_descriptors_writing_fails_as_a_storage_does(storage: Storage) -> None:
    writer = storage.create("a")
    writer.write(b"x")
    calls: list[Callable[[], object]] = [
        lambda: storage.create("b").write(b"x"),
        lambda: storage.claim("b", "b"),
        writer.open,
        writer.rewind,
        MemoryWriter,
    ]
    with exhausted():
        failed = [_fails(call) for call in calls]
    assert failed == [True] * 5
    writer.close()


def _fails(call: Callable[[], object]) -> bool:
    try:
        call()
    except StorageFailed:
        return True
    return False


def test_a_spool_is_written_and_read_but_never_stored() -> None:
    spool = MemoryWriter()
    spool.write(b"x")
    with pytest.raises(StorageFailed):
        spool.commit(sha256(b"x"), {})
    assert read(spool.open()) == b"x"
    spool.close()
    spool.close()


def test_a_body_larger_than_the_limit_is_readable_but_not_stored(tmp_path: Path) -> None:
    disk = DiskStorage(tmp_path, max_body=3)
    put(disk, "small", b"123")
    writer = disk.create("large")
    writer.write(b"1234")
    with pytest.raises(StorageFailed):
        writer.commit(sha256(b"1234"), {})
    assert read(writer.open()) == b"1234"
    writer.close()
    assert disk.lookup("large") is None
    assert get(disk, "small") == b"123"
    disk.close()
