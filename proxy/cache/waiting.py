"""Who waits for news of a flight: tasks that await it, and those who want to be called.

Purpose: a follower that sends as the bytes come awaits the next news. One that waits for the end
only, to answer in one piece, needs no task for that: it is called.

Non-goals: what the news is (`flight`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import final


@final
class Waiting:
    """All that wait for the next news of one flight; each hears of it once."""

    __slots__ = ("_hearers", "_waiters")

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []
        self._hearers: list[Callable[[], object]] = []

    def change(self) -> asyncio.Future[None]:
        """To be awaited: the next news."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    def hear(self, told: Callable[[], object]) -> None:
        """Have `told` called with the next news."""
        self._hearers.append(told)

    def wake(self) -> None:
        """There is news."""
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
        if self._hearers:
            hearers, self._hearers = self._hearers, []
            loop = asyncio.get_running_loop()
            for told in hearers:
                loop.call_soon(told)
