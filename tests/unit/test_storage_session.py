"""Whether the last stop was a clean one, and what follows when it was not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from proxy.errors import StorageFailed
from proxy.storage.disk import DiskStorage
from tests.unit.stored import Elsewhere, get, leave_half_done, put, sha256

HOLD = """
    storage = DiskStorage(folder)
    put(storage, "theirs", b"theirs")
    say("in")
    hear()
    storage.close()
"""


def suspect(storage: DiskStorage, key: str) -> bool:
    record = storage.lookup(key)
    assert record is not None
    return record.suspect


@pytest.fixture
def ahead() -> float:
    """An hour from now: file times are no part of a test then."""
    return 4_000_000_000.0


def reopened(folder: Path, now: float) -> DiskStorage:
    return DiskStorage(folder, clock=lambda: now)


def crashed(folder: Path) -> None:
    """Store an entry, then be gone."""
    with Elsewhere(HOLD, folder) as other:
        assert other.hear() == "in"


def test_a_new_store_suspects_nothing(tmp_path: Path, ahead: float) -> None:
    storage = reopened(tmp_path, ahead)
    put(storage, "a", b"x")
    assert not suspect(storage, "a")
    assert not storage.unclean
    storage.close()


def test_after_a_clean_stop_nothing_is_suspect(tmp_path: Path, ahead: float) -> None:
    first = DiskStorage(tmp_path)
    put(first, "a", b"x")
    first.close()
    second = reopened(tmp_path, ahead)
    assert not suspect(second, "a")
    assert not second.unclean
    second.close()


def test_after_a_kill_every_entry_is_suspect_until_it_is_rechecked(
    tmp_path: Path, ahead: float
) -> None:
    crashed(tmp_path)
    storage = reopened(tmp_path, ahead)
    assert storage.unclean
    record = storage.lookup("theirs")
    assert record is not None
    assert record.suspect
    assert storage.recheck(record)
    assert not suspect(storage, "theirs")
    storage.close()


def test_what_is_suspect_stays_so_over_a_clean_stop(tmp_path: Path, ahead: float) -> None:
    crashed(tmp_path)
    reopened(tmp_path, ahead).close()
    storage = reopened(tmp_path, ahead + 10)
    assert not storage.unclean
    assert suspect(storage, "theirs")
    storage.close()


def test_a_wrong_body_fails_its_recheck_and_is_gone(tmp_path: Path, ahead: float) -> None:
    crashed(tmp_path)
    (body,) = tmp_path.glob("v2/bodies/*/*")
    body.write_bytes(b"Theirs")
    storage = reopened(tmp_path, ahead)
    record = storage.lookup("theirs")
    assert record is not None
    assert not storage.recheck(record)
    assert storage.lookup("theirs") is None
    assert not body.exists()
    storage.close()


def test_new_fields_do_not_clear_a_suspicion(tmp_path: Path) -> None:
    crashed(tmp_path)
    (entry,) = tmp_path.glob("v2/entries/*/*")
    os.utime(entry, (1000, 1000))
    storage = reopened(tmp_path, 2000)
    record = storage.lookup("theirs")
    assert record is not None
    assert storage.update(record, {"checked": 1}).suspect
    assert suspect(storage, "theirs")
    storage.close()


def test_a_kill_is_seen_after_clean_stops_before_it(tmp_path: Path, ahead: float) -> None:
    first = DiskStorage(tmp_path)
    put(first, "ours", b"ours")
    first.close()
    crashed(tmp_path)
    storage = reopened(tmp_path, ahead)
    assert storage.unclean
    assert suspect(storage, "ours")
    storage.close()


def test_a_clock_that_was_set_back_makes_a_recheck_count_all_the_same(
    tmp_path: Path, ahead: float
) -> None:
    crashed(tmp_path)
    reopened(tmp_path, ahead).close()
    storage = DiskStorage(tmp_path)  # the right time again
    record = storage.lookup("theirs")
    assert record is not None
    assert storage.recheck(record)
    assert not suspect(storage, "theirs")
    storage.close()


@pytest.mark.parametrize("content", ["", "[", "[1]", '{"dirty": []}', "[" * 4000, "\0" * 100])
def test_a_session_file_that_cannot_be_read_is_no_proof_of_order(
    tmp_path: Path, ahead: float, content: str
) -> None:
    first = DiskStorage(tmp_path)
    put(first, "a", b"x")
    first.close()
    (tmp_path / "v2/session").write_text(content)
    storage = reopened(tmp_path, ahead)
    assert suspect(storage, "a")
    storage.close()


def test_who_comes_second_suspects_nothing(tmp_path: Path, ahead: float) -> None:
    with Elsewhere(HOLD, tmp_path) as other:
        assert other.hear() == "in"
        storage = reopened(tmp_path, ahead)
        assert not suspect(storage, "theirs")
        assert not storage.unclean
        other.tell("go")
        assert other.wait() == 0
        put(storage, "ours", b"ours")
        storage.close()
    third = reopened(tmp_path, ahead + 10)
    assert not suspect(third, "theirs")
    assert not suspect(third, "ours")
    third.close()


def test_who_leaves_first_does_not_call_the_store_clean(tmp_path: Path, ahead: float) -> None:
    with Elsewhere(HOLD, tmp_path) as other:
        assert other.hear() == "in"
        DiskStorage(tmp_path).close()
        other.kill()
    storage = reopened(tmp_path, ahead)
    assert storage.unclean
    storage.close()


def test_flights_of_the_dead_are_swept_by_who_comes_first_only(tmp_path: Path) -> None:
    with Elsewhere(HOLD, tmp_path) as other:
        assert other.hear() == "in"
        writer = DiskStorage(tmp_path).create("mine")
        writer.write(b"x")
        DiskStorage(tmp_path)
        assert list(tmp_path.glob("v2/flights/*"))
        other.kill()
    writer.close()


def test_a_first_comer_finds_no_flights(tmp_path: Path) -> None:
    leave_half_done(tmp_path, 'create("a")', 'claim("b", "b")')
    assert len(list(tmp_path.glob("v2/flights/*"))) == 3
    storage = DiskStorage(tmp_path)
    assert not list(tmp_path.glob("v2/flights/*"))
    storage.close()


def test_a_folder_that_anybody_may_write_to_is_refused(tmp_path: Path) -> None:
    DiskStorage(tmp_path).close()
    (tmp_path / "v2").chmod(0o777)
    with pytest.raises(PermissionError, match="anybody"):
        DiskStorage(tmp_path)


def test_a_folder_that_a_group_may_enter_is_closed_to_it(tmp_path: Path) -> None:
    DiskStorage(tmp_path).close()
    (tmp_path / "v2").chmod(0o2770)
    DiskStorage(tmp_path).close()
    assert (tmp_path / "v2").stat().st_mode & 0o777 == 0o700


def test_a_link_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "v2").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotADirectoryError):
        DiskStorage(tmp_path)


def test_everything_is_private_to_the_user(tmp_path: Path) -> None:
    storage = DiskStorage(tmp_path / "new")
    put(storage, "a", b"x")
    storage.close()
    modes = {path.stat().st_mode & 0o077 for path in (tmp_path / "new").rglob("*")}
    assert modes == {0}


def test_a_folder_that_was_removed_while_in_use_is_made_again(tmp_path: Path) -> None:
    storage = DiskStorage(tmp_path / "cache")
    put(storage, "a", b"x")
    record = storage.lookup("a")
    assert record is not None
    body, writer = storage.open(record), storage.create("b")
    writer.write(b"half")
    (tmp_path / "cache").rename(tmp_path / "gone")
    assert storage.lookup("a") is None
    assert storage.open(record) is None
    with pytest.raises(StorageFailed):
        writer.commit("0" * 64, {})
    writer.close()
    assert body is not None
    body.close()
    put(storage, "c", b"y")
    assert get(storage, "c") == b"y"
    claim = storage.claim("d", "d")
    claim.close()
    storage.close()


def test_an_entry_that_shares_an_older_body_is_suspect_after_an_unclean_stop(
    tmp_path: Path, ahead: float
) -> None:
    crashed(tmp_path)
    storage = reopened(tmp_path, ahead)
    record = storage.share("oci\0a", sha256(b"theirs"), {})
    assert record is not None
    assert record.suspect
    assert suspect(storage, "oci\0a")
    assert storage.recheck(record)
    assert not suspect(storage, "oci\0a")
    storage.close()


def test_a_body_of_a_store_that_was_copied_after_a_crash_is_suspect_to_whom_it_is_shared(
    tmp_path: Path,
) -> None:
    old, new, digest = tmp_path / "old", tmp_path / "new", sha256(b"theirs")
    crashed(old)
    # What a power cut leaves of it; its entry is lost. The copy is a younger file with its times.
    body = f"v2/bodies/{digest[:2]}/{digest}"
    os.truncate(old / body, 0)
    os.utime(old / body, (1_000_000_000, 1_000_000_000))
    DiskStorage(old).close()
    shutil.copytree(old, new)
    storage = DiskStorage(new)
    record = storage.share("another", digest, {})
    assert record is not None
    assert record.suspect
    assert not storage.recheck(record)
    storage.close()
