"""Bodies kept ready in memory: a least-recently-used map with a budget in bytes.

Purpose: a document is parsed and rewritten once per change, not once per request. Keys carry the
SHA-256 of what the value was made from, so nothing here is ever stale, only unused.

Non-goals: being the truth (storage is), time to live.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar, final

V = TypeVar("V")
OVERHEAD = 500  # bytes that a key and its place in the map take, roughly


@final
class Ready(Generic[V]):
    """At most `budget` bytes of values, the books about them included; a single value over half
    of it is not kept."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._used = 0
        self._values: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self.has: Callable[[Hashable], bool] = self._values.__contains__
        """Whether there is a value, which is used by that no more than before."""

    def get(self, key: Hashable) -> V | None:
        """The value, which becomes the most recently used one."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: Hashable, value: V, size: int) -> None:
        """Keep a value of `size` bytes, letting go of the least recently used ones."""
        self.drop(key)
        size += OVERHEAD
        if size > self._budget // 2:
            return
        self._values[key] = (value, size)
        self._used += size
        while self._used > self._budget:
            _, (_, freed) = self._values.popitem(last=False)
            self._used -= freed

    def drop(self, key: Hashable) -> None:
        """Let go of one value."""
        found = self._values.pop(key, None)
        if found is not None:
            self._used -= found[1]

    @property
    def used(self) -> int:
        """Bytes held."""
        return self._used
