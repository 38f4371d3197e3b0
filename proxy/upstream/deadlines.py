"""How long an answer's head may take: one timer for all who wait, and none set for each question.

Purpose: `asyncio.timeout` sets and cancels a timer for each exchange, though nearly none is ever
overdue. Here whoever waits is written down with the moment until which, and one timer is set for
the first of these moments; as nearly all may wait equally long, it is seldom set anew.

Non-goals: bodies (`silence`).
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import final


@final
class Deadline:
    """One wait: what `task` does in its block ends in a TimeoutError when it is not done by `until`
    on the loop's clock. `book`: where it stands meanwhile."""

    __slots__ = ("_book", "_cancelling", "_is_over", "_task", "until")

    def __init__(self, book: Deadlines, task: asyncio.Task[object], until: float) -> None:
        self._book = book
        self._task = task
        self._cancelling = task.cancelling()
        self._is_over = False
        self.until = until

    def __enter__(self) -> None:
        self._book.enter(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._book.leave(self)
        # Where somebody else has cancelled the task as well, that goes on (as in asyncio.timeout).
        alone = self._is_over and self._task.uncancel() <= self._cancelling
        if alone and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def end(self) -> None:
        """The moment has come."""
        self._is_over = True
        self._task.cancel()


@final
class Deadlines:
    """Those who wait. Belongs to the event loop that it is made in, which is remembered: to ask
    for it costs a system call before Python 3.12."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float) -> Deadline:
        """What the running task does in a `with` block of this may take so long; TimeoutError."""
        task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("only a task can be ended")
        return Deadline(self, task, self._loop.time() + seconds)

    def enter(self, deadline: Deadline) -> None:
        """Write one down."""
        self._waiting.add(deadline)
        if self._timer is None or deadline.until < self._timer.when():
            self._set(deadline.until)

    def leave(self, deadline: Deadline) -> None:
        """It is done. The timer stays: who comes next waits longer, and it is set again then."""
        self._waiting.discard(deadline)

    def _set(self, until: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(until, self._look, until)

    def _look(self, until: float) -> None:
        self._timer = None
        # The loop may be early, by a tick of its clock.
        now = max(until, self._loop.time())
        overdue = [deadline for deadline in self._waiting if deadline.until <= now]
        self._waiting.difference_update(overdue)
        for deadline in overdue:
            deadline.end()
        if self._waiting:
            self._set(min(deadline.until for deadline in self._waiting))
