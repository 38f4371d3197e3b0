"""The storage port: what the engine may ask of a place that keeps bytes.

Purpose: nothing becomes visible until it is whole. A body is written to a `Writer`, which nobody
but the flight that owns it can see; `commit` makes body and metadata visible at once, body first;
anything but an explicit commit is an abort. The metadata of an entry is opaque here (a flat JSON
object): `proxy.cache.entry` gives it meaning.

Several processes may share one store: `claim` lets exactly one of them write a key's body, and
shows the others its progress, so that they can follow it and notice its death.

All methods are synchronous and, in the sense of the page cache, short; the engine calls them from
the event loop, except those that read or sync a whole body (`recheck`, `commit` of a large one),
which it runs in a thread (measured: a thread for each small read costs more than the read).

Reading: pingora `storage.rs`, goproxy `DirCacher.Put`. Non-goals: freshness, rights, eviction
policy, network file systems with weak rename.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from typing_extensions import TypeIs

Field = str | int | float | bool | None
Fields = Mapping[str, Field]


@dataclass(frozen=True, slots=True)
class Record:
    """One visible entry: its key, the SHA-256 (lower-case hex) and size of its body, and fields.

    `suspect`: written before the last unclean stop; `recheck` it before its body is used.
    `inside`: how the storage keeps the body, which is nobody else's business.
    """

    key: str
    sha256: str
    size: int
    fields: Fields
    suspect: bool = False
    inside: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a body in the making is. `size`: of the whole, None while unknown; bytes.

    `headed`: its head may be sent. `error`: why it failed, in the words of who wrote it.
    """

    state: Literal["running", "landed", "failed"] = "running"
    received: int = 0
    size: int | None = None
    headed: bool = False
    error: str = ""


class Body(Protocol):
    """An open body. It stays readable whatever happens to the entry: eviction, replacement.

    A stored one ends at its size; the file that it is read from may go on.
    """

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

    @property
    def size(self) -> int:
        """Bytes in it: 0 for a new one, more for one that was adopted."""
        ...

    def write(self, piece: bytes | memoryview) -> None:
        """Append. Raises StorageFailed; the writer is then dead and `commit` MUST NOT follow."""
        ...

    def commit(self, sha256: str, fields: Fields) -> Record:
        """Make body and metadata visible, body first, and return the record.

        `sha256`: the lower-case hex SHA-256 of all that was written; the caller has computed it.
        MUST be atomic for readers: before it they see the old entry, after it the new one. Raises
        StorageFailed and leaves the old entry as it was.
        """
        ...

    def commit_whole(self, content: bytes | memoryview, sha256: str, fields: Fields) -> Record:
        """Append all of a body to a writer that is empty, and `commit` it.

        A storage may keep it for this entry alone, out of reach of `holds` and `share`: so it costs
        the disk least, if the body is small. Raises StorageFailed as both do.
        """
        ...

    def open(self) -> Body:
        """A second, independent view of the body, growing with it: what followers read."""
        ...

    def rewind(self) -> None:
        """Forget what was written and begin again in a new body; open views keep the old one.

        Raises StorageFailed.
        """
        ...

    def tell(self, progress: Progress) -> None:
        """Show the progress to other processes. Never raises."""
        ...

    def close(self) -> None:
        """End without a trace unless `commit` came first. Idempotent."""
        ...


@runtime_checkable
class Foreign(Protocol):
    """A body that another process is writing."""

    def progress(self) -> Progress:
        """Its latest progress."""
        ...

    def open(self) -> Body | None:
        """A view of its body; None when there is none (yet, or any more)."""
        ...

    def adopt(self) -> Writer | None:
        """Take the claim over when its owner is gone: a writer that goes on where it stopped.

        None while the owner lives. Raises StorageFailed when it has ended in order, or what it
        left cannot be gone on with.
        """
        ...

    def close(self) -> None:
        """Stop watching. Idempotent."""
        ...


def is_foreign(claimed: Writer | Foreign) -> TypeIs[Foreign]:
    """Tell which one a claim came to. To ask by `isinstance` takes forty times as long."""
    return hasattr(claimed, "adopt")


class Storage(Protocol):
    """Few verbs over whole entries. Every key is an opaque text that UTF-8 can encode."""

    @property
    def alone(self) -> bool:
        """Whether no other process uses it at this moment, as far as can be told: what is written
        at once needs no `claim` then. A hint: who relies on it loses time only."""
        ...

    def lookup(self, key: str) -> Record | None:
        """The entry of that key. Unreadable metadata MUST be a miss (and go), not an error."""
        ...

    def open(self, record: Record) -> Body | None:
        """The body of a record, or None when it is missing or has another size (the entry heals:
        it is removed, so that the next look-up misses)."""
        ...

    def recheck(self, record: Record) -> bool:
        """Hash the whole body of a suspect record; a wrong one is removed. Reads all of it."""
        ...

    def create(self, key: str) -> Writer:
        """Begin a body for that key that no other process needs to know of.

        Raises StorageFailed.
        """
        ...

    def claim(self, key: str, name: str) -> Writer | Foreign:
        """Begin the body that `name` stands for, or find it being written by another process.

        `name`: key and expected digest in one opaque string. Raises StorageFailed.
        """
        ...

    def update(self, record: Record, fields: Fields) -> Record:
        """Replace the fields of an entry whose body stays. Raises StorageFailed."""
        ...

    def holds(self, sha256: str) -> bool:
        """Tell whether there is a body with that SHA-256 (lower-case hex) that can be shared."""
        ...

    def share(self, key: str, sha256: str, fields: Fields) -> Record | None:
        """Make an entry of a body that another entry has; None when it is not there (any more).

        As suspect as that one is. Raises StorageFailed.
        """
        ...

    def remove(self, key: str) -> None:
        """Make the entry invisible. Open bodies stay readable. Missing: nothing happens."""
        ...
