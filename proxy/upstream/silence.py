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
from typing import Final, final

import aiohttp

LOOKS: Final = 5  # within one limit: a silence lasts two looks longer than it at most
OFTEN: Final = 1.0  # seconds between two looks at most


@final
class Silence:
    """Ends waits that last longer than `seconds`. Belongs to one event loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._pause = min(OFTEN, seconds / LOOKS)
        self._waiting: dict[aiohttp.ClientResponse, float] = {}
        self._suspects: dict[aiohttp.ClientResponse, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def next(self, response: aiohttp.ClientResponse) -> bytes:
        """The next piece of a body as it came; empty at its end.

        Raises TimeoutError after a silence, and what aiohttp does.
        """
        loop, content = asyncio.get_running_loop(), response.content
        self._waiting[response] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._pause, self._look, loop)
        try:
            piece, chunk_ends = await content.readchunk()  # `readany` would join them: a copy
            while not piece and chunk_ends:
                piece, chunk_ends = await content.readchunk()
        finally:
            del self._waiting[response]
        return piece

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        overdue = loop.time() - self._seconds
        before, self._suspects = self._suspects, {}
        for response, since in self._waiting.items():
            if since > overdue and not _is_cut(response):
                continue
            if before.get(response) == since:
                response.content.set_exception(TimeoutError())
            else:
                self._suspects[response] = since
        if self._waiting:
            self._timer = loop.call_later(self._pause, self._look, loop)


def _is_cut(response: aiohttp.ClientResponse) -> bool:
    """Whether a body that has not ended has lost its connection."""
    connection = response.connection
    return connection is not None and connection.closed
