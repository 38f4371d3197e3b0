"""Whether other processes use the store, which the kernel tells."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

import pytest

from proxy.storage import company
from proxy.storage.company import Company
from proxy.storage.disk import DiskStorage
from tests.unit.stored import Elsewhere, until

IN = """
    storage = DiskStorage(folder)
    say(f"in {storage.alone}")
    hear()
    storage.close()
    say("out")
    hear()
"""


def test_a_store_is_alone_until_another_process_comes_and_when_it_has_gone(tmp_path: Path) -> None:
    storage = DiskStorage(tmp_path)
    assert storage.alone
    with Elsewhere(IN, tmp_path) as other:
        assert other.hear() == "in False"
        until(lambda: not storage.alone)
        other.tell("leave")
        assert other.hear() == "out"
        until(lambda: storage.alone)
    storage.close()


def test_who_is_killed_is_company_no_more(tmp_path: Path) -> None:
    storage = DiskStorage(tmp_path)
    with Elsewhere(IN, tmp_path) as other:
        assert other.hear() == "in False"
        until(lambda: not storage.alone)
        other.kill()
    until(lambda: storage.alone)
    storage.close()


def test_it_is_looked_for_once_in_a_while_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, looks = [100.0], 0
    monkeypatch.setattr(company, "monotonic", lambda: now[0])
    fd = os.open(tmp_path / "session", os.O_RDWR | os.O_CREAT)
    found, ask = Company(fd, lambda: True), fcntl.fcntl

    def counted(fd: int, what: int, given: bytes) -> bytes:
        nonlocal looks
        looks += 1
        return ask(fd, what, given)

    monkeypatch.setattr(fcntl, "fcntl", counted)
    assert all(found.is_absent() for _ in range(1000))
    assert looks == 1
    now[0] += company.LOOK
    assert found.is_absent()
    assert looks == 2
    os.close(fd)


def test_where_the_store_was_removed_nobody_is_taken_to_be_alone(tmp_path: Path) -> None:
    storage = DiskStorage(tmp_path)
    assert storage.alone
    (tmp_path / "v2/session").unlink()
    until(lambda: not storage.alone)
    other = DiskStorage(tmp_path)  # which makes another one
    time.sleep(2 * company.LOOK)
    assert [one.alone for one in (storage, other)] == [False, True]
    storage.close()
    other.close()


@pytest.mark.parametrize("failing", [fcntl.F_OFD_SETLK, fcntl.F_OFD_GETLK])
def test_where_the_kernel_does_not_tell_nobody_is_taken_to_be_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    ask = fcntl.fcntl

    def refuses(fd: int, what: int, given: bytes) -> bytes:
        if what == failing:
            raise OSError(errno.ENOLCK, "no locks here")
        return ask(fd, what, given)

    monkeypatch.setattr(fcntl, "fcntl", refuses)
    storage = DiskStorage(tmp_path)
    assert not storage.alone
    storage.close()


def test_a_store_that_is_closed_says_nothing_of_a_descriptor_that_may_be_another_ones(
    tmp_path: Path,
) -> None:
    storage = DiskStorage(tmp_path)
    assert storage.alone
    storage.close()
    assert not storage.alone
