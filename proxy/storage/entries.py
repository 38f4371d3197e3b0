"""Entry files, read: metadata alone, or behind the body that it is of.

Purpose: one look at the end of a file tells which it is, and mostly is all there is to read. A
file that is not exactly body, metadata and footer is not believed; whether the body is the right
one, only its digest tells (`recheck`, `verify`).

Whatever is wrong with a file is an OSError or one of `UNREADABLE`.
Reading: `layout`. Non-goals: healing (`disk`).
"""

from __future__ import annotations

import os
from typing import Final

from proxy.storage.base import Record
from proxy.storage.files import plain
from proxy.storage.folder import Folder
from proxy.storage.layout import FOOTER, MAX_ENTRY, has_footer, metadata_length, parse_entry

UNREADABLE: Final = (ValueError, KeyError, TypeError, RecursionError)
_END = 4096  # bytes: most metadata takes a tenth of it


def read(folder: Folder, name: str) -> Record:
    """The record in a file of the store. Raises OSError and `UNREADABLE`."""
    fd, status = folder.open(name)
    try:
        return record_of(fd, status)
    finally:
        os.close(fd)


def record_in(fd: int) -> Record:
    """The record in an open file, whatever it is. Raises OSError and `UNREADABLE`."""
    return record_of(fd, plain(fd))


def record_of(fd: int, status: os.stat_result, suspect_before: float = 0.0) -> Record:
    """The record in an open file of that status; suspect, if written before then (epoch seconds).

    Raises OSError and `UNREADABLE`.
    """
    size, suspect = status.st_size, status.st_mtime < suspect_before
    end = os.pread(fd, _END, max(0, size - _END))
    if not has_footer(end):
        metadata = end if size <= _END else os.pread(fd, min(size, MAX_ENTRY), 0)
        return parse_entry(metadata, suspect=suspect)
    behind = metadata_length(end) + FOOTER.size
    if behind > len(end):
        end = os.pread(fd, behind, max(0, size - behind))
    record = parse_entry(end[-behind : -FOOTER.size], suspect=suspect, inside=True)
    if record.size + behind != size:
        raise ValueError("body, metadata and footer are not the whole file")
    return record
