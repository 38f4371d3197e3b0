"""Short-lived negative answers, each with its own life.

Purpose: the third kind of thing beside artifacts and documents. A refusal of the upstream (not
found, blocked) is remembered for `negative_ttl`; a failure only long enough that the waiters of one
herd do not each try again. Bounded in number: a client that asks for names that do not exist can
fill it, but not grow it.

Reading: RFC 9111 section 4.4 (negative responses are cacheable). Non-goals: persistence.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import final

from proxy.errors import ProxyError

MAX_DECISIONS = 50_000


@final
class Decisions:
    """Key to refusal, until a moment. `now` in monotonic or epoch seconds, always the same."""

    def __init__(self, limit: int = MAX_DECISIONS) -> None:
        self._limit = limit
        self._known: OrderedDict[str, tuple[ProxyError, float]] = OrderedDict()

    def find(self, key: str, now: float) -> ProxyError | None:
        """The refusal still in force for a key."""
        known = self._known.get(key)
        if known is None:
            return None
        if now >= known[1]:
            del self._known[key]
            return None
        return known[0]

    def remember(self, key: str, error: ProxyError, until: float) -> None:
        """Keep a refusal until a moment; the oldest goes when there are too many."""
        self._known[key] = (error, until)
        self._known.move_to_end(key)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)

    def forget(self, key: str) -> None:
        """A new answer came: the refusal is over."""
        self._known.pop(key, None)
