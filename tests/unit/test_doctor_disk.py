"""The doctor looks at the cache's disk: full, nearly full, read-only, somebody else's.

Small disks of their own are mounted in a mount namespace: that takes root, or user namespaces.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.doctor import disk
from proxy.doctor.disk import Room, judge
from proxy.doctor.findings import Finding

GIB = 1 << 30
MOUNT = """
mount -t tmpfs -o size=$2,nr_inodes=$3 none "$1" && shift 3 && exec "$@"
"""
LOOK = """
import json, os, sys
from dataclasses import asdict
from pathlib import Path
from proxy.doctor import disk
folder = Path(sys.argv[1])
exec(sys.argv[2])
print(json.dumps([asdict(found) for found in disk.examine(folder, 1, os.geteuid())]))
"""


def on_small_disk(
    namespace: tuple[str, ...], folder: Path, lines: str, *, inodes: int = 0
) -> dict[str, Finding]:
    """What is found on a disk of 8 MiB after these lines of Python, which know it as `folder`."""
    look = (sys.executable, "-c", LOOK, str(folder), lines)
    command = [*namespace, "sh", "-c", MOUNT, "sh", str(folder), "8m", str(inodes), *look]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return {found["check"]: Finding(**found) for found in json.loads(done.stdout)}


def test_a_disk_with_room_is_well(namespace: tuple[str, ...], tmp_path: Path) -> None:
    found = on_small_disk(namespace, tmp_path, "")
    assert [item.ok for item in found.values()] == [True, True]


def test_a_full_disk_is_told(namespace: tuple[str, ...], tmp_path: Path) -> None:
    fill = """
try:
    (folder / "full").write_bytes(bytes(9 << 20))
except OSError:
    pass
"""
    found = on_small_disk(namespace, tmp_path, fill)
    assert "is full" in found["disk-space"].detail
    assert "no space left" in found["disk-access"].detail
    assert "cache prune" in found["disk-access"].fix


def test_a_disk_that_is_nearly_full_is_told_before_it_is(
    namespace: tuple[str, ...], tmp_path: Path
) -> None:
    fill = '(folder / "most").write_bytes(bytes((8 << 20) - (256 << 10)))'
    found = on_small_disk(namespace, tmp_path, fill)
    assert "nearly full: 256 KiB of 8 MiB are free" in found["disk-space"].detail
    assert found["disk-access"].ok


def test_a_disk_without_an_inode_left_is_told(namespace: tuple[str, ...], tmp_path: Path) -> None:
    fill = """
try:
    for number in range(100):
        (folder / str(number)).touch()
except OSError:
    pass
"""
    found = on_small_disk(namespace, tmp_path, fill, inodes=20)
    assert "no inode left" in found["disk-space"].detail


def test_a_disk_that_is_read_only_is_told(namespace: tuple[str, ...], tmp_path: Path) -> None:
    again = """
import subprocess
subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
"""
    found = on_small_disk(namespace, tmp_path, again)
    assert "read-only" in found["disk-access"].detail
    assert "write there" in found["disk-access"].fix


def test_a_folder_that_is_not_there_yet_is_looked_at_by_its_parent(tmp_path: Path) -> None:
    found = disk.examine(tmp_path / "not" / "yet", 1, os.geteuid())
    assert [item.ok for item in found] == [True, True]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_user_is_told(tmp_path: Path) -> None:
    access, _ = disk.examine(tmp_path, 1, os.geteuid() + 1)
    assert not access.ok
    assert "another user" in access.detail


@pytest.mark.parametrize(
    ("room", "max_size", "words"),
    [
        (Room(100 * GIB, 50 * GIB), 20 * GIB, ""),
        (Room(100 * GIB, GIB), 20 * GIB, ""),
        (Room(100 * GIB, GIB - 1), 20 * GIB, "nearly full"),
        (Room(10 * GIB, GIB // 2), 5 * GIB, ""),
        (Room(10 * GIB, GIB // 2 - 1), 5 * GIB, "nearly full"),
        (Room(10 * GIB, 5 * GIB), 20 * GIB, "more than the whole disk"),
        (Room(10 * GIB, 0), 5 * GIB, "is full"),
        (Room(10 * GIB, 5 * GIB, files=0), 5 * GIB, "no inode"),
    ],
)
def test_figures_are_judged(room: Room, max_size: int, words: str) -> None:
    found = judge(room, Path("cache"), max_size)
    assert found.ok is not bool(words)
    assert words in found.detail
