"""A zip archive of which only some parts are here. Pure.

Purpose: `Parts` passes for a file, so that `zipfile` reads an archive whose directory and few
members are asked for in as few pieces as possible, within a budget of bytes; who drives it reads a
file or asks for ranges.

Non-goals: fetching; what an archive has to hold (`wheel`, `go_zip`).
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Generator
from typing import Final, TypeVar

from proxy.ecosystems.base import Span

BROKEN: Final = (
    *(zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError),
    *(EOFError, OverflowError, LookupError, OSError),
)
"""What `zipfile` raises when it is given somebody's idea of an archive."""
_T = TypeVar("_T")


class _Missing(Exception):
    """A part of the file is not here yet."""

    def __init__(self, start: int, end: int) -> None:
        super().__init__(start, end)
        self.span = (start, end)


class TooMuch(Exception):
    """What is missing is over the budget."""


class Parts:
    """A file of which only some parts are here: reading another one raises _Missing."""

    def __init__(self, size: int, budget: int) -> None:
        self._size = size
        self._left = budget
        self._parts: list[tuple[int, bytes]] = []
        self._position = 0

    # --- for the generator -------------------------------------------------------------------

    def affords(self, span: Span) -> bool:
        """Tell whether what is missing of a span is within the budget."""
        return sum(end - start for start, end in self._gaps(*span)) <= self._left

    def fetch(self, start: int, end: int) -> Generator[Span, bytes, None]:
        """Ask for what is missing of a span. Raises TooMuch."""
        for gap in self._gaps(start, min(end, self._size)):
            self._left -= gap[1] - gap[0]
            if self._left < 0:
                raise TooMuch
            self._parts.append((gap[0], (yield gap)))
            self._parts.sort(key=lambda part: part[0])

    def complete(self, read: Callable[[], _T]) -> Generator[Span, bytes, _T]:
        """Do something that reads, as often as it takes until nothing is missing."""
        while True:
            try:
                return read()
            except _Missing as missing:
                yield from self.fetch(*missing.span)

    def _gaps(self, start: int, end: int) -> list[Span]:
        gaps = []
        for at, data in self._parts:
            if start < min(at, end):
                gaps.append((start, min(at, end)))
            start = max(start, at + len(data))
        return [*gaps, (start, end)] if start < end else gaps

    # --- for zipfile -------------------------------------------------------------------------

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move the position. Raises OSError before the beginning."""
        position = offset + (0, self._position, self._size)[whence]
        if position < 0:
            raise OSError("before the beginning")
        self._position = position
        return position

    def read(self, count: int = -1) -> bytes:
        """The bytes at the position. Raises _Missing when one of them is not here."""
        start = min(self._position, self._size)
        end = self._size if count < 0 else min(start + count, self._size)
        if gaps := self._gaps(start, end):
            raise _Missing(*gaps[0])
        pieces = [data[max(0, start - at) : max(0, end - at)] for at, data in self._parts]
        self._position = end
        return b"".join(pieces)
