"""The storage port: what the engine may ask of a place that keeps bytes.

Purpose: nothing becomes visible until it is whole. A body is written to a `Writer`, which nobody
but the flight that owns it can see; `commit` makes body and metadata visible at once, body first;
anything but an explicit commit is an abort. The metadata of an entry is opaque here (a flat JSON
object): `proxy.cache.entry` gives it meaning.

All methods are synchronous and, in the sense of the page cache, short; the engine calls them from
the event loop, and runs `commit` of a large body, which waits for the disk, in a thread (measured:
a thread for each small read or write costs more than the read).

Reading: pingora `storage.rs`, goproxy `DirCacher.Put`. Non-goals: freshness, rights, eviction
policy, network file systems with weak rename.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

Field = str | int | float | bool | None
Fields = Mapping[str, Field]


@dataclass(frozen=True, slots=True)
class Record:
    """One visible entry: its key, the SHA-256 (lower-case hex) and size of its body, and fields."""

    key: str
    sha256: str
    size: int
    fields: Fields


class Body(Protocol):
    """An open body. It stays readable whatever happens to the entry: eviction, replacement."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def fileno(self) -> int:
        """The descriptor, for positional reads and sendfile. Never seek it."""
        ...

    def close(self) -> None:
        """Release the descriptor. Idempotent."""
        ...


class Writer(Protocol):
    """A body in the making, private to its flight until `commit`."""

    def write(self, piece: bytes) -> None:
        """Append. Raises StorageFailed; the writer is then dead and `commit` MUST NOT follow."""
        ...

    def commit(self, sha256: str, fields: Fields) -> Record:
        """Make body and metadata visible, body first, and return the record.

        `sha256`: the lower-case hex SHA-256 of all that was written; the caller has computed it.
        MUST be atomic for readers: before it they see the old entry, after it the new one. Raises
        StorageFailed and leaves the old entry as it was.
        """
        ...

    def open(self) -> Body:
        """A second, independent view of what has been written so far: what followers read."""
        ...

    def close(self) -> None:
        """End without a trace unless `commit` came first. Idempotent."""
        ...


class Storage(Protocol):
    """Five verbs over whole entries. Every key is an opaque, non-empty string."""

    def lookup(self, key: str) -> Record | None:
        """The entry of that key. Unreadable metadata MUST be a miss (and go), not an error."""
        ...

    def open(self, record: Record) -> Body | None:
        """The body of a record, or None when it is missing or has another size (the entry heals:
        it is removed, so that the next look-up misses)."""
        ...

    def create(self, key: str) -> Writer:
        """Begin a body for that key. Raises StorageFailed."""
        ...

    def update(self, record: Record, fields: Fields) -> Record:
        """Replace the fields of an entry whose body stays. Raises StorageFailed."""
        ...

    def remove(self, key: str) -> None:
        """Make the entry invisible. Open bodies stay readable. Missing: nothing happens."""
        ...
