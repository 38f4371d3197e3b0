"""The folder where files are made: what becomes of it is noticed, late or at once."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.errors import StorageFailed
from proxy.storage import workshop
from proxy.storage.base import Foreign
from proxy.storage.disk import DiskStorage
from proxy.storage.folder import Folder
from proxy.storage.workshop import Workshop
from proxy.storage.writer import DiskWriter
from tests.engine import quick
from tests.unit.stored import get, sha256

BODY = b"the right bytes"


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[DiskStorage]:
    disk = DiskStorage(tmp_path)
    yield disk
    disk.close()


def claimed(storage: DiskStorage, key: str = "key") -> DiskWriter:
    writer = storage.claim(key, key)
    assert isinstance(writer, DiskWriter)
    return writer


def fill(storage: DiskStorage, key: str) -> None:
    writer = claimed(storage, key)
    writer.commit_whole(BODY, sha256(BODY), {})
    writer.close()


def flights(storage: DiskStorage) -> Path:
    return storage.folder.root / "flights"


def test_it_is_opened_once_in_a_while_and_let_go_with_its_last_user(tmp_path: Path) -> None:
    opened: list[int] = []

    def open_it() -> int:
        opened.append(os.open(tmp_path, os.O_PATH))
        return opened[-1]

    shop = Workshop(open_it)
    with quick(workshop, LOOK=60.0):
        first = shop.hold()
        assert shop.hold() is first
    with quick(workshop, LOOK=0.0):
        second = shop.hold()
    assert (first.fd, second.fd) == tuple(opened)
    assert os.fstat(first.fd).st_ino == os.fstat(second.fd).st_ino  # in use: both are open
    number = first.fd
    del first
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(number)
    shop.forget()
    os.fstat(second.fd)


def test_what_cannot_be_opened_is_not_held(tmp_path: Path) -> None:
    shop = Workshop(lambda: os.open(tmp_path / "later", os.O_PATH))
    with pytest.raises(FileNotFoundError):
        shop.hold()
    (tmp_path / "later").mkdir()
    assert os.fstat(shop.hold().fd).st_ino == (tmp_path / "later").stat().st_ino


def test_claims_are_made_in_a_folder_that_is_opened_once(storage: DiskStorage) -> None:
    before = storage.folder._workshop.hold()
    with quick(workshop, LOOK=60.0):
        for number in range(5):
            fill(storage, f"{number}")
        assert storage.folder._workshop.hold() is before
    assert get(storage, "4") == BODY


@pytest.mark.parametrize("part", ["flights", ""])
def test_one_that_was_removed_is_made_again_at_once(storage: DiskStorage, part: str) -> None:
    with quick(workshop, LOOK=60.0):
        fill(storage, "a")
        shutil.rmtree(storage.folder.root / part)
        fill(storage, "b")
    assert get(storage, "b") == BODY
    assert not list(flights(storage).iterdir())


def test_a_removed_one_takes_the_claims_in_it_with_it(storage: DiskStorage) -> None:
    writer = claimed(storage)
    shutil.rmtree(flights(storage))
    with pytest.raises(StorageFailed):
        writer.commit_whole(BODY, sha256(BODY), {})
    writer.close()
    assert storage.lookup("key") is None
    fill(storage, "key")
    assert get(storage, "key") == BODY


def test_of_one_that_was_moved_away_a_claim_still_becomes_its_entry(
    tmp_path: Path, storage: DiskStorage
) -> None:
    with quick(workshop, LOOK=60.0):
        writer = claimed(storage)
        flights(storage).rename(tmp_path / "aside")
        flights(storage).mkdir()
        writer.commit_whole(BODY, sha256(BODY), {})
        writer.close()
    assert get(storage, "key") == BODY
    assert not list((tmp_path / "aside").iterdir())


def test_what_is_made_anew_is_found_also_while_the_old_one_is_held(
    tmp_path: Path, storage: DiskStorage
) -> None:
    with quick(workshop, LOOK=60.0):
        fill(storage, "a")
        flights(storage).rename(tmp_path / "aside")
        flights(storage).mkdir()
        writer = storage.create("b")  # in the new one, as all that is no claim
        writer.write(BODY)
        writer.commit(sha256(BODY), {})
        writer.close()
    assert get(storage, "b") == BODY


@pytest.mark.parametrize("part", ["flights", ""])
def test_one_that_became_a_link_is_refused_when_it_is_looked_at(
    tmp_path: Path, storage: DiskStorage, part: str
) -> None:
    fill(storage, "a")
    folder = storage.folder.root / part
    folder.rename(tmp_path / "aside")
    folder.symlink_to(tmp_path / "aside")
    with quick(workshop, LOOK=0.0), pytest.raises(StorageFailed):
        storage.claim("b", "b")
    assert not [path for path in (tmp_path / "aside").rglob("*") if path.name == sha256(b"b")]


def test_two_who_share_a_store_meet_at_one_claim_also_while_they_hold_its_folder(
    tmp_path: Path, storage: DiskStorage
) -> None:
    other = DiskStorage(tmp_path)
    with quick(workshop, LOOK=60.0):
        for disk in (storage, other):
            fill(disk, "before")
        writer = claimed(storage)
        found = other.claim("key", "key")
        assert isinstance(found, Foreign)
        writer.commit_whole(BODY, sha256(BODY), {})
        assert found.progress().state == "landed"
        found.close()
        writer.close()
    other.close()


def test_a_folder_that_is_let_go_is_opened_again_when_it_is_needed(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "v2", ("bodies", "flights"))
    with quick(workshop, LOOK=60.0):
        first = folder._workshop.hold().since
        folder.let_go()
        folder.write("flights/a", "bodies/aa/b", BODY)
        assert folder._workshop.hold().since > first
    assert folder.size("bodies/aa/b") == len(BODY)
