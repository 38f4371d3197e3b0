"""The one thread that formats and writes log lines.

Purpose: a request's path only appends to a bounded queue; formatting, redaction and the write
itself, which may block for as long as a reader of a pipe likes, happen here. What does not fit is
dropped and counted; what the sink refuses is counted too, and the next batch tried again.

Reading: logging.handlers.QueueListener (unbounded, and a lock a record).
Non-goals: ordering between messages and access lines of the same half second.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from proxy.observe.formats import AccessRecord, Later, LineFormat, Repeat
from proxy.observe.sink import Sink

BATCH = 500
"""Access lines that wake the thread early."""
PERIOD = 0.5
"""Seconds between flushes."""
MAX_ACCESS = 10_000
MAX_MESSAGES = 2_000

_Item = TypeVar("_Item", AccessRecord | Repeat | Later, logging.LogRecord)
_INTERNAL = "proxy.observe"
# Enough to empty full queues; bounded, so that a flood does not keep a flush or a stop waiting.
_ROUNDS = MAX_ACCESS // BATCH + MAX_MESSAGES // BATCH + 2


class Writer:
    """Two bounded queues and a thread between them and a sink.

    Messages have a queue of their own, so that a flood of requests does not push out errors.
    """

    def __init__(
        self, sink: Sink, line_format: LineFormat, *, batch: int = BATCH, period: float = PERIOD
    ) -> None:
        self._sink = sink
        self._format = line_format
        self._batch = batch
        self._period = period
        self._access: deque[AccessRecord | Repeat | Later] = deque()
        self._messages: deque[logging.LogRecord] = deque()
        self._flushes: deque[threading.Event] = deque()
        self._wake = threading.Event()
        self._also: Callable[[], None] | None = None
        self._stopping = False
        # Each counter is moved by one side only; `+=` of the callers' side may lose one of two
        # simultaneous drops, which no reader of a drop counter will mind.
        self._overflowed = 0
        self._unwritten = 0
        self._reported = 0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines lost so far: queue full, or refused by the sink."""
        return self._overflowed + self._unwritten

    def also(self, work: Callable[[], None]) -> None:
        """Have the thread do this too, each time it wakes. It MUST NOT raise."""
        self._also = work

    def append_access(self, record: AccessRecord | Repeat | Later) -> None:
        """Queue an access line. Never blocks, never raises."""
        queue = self._access
        waiting = len(queue)
        if waiting >= MAX_ACCESS:
            self._overflowed += 1
            return
        queue.append(record)
        if waiting >= self._batch and not self._wake.is_set():
            self._wake.set()

    def append_message(self, record: logging.LogRecord) -> None:
        """Queue a log record whose arguments are already part of its message."""
        if len(self._messages) >= MAX_MESSAGES:
            self._overflowed += 1
            return
        self._messages.append(record)
        self._wake.set()

    def flush(self, timeout: float = 2.0) -> bool:
        """Wait until all that was queued before is written or refused; False: it was not in time.

        Blocks: for the end of the process, and for tests.
        """
        done = threading.Event()
        self._flushes.append(done)
        self._wake.set()
        return done.wait(timeout)

    def stop(self, timeout: float = 2.0) -> None:
        """Write what is queued and end the thread; give up after `timeout` seconds.

        A thread that hangs in a write to a pipe nobody reads is left behind: it is a daemon.
        """
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout)
        if not self._thread.is_alive():
            self._sink.close()

    def _run(self) -> None:
        while True:
            self._wake.wait(self._period)
            self._wake.clear()
            stopping = self._stopping
            # Taken before the queues are emptied: a flush must not overtake what it waits for.
            flushes = [self._flushes.popleft() for _ in range(len(self._flushes))]
            for _ in range(_ROUNDS):
                if not self._write_batch():
                    break
            if self._also is not None:
                self._also()
            for done in flushes:
                done.set()
            if stopping:
                return

    def _write_batch(self) -> bool:
        """Write what is there, as one bounded piece; False: there was nothing."""
        messages = [self._messages.popleft() for _ in range(min(len(self._messages), self._batch))]
        records = [self._access.popleft() for _ in range(min(len(self._access), self._batch))]
        if not messages and not records:
            return False
        lines = self._lines(self._format.message, messages)
        lines += self._lines(self._access_line, records)
        self._write(lines)
        return True

    def _access_line(self, record: AccessRecord | Repeat | Later) -> str:
        if isinstance(record, AccessRecord):
            return self._format.access(record)
        if isinstance(record, tuple):
            return self._format.repeat(record)
        return self._format.access(record.accessed())

    def _lines(self, make: Callable[[_Item], str], items: list[_Item]) -> list[str]:
        try:
            return [make(item) for item in items]
        except Exception:  # noqa: BLE001  # one of them is odd, the others are not
            return [self._line(make, item) for item in items]

    def _line(self, make: Callable[[_Item], str], item: _Item) -> str:
        try:
            return make(item)
        except Exception as error:  # noqa: BLE001  # one odd record must not end the thread
            note = f"a {type(item).__name__} could not be written: {type(error).__name__}"
            return self._format.message(_record(logging.ERROR, note))

    def _write(self, lines: list[str]) -> None:
        count = len(lines)
        lost = self.dropped
        if lost > self._reported:
            note = f"{lost - self._reported} log lines dropped"
            lines.append(self._format.message(_record(logging.WARNING, note)))
        try:
            self._sink.write("".join(lines).encode("ascii"))
        except (OSError, ValueError):  # ValueError: a closed stream
            self._unwritten += count
        else:
            self._reported = lost


def _record(level: int, text: str) -> logging.LogRecord:
    return logging.LogRecord(_INTERNAL, level, __file__, 0, text, None, None)
