"""The audit log: one JSON line for each decision worth keeping, in a file of its own.

Purpose: who got which artifact, who was denied what, what was withheld; so that after a package
turns out bad somebody can say who has it. Lines are queued by the request and written by a
thread. The file is bounded: at half of its size it becomes `<name>.1` and a new one begins.

Neither a request's query nor any header stands in a line; paths go through the same redaction as
the log's. A credential that matches nobody is no decision about anybody and is not kept: strangers
could push everything else out.

Reading: NIST SP 800-92. Non-goals: shipping (point a collector at the file), signing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, final

from proxy.observe.alike import Alike
from proxy.observe.formats import MAX_PATH, json_string, json_word, timestamp
from proxy.observe.redaction import Redactor

LOG = logging.getLogger(__name__)
Decision = Literal["served", "denied", "withheld"]
MAX_WAITING = 20_000
BATCH = 500
PERIOD = 0.5  # seconds
PATIENCE = 2.0  # seconds


class AuditRecord(NamedTuple):
    """One decision. `time` in epoch seconds; `sent` in bytes of body; `status` 499: the transfer
    broke off. `digest`: `sha256:...` of the whole artifact where it is known."""

    time: float
    request_id: str
    decision: Decision
    principal: str
    kind: str
    peer: str
    ecosystem: str
    purl: str
    path: str
    status: int
    sent: int
    digest: str
    cache: str
    reason: str


class Later(Protocol):
    """A decision that becomes a record when its line is written. See `formats.Later`."""

    def audited(self) -> AuditRecord:
        """The record. MUST NOT depend on when it is asked."""
        ...


# The same decision once more: `time`, `request_id` (one of ours), and all the rest.
Repeat: TypeAlias = tuple[float, str, Alike[AuditRecord]]


def line_of(record: AuditRecord | Repeat | Later, redactor: Redactor) -> str:
    """The record as one line of JSON."""
    if not isinstance(record, tuple):
        record = record.audited()
    if isinstance(record, AuditRecord):
        time, request_id = record.time, json_string(record.request_id)
        return f'{{"time":"{timestamp(time)}","request_id":{request_id}{_rest_of(record, redactor)}'
    time, request_id, alike = record
    (rest,) = alike.pieces(redactor.generation, lambda one: (_rest_of(one, redactor),))
    return f'{{"time":"{timestamp(time)}","request_id":"{request_id}"{rest}'


def _rest_of(record: AuditRecord, redactor: Redactor) -> str:
    """What stands behind moment and id."""
    clean = redactor.redact_cached
    return (
        f',"decision":"{record.decision}","principal":{json_word(record.principal)}'
        f',"kind":{json_word(record.kind)},"peer":{json_word(record.peer)}'
        f',"ecosystem":{json_word(record.ecosystem)}'
        f',"purl":{json_string(clean(record.purl)[:MAX_PATH])}'
        f',"path":{json_string(clean(record.path)[:MAX_PATH])}'
        f',"status":{record.status:d},"bytes":{record.sent:d}'
        f',"digest":{json_string(record.digest)},"cache":{json_word(record.cache)}'
        f',"reason":{json_word(record.reason)}}}\n'
    )


@final
class AuditLog:
    """Takes records from requests, gives lines to a file. `file` None: nothing is kept.

    `start` a thread for it: the one of the other log may hang in a pipe that nobody reads.
    """

    def __init__(self, redactor: Redactor, file: AuditFile | None = None) -> None:
        self._redactor = redactor
        self._file = file
        self._turn = threading.Lock()  # of those who drain
        self._wake = threading.Event()
        self._ending = False
        self._thread: threading.Thread | None = None
        self._waiting: deque[AuditRecord | Repeat | Later] = deque()
        self.dropped = 0

    @property
    def on(self) -> bool:
        """Whether records are kept at all."""
        return self._file is not None

    def append(self, record: AuditRecord | Repeat | Later) -> None:
        """Queue a record. Never blocks, never raises; what does not fit is counted."""
        if self._file is None:
            return
        waiting = len(self._waiting)
        if waiting >= MAX_WAITING:
            self.dropped += 1
            return
        self._waiting.append(record)
        if waiting >= BATCH and not self._wake.is_set():
            self._wake.set()

    def start(self, period: float = PERIOD) -> None:
        """Have a thread write what is queued, every `period` seconds and when much is."""
        self._thread = threading.Thread(
            target=self._rounds, args=(period,), name="audit-writer", daemon=True
        )
        self._thread.start()

    def _rounds(self, period: float) -> None:
        while not self._ending:
            self._wake.wait(period)
            self._wake.clear()
            self.drain()

    def drain(self) -> None:
        """Write what is queued. From any thread; never raises."""
        with self._turn:
            while self._file is not None and self._waiting:
                count = min(BATCH, len(self._waiting))
                records = [self._waiting.popleft() for _ in range(count)]
                lines = [line for line in map(self._line, records) if line]
                try:
                    self._file.write("".join(lines).encode("ascii"))
                except OSError:
                    self.dropped += len(lines)

    def _line(self, record: AuditRecord | Repeat | Later) -> str:
        try:
            return line_of(record, self._redactor)
        except Exception:
            # One odd record must not end the thread, nor take the others along.
            LOG.exception("a decision could not be written to the audit log")
            self.dropped += 1
            return ""

    def close(self) -> None:
        """Write the rest and let go of the file. Nothing is appended any more."""
        self._ending = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(PATIENCE)
            if self._thread.is_alive():
                return  # it hangs in the disk, and is left behind
        self.drain()
        if self._file is not None:
            self._file.close()


@final
class AuditFile:
    """Appends to a file of bounded size, which several processes may share.

    `size`: bytes for it and its predecessor together. Raises OSError when it cannot be opened.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._half = max(1, size // 2)
        self._torn = False  # a full disk may have cut off the last line that was begun
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = self._open()

    def write(self, lines: bytes) -> None:
        """Append whole lines; one write, so that those of other processes stay whole too."""
        self._turn()
        if self._torn:
            lines = b"\n" + lines
        self._torn = True
        while lines:
            lines = lines[os.write(self._descriptor, lines) :]
        self._torn = False

    def close(self) -> None:
        """Let go of the file."""
        with contextlib.suppress(OSError):
            os.close(self._descriptor)

    def _turn(self) -> None:
        """Begin a new file when this one is full, or when another process has begun one."""
        if not self._is_current():
            self._reopen()
        if os.fstat(self._descriptor).st_size < self._half:
            return
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            # Whoever waited for the lock finds it done.
            if self._is_current():
                self._path.rename(previous(self._path))
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._reopen()

    def _is_current(self) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        here = os.fstat(self._descriptor)
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    def _reopen(self) -> None:
        old, self._descriptor = self._descriptor, self._open()
        os.close(old)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(self._path, flags, 0o600)


def previous(path: Path) -> Path:
    """Where the older half of an audit log is."""
    return path.with_name(f"{path.name}.1")


def read_records(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> Iterator[dict[str, Any]]:
    """The records of a log that are wanted, the oldest first; lines that are none are passed over.

    Raises OSError when the log is there and cannot be read.
    """
    for file in (previous(path), path):
        try:
            opened = file.open("rb")
        except FileNotFoundError:
            continue
        with opened:
            for line in opened:
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError):
                    continue  # cut off by a full disk
                if isinstance(record, dict) and wanted(record):
                    yield record
