"""Places in the line for upstream connections: some that artifacts never take.

Purpose: an artifact may hold its connection for minutes, a document for a moment. Of all places
a quarter is left to documents (pages, probes), so that no number of slow downloads holds up
a page; documents may take any place, because they give it back at once.

Reading: the bulkhead pattern. Non-goals: limits per client or host; how long to wait (`client`).
"""

from __future__ import annotations

import asyncio
from typing import Final, final

SHARE: Final = 4  # one place in so many is for documents only


@final
class Slots:
    """`connections` places, at least one; with a single one everybody shares it."""

    def __init__(self, connections: int) -> None:
        kept = max(1, connections // SHARE) if connections > 1 else 0
        self._all = asyncio.Semaphore(connections)
        self._long = asyncio.Semaphore(connections - kept)

    def are_free(self, *, brief: bool) -> bool:
        """Tell whether `take` would not wait. `brief`: for a document, from any of them."""
        return not self._all.locked() and (brief or not self._long.locked())

    async def take(self, *, brief: bool) -> None:
        """Take a place; waits for one. Whoever has it MUST give it back in the same way."""
        if brief:
            await self._all.acquire()
            return
        await self._long.acquire()
        try:
            await self._all.acquire()
        except BaseException:
            self._long.release()
            raise

    def give_back(self, *, brief: bool) -> None:
        """Somebody else may have it."""
        self._all.release()
        if not brief:
            self._long.release()
