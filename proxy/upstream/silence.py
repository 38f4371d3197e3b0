"""The longest silence within a body: one timer for all who wait, and none set for each piece.

Purpose: aiohttp's own limit sets and cancels a timer for every piece that arrives (measured: 4 % of
the loop's time of a large body). Here whoever waits for a piece is written down with the moment,
and looked at a few times within the limit.

Non-goals: slow bodies (`response.Pace`); the time until a head.
"""

from __future__ import annotations

import asyncio
from typing import Final, final

import aiohttp

LOOKS: Final = 5  # within one limit: a silence lasts so much longer than it at most


@final
class Silence:
    """Ends waits that last longer than `seconds`. Belongs to one event loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: dict[aiohttp.StreamReader, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def next(self, content: aiohttp.StreamReader) -> bytes:
        """The next piece of a body as it came; empty at its end.

        Raises TimeoutError after a silence, and what aiohttp does.
        """
        loop = asyncio.get_running_loop()
        self._waiting[content] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._seconds / LOOKS, self._look, loop)
        try:
            piece, chunk_ends = await content.readchunk()  # `readany` would join them: a copy
            while not piece and chunk_ends:
                piece, chunk_ends = await content.readchunk()
        finally:
            del self._waiting[content]
        return piece

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        overdue = loop.time() - self._seconds
        for content, since in self._waiting.items():
            if since <= overdue:
                content.set_exception(TimeoutError())
        if self._waiting:
            self._timer = loop.call_later(self._seconds / LOOKS, self._look, loop)
