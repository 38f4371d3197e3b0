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

from proxy.storage.base import Record
from proxy.storage.disk import DiskStorage
from proxy.storage.entries import UNREADABLE, record_of
from proxy.storage.folder import Folder
from proxy.storage.layout import body_name, entry_name, sha256_of_body

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


_WRONG: Problem = "body does not match its digest"


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
    """Look at every body with a file of its own, then at every entry and what is inside of it;
    `remove` what is wrong."""
    folder = storage.folder
    for name in folder.walk("bodies"):
        checked = _check_body(folder, name)
        if checked.finding is not None and remove:
            folder.unlink(name)
        yield checked
    for name in folder.walk("entries"):
        checked = _check_entry(folder, name)
        if (finding := checked.finding) is not None and remove:
            if finding.key and entry_name(finding.key) == name:
                storage.remove(finding.key)
            else:
                folder.unlink(name)
        yield checked


def _check_body(folder: Folder, name: str) -> Checked:
    sha256 = sha256_of_body(name)
    if sha256 is None:
        return Checked(0, Finding(name, "not a body"))
    try:
        fd, status = folder.open(name)
    except FileNotFoundError:
        return Checked(0, None)
    except OSError:
        return Checked(0, Finding(name, "not a body"))
    try:
        return _check_bytes(fd, status.st_size, Finding(name, _WRONG), sha256)
    finally:
        os.close(fd)


def _check_bytes(fd: int, size: int, wrong: Finding, sha256: str) -> Checked:
    """Hash so many bytes at the beginning of a file; `wrong`: what it is if they are not right."""
    digest, offset = hashlib.sha256(), 0
    try:
        while piece := os.pread(fd, min(_CHUNK, size - offset), offset):
            digest.update(piece)
            offset += len(piece)
    except OSError:
        return Checked(offset, wrong._replace(problem="body cannot be read"))
    return Checked(offset, wrong if digest.hexdigest() != sha256 else None)


def _check_entry(folder: Folder, name: str) -> Checked:
    try:
        fd, status = folder.open(name)
    except FileNotFoundError:
        return Checked(0, None)
    except OSError:
        return Checked(0, Finding(name, "entry cannot be read"))
    try:
        record = record_of(fd, status)
        if entry_name(record.key) != name:
            return Checked(0, Finding(name, "entry stands under another key's name", record.key))
        if record.inside:
            return _check_bytes(fd, record.size, Finding(name, _WRONG, record.key), record.sha256)
    except (OSError, *UNREADABLE):
        return Checked(0, Finding(name, "entry cannot be read"))
    finally:
        os.close(fd)
    return Checked(0, _check_apart(folder, name, record))


def _check_apart(folder: Folder, name: str, record: Record) -> Finding | None:
    size = folder.size(body_name(record.sha256))
    if size == record.size or folder.changed(name) is None:
        return None  # right, or evicted between the two looks
    problem: Problem = "entry states another size than its body has"
    return Finding(name, "entry has no body" if size is None else problem, record.key)
