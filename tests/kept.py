"""What is in a store, wherever it stands: the entries, and the file of the bytes of each.

Purpose: whether a body has a file of its own or stands in its entry's is the storage's business;
tests that look at bytes, or harm them, find them here. Non-goals: judging what is found.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from proxy.storage.base import Record
from proxy.storage.entries import UNREADABLE, record_in
from proxy.storage.layout import VERSION, body_file


class Kept(NamedTuple):
    """One entry. `file`: begins with its body; it may be missing."""

    record: Record
    file: Path

    def body(self) -> bytes | None:
        """The bytes; None: they are not there."""
        with suppress(OSError):
            return self.file.read_bytes()[: self.record.size]
        return None

    def write(self, body: bytes) -> None:
        """Put other bytes, of any number, in the place of the right ones."""
        rest = self.file.read_bytes()[self.record.size :]
        self.file.write_bytes(body + rest)


def record_in_file(path: Path) -> Record:
    """What an entry's file says. Raises OSError and `UNREADABLE`."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return record_in(fd)
    finally:
        os.close(fd)


def kept(directory: Path) -> Iterator[Kept]:
    """Every entry that can be read in the store of a directory. Files may go meanwhile."""
    store = directory / VERSION
    for path in sorted((store / "entries").glob("*/*")):
        with suppress(OSError, *UNREADABLE):
            record = record_in_file(path)
            yield Kept(record, store / body_file(record))


def of_digest(directory: Path, sha256: str) -> Kept:
    """The one entry that has these bytes."""
    (found,) = (one for one in kept(directory) if one.record.sha256 == sha256)
    return found
