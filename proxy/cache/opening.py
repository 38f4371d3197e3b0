"""Stored artifacts, opened: from the store, and the small ones from memory.

Purpose: what is known of an entry is read off its record once, and the file of a small body is
opened once in `AGAIN` seconds while its bytes are in memory: so often the store hears that it is in
use, and finds out that it is not there any more. The entry itself is looked up for every request,
by who calls this.

Reading: `known`, `small`. Non-goals: whether it may be served.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import final

from proxy.cache.decisions import Decisions
from proxy.cache.entry import ArtifactFacts
from proxy.cache.found import Stored
from proxy.cache.ready import Ready
from proxy.cache.small import Small
from proxy.cache.status import CacheStatus
from proxy.model import Digest
from proxy.storage.base import Body, Record, Storage

LOG = logging.getLogger(__name__)
DOUBT = 600.0  # seconds in which a bare Range after a failed transfer gets the whole
AGAIN = 1.0
_OPENED = 4096
_FACTS_BUDGET = 4 << 20
_FACTS = 1500  # bytes of one, roughly


@final
class _Closed:
    """Implements `Body` for one that is in memory: its file is opened when somebody wants that."""

    __slots__ = ("_body", "_open", "size")

    def __init__(self, size: int, opened: Callable[[], Body | None]) -> None:
        self.size = size
        self._open = opened
        self._body: Body | None = None

    def fileno(self) -> int:
        """The descriptor. Raises FileNotFoundError."""
        if self._body is None:
            self._body = self._open()
        if self._body is None:
            raise FileNotFoundError("the body is gone")
        return self._body.fileno()

    def close(self) -> None:
        """See `Body.close`."""
        if self._body is not None:
            self._body.close()


@final
class Opening:
    """`clock`: seconds since the epoch. `healed`: told of each body that could not be read."""

    def __init__(
        self, storage: Storage, clock: Callable[[], float], healed: Callable[[], None]
    ) -> None:
        self._healed = healed
        self._storage = storage
        self._clock = clock
        self._small = Small()
        self._facts: Ready[tuple[Record, ArtifactFacts]] = Ready(_FACTS_BUDGET)
        self._opened: Decisions[bool] = Decisions(_OPENED)  # by SHA-256 and key
        self._doubts: Decisions[bool] = Decisions()  # by key

    def doubt(self, key: str) -> None:
        """A transfer of it failed when somebody had a part already, which nobody vouched for."""
        self._doubts.remember(key, value=True, now=self._clock(), seconds=DOUBT)

    def facts(self, record: Record) -> ArtifactFacts | None:
        """What is known of an artifact's entry; None: nothing that is understood."""
        known = self._facts.get(record.key)
        if known is not None and known[0] is record:
            return known[1]
        facts = ArtifactFacts.of_record(record)
        if facts is not None:
            self._facts.put(record.key, (record, facts), _FACTS)
        return facts

    def open(self, record: Record, status: CacheStatus, age: int) -> Stored | None:
        """Open a body from the store; None: it is not there. `age` in seconds."""
        body = self._storage.open(record)
        return self._stored(record, body, status, age) if body is not None else None

    def landed(
        self,
        record: Record,
        status: CacheStatus,
        content: bytes | None,
        digests: Sequence[Digest],
    ) -> Stored | None:
        """What has just been stored; of a small one, with its content, the file stays closed."""
        if content is None:
            return self.open(record, status, 0)
        body = _Closed(record.size, lambda: self._storage.open(record))
        told = " ".join(map(str, digests)) if digests else ""
        return self._stored(record, body, status, 0, digests=told, content=content)

    async def ready(self, record: Record, status: CacheStatus, age: int) -> Stored | None:
        """The same, with its content where that is worth keeping in memory."""
        content, now = self._small.find(record.sha256), self._clock()
        name = f"{record.sha256}{record.key}"
        if content is not None and self._opened.find(name, now):
            body = _Closed(record.size, lambda: self._storage.open(record))
            return self._stored(record, body, status, age, content=content)
        stored = self.open(record, status, age)
        if stored is None:
            return None
        try:
            content = await self._small.content(record, stored.body)
        except BaseException:
            stored.close()
            raise
        if content is not None:
            self._opened.remember(name, value=True, now=now, seconds=AGAIN)
        return stored._replace(content=content)

    def _stored(  # noqa: PLR0913  # all that is known
        self,
        record: Record,
        body: Body,
        status: CacheStatus,
        age: int,
        *,
        digests: str | None = None,
        content: bytes | None = None,
    ) -> Stored:
        """`digests`: where they are known already; None: as the entry has them. `content`: all of
        a small one, where it is in memory."""
        doubted = self._doubts.find(record.key, self._clock()) is not None
        if digests is None:
            facts = self.facts(record)
            digests = facts.digests if facts is not None else ""
        return Stored(
            *(record, body, status, age, doubted, lambda: self._heal(record), digests),
            content=content,
        )

    def _heal(self, record: Record) -> None:
        LOG.warning("a stored body could not be read; its entry is dropped")
        self._storage.remove(record.key)
        self._healed()
