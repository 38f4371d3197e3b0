"""Small bodies of artifacts, ready in memory.

Purpose: opening a file and reading it is most of what a small hit costs. A body that is asked for
a second time is read once, hashed, and kept: what is here is what its name says, whatever becomes
of the disk. That it may be served is none of its business: who asks has found its entry first.

Reading: TinyLFU ("one-hit wonders" are not worth a place). Non-goals: being the truth; rights.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import final

from proxy.cache.ready import Ready
from proxy.cache.threads import aside
from proxy.cache.whole import read
from proxy.storage.base import Body, Record

SMALL = 1 << 20
"""Bytes of the largest body that is kept."""
BUDGET = 64 << 20
_ASKED = 4096  # bodies that it is remembered of that they were asked for once


@final
class Small:
    """At most `budget` bytes of bodies, by their SHA-256."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._ready: Ready[bytes] = Ready(budget)
        self._asked: OrderedDict[str, None] = OrderedDict()

    @property
    def used(self) -> int:
        """Bytes held."""
        return self._ready.used

    def find(self, sha256: str) -> bytes | None:
        """A body that is ready."""
        return self._ready.get(sha256)

    async def content(self, record: Record, body: Body) -> bytes | None:
        """All of a body, verified; None: it is large, asked for the first time, or not what it
        should be (who sends it finds that out)."""
        if record.size > SMALL:
            return None
        if (ready := self.find(record.sha256)) is not None:
            return ready
        if record.sha256 not in self._asked:
            self._asked[record.sha256] = None
            if len(self._asked) > _ASKED:
                self._asked.popitem(last=False)
            return None
        content = await aside(record.size, lambda: read(record, body))
        if content is not None:
            self._ready.put(record.sha256, content, record.size)
            self._asked.pop(record.sha256, None)
        return content
