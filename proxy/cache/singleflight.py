"""One running call per key, detached from every caller.

Purpose: equal requests at one time cost one call. The call belongs to nobody: a caller that is
cancelled leaves at once and costs the others nothing; a failure reaches all of them, and the key is
free again when the call ends.

Reading: Go's `singleflight`, git-pkgs/proxy `coalesce_semantics_test.go`. Non-goals: keeping
results; calls across processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar, final

T = TypeVar("T")


@final
class SingleFlight(Generic[T]):
    """Runs `call` once for all who join under the same key meanwhile."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[T]] = {}

    def join(
        self, key: str, call: Callable[[], Coroutine[Any, Any, T]]
    ) -> tuple[asyncio.Task[T], bool]:
        """The running task of a key, and whether it was there already. Await it shielded."""
        running = self._running.get(key)
        if running is not None:
            return running, True
        task = asyncio.get_running_loop().create_task(call())
        self._running[key] = task
        task.add_done_callback(lambda done: self._ended(key, done))
        return task, False

    async def close(self) -> None:
        """Cancel what runs and wait for its end."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, key: str, task: asyncio.Task[T]) -> None:
        self._running.pop(key, None)
        if not task.cancelled():
            # Retrieved even when every caller has left, or asyncio would log it as lost.
            task.exception()
