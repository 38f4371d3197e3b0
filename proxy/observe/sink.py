"""Where log bytes go: a file descriptor of our own, or a list of reasons why not.

Purpose: hide what can be odd about stderr (closed, full, a pipe nobody reads, non-blocking,
shared with other processes) behind one method that the writer thread may call.

Reading: pipe(7) (writes up to PIPE_BUF are atomic), dup(2).
Non-goals: files by name, rotation, the network.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
from typing import Protocol

_PIECE_OF_PIPE = 4096  # PIPE_BUF on Linux: lines of several processes do not mix
_PIECE_OF_FILE = 256 * 1024


class Sink(Protocol):
    """Takes whole lines. Called by one thread only."""

    def write(self, lines: bytes) -> None:
        """Write all of it, blocking as long as it takes. MUST raise OSError when it cannot."""
        ...

    def close(self) -> None:
        """Let go of what it holds. MUST NOT raise."""
        ...


class DescriptorSink:
    """Writes to a duplicate of a descriptor.

    A duplicate, because a closed descriptor's number is soon a client's socket.
    Raises OSError when the descriptor is not open.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)
        regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        self._piece = _PIECE_OF_FILE if regular else _PIECE_OF_PIPE

    @property
    def is_terminal(self) -> bool:
        """Whether a person is likely to read along."""
        return os.isatty(self._descriptor)

    def write(self, lines: bytes) -> None:
        """Write line by line as far as pieces allow. Raises OSError."""
        start = 0
        while start < len(lines):
            end = start + self._piece
            if end < len(lines):
                # A line longer than a piece goes through whole, if not atomically.
                end = lines.rfind(b"\n", start, end) + 1 or lines.index(b"\n", end) + 1
            self._write_all(memoryview(lines)[start:end])
            start = end

    def _write_all(self, piece: memoryview) -> None:
        while piece:
            try:
                piece = piece[os.write(self._descriptor, piece) :]
            except BlockingIOError:
                # Somebody who shares the open file made it non-blocking.
                select.select([], [self._descriptor], [], 1.0)

    def close(self) -> None:
        """Close the duplicate."""
        with contextlib.suppress(OSError):
            os.close(self._descriptor)


class NoSink:
    """Stands in where there is no stderr at all: every write fails, and is counted as such."""

    is_terminal = False

    def write(self, lines: bytes) -> None:  # noqa: ARG002  # the port's shape
        """Raise OSError."""
        raise OSError("there is no standard error to write to")

    def close(self) -> None:
        """Nothing to do."""


def open_sink(descriptor: int) -> DescriptorSink | NoSink:
    """The sink of a descriptor, 2 for standard error; never raises."""
    try:
        return DescriptorSink(descriptor)
    except OSError:
        return NoSink()
