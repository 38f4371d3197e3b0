"""Places in the line for upstream connections: some that artifacts never take.

Purpose: an artifact may hold its connection for minutes, a document for a moment. Of all places
a quarter is left to documents (pages, probes), so that no number of slow downloads holds up
a page; documents may take any place, because they give it back at once.

Two semaphores would do, but even where nobody waits they cost as much as building the request.

Reading: the bulkhead pattern. Non-goals: limits per client or host; how long to wait (`client`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import count
from typing import Final, final

SHARE: Final = 4  # one place in so many is for documents only
_Line = deque[tuple[int, asyncio.Future[None]]]  # numbered as they came


@final
class Slots:
    """`connections` places, at least one; with a single one everybody shares it."""

    def __init__(self, connections: int) -> None:
        self._free = connections
        self._free_for_long = connections - (max(1, connections // SHARE) if connections > 1 else 0)
        self._brief: _Line = deque()
        self._long: _Line = deque()
        self._numbers = count()

    def take_now(self, *, brief: bool) -> bool:
        """Take a place if that needs no waiting. `brief`: for a document, any of them.

        Whoever has a place MUST give it back in the same way.
        """
        if not self._free or (self._brief if brief else self._long or not self._free_for_long):
            return False
        self._free -= 1
        if not brief:
            self._free_for_long -= 1
        return True

    async def take(self, *, brief: bool) -> None:
        """Take a place; waits for one, behind those who came before."""
        if self.take_now(brief=brief):
            return
        line = self._brief if brief else self._long
        place = asyncio.get_running_loop().create_future()
        line.append((next(self._numbers), place))
        try:
            await place
        except BaseException:
            if not place.cancel() and not place.cancelled():  # it was given one just now
                self.give_back(brief=brief)
            raise

    def give_back(self, *, brief: bool) -> None:
        """Somebody else may have it."""
        self._free += 1
        if not brief:
            self._free_for_long += 1
        while (self._brief or self._long) and self._free and (line := self._next()):
            _, place = line.popleft()
            if not place.done():  # else who waited has left
                self._free -= 1
                if line is self._long:
                    self._free_for_long -= 1
                place.set_result(None)

    def _next(self) -> _Line:
        """The line whose first one came first, of those that may have a free place."""
        if not self._long or not self._free_for_long:
            return self._brief
        return min(self._brief or self._long, self._long, key=lambda line: line[0][0])
