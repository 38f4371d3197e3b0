"""The kept answer: what it survives, and how old it is by whichever clock can tell."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path

import pytest

from proxy.access.known import Answer, Entitlement
from proxy.access.memory import FILE_NAME, Clocks, Learnt, Memory, read_boot_id, steady_seconds

API = "https://api.example"
ANSWER = Answer("a" * 40, (Entitlement("PYTHON", "POLICY_CHAINGUARD", 7, "S"), Entitlement("GO")))


class Times:
    """Two clocks and a boot that a test sets."""

    def __init__(self, steady: float = 1000.0, wall: float = 1.8e9, boot: str = "one") -> None:
        self.steady = steady
        self.wall = wall
        self.boot = boot

    def clocks(self) -> Clocks:
        return Clocks(lambda: self.steady, lambda: self.wall, self.boot)


def keep(folder: Path, times: Times, answer: Answer = ANSWER) -> None:
    memory = Memory(folder, API, times.clocks())
    assert memory.write(Learnt(answer, times.steady, times.wall))
    os.utime(folder / FILE_NAME, (times.wall, times.wall))


def age(folder: Path, times: Times) -> float:
    learnt = Memory(folder, API, times.clocks()).read()
    assert learnt is not None
    return times.steady - learnt.steady


def test_an_answer_comes_back_as_it_was(tmp_path: Path) -> None:
    keep(tmp_path, Times())
    learnt = Memory(tmp_path, API, Times(1010.0, 1.8e9 + 10).clocks()).read()
    assert learnt == Learnt(ANSWER, 1000.0, 1.8e9)


def test_a_may_not_ask_comes_back_too(tmp_path: Path) -> None:
    keep(tmp_path, Times(), Answer("b" * 40, may_ask=False))
    learnt = Memory(tmp_path, API, Times().clocks()).read()
    assert learnt is not None
    assert learnt.answer == Answer("b" * 40, may_ask=False)


def test_the_file_is_for_our_eyes_only_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    keep(tmp_path, Times())
    keep(tmp_path, Times())
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize("step", [-86400.0 * 400, -3600.0, 0.0, 3600.0, 86400.0 * 400])
def test_in_the_same_boot_no_step_of_the_wall_clock_changes_the_age(
    tmp_path: Path, step: float
) -> None:
    keep(tmp_path, Times())
    assert age(tmp_path, Times(1500.0, 1.8e9 + 500 + step)) == 500


def test_after_another_boot_the_wall_clock_tells(tmp_path: Path) -> None:
    keep(tmp_path, Times())
    assert age(tmp_path, Times(7.0, 1.8e9 + 500, "two")) == 500


def test_a_small_correction_of_the_wall_clock_is_no_age_below_zero(tmp_path: Path) -> None:
    keep(tmp_path, Times())
    assert age(tmp_path, Times(7.0, 1.8e9 - 60, "two")) == 0


def test_an_answer_from_the_future_is_infinitely_old(tmp_path: Path) -> None:
    keep(tmp_path, Times())
    assert age(tmp_path, Times(7.0, 1.8e9 - 3600, "two")) == math.inf


def test_a_steady_clock_that_went_back_dates_nothing(tmp_path: Path) -> None:
    keep(tmp_path, Times())
    assert age(tmp_path, Times(999.0)) == math.inf


def test_an_answer_is_never_younger_than_its_file(tmp_path: Path) -> None:
    keep(tmp_path, Times())
    os.utime(tmp_path / FILE_NAME, (1.8e9 - 7200, 1.8e9 - 7200))
    assert age(tmp_path, Times(7.0, 1.8e9, "two")) == 7200


def test_without_a_boot_id_the_wall_clock_tells(tmp_path: Path) -> None:
    keep(tmp_path, Times(boot=""))
    assert age(tmp_path, Times(2000.0, 1.8e9 + 30, "")) == 30


def test_the_answer_of_another_platform_is_not_used(tmp_path: Path) -> None:
    keep(tmp_path, Times())
    assert Memory(tmp_path, "https://other.example", Times().clocks()).read() is None


def test_nothing_kept_is_nothing_known(tmp_path: Path) -> None:
    assert Memory(tmp_path, API, Times().clocks()).read() is None


BROKEN = [
    b"",
    b"{",
    b"[]",
    b"{}",
    b"\xff\xfe",
    b'{"version": 1}',
    b"[" * 100_000,
    b"7",
    b"null",
]


@pytest.mark.parametrize("data", BROKEN)
def test_a_broken_file_is_nothing_known(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(data)
    (tmp_path / FILE_NAME).chmod(0o600)
    assert Memory(tmp_path, API, Times().clocks()).read() is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", 2),
        ("organisation", "../../x y"),
        ("organisation", None),
        ("may_ask", "yes"),
        ("items", None),
        ("items", ["PYTHON"]),
        ("steady", "1000"),
        ("steady", True),
        ("learnt", None),
        ("learnt", float("inf")),
        ("learnt", float("nan")),
        ("tiered", "a"),
        ("tiered", ["../x"]),
        ("tiered", [1]),
        ("learnt", 10**400),
        ("steady", -(10**400)),
    ],
)
def test_a_record_with_a_wrong_value_is_nothing_known(
    tmp_path: Path, key: str, value: object
) -> None:
    keep(tmp_path, Times())
    record = json.loads((tmp_path / FILE_NAME).read_bytes())
    (tmp_path / FILE_NAME).write_text(json.dumps({**record, key: value}), "ascii")
    assert Memory(tmp_path, API, Times().clocks()).read() is None


def test_a_file_that_others_may_write_is_not_trusted(tmp_path: Path) -> None:
    keep(tmp_path, Times())
    (tmp_path / FILE_NAME).chmod(0o620)
    assert Memory(tmp_path, API, Times().clocks()).read() is None


def test_neither_a_link_nor_a_pipe_is_followed(tmp_path: Path) -> None:
    keep(tmp_path, Times())
    (tmp_path / FILE_NAME).rename(tmp_path / "elsewhere")
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "elsewhere")
    assert Memory(tmp_path, API, Times().clocks()).read() is None
    (tmp_path / FILE_NAME).unlink()
    os.mkfifo(tmp_path / FILE_NAME, 0o600)
    assert Memory(tmp_path, API, Times().clocks()).read() is None


def test_a_disk_that_refuses_is_said_and_raises_nothing(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "gone", API, Times().clocks())
    assert not memory.write(Learnt(ANSWER, 0.0, 0.0))


def test_the_real_clocks_run() -> None:
    assert steady_seconds() > 0
    assert read_boot_id() == read_boot_id()
