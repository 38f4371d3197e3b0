"""How long an answer's head may take: one timer for all who wait, and none set for each question.

Purpose: `asyncio.timeout` sets and cancels a timer for each exchange, though nearly none is ever
overdue. Here whoever waits is written down with the moment until which, and one timer is set for
the first of these moments; as nearly all may wait equally long, it is seldom set anew.

Non-goals: bodies (`silence`).
"""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic
from types import TracebackType
from typing import Protocol, final


class Overdue(Protocol):
    """Whoever waits until a moment of the loop's clock, and is told when it has come."""

    @property
    def until(self) -> float:
        """The moment."""
        ...

    def end(self) -> None:
        """It has come."""
        ...


@final
class Deadline:
    """Implements `Overdue`: what `task` does in its block ends in a TimeoutError when it is not
    done by `until` on the loop's clock. `book`: where it stands meanwhile."""

    __slots__ = ("_book", "_cancelling", "_is_over", "_task", "until")

    def __init__(self, book: Deadlines, task: asyncio.Task[object], until: float) -> None:
        self._book = book
        self._task = task
        self._cancelling = task.cancelling()
        self._is_over = False
        self.until = until

    def __enter__(self) -> None:
        self._book.watch(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._book.unwatch(self)
        # Where somebody else has cancelled the task as well, that goes on (as in asyncio.timeout).
        alone = self._is_over and self._task.uncancel() <= self._cancelling
        if alone and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def end(self) -> None:
        """See `Overdue`."""
        self._is_over = True
        self._task.cancel()


@final
class Deadlines:
    """Those who wait, and when the timer goes off for the first of them. Belongs to the event loop
    that it is made in, which is remembered: to ask for it costs a system call before Python 3.12.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.waiting: set[Overdue] = set()
        self.next_look = inf
        self._timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float) -> Deadline:
        """What the running task does in a `with` block of this may take so long; TimeoutError."""
        task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("only a task can be ended")
        return Deadline(self, task, monotonic() + seconds)  # the loop's clock

    def watch(self, waiting: Overdue) -> None:
        """Tell it when its moment has come."""
        self.waiting.add(waiting)
        if waiting.until < self.next_look:
            self._look_at(waiting.until)

    def unwatch(self, waiting: Overdue) -> None:
        """It waits no more. The timer stays: who comes next waits longer, and it is set again
        then."""
        self.waiting.discard(waiting)

    def _look_at(self, until: float) -> None:
        """Set the timer."""
        if self._timer is not None:
            self._timer.cancel()
        self.next_look = until
        self._timer = self._loop.call_at(until, self._look, until)

    def _look(self, until: float) -> None:
        self._timer, self.next_look = None, inf
        # The loop may be early, by a tick of its clock.
        now = max(until, self._loop.time())
        overdue = [deadline for deadline in self.waiting if deadline.until <= now]
        self.waiting.difference_update(overdue)
        for deadline in overdue:
            deadline.end()
        if self.waiting:
            self._look_at(min(deadline.until for deadline in self.waiting))
