"""A small body of known size, gathered as it comes.

Purpose: the library's stream is made for bodies without end: it counts, pauses and wakes. Of a body
of at most `plain.SMALL` bytes the pieces are kept as they are, and mostly the first is all of it.
It is read by the same names as the library's, so that nobody has to know which one it is.

Reading: aiohttp `streams.py`. Non-goals: knowing where the body ends (`wire`), silence.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import final


@final
class Arriving:
    """Implements `session.Content`. `data`: what came, from the byte at `start` on of the body;
    `left`: bytes to come."""

    __slots__ = ("_error", "_first", "_later", "_loop", "_on_eof", "_waiter", "left")

    def __init__(self, loop: asyncio.AbstractEventLoop, data: bytes, start: int, left: int) -> None:
        self.left = left
        self._loop = loop
        self._first: memoryview | None = memoryview(data)[start:] if len(data) > start else None
        self._later: deque[bytes] | None = None
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._on_eof: Callable[[], None] | None = None

    def feed(self, piece: bytes) -> None:
        """More of it came: no more than is left, and not nothing."""
        self._pieces.append(piece)
        self.left -= len(piece)
        self._wake()
        if not self.left and self._on_eof is not None:
            ended, self._on_eof = self._on_eof, None
            ended()

    def on_eof(self, callback: Callable[[], None]) -> None:
        """Have somebody told, once, that all of it has come; at once if it has."""
        if self.left:
            self._on_eof = callback
        else:
            callback()

    def set_exception(self, error: BaseException) -> None:
        """Nothing more will come. Who reads hears of it behind what has come."""
        self._error = self._error or error
        self._on_eof = None
        self._wake()

    def exception(self) -> BaseException | None:
        """Why nothing more comes; None: more does, or all has come."""
        return self._error

    def is_eof(self) -> bool:
        """Whether all of it has come."""
        return not self.left

    def at_eof(self) -> bool:
        """Whether all of it has come and was read."""
        return not self.left and not self._pieces

    @property
    def whole(self) -> memoryview | None:
        """All of it, where it came with the head, and nothing was read; None: it did not."""
        return None if self.left or self._later else self._first

    @property
    def _pieces(self) -> deque[bytes]:
        """What has come and was not read. Of what came with the head no copy is made before."""
        pieces = self._later
        if pieces is None:
            pieces = self._later = deque()
        if self._first is not None:
            pieces.append(bytes(self._first))
            self._first = None
        return pieces

    def read_nowait(self) -> bytes:
        """All that has come and was not read yet."""
        pieces = self._pieces
        if len(pieces) == 1:
            return pieces.popleft()
        rest = b"".join(pieces)
        pieces.clear()
        return rest

    async def readchunk(self) -> tuple[bytes, bool]:
        """The next piece, empty at the end; no chunk ever ends. Raises what `set_exception` was
        told."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if not self.left:
                return b"", False
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._pieces.popleft(), False

    async def read(self, n: int) -> bytes:
        """At most `n` bytes of the next piece; see `readchunk`."""
        if not n:
            return b""
        piece, _ = await self.readchunk()
        if len(piece) > n:
            self._pieces.appendleft(piece[n:])
        return piece[:n]

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
