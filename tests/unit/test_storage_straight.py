"""The store's files, by the kernel's own way and step by step: both keep the same rules."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from proxy.storage.failures import Linked
from proxy.storage.folder import Folder
from proxy.storage.straight import StraightWay


@pytest.fixture(params=["straight", "step by step"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "v2", ("bodies", "flights"))
    made._straight.usable = request.param == "straight"
    return made


def put(folder: Folder, name: str, data: bytes) -> None:
    fd = folder.create(name)
    os.write(fd, data)
    os.close(fd)


def read(folder: Folder, name: str) -> bytes:
    fd, status = folder.open(name)
    try:
        return os.read(fd, status.st_size)
    finally:
        os.close(fd)


def test_what_was_created_and_renamed_is_read_under_its_new_name_only(folder: Folder) -> None:
    put(folder, "flights/a", b"bytes")
    folder.replace(("flights/a", "bodies/aa/b"))
    assert read(folder, "bodies/aa/b") == b"bytes"
    assert folder.size("bodies/aa/b") == 5
    assert folder.size("flights/a") is None
    with pytest.raises(FileNotFoundError):
        folder.open("flights/a")


def test_what_is_missing_is_found_to_be_so_without_an_error(folder: Folder) -> None:
    assert folder.find("flights/a") is None
    assert folder.find("bodies/aa/b") is None
    assert folder.lacks("flights/a")
    put(folder, "flights/a", b"bytes")
    found = folder.find("flights/a")
    assert found is not None
    assert not folder.lacks("flights/a")
    assert (os.read(found[0], 9), found[1].st_size) == (b"bytes", 5)
    os.close(found[0])


def test_only_a_plain_file_is_read(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "v2/flights/folder").mkdir()
    os.mkfifo(tmp_path / "v2/flights/pipe")
    for name in ("flights/folder", "flights/pipe"):
        for look in (folder.open, folder.find):
            with pytest.raises(OSError, match="not a plain file"):
                look(name)


def test_files_of_one_folder_are_renamed_in_the_order_given(folder: Folder) -> None:
    put(folder, "flights/a", b"first")
    put(folder, "flights/b", b"second")
    folder.replace(("flights/a", "bodies/aa/a"), ("flights/b", "bodies/bb/b"))
    assert read(folder, "bodies/aa/a") == b"first"
    assert read(folder, "bodies/bb/b") == b"second"
    put(folder, "flights/a", b"third")
    with pytest.raises(FileNotFoundError):
        folder.replace(("flights/missing", "bodies/aa/c"), ("flights/a", "bodies/aa/a"))
    assert read(folder, "bodies/aa/a") == b"first"


def test_a_new_file_is_for_its_owner_alone_and_never_an_old_one(folder: Folder) -> None:
    put(folder, "flights/a", b"")
    status = Path(folder.path("flights/a")).stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    with pytest.raises(FileExistsError):
        folder.create("flights/a")


def test_no_link_on_the_way_is_followed(folder: Folder, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b").write_bytes(b"theirs")
    (tmp_path / "v2/bodies/aa").symlink_to(outside)
    with pytest.raises(Linked):
        folder.open("bodies/aa/b")
    with pytest.raises(Linked):
        folder.find("bodies/aa/b")
    put(folder, "flights/a", b"ours")
    with pytest.raises(Linked):
        folder.replace(("flights/a", "bodies/aa/b"))
    assert (outside / "b").read_bytes() == b"theirs"


def test_a_link_in_place_of_a_file_is_not_opened(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"theirs")
    (tmp_path / "v2/flights/a").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="Too many levels"):
        folder.open("flights/a")
    assert folder.size("flights/a") is None


def test_a_root_below_a_link_that_was_turned_is_found_in_its_new_place(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    (tmp_path / "here").symlink_to(tmp_path / "old")
    folder = Folder(tmp_path / "here/v2", ("flights",))
    put(folder, "flights/a", b"old")
    (tmp_path / "here").unlink()
    (tmp_path / "here").symlink_to(tmp_path / "new")
    folder.make()
    put(folder, "flights/a", b"new")
    assert (tmp_path / "old/v2/flights/a").read_bytes() == b"old"
    assert (tmp_path / "new/v2/flights/a").read_bytes() == b"new"


def test_where_the_kernel_has_no_such_call_every_open_is_refused(tmp_path: Path) -> None:
    (tmp_path / "v2").mkdir()
    (tmp_path / "v2/file").write_bytes(b"")
    way = StraightWay(tmp_path / "v2")
    way.usable = False
    assert way.open("file", os.O_RDONLY) == -errno.ENOSYS
