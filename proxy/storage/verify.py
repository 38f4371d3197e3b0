"""Look at every byte of the store and say what is wrong.

Purpose: `cache verify`. Nothing is changed unless it is asked for. What other processes do
meanwhile is no finding: a file that has gone while it was looked at is passed by.

Non-goals: the index (`reconcile`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Literal, NamedTuple

from proxy.storage.disk import DiskStorage
from proxy.storage.folder import Folder
from proxy.storage.layout import MAX_ENTRY, body_name, entry_name, parse_entry, sha256_of_body

_CHUNK = 1 << 20
Problem = Literal[
    "body does not match its digest",
    "body cannot be read",
    "not a body",
    "entry cannot be read",
    "entry stands under another key's name",
    "entry has no body",
    "entry states another size than its body has",
]


class Finding(NamedTuple):
    """One thing that is wrong. `name`: below the store's folder; `key`: of an entry, if known."""

    name: str
    problem: Problem
    key: str = ""


class Checked(NamedTuple):
    """One file that was looked at. `size`: bytes that were hashed."""

    size: int
    finding: Finding | None


def verify(storage: DiskStorage, *, remove: bool = False) -> Iterator[Checked]:
    """Look at every body, then at every entry; `remove` what is wrong."""
    folder = storage.folder
    for name in folder.walk("bodies"):
        checked = _check_body(folder, name)
        if checked.finding is not None and remove:
            folder.unlink(name)
        yield checked
    for name in folder.walk("entries"):
        finding = _check_entry(folder, name)
        if finding is not None and remove:
            if finding.key and entry_name(finding.key) == name:
                storage.remove(finding.key)
            else:
                folder.unlink(name)
        yield Checked(0, finding)


def _check_body(folder: Folder, name: str) -> Checked:
    sha256 = sha256_of_body(name)
    if sha256 is None:
        return Checked(0, Finding(name, "not a body"))
    try:
        fd, _ = folder.open(name)
    except FileNotFoundError:
        return Checked(0, None)
    except OSError:
        return Checked(0, Finding(name, "not a body"))
    digest, size = hashlib.sha256(), 0
    try:
        while piece := os.pread(fd, _CHUNK, size):
            digest.update(piece)
            size += len(piece)
    except OSError:
        return Checked(size, Finding(name, "body cannot be read"))
    finally:
        os.close(fd)
    if digest.hexdigest() != sha256:
        return Checked(size, Finding(name, "body does not match its digest"))
    return Checked(size, None)


def _check_entry(folder: Folder, name: str) -> Finding | None:
    try:
        raw, _ = folder.read(name, MAX_ENTRY)
        record = parse_entry(raw)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return Finding(name, "entry cannot be read")
    if entry_name(record.key) != name:
        return Finding(name, "entry stands under another key's name", record.key)
    size = folder.size(body_name(record.sha256))
    if size == record.size or folder.changed(name) is None:
        return None  # right, or evicted between the two looks
    problem: Problem = "entry states another size than its body has"
    return Finding(name, "entry has no body" if size is None else problem, record.key)
