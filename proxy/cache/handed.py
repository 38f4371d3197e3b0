"""Followers of flights that are handed on: from who cannot answer with them to who can.

Purpose: a client's flight may have been begun before anybody knew that it takes the general way to
answer it (it failed, it is large, the disk takes nothing). That way must not take the client for
another one, which would be told that it only joined, nor fetch a second time what could not be
stored: it goes on with the very follower. The client may be gone by then; so each is kept for a
moment only.

Non-goals: who they are for: of equal requests any may go on with any.
"""

from __future__ import annotations

import asyncio
from typing import final

from proxy.cache.found import Flying

KEPT = 5.0  # seconds


@final
class Handed:
    """Keeps them, by the names of their flights."""

    def __init__(self) -> None:
        self._kept: dict[str, list[tuple[Flying, asyncio.TimerHandle]]] = {}

    def keep(self, flying: Flying) -> None:
        """Keep one, or close it after `KEPT` seconds."""
        timer = asyncio.get_running_loop().call_later(KEPT, self._drop, flying)
        self._kept.setdefault(flying.name, []).append((flying, timer))

    def take(self, name: str) -> Flying | None:
        """The one that was kept first; None: there is none. The receiver MUST close it."""
        if not self._kept or (waiting := self._kept.get(name)) is None:
            return None
        flying, timer = waiting.pop(0)
        if not waiting:
            del self._kept[name]
        timer.cancel()
        return flying

    def close(self) -> None:
        """Close all of them."""
        for name in list(self._kept):
            while (flying := self.take(name)) is not None:
                flying.close()

    def _drop(self, late: Flying) -> None:
        """Nobody came for one: close the first of its name, which has waited longest."""
        if (flying := self.take(late.name)) is not None:
            flying.close()
