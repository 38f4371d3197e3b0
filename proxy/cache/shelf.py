"""Where documents are held: on disk, ready in memory, and loose where the disk did not take them.

Purpose: the storage is the truth; what is ready was read from an entry that is still the same.
Reading: pingora's memory tier in front of a disk. Non-goals: what is fresh, what is asked
(`documents`).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

from proxy.cache.entry import DocumentFacts
from proxy.cache.ready import Ready
from proxy.cache.status import HIT, CacheStatus
from proxy.cache.threads import aside
from proxy.cache.whole import read
from proxy.errors import StorageFailed
from proxy.model import Document, DocumentTarget
from proxy.storage.base import Body, Record, Storage

LOG = logging.getLogger(__name__)
READY_BUDGET = 64 << 20
LOOSE_BUDGET = 16 << 20
_EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Held:
    """A document as it is held: `sha256` of the upstream's bytes, `age` in seconds."""

    document: Document
    sha256: str
    facts: DocumentFacts
    status: CacheStatus = HIT
    age: int = 0


@final
class Shelf:
    """Holds documents, by key. `healed`: told of each that was not what it must be."""

    def __init__(self, storage: Storage, healed: Callable[[], None]) -> None:
        self._healed = healed
        self._storage = storage
        self._loose: Ready[Held] = Ready(LOOSE_BUDGET)  # what the disk did not take
        self._ready: Ready[tuple[Record | None, Held]] = Ready(READY_BUDGET)

    async def load(self, key: str) -> Held | None:
        """What is held; its status says hit, its age nothing."""
        record = self._storage.lookup(key)
        stored = self._in_memory(key, record) or await self._load_stored(key, record)
        loose = self._loose.get(key)
        if loose is None or (stored and stored.facts.checked_at > loose.facts.checked_at):
            return stored
        return loose

    def _in_memory(self, key: str, record: Record | None) -> Held | None:
        """What an entry holds whose body was read, or written, a moment ago; None: it has to be
        read, or there is none."""
        ready = self._ready.get(key)
        if record is None or ready is None:
            return None
        of, held = ready
        if of is record:
            return held
        if of == record:
            self._ready.put(key, (record, held), record.size)
            return held
        # Another entry: it is new, or the upstream has confirmed what it holds.
        if held.sha256 != record.sha256:
            return None
        facts = DocumentFacts.of_record(record)
        if facts is None or facts.refused:
            return None
        return self._put(key, record, held.document.body, facts)

    def _put(self, key: str, record: Record, body: bytes, facts: DocumentFacts) -> Held:
        document = Document(body, facts.media_type, facts.url, facts.headers)
        held = Held(document, record.sha256, facts)
        self._ready.put(key, (record, held), record.size)
        return held

    async def _load_stored(self, key: str, record: Record | None) -> Held | None:
        """Read what an entry holds."""
        facts = DocumentFacts.of_record(record) if record is not None else None
        if record is None or facts is None or facts.refused:
            return None
        if (body := self._storage.open(record)) is None:
            return None
        content = await aside(record.size, lambda: _read(record, body))
        if record.suspect and content is not None:
            # Sound, but only the store can note that; until then it is read each time.
            await aside(record.size, lambda: self._storage.recheck(record))
        if content is None:
            LOG.warning("a stored document is not what it was; treated as a miss")
            self._storage.remove(key)
            self._healed()
            return None
        return self._put(key, record, content, facts)

    def ready(self, key: str) -> Held | None:
        """What is held by the disk, if it is in memory; whether it stays so `unchanged` says."""
        has_it = self._ready.has(key)
        return self._in_memory(key, self._storage.lookup(key)) if has_it else None

    def unchanged(self, key: str, held: Held) -> Callable[[], bool] | None:
        """How to ask whether `load` would give that very document again. None: only it can tell.

        Records are compared by what they say: an entry too young to be known by its file is read
        each time.
        """
        record, ready = self._storage.lookup(key), self._ready.get(key)
        if record is None or ready is None or ready[0] != record:
            return None
        if ready[1].facts is not held.facts:
            return None
        look, has_loose = self._storage.lookup, self._loose.has

        last = record

        def unchanged() -> bool:
            nonlocal last
            now = look(key)
            if now is not last:
                if now != last:
                    return False
                last = now
            return not has_loose(key)

        return unchanged

    async def keep(self, key: str, found: Held) -> bool:
        """Keep a document that has just come; False: the disk does not take it."""
        try:
            body, facts = found.document.body, found.facts
            await aside(len(body), lambda: self._write(key, body, found.sha256, facts))
        except StorageFailed as error:
            LOG.warning("a document could not be stored (%s); it is served all the same", error)
            self._keep_loose(key, found)
            return False
        self._loose.drop(key)
        kept = replace(found, status=HIT, age=0)
        self._ready.put(key, (None, kept), len(found.document.body))
        return True

    async def keep_too(self, key: str, found: Held) -> None:
        """Keep a document under another key as well; where it is already it is confirmed."""
        record = self._storage.lookup(key)
        if record is not None and record.sha256 == found.sha256:
            self.confirm(key, found)
        else:
            await self.keep(key, found)

    def confirm(self, key: str, confirmed: Held) -> None:
        """Note that the upstream has confirmed what is held."""
        record = self._storage.lookup(key)
        try:
            if record is not None and record.sha256 == confirmed.sha256:
                self._storage.update(record, confirmed.facts.fields())
                self._loose.drop(key)
            elif self._loose.get(key) is not None:
                self._keep_loose(key, confirmed)
        except StorageFailed as error:
            LOG.warning("a confirmed document could not be marked (%s)", error)
            self._keep_loose(key, confirmed)

    def refuse(self, key: str, verdict: str) -> None:
        """Hold it no longer, but for what the upstream said of it: what it lists is withheld by
        that for as long as the upstream says nothing else."""
        self._loose.drop(key)
        facts = self._facts(key)
        try:
            if facts is not None:
                self._write(key, b"", _EMPTY, facts.refused_with(verdict))
                return
        except StorageFailed as error:
            LOG.warning("a refusal could not be noted (%s)", error)
        self._storage.remove(key)

    def verdict(self, key: str) -> str:
        """The upstream's last word against it; "": there is none."""
        facts = self._facts(key)
        return facts.refused if facts is not None else ""

    def _facts(self, key: str) -> DocumentFacts | None:
        record = self._storage.lookup(key)
        return DocumentFacts.of_record(record) if record is not None else None

    def _write(self, key: str, body: bytes, sha256: str, facts: DocumentFacts) -> None:
        writer = self._storage.create(key)
        try:
            writer.write(body)
            writer.commit(sha256, facts.fields())
        finally:
            writer.close()

    def _keep_loose(self, key: str, found: Held) -> None:
        """Keep in memory what the disk did not take: it is fresh all the same."""
        kept = replace(found, status=HIT, age=0)
        self._loose.put(key, kept, len(found.document.body))


def _read(record: Record, body: Body) -> bytes | None:
    try:
        return read(record, body)
    finally:
        body.close()


def validator_of(target: DocumentTarget, held: Held | None) -> str:
    """What to make a question conditional with. Where digests name documents they are as good an
    ETag as any: registries take them for one, or send the few bytes again."""
    if held is None:
        return ""
    if not held.facts.etag and target.verbatim and not held.facts.last_modified:
        return f'"sha256:{held.sha256}"'
    return held.facts.etag
