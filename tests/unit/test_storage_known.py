"""Entries that were read before: known while their files are the same, and not a moment longer."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.storage.base import Record
from proxy.storage.disk import DiskStorage
from proxy.storage.known import LOOK, RACY, Known
from proxy.storage.layout import entry_name
from tests.unit.stored import put, sha256

OFTEN = 2_000_000


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[DiskStorage]:
    disk = DiskStorage(tmp_path)
    yield disk
    disk.close()


def known(storage: DiskStorage, key: str) -> Record:
    """The record of an entry that has become old enough to be known."""
    for _ in range(OFTEN):
        record = storage.lookup(key)
        assert record is not None
        if storage.lookup(key) is record:
            return record
    raise AssertionError("never known")


def pause() -> None:
    """Let the moment pass in which nobody looks again."""
    begin = time.monotonic()
    while time.monotonic() - begin <= LOOK:
        pass


def test_an_entry_is_read_once(storage: DiskStorage) -> None:
    put(storage, "a", b"x")
    assert known(storage, "a") is storage.lookup("a")


def test_what_this_process_changes_is_read_again_at_once(storage: DiskStorage) -> None:
    put(storage, "a", b"x")
    record = known(storage, "a")
    storage.update(record, {"checked": 2})
    assert dict((storage.lookup("a") or record).fields) == {"checked": 2}
    known(storage, "a")
    put(storage, "a", b"y")
    assert (storage.lookup("a") or record).sha256 != record.sha256
    record = known(storage, "a")
    storage.evict("a", record.sha256, with_body=False)
    assert storage.lookup("a") is None
    put(storage, "a", b"x")
    known(storage, "a")
    storage.remove("a")
    assert storage.lookup("a") is None


def test_what_gets_the_body_of_another_is_read_again_at_once(storage: DiskStorage) -> None:
    put(storage, "a", b"x")
    put(storage, "b", b"y")
    record = known(storage, "b")
    storage.share("b", sha256(b"x"), {})
    assert (storage.lookup("b") or record).sha256 == sha256(b"x")


def test_what_another_process_changes_is_read_again(storage: DiskStorage, tmp_path: Path) -> None:
    put(storage, "a", b"x", checked=1)
    other = DiskStorage(tmp_path)
    record = known(storage, "a")
    put(other, "a", b"x", checked=2)  # as many bytes as before
    pause()
    assert dict((storage.lookup("a") or record).fields) == {"checked": 2}
    known(storage, "a")
    other.remove("a")
    pause()
    assert storage.lookup("a") is None
    other.close()


def test_a_file_that_was_touched_is_read_again(storage: DiskStorage) -> None:
    put(storage, "a", b"x")
    record = known(storage, "a")
    path = storage.folder.root / entry_name("a")
    os.utime(path, (1, 1))
    pause()
    assert storage.lookup("a") is not record


def test_what_is_younger_than_the_clock_of_a_file_system_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    status = path.stat()
    record, now = Record("a", "0" * 64, 1, {}), [status.st_ctime + RACY / 2]
    seen = Known(clock=lambda: now[0])
    seen.keep(record, str(path), status)
    assert seen.find("a") is None
    now[0] += RACY
    seen.keep(record, str(path), status)
    assert seen.find("a") is record


def test_a_suspect_entry_is_never_known(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    seen = Known(clock=lambda: time.time() + 60)
    seen.keep(Record("a", "0" * 64, 1, {}, suspect=True), str(path), path.stat())
    assert seen.find("a") is None


def test_no_more_than_so_many_are_known(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    seen = Known(limit=3, clock=lambda: time.time() + 60)
    for name in "abcde":
        seen.keep(Record(name, "0" * 64, 1, {}), str(path), path.stat())
    assert [name for name in "abcde" if seen.find(name)] == ["c", "d", "e"]
    assert len(seen) == 3
