"""Places in the line for upstream connections: some that artifacts never take.

Purpose: an artifact may hold its connection for minutes, a document for a moment. Of all places
a quarter is left to documents (pages, probes), so that no number of slow downloads holds up
a page; documents may take any place, because they give it back at once.

Reading: the bulkhead pattern. Non-goals: limits per client or host; how long to wait (`client`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, final

SHARE: Final = 4  # one place in so many is for documents only


@final
class Slots:
    """`connections` places, at least one; with a single one everybody shares it."""

    def __init__(self, connections: int) -> None:
        kept = max(1, connections // SHARE) if connections > 1 else 0
        self._all = asyncio.Semaphore(connections)
        self._long = asyncio.Semaphore(connections - kept)

    @asynccontextmanager
    async def take(self, *, brief: bool) -> AsyncIterator[None]:
        """Hold a place; waits for one. `brief`: for a document, from any of them."""
        if brief:
            async with self._all:
                yield
            return
        async with self._long, self._all:
            yield
