"""The longest silence within a body: one timer for all who wait, and none set for each piece.

Purpose: aiohttp's own limit sets and cancels a timer for every piece that arrives (measured: 4 % of
the loop's time of a large body). Here whoever waits for a piece is written down with the moment,
and looked at a few times within the limit. Found wanting once, it has until the next look: when the
process was held up, what came meanwhile is in the socket and not yet here.

Whoever waits on a connection that is no more is found in the same way. The library tells nobody
when it has closed one because of rubbish between two chunks.

Non-goals: slow bodies (`response.Pace`); the time until a head.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar, final

from proxy.upstream.pouring import Pouring
from proxy.upstream.session import Answer, Content

LOOKS: Final = 5  # within one limit: a silence lasts two looks longer than it at most
OFTEN: Final = 1.0  # seconds between two looks at most
_Source = Answer | Pouring
_Got = TypeVar("_Got")


@final
class Silence:
    """Ends waits that last longer than `seconds`. Belongs to one event loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._pause = min(OFTEN, seconds / LOOKS)
        self._waiting: dict[_Source, float] = {}
        self._suspects: dict[_Source, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def next(self, response: Answer) -> bytes:
        """The next piece of a body as it came; empty at its end.

        Raises TimeoutError after a silence, and what aiohttp does.
        """
        return await self.until(response, _piece(response.content))

    async def until(self, source: _Source, coming: Awaitable[_Got]) -> _Got:
        """Wait for what is coming from a source. Raises TimeoutError after a silence."""
        loop = asyncio.get_running_loop()
        self._waiting[source] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._pause, self._look, loop)
        try:
            return await coming
        finally:
            del self._waiting[source]

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        overdue = loop.time() - self._seconds
        before, self._suspects = self._suspects, {}
        for source, since in self._waiting.items():
            if since > overdue and not _is_cut(source):
                continue
            if before.get(source) == since:
                _end(source, TimeoutError())
            else:
                self._suspects[source] = since
        if self._waiting:
            self._timer = loop.call_later(self._pause, self._look, loop)


async def _piece(content: Content) -> bytes:
    piece, chunk_ends = await content.readchunk()  # `readany` would join them: a copy
    while not piece and chunk_ends:
        piece, chunk_ends = await content.readchunk()
    return piece


def _is_cut(source: _Source) -> bool:
    """Whether a body that has not ended has lost its connection."""
    if isinstance(source, Pouring):
        return source.is_cut
    connection = source.connection
    return connection is not None and connection.closed


def _end(source: _Source, error: Exception) -> None:
    """Have who waits for it hear that."""
    if isinstance(source, Pouring):
        source.fail(error)
    else:
        source.content.set_exception(error)
