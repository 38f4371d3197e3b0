"""The cache's disk: may it be written to, is there room.

Purpose: by writing, not by reading permission bits: a small file is made in the cache folder (or in
the folder that it will be made in) and removed. What the figures mean is judged apart (`judge`).

Non-goals: what is in the cache (`cgr-proxy cache verify`).
"""

from __future__ import annotations

import errno
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from proxy.doctor.findings import ALL, Finding, bad, good

_PROBE = b"\0" * 65536
_LOW = 1 << 30  # bytes; of a small disk a twentieth
_FULL = {errno.ENOSPC, errno.EDQUOT}
_MAKE_ROOM = "Make room, or lower [cache] max_size and run `cgr-proxy cache prune`."


@dataclass(frozen=True, slots=True)
class Room:
    """Of a file system, in bytes; `files`: how many more it can hold, None where it has no such
    limit."""

    total: int
    free: int
    files: int | None = None


def examine(directory: Path, max_size: int, user: int) -> list[Finding]:
    """Look at the disk of a cache folder. Blocks. `user`: the number of the one who asks."""
    folder = directory
    while not _is_folder(folder) and folder != folder.parent:
        folder = folder.parent
    found = [_written(folder, directory, user)]
    try:
        status = os.statvfs(folder)
    except OSError as error:
        fix = "Mount it, or name another folder in [cache] directory."
        return [*found, bad(ALL, "disk-space", f"{folder} cannot be looked at: {error}", fix)]
    room = Room(
        status.f_blocks * status.f_frsize,
        status.f_bavail * status.f_frsize,
        status.f_favail if status.f_files else None,
    )
    return [*found, judge(room, directory, max_size)]


def judge(room: Room, directory: Path, max_size: int) -> Finding:
    """What the figures mean for a cache of `max_size` bytes."""
    check = "disk-space"
    if room.files == 0:
        return bad(ALL, check, f"the disk of {directory} has no inode left", _MAKE_ROOM)
    if room.free < len(_PROBE):
        return bad(ALL, check, f"the disk of {directory} is full", _MAKE_ROOM)
    free = f"{_size(room.free)} of {_size(room.total)} are free"
    if room.free < min(_LOW, room.total // 20):
        return bad(ALL, check, f"the disk of {directory} is nearly full: {free}", _MAKE_ROOM)
    if max_size > room.total:
        detail = f"[cache] max_size is {_size(max_size)}, more than the whole disk: {free}"
        return bad(ALL, check, detail, "Lower max_size: only below it anything is evicted.")
    return good(ALL, check, f"{directory}: {free}")


def _written(folder: Path, directory: Path, user: int) -> Finding:
    check = "disk-access"
    try:
        if folder == directory and folder.stat().st_uid != user:
            detail = f"{directory} belongs to another user than the one who asks"
            return bad(ALL, check, detail, "Run this, and the proxy, as the owner of the folder.")
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(_PROBE)
            probe.flush()
    except OSError as error:
        words = (error.strerror or type(error).__name__).lower()
        if error.errno in _FULL:
            return bad(ALL, check, f"{folder} cannot be written to: {words}", _MAKE_ROOM)
        fix = "Let the proxy's user write there, or name another folder in [cache] directory."
        return bad(ALL, check, f"{folder} cannot be written to: {words}", fix)
    return good(ALL, check, f"{folder} can be written to")


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112  # never raises


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
