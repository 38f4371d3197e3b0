"""Short-lived answers about a key, each with its own life.

Purpose: the third kind of thing beside artifacts and documents. A refusal of the upstream (not
found, blocked) is remembered for `negative_ttl`; a failure only long enough that the waiters of one
herd do not each try again. Bounded in number: a client that asks for names that do not exist can
fill it, but not grow it.

A wall clock may be stepped: what was remembered in the future of `now` is forgotten.

Reading: RFC 9111 section 4.4 (negative responses are cacheable). Non-goals: persistence.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from copy import copy
from itertools import islice
from typing import Generic, TypeVar, final

from proxy.errors import Outcome, ProxyError

MAX_DECISIONS = 50_000
FAILURE_PAUSE = 1.0  # seconds that the waiters of one herd hear a failure that is no news
V = TypeVar("V")
# Of a key: the failure, or None where it is over; for so many seconds.
Tell = Callable[[str, ProxyError | None, float], None]


@final
class Decisions(Generic[V]):
    """Key to value, for a while. `now` in seconds, always of the same clock."""

    def __init__(self, limit: int = MAX_DECISIONS) -> None:
        self._limit = limit
        self._known: OrderedDict[str, tuple[V, float, float]] = OrderedDict()
        self.has: Callable[[str], bool] = self._known.__contains__
        """Whether there is a value, in force or not."""

    def find(self, key: str, now: float) -> V | None:
        """The value still in force for a key."""
        known = self._known.get(key)
        if known is None:
            return None
        value, since, until = known
        if since <= now < until:
            return value
        del self._known[key]
        return None

    def remember(self, key: str, value: V, now: float, seconds: float) -> None:
        """Keep a value so long; the oldest goes when there are too many."""
        self._known[key] = (value, now, now + seconds)
        self._known.move_to_end(key)
        for old in list(islice(self._known, 2)):  # two out for one in: the ended ones leave
            if not self._known[old][1] <= now < self._known[old][2]:
                del self._known[old]
        if len(self._known) > self._limit:
            self._known.popitem(last=False)

    def forget(self, key: str) -> bool:
        """A new answer came: it is over. Whether there was a value, in force or not."""
        return self._known.pop(key, None) is not None

    def forget_all(self) -> None:
        """All of it is over."""
        self._known.clear()


@final
class Refusals:
    """Key to failure, for a while. What is kept, and what is given, is a copy: an exception that
    was raised holds the whole request that it was raised in."""

    def __init__(self, limit: int = MAX_DECISIONS) -> None:
        self._known: Decisions[ProxyError] = Decisions(limit)
        self._tell: Tell = _tell_nobody

    def find(self, key: str, now: float) -> ProxyError | None:
        """A failure that may be raised, still in force for a key."""
        known = self._known.find(key, now)
        return copy(known) if known is not None else None

    def holds(self, key: str, now: float) -> bool:
        """Whether `find` would find one."""
        return self._known.find(key, now) is not None

    def remember(self, key: str, error: ProxyError, now: float, seconds: float) -> None:
        """Keep a failure so long. What is news to us is news to other processes."""
        self._known.remember(key, copy(error), now, seconds)
        if error.outcome is Outcome.NEWS and seconds > 0:
            self._tell(key, error, seconds)

    def forget(self, key: str, *, new: bool = False) -> None:
        """A new answer came: it is over. `new`: there was none before, so other processes may
        remember a failure that this one does not."""
        if self._known.forget(key) or new:
            self._tell(key, None, 0.0)

    def on_news(self, tell: Tell) -> None:
        """Have other processes told what the upstream said, and that it does not count any more."""
        self._tell = tell

    def hear(self, key: str, error: ProxyError | None, now: float, seconds: float) -> None:
        """Another process was told this; None: it does not count any more."""
        if error is None:
            self._known.forget(key)
        else:
            self._known.remember(key, error, now, seconds)

    def forget_all(self) -> None:
        """All of it is over."""
        self._known.forget_all()


def _tell_nobody(_key: str, _error: ProxyError | None, _seconds: float) -> None:
    """There is one process."""
