"""Whatever becomes of one file of the store: a miss, never an error, and the next commit stands."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.errors import StorageFailed
from proxy.storage.disk import DiskStorage
from proxy.storage.index import Index
from proxy.storage.table import IndexBroken
from proxy.storage.verify import verify
from tests.unit.stored import get, put, sha256

BODY = b"the right bytes"
Harm = Callable[[Path], object]


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[DiskStorage]:
    disk = DiskStorage(tmp_path / "cache")
    yield disk
    disk.close()


def the(part: str, storage: DiskStorage) -> Path:
    (found,) = (storage.folder.root / part).glob("*/*")
    return found


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link(path: Path) -> None:
    secret = path.parents[3] / "secret"
    secret.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(secret)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").write_bytes(b"x")


def _socket(path: Path) -> None:
    path.unlink()
    short = Path(os.path.relpath(path))  # a socket's name may have 107 bytes
    os.chdir(short.parent)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)


ODD_FILES = [_fifo, _link, _folder, _socket]


@pytest.fixture(autouse=True)
def _stay_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path.cwd())


def fields_changed(**changes: object) -> Harm:
    def harm(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))

    return harm


@pytest.mark.parametrize(
    "harm",
    [
        Path.unlink,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(BODY[:-1]),
        lambda path: path.write_bytes(BODY + b"!"),
        *ODD_FILES,
    ],
)
def test_a_body_that_is_not_whole_is_a_miss_and_heals(storage: DiskStorage, harm: Harm) -> None:
    put(storage, "a", BODY)
    harm(the("bodies", storage))
    assert get(storage, "a") is None
    assert storage.lookup("a") is None
    put(storage, "a", BODY)
    assert get(storage, "a") == BODY


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"{"),
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.write_bytes(b"[" * 100_000),
        lambda path: path.write_bytes(b"null"),
        lambda path: path.write_bytes(b'{"key":"a"}'),
        lambda path: path.write_bytes(b'"' + b"x" * (2 << 20) + b'"'),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        fields_changed(size="15"),
        fields_changed(size=-1),
        fields_changed(size=True),
        fields_changed(sha256="../" * 21 + "x"),
        fields_changed(sha256=None),
        fields_changed(fields=[]),
        fields_changed(key=7),
        fields_changed(key="another"),
        fields_changed(key="\ud800"),
        *ODD_FILES,
    ],
)
def test_an_entry_that_cannot_be_used_is_a_miss_and_heals(storage: DiskStorage, harm: Harm) -> None:
    put(storage, "a", BODY)
    entry = the("entries", storage)
    harm(entry)
    assert storage.lookup("a") is None
    assert not os.path.lexists(entry)
    put(storage, "a", BODY)
    assert get(storage, "a") == BODY


def test_a_link_is_never_followed_nor_what_it_points_to_removed(
    storage: DiskStorage, tmp_path: Path
) -> None:
    put(storage, "a", BODY)
    _link(the("bodies", storage))
    assert get(storage, "a") is None
    assert (tmp_path / "cache/secret").read_bytes() == BODY


def test_a_flipped_bit_is_found_by_the_recheck(storage: DiskStorage) -> None:
    record = put(storage, "a", BODY)
    the("bodies", storage).write_bytes(b"T" + BODY[1:])
    assert not storage.recheck(record)
    assert storage.lookup("a") is None


def test_a_wrong_body_takes_all_entries_that_share_it(storage: DiskStorage) -> None:
    record = put(storage, "a", BODY)
    put(storage, "b", BODY)
    the("bodies", storage).write_bytes(BODY[:3])
    assert storage.open(record) is None
    assert get(storage, "b") is None
    assert storage.lookup("b") is None


def test_a_body_that_went_takes_no_newer_entry_with_it(storage: DiskStorage) -> None:
    old = put(storage, "a", b"old")
    the("bodies", storage).unlink()
    put(storage, "a", b"new")
    assert storage.open(old) is None
    assert get(storage, "a") == b"new"


def test_a_read_error_is_a_miss_and_the_file_goes(storage: DiskStorage) -> None:
    put(storage, "a", BODY)
    opened = storage.folder.open

    def broken(name: str) -> tuple[int, os.stat_result]:
        if name.startswith("bodies/"):
            raise OSError(errno.EIO, "input/output error")
        return opened(name)

    storage.folder.open = broken  # type: ignore[method-assign]
    assert get(storage, "a") is None
    assert storage.lookup("a") is None


def test_a_file_in_place_of_a_folder_of_ours_makes_way(storage: DiskStorage) -> None:
    letters = storage.folder.root / "bodies" / sha256(BODY)[:2]
    letters.write_bytes(b"a file")
    put(storage, "a", BODY)
    assert get(storage, "a") == BODY


def test_what_cannot_be_an_entry_is_a_miss_and_makes_way(storage: DiskStorage) -> None:
    name = sha256(b"a")
    letters = storage.folder.root / "entries" / name[:2]
    letters.write_bytes(b"a file")
    assert storage.lookup("a") is None
    put(storage, "a", BODY)
    assert get(storage, "a") == BODY
    (letters / name).unlink()
    (letters / name).symlink_to("nowhere")
    assert storage.lookup("a") is None
    put(storage, "a", BODY)
    assert get(storage, "a") == BODY


def test_bodies_that_are_open_are_counted_until_they_are_closed(storage: DiskStorage) -> None:
    record = put(storage, "a", BODY)
    first, second = storage.open(record), storage.open(record)
    assert first is not None
    assert second is not None
    assert record.sha256 in storage.bodies
    first.close()
    first.close()
    assert record.sha256 in storage.bodies
    second.close()
    assert record.sha256 not in storage.bodies


# --- links in place of folders -----------------------------------------------------------------

LETTERS = sha256(BODY)[:2]


def moved_away(folder: Path, outside: Path) -> None:
    folder.rename(outside)
    folder.symlink_to(outside)


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize("part", ["", "bodies", "entries", "flights", f"bodies/{LETTERS}"])
def test_a_folder_that_became_a_link_is_neither_read_nor_written_nor_emptied(
    storage: DiskStorage, tmp_path: Path, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    record = put(storage, "a", BODY)
    outside = tmp_path / "outside"
    moved_away(storage.folder.root / part, outside)
    before = files(outside)
    with caplog.at_level(logging.INFO):
        if part != "flights":
            assert get(storage, "a") is None
            assert get(storage, "a") is None
        storage.remove("a")
        storage.evict("a", record.sha256, with_body=True)
        list(verify(storage, remove=True))
        with pytest.raises(StorageFailed):
            put(storage, "b", BODY)
    assert files(outside) == before
    assert len([line for line in caplog.messages if "symbolic link" in line]) == 1
    assert not [line for line in caplog.messages if "treated as a miss" in line]


@pytest.mark.parametrize("part", ["bodies", "entries", "flights"])
def test_a_store_with_a_linked_folder_is_refused_at_start(tmp_path: Path, part: str) -> None:
    DiskStorage(tmp_path / "cache").close()
    moved_away(tmp_path / "cache/v2" / part, tmp_path / "outside")
    with pytest.raises(NotADirectoryError, match=f"v2/{part} in it is a symbolic link"):
        DiskStorage(tmp_path / "cache")


def test_a_linked_store_is_refused_before_anything_is_made_in_it(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "v2").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotADirectoryError, match="v2 in it is a symbolic link"):
        DiskStorage(tmp_path)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_store_goes_on_when_the_link_is_gone(storage: DiskStorage, tmp_path: Path) -> None:
    put(storage, "a", BODY)
    bodies = storage.folder.root / "bodies"
    moved_away(bodies, tmp_path / "outside")
    assert get(storage, "a") is None
    bodies.unlink()
    (tmp_path / "outside").rename(bodies)
    assert get(storage, "a") == BODY


def test_a_linked_index_is_told_as_broken(tmp_path: Path) -> None:
    Index(tmp_path / "index").close()
    moved_away(tmp_path / "index", tmp_path / "outside")
    with pytest.raises(IndexBroken):
        Index(tmp_path / "index")
