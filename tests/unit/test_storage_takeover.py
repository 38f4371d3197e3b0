"""The store of an earlier version is taken over, once and whole."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from proxy.storage.disk import DiskStorage
from proxy.storage.layout import BEFORE, VERSION, parse_entry
from proxy.storage.takeover import is_store
from tests.unit.stored import get, put, put_whole


def older(folder: Path, **bodies: bytes) -> None:
    """A store as the version before left it: in its own folder, entries in the first form only."""
    storage = DiskStorage(folder)
    for key, body in bodies.items():
        put(storage, key, body, noted=key)
    storage.close()
    (folder / VERSION).rename(folder / BEFORE)
    for entry in (folder / BEFORE / "entries").glob("*/*"):
        assert parse_entry(entry.read_bytes()).key in bodies


def test_an_older_store_is_ours_from_the_first_start_on(tmp_path: Path) -> None:
    older(tmp_path, a=b"A", b=b"B")
    assert is_store(tmp_path)
    storage = DiskStorage(tmp_path)
    assert (get(storage, "a"), get(storage, "b")) == (b"A", b"B")
    record = storage.lookup("a")
    assert record is not None
    assert dict(record.fields) == {"noted": "a"}
    assert not storage.unclean
    put_whole(storage, "c", b"C")
    storage.close()
    assert [path.name for path in tmp_path.iterdir()] == [VERSION]
    assert get(DiskStorage(tmp_path), "c") == b"C"


def test_nothing_is_taken_over_where_there_is_a_store_already(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older(tmp_path, a=b"old")
    (tmp_path / BEFORE).rename(tmp_path / "kept")
    storage = DiskStorage(tmp_path)
    put(storage, "a", b"new")
    storage.close()
    (tmp_path / "kept").rename(tmp_path / BEFORE)
    assert get(DiskStorage(tmp_path), "a") == b"new"
    assert (tmp_path / BEFORE).is_dir()
    assert f"{tmp_path / BEFORE} belongs to an earlier version" in caplog.text


def test_a_fresh_folder_is_begun_with(tmp_path: Path) -> None:
    assert not is_store(tmp_path)
    DiskStorage(tmp_path).close()
    assert is_store(tmp_path)
    assert not (tmp_path / BEFORE).exists()


def test_several_that_start_at_once_find_all_of_it(tmp_path: Path) -> None:
    older(tmp_path, a=b"A")
    found: list[bytes | None] = []

    def start() -> None:
        storage = DiskStorage(tmp_path)
        found.append(get(storage, "a"))
        storage.close()

    several = [threading.Thread(target=start) for _ in range(8)]
    for thread in several:
        thread.start()
    for thread in several:
        thread.join()
    assert found == [b"A"] * 8
