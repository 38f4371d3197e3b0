"""One flight's question to the upstream's sidecars, asked beside the body.

Purpose: it is begun with the body's first request; its answer is taken in as soon as it is here, so
that a failure ends the flight early and a broken transfer can be resumed; the body's verdict waits
for it. Non-goals: asking (`checksums`), judging (`transfer`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias, final

from proxy.cache.entry import Compared
from proxy.cache.transfer import Transfer
from proxy.errors import ProxyError

Ask: TypeAlias = Callable[[bool], Coroutine[Any, Any, Compared]]


class ComparisonFailed(Exception):
    """The sidecars could not be had or not be understood: no matter of the body's own transfer."""

    def __init__(self, error: ProxyError) -> None:
        super().__init__(error.detail)
        self.error = error


@final
class Comparison:
    """`ask` None: there is nothing to compare with."""

    def __init__(self, ask: Ask | None, transfer: Transfer) -> None:
        self._ask = ask
        self._transfer = transfer
        self._task: asyncio.Task[Compared] | None = None
        self.paths = ""

    def begin(self) -> None:
        """Ask, unless that is done already."""
        if self._ask is not None and self._task is None:
            ask = self._ask(self._transfer.no_cache)
            self._task = asyncio.get_running_loop().create_task(ask)

    def look(self) -> None:
        """Take the answer in if it is here. Raises ComparisonFailed."""
        if self._task is not None and self._task.done() and not self.paths:
            self._take(self._task)

    async def settle(self) -> None:
        """Wait for the answer and take it in. Raises ComparisonFailed."""
        if self._task is not None and not self.paths:
            await asyncio.wait((self._task,))
            self._take(self._task)

    def forget(self) -> None:
        """Stop asking, and forget what was learnt: the next `begin` asks anew."""
        task, self._task, self.paths = self._task, None, ""
        self._transfer.learn(())
        if task is not None and not task.cancel() and not task.cancelled():
            task.exception()  # retrieved, or asyncio would log it as lost

    def _take(self, task: asyncio.Task[Compared]) -> None:
        try:
            compared = task.result()
        except ProxyError as error:
            raise ComparisonFailed(error) from None
        self._transfer.learn(compared.digests)
        self.paths = compared.paths
