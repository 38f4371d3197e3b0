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
from typing import Generic, TypeVar, final

MAX_DECISIONS = 50_000
V = TypeVar("V")


@final
class Decisions(Generic[V]):
    """Key to value, for a while. `now` in seconds, always of the same clock."""

    def __init__(self, limit: int = MAX_DECISIONS) -> None:
        self._limit = limit
        self._known: OrderedDict[str, tuple[V, float, float]] = OrderedDict()

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
        if len(self._known) > self._limit:
            self._known.popitem(last=False)

    def forget(self, key: str) -> None:
        """A new answer came: it is over."""
        self._known.pop(key, None)
