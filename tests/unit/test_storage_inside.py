"""Small bodies inside the files of their entries: written in one piece, and watched meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.errors import StorageFailed
from proxy.storage.base import Foreign, Progress, Record
from proxy.storage.claim import _pack
from proxy.storage.disk import DiskStorage
from proxy.storage.layout import (
    MAX_INSIDE,
    entry_name,
    entry_tail,
)
from proxy.storage.writer import DiskWriter
from tests.unit.stored import Elsewhere, get, put_whole, sha256

BODY = b"the right bytes"
LONG = {"long": "x" * 20_000}  # the metadata is longer than what is read at once
Begin = Callable[[DiskStorage], DiskWriter]


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[DiskStorage]:
    disk = DiskStorage(tmp_path)
    yield disk
    disk.close()


def claimed(storage: DiskStorage) -> DiskWriter:
    writer = storage.claim("key", "name")
    assert isinstance(writer, DiskWriter)
    return writer


def created(storage: DiskStorage) -> DiskWriter:
    return storage.create("key")


both = pytest.mark.parametrize("begin", [claimed, created])


def files(folder: Path, part: str) -> list[Path]:
    return [path for path in (folder / "v2" / part).rglob("*") if path.is_file()]


def entry(storage: DiskStorage, key: str = "key") -> Path:
    return Path(storage.folder.path(entry_name(key)))


# --- how it is written ----------------------------------------------------------------------------


@both
@pytest.mark.parametrize("body", [b"", BODY, bytes(MAX_INSIDE)])
@pytest.mark.parametrize("fields", [{}, {"a": "ä\0\n", "b": 1.5, "c": None}, LONG])
def test_a_small_body_and_its_metadata_are_one_file(
    tmp_path: Path,
    storage: DiskStorage,
    begin: Begin,
    body: bytes,
    fields: dict[str, str | float | None],
) -> None:
    writer = begin(storage)
    record = writer.commit_whole(body, sha256(body), fields)
    assert writer.size == len(body)
    writer.close()
    assert record == Record("key", sha256(body), len(body), fields, inside=True)
    assert (files(tmp_path, "bodies"), files(tmp_path, "flights")) == ([], [])
    assert entry(storage).read_bytes() == body + entry_tail(record)
    other = DiskStorage(tmp_path)
    for disk in (storage, other):
        assert disk.lookup("key") == record
        assert get(disk, "key") == body
    other.close()


def test_a_claim_becomes_the_one_file(tmp_path: Path, storage: DiskStorage) -> None:
    writer = claimed(storage)
    (claim,) = files(tmp_path, "flights")
    inode = claim.stat().st_ino
    writer.commit_whole(BODY, sha256(BODY), {})
    assert entry(storage).stat().st_ino == inode
    writer.tell(Progress("running", 1))  # too late, and not into the entry
    writer.close()
    assert get(storage, "key") == BODY
    again = claimed(storage)  # nobody has it any more
    again.close()


@both
def test_a_larger_body_has_a_file_of_its_own(
    tmp_path: Path, storage: DiskStorage, begin: Begin
) -> None:
    body = bytes(MAX_INSIDE + 1)
    writer = begin(storage)
    record = writer.commit_whole(body, sha256(body), {})
    writer.close()
    assert not record.inside
    assert [path.name for path in files(tmp_path, "bodies")] == [sha256(body)]
    assert get(storage, "key") == body


@both
def test_what_was_begun_otherwise_is_ended_otherwise(
    tmp_path: Path, storage: DiskStorage, begin: Begin
) -> None:
    writer = begin(storage)
    view = writer.open()
    record = writer.commit_whole(BODY, sha256(BODY), {})
    writer.close()
    assert not record.inside
    assert os.pread(view.fileno(), 100, 0) == BODY
    view.close()
    assert len(files(tmp_path, "bodies")) == 1
    assert get(storage, "key") == BODY


@both
def test_a_closed_writer_commits_nothing(storage: DiskStorage, begin: Begin) -> None:
    writer = begin(storage)
    writer.close()
    with pytest.raises(StorageFailed):
        writer.commit_whole(BODY, sha256(BODY), {})
    assert storage.lookup("key") is None


def test_a_body_larger_than_the_limit_is_not_stored(tmp_path: Path) -> None:
    disk = DiskStorage(tmp_path, max_body=3)
    put_whole(disk, "key", b"123")
    with pytest.raises(StorageFailed):
        put_whole(disk, "key", b"1234")
    assert get(disk, "key") == b"123"
    assert not files(tmp_path, "flights")
    disk.close()


@both
def test_a_commit_that_fails_leaves_the_old_entry_and_nothing_half_done(
    tmp_path: Path, storage: DiskStorage, begin: Begin
) -> None:
    put_whole(storage, "key", b"old")
    writer = begin(storage)
    folder = entry(storage).parent
    folder.rename(tmp_path / "aside")
    folder.symlink_to(tmp_path / "aside")
    with pytest.raises(StorageFailed):
        writer.commit_whole(BODY, sha256(BODY), {})
    writer.close()
    assert not files(tmp_path, "flights")
    folder.unlink()
    (tmp_path / "aside").rename(folder)
    assert get(storage, "key") == b"old"


def test_a_disk_that_takes_a_part_says_why_and_the_old_entry_stays(
    tmp_path: Path,
) -> None:
    lines = """
        import resource, signal
        from proxy.errors import StorageFailed
        from proxy.storage.changes import Changes
        changes = Changes()
        storage = DiskStorage(folder, watcher=changes)
        put_whole(storage, "key", b"old")
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
        for begin in (lambda: storage.create("key"), lambda: storage.claim("key", "name")):
            writer = begin()
            try:
                writer.commit_whole(bytes(100_000), sha256(bytes(100_000)), {})
            except StorageFailed as error:
                say(str(error))
            writer.close()
        say(f"{get(storage, 'key')} {len(list(folder.glob('v2/flights/*')))}")
        storage.close()
    """
    with Elsewhere(lines, tmp_path) as process:
        for _ in range(2):
            assert process.hear() == "EFBIG"
        assert process.hear() == "b'old' 0"
        assert process.wait() == 0


def test_it_is_no_body_that_others_may_share(storage: DiskStorage) -> None:
    put_whole(storage, "a", BODY)
    assert not storage.holds(sha256(BODY))
    assert storage.share("b", sha256(BODY), {}) is None
    assert storage.lookup("b") is None


# --- who watches ----------------------------------------------------------------------------------

NOTES = [
    Progress("failed", error="lies"),
    Progress("landed", 7, 7, headed=True),
    Progress("running", 7, 7, headed=True),
]


@pytest.mark.parametrize("body", [b"", BODY, bytes(5000), *map(_pack, NOTES)])
def test_a_follower_hears_that_it_landed_whatever_bytes_it_has(
    tmp_path: Path, storage: DiskStorage, body: bytes
) -> None:
    other = DiskStorage(tmp_path)
    writer = claimed(storage)
    foreign = other.claim("key", "name")
    assert isinstance(foreign, Foreign)
    heard: list[Progress] = []
    replace = storage.folder.replace

    def watched(*moves: tuple[str, str]) -> None:
        heard.append(foreign.progress())
        replace(*moves)

    storage.folder.replace = watched  # type: ignore[method-assign]
    writer.commit_whole(body, sha256(body), {})
    assert heard == [Progress()]
    assert foreign.open() is None
    assert foreign.progress() == Progress("landed", len(body), len(body), headed=True)
    writer.close()
    with pytest.raises(StorageFailed):
        foreign.adopt()
    foreign.close()
    assert get(other, "key") == body
    other.close()


def test_a_follower_hears_why_it_failed_after_a_commit_that_failed(
    tmp_path: Path, storage: DiskStorage
) -> None:
    other = DiskStorage(tmp_path)
    writer = claimed(storage)
    foreign = other.claim("key", "name")
    assert isinstance(foreign, Foreign)

    def broken(*_: tuple[str, str]) -> None:
        raise OSError(28, "no room")

    storage.folder.replace = broken  # type: ignore[method-assign]
    with pytest.raises(StorageFailed):
        writer.commit_whole(bytes(5000), sha256(bytes(5000)), {})
    writer.tell(Progress("failed", error="no room"))
    assert foreign.progress() == Progress("failed", error="no room")
    writer.close()
    foreign.close()
    other.close()


def test_who_adopts_what_its_owner_was_about_to_commit_begins_at_zero_and_is_heard(
    tmp_path: Path, storage: DiskStorage
) -> None:
    lines = """
        import os
        storage = DiskStorage(folder)
        writer = storage.claim("key", "name")
        storage.folder.replace = lambda *_: os.kill(os.getpid(), 9)
        say("ready")
        hear()
        writer.commit_whole(bytes(5000), sha256(bytes(5000)), {})
    """
    with Elsewhere(lines, tmp_path) as owner:
        assert owner.hear() == "ready"
        foreign, third = storage.claim("key", "name"), storage.claim("key", "name")
        assert isinstance(foreign, Foreign)
        assert isinstance(third, Foreign)
        owner.tell("go")
        owner.wait()
    assert foreign.progress() == Progress()
    writer = foreign.adopt()
    assert writer is not None
    assert writer.size == 0
    writer.tell(Progress(received=1))
    assert third.progress() == Progress(received=1)
    writer.commit_whole(BODY, sha256(BODY), {})
    writer.close()
    foreign.close()
    third.close()
    assert get(storage, "key") == BODY
    assert not files(tmp_path, "flights")
