"""Claims: one process writes a body, others follow it, notice its death and go on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.errors import StorageFailed
from proxy.storage.base import Foreign, Progress
from proxy.storage.disk import DiskStorage
from proxy.storage.layout import entry_name
from proxy.storage.writer import FSYNC_FROM
from tests.unit.stored import Elsewhere, get, put, read, sha256

# Owns the claim; does what it is told, a line at a time, and answers each.
OWNER = """
    storage = DiskStorage(folder)
    writer = storage.claim("key", "name")
    say(type(writer).__name__)
    written = b""
    while True:
        order, _, text = hear().partition(" ")
        if order == "write":
            writer.write(text.encode())
            written += text.encode()
        elif order == "tell":
            writer.tell(Progress(received=writer.size, size=int(text), headed=True))
        elif order == "fail":
            writer.tell(Progress("failed", error=text))
        elif order == "commit":
            writer.commit(sha256(written), {})
            writer.tell(Progress("landed", received=writer.size))
        elif order == "close":
            writer.close()
        elif order == "end":
            storage.close()
            break
        say("done")
"""


class Owner(Elsewhere):
    """A process that owns the claim."""

    def __init__(self, folder: Path) -> None:
        super().__init__(OWNER, folder)
        assert self.hear() == "DiskWriter"

    def do(self, order: str) -> None:
        self.tell(order)
        assert self.hear() == "done"


def follow(storage: DiskStorage, name: str = "name") -> Foreign:
    found = storage.claim("key", name)
    assert isinstance(found, Foreign)
    return found


def flights(folder: Path) -> list[Path]:
    return list(folder.glob("v2/flights/*"))


def test_a_follower_sees_the_progress_and_the_bytes_of_another_process(tmp_path: Path) -> None:
    with Owner(tmp_path) as owner:
        storage = DiskStorage(tmp_path)
        foreign = follow(storage)
        assert foreign.progress() == Progress()
        owner.do("write one")
        owner.do("tell 6")
        assert foreign.progress() == Progress(received=3, size=6, headed=True)
        view = foreign.open()
        assert view is not None
        assert os.pread(view.fileno(), 10, 0) == b"one"
        owner.do("write two")
        owner.do("tell 6")
        assert foreign.progress().received == 6
        assert read(view) == b"onetwo"
        foreign.close()
        storage.close()


def test_what_another_process_committed_is_found_and_leaves_no_claim(tmp_path: Path) -> None:
    with Owner(tmp_path) as owner:
        storage = DiskStorage(tmp_path)
        foreign = follow(storage)
        owner.do("write body")
        owner.do("commit")
        assert foreign.progress().state == "landed"
        assert get(storage, "key") == b"body"
        owner.do("close")
        assert foreign.progress().state == "landed"
        foreign.close()
        assert not flights(tmp_path)
        storage.close()


def test_a_claim_becomes_the_entry_of_what_it_brought(tmp_path: Path) -> None:
    storage, other = DiskStorage(tmp_path), DiskStorage(tmp_path)
    writer = storage.claim("key", "name")
    assert not isinstance(writer, Foreign)
    writer.tell(Progress())
    (claim,) = (path for path in flights(tmp_path) if path.stat().st_size)
    inode = claim.stat().st_ino
    foreign = follow(other)
    writer.write(b"body")
    writer.commit(sha256(b"body"), {"a": "b"})
    (entry,) = tmp_path.glob("v2/entries/*/*")
    assert entry.stat().st_ino == inode
    assert foreign.progress() == Progress("landed", 4, 4, headed=True)
    writer.tell(Progress("running", 1))  # too late, and not into the entry
    writer.close()
    foreign.close()
    record = other.lookup("key")
    assert record is not None
    assert (record.size, record.fields) == (4, {"a": "b"})
    again = other.claim("key", "name")  # nobody has it any more
    assert not isinstance(again, Foreign)
    again.close()
    storage.close()
    other.close()


def test_a_follower_never_sees_anything_but_the_body_under_its_name(tmp_path: Path) -> None:
    storage, other = DiskStorage(tmp_path), DiskStorage(tmp_path)
    writer = storage.claim("key", "name")
    assert not isinstance(writer, Foreign)
    writer.write(b"body")
    foreign = follow(other)
    seen: list[bytes] = []

    class Watch:
        """Looks in the middle of a commit: after the body has its name, before the entry has."""

        def __init__(self, replace: object) -> None:
            self.replace = replace

        def __call__(self, old: str, name: str) -> None:
            body = foreign.open()
            if body is not None:
                seen.append(read(body))
            self.replace(old, name)  # type: ignore[operator]

    storage.folder._rename = Watch(storage.folder._rename)  # type: ignore[method-assign]
    writer.commit(sha256(b"body"), {})
    assert set(seen) == {b"body"}
    foreign.close()
    writer.close()
    storage.close()
    other.close()


def test_a_failure_reaches_followers_in_words(tmp_path: Path) -> None:
    with Owner(tmp_path) as owner:
        storage = DiskStorage(tmp_path)
        foreign = follow(storage)
        owner.do("fail not there")
        owner.do("close")
        assert foreign.progress() == Progress("failed", error="not there")
        foreign.close()
        storage.close()


def test_the_claim_of_a_living_owner_cannot_be_adopted(tmp_path: Path) -> None:
    with Owner(tmp_path) as owner:
        storage = DiskStorage(tmp_path)
        foreign = follow(storage)
        owner.do("write one")
        assert foreign.adopt() is None
        foreign.close()
        storage.close()


def test_one_of_two_followers_adopts_after_a_kill_and_goes_on_at_the_right_byte(
    tmp_path: Path,
) -> None:
    with Owner(tmp_path) as owner:
        storage, other = DiskStorage(tmp_path), DiskStorage(tmp_path)
        first, second = follow(storage), follow(other)
        owner.do("write one")
        owner.do("tell 6")
        owner.do("write t")  # not told any more
        owner.kill()
    writer = first.adopt()
    assert writer is not None
    assert second.adopt() is None
    assert writer.size == 4
    assert read(writer.open()) == b"onet"
    writer.write(b"wo")
    writer.commit(sha256(b"onetwo"), {})
    writer.tell(Progress("landed", received=6))
    assert second.progress().state == "landed"
    writer.close()
    first.close()
    second.close()
    assert get(storage, "key") == b"onetwo"
    assert not flights(tmp_path)
    storage.close()
    other.close()


def test_there_is_nothing_to_adopt_after_an_orderly_end(tmp_path: Path) -> None:
    with Owner(tmp_path) as owner:
        storage = DiskStorage(tmp_path)
        foreign = follow(storage)
        owner.do("close")
        with pytest.raises(StorageFailed):
            foreign.adopt()
        foreign.close()
        assert not flights(tmp_path)
        storage.close()


def test_there_is_nothing_to_adopt_when_the_owner_died_after_its_commit(tmp_path: Path) -> None:
    with Owner(tmp_path) as owner:
        storage = DiskStorage(tmp_path)
        foreign = follow(storage)
        owner.do("write body")
        owner.do("commit")
        owner.kill()
    with pytest.raises(StorageFailed):
        foreign.adopt()
    foreign.close()
    assert get(storage, "key") == b"body"
    assert not flights(tmp_path)
    storage.close()


def test_a_new_claim_after_a_kill_begins_afresh(tmp_path: Path) -> None:
    with Owner(tmp_path) as owner:
        storage = DiskStorage(tmp_path)
        owner.do("write half")
        owner.kill()
    writer = storage.claim("key", "name")
    assert not isinstance(writer, Foreign)
    assert writer.size == 0
    writer.close()
    assert not flights(tmp_path)
    storage.close()


def test_what_a_dead_owner_noted_is_not_taken_for_the_word_of_the_next(tmp_path: Path) -> None:
    with Owner(tmp_path) as owner:
        storage, other = DiskStorage(tmp_path), DiskStorage(tmp_path)
        owner.do("write half")
        owner.do("tell 8")
        owner.kill()
    writer = storage.claim("key", "name")
    assert not isinstance(writer, Foreign)
    foreign = follow(other)
    assert (foreign.progress(), foreign.open()) == (Progress(), None)
    writer.write(b"whole")
    writer.commit(sha256(b"whole"), {})
    assert foreign.progress() == Progress("landed", 5, 5, headed=True)
    writer.close()
    foreign.close()
    assert get(other, "key") == b"whole"
    storage.close()
    other.close()


def test_who_adopts_from_an_owner_that_had_nothing_begins_at_zero(tmp_path: Path) -> None:
    with Owner(tmp_path) as owner:
        storage = DiskStorage(tmp_path)
        foreign = follow(storage)
        owner.kill()
        writer = foreign.adopt()
    assert writer is not None
    assert writer.size == 0
    writer.write(b"body")
    writer.commit(sha256(b"body"), {})
    writer.close()
    foreign.close()
    assert get(storage, "key") == b"body"
    assert not flights(tmp_path)
    storage.close()


def test_a_body_of_which_nothing_came_is_no_file(tmp_path: Path) -> None:
    storage = DiskStorage(tmp_path)
    writer, claimed = storage.create("a"), storage.claim("b", "b")
    assert not isinstance(claimed, Foreign)
    (claim,) = flights(tmp_path)
    assert claim.name == sha256(b"b")
    writer.rewind()
    assert not claim.read_bytes()
    writer.close()
    claimed.close()
    assert not flights(tmp_path)
    storage.close()


def test_a_closed_writer_takes_nothing_more(tmp_path: Path) -> None:
    storage = DiskStorage(tmp_path)
    for writer in (storage.create("a"), storage.claim("b", "b")):
        assert not isinstance(writer, Foreign)
        writer.close()
        with pytest.raises(StorageFailed):
            writer.write(b"x")
    assert not flights(tmp_path)
    storage.close()


def test_who_comes_while_a_large_body_is_synced_hears_how_far_it_is(tmp_path: Path) -> None:
    storage, other = DiskStorage(tmp_path), DiskStorage(tmp_path)
    data = bytes(FSYNC_FROM + 1)
    writer = storage.claim("key", "name")
    assert not isinstance(writer, Foreign)
    writer.write(data)
    told = Progress(received=len(data), size=len(data), headed=True)
    writer.tell(told)
    sync, heard = storage.folder.sync_parent, []

    def slow(name: str) -> None:
        foreign = follow(other)
        heard.append(foreign.progress())
        foreign.close()
        sync(name)

    storage.folder.sync_parent = slow  # type: ignore[method-assign]
    writer.commit(sha256(data), {})
    writer.close()
    assert heard == [told]
    assert get(other, "key") == data
    storage.close()
    other.close()


@pytest.mark.parametrize("size", [4, FSYNC_FROM + 1])
@pytest.mark.parametrize("shared", [True, False])
def test_a_commit_that_fails_at_the_entry_leaves_the_old_one_and_nothing_half_done(
    tmp_path: Path, size: int, *, shared: bool
) -> None:
    storage = DiskStorage(tmp_path)
    put(storage, "key", b"old")
    writer = storage.claim("key", "name") if shared else storage.create("key")
    assert not isinstance(writer, Foreign)
    writer.write(bytes(size))
    folder = (storage.folder.root / entry_name("key")).parent
    folder.rename(tmp_path / "aside")
    folder.symlink_to(tmp_path / "aside")
    with pytest.raises(StorageFailed):
        writer.commit(sha256(bytes(size)), {})
    writer.close()
    assert not flights(tmp_path)
    folder.unlink()
    (tmp_path / "aside").rename(folder)
    assert get(storage, "key") == b"old"
    storage.close()


def test_other_names_are_other_flights(tmp_path: Path) -> None:
    with Owner(tmp_path):
        storage = DiskStorage(tmp_path)
        writer = storage.claim("key", "another digest")
        assert not isinstance(writer, Foreign)
        writer.close()
        storage.close()


def test_of_many_processes_that_race_exactly_one_owns_the_claim(tmp_path: Path) -> None:
    lines = """
        storage = DiskStorage(folder)
        hear()
        claim = storage.claim("key", "name")
        say(type(claim).__name__)
        hear()
        claim.close()
        storage.close()
    """
    racers = [Elsewhere(lines, tmp_path) for _ in range(6)]
    for racer in racers:
        racer.tell("go")
    found = sorted(racer.hear() for racer in racers)
    for racer in racers:
        racer.tell("end")
        assert racer.wait() == 0
        racer.kill()
    assert found == ["DiskWriter"] + ["ForeignFlight"] * 5
    assert not flights(tmp_path)


def test_a_claim_that_ends_between_opening_and_locking_it_is_not_taken_for_a_new_one(
    tmp_path: Path,
) -> None:
    storage, other = DiskStorage(tmp_path), DiskStorage(tmp_path)
    first = storage.claim("key", "name")
    opened = other.folder.open_shared

    def late(name: str) -> tuple[int, bool]:
        found = opened(name)
        first.close()
        return found

    other.folder.open_shared = late  # type: ignore[method-assign]
    second = other.claim("key", "name")
    assert not isinstance(second, Foreign)
    third = storage.claim("key", "name")
    assert isinstance(third, Foreign)
    third.close()
    second.close()
    assert not flights(tmp_path)
    storage.close()
    other.close()


def test_a_damaged_claim_reads_as_the_last_good_note(tmp_path: Path) -> None:
    storage, other = DiskStorage(tmp_path), DiskStorage(tmp_path)
    writer = storage.claim("key", "name")
    assert not isinstance(writer, Foreign)
    foreign = follow(other)
    writer.tell(Progress(received=7))
    assert foreign.progress().received == 7
    for file in flights(tmp_path):
        if file.stat().st_size:
            file.write_bytes(b"\xff" * 40)
    assert foreign.progress().received == 7
    foreign.close()
    assert foreign.progress().received == 7
    writer.close()
    storage.close()
    other.close()


def test_a_pipe_in_place_of_a_dead_body_is_not_adopted(tmp_path: Path) -> None:
    with Owner(tmp_path) as owner:
        storage = DiskStorage(tmp_path)
        foreign = follow(storage)
        owner.do("write half")
        owner.do("tell 6")
        owner.kill()
    (body,) = [file for file in flights(tmp_path) if file.read_bytes() == b"half"]
    body.unlink()
    os.mkfifo(body)
    with pytest.raises(StorageFailed):
        foreign.adopt()
    foreign.close()
    storage.close()


def test_a_kill_is_noticed_at_once(tmp_path: Path) -> None:
    with Owner(tmp_path) as owner:
        storage = DiskStorage(tmp_path)
        foreign = follow(storage)
        owner.do("write x")
        owner.kill()
        writer = foreign.adopt()
    assert writer is not None
    writer.close()
    foreign.close()
    storage.close()
