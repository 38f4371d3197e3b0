"""Documents that are too large to be held: streamed to disk, transformed there, served from there.

Purpose: the one exception to "a document is held as the upstream sent it and rewritten as a whole"
(the list of all Python projects has 40 MB and more). What the upstream sent lies in the store like
any document; beside it, per representation, what clients get, made piece by piece in a thread, in
pieces so small that the loop is not held up. The rules of freshness, and of what failures mean,
are those of `documents`; only one client in some minutes waits for the transformation.

A transformation that fails leaves everything as it was. A store that takes nothing is a failure
here: there is nowhere else to put it.

Reading: design rule 14; `Streaming`. Non-goals: content codings, ranges.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import final

from proxy.cache.decisions import FAILURE_PAUSE, Refusals
from proxy.cache.documents import PATIENCE, REFRESH_PAUSE
from proxy.cache.entry import DocumentFacts
from proxy.cache.found import Stored
from proxy.cache.freshness import Policy, Settlement, Verdict, judge, settle, too_old
from proxy.cache.keys import document_key, variant_key
from proxy.cache.singleflight import SingleFlight
from proxy.cache.status import HIT, CacheStatus, stale
from proxy.cache.threads import in_thread
from proxy.ecosystems.base import Ecosystem, Streaming, Transformation
from proxy.errors import Malformed, ProxyError, StorageFailed, Unavailable
from proxy.model import DocumentTarget, Grant
from proxy.storage.base import Body, Record, Storage, Writer
from proxy.upstream.base import Head, Upstream, UpstreamRequest, UpstreamResponse

LOG = logging.getLogger(__name__)
MAX_SIZE = 512 << 20
PIECE = 32 << 10  # a few milliseconds of work at a time
_NO_ROOM = "The proxy has no room for so large a document; try again."


@dataclass(frozen=True, slots=True)
class _Raw:
    """What the upstream sent, as it lies in the store."""

    record: Record
    facts: DocumentFacts
    status: CacheStatus = HIT


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked for, and under which keys it is kept."""

    ecosystem: str
    streaming: Streaming
    target: DocumentTarget
    key: str
    variant: str


@final
class Bulk:
    """`origins`: ecosystem name to upstream origin. `max_size`: bytes of the upstream's document.

    `clock`: seconds since the epoch.
    """

    def __init__(  # noqa: PLR0913  # the composition root's one call
        self,
        storage: Storage,
        upstream: Upstream,
        policy: Policy,
        *,
        origins: Mapping[str, str],
        clock: Callable[[], float],
        max_size: int = MAX_SIZE,
    ) -> None:
        self._storage = storage
        self._upstream = upstream
        self._policy = policy
        self._origins = origins
        self._clock = clock
        self._max_size = max_size
        self._flights: SingleFlight[_Raw] = SingleFlight()
        self._making: SingleFlight[Record] = SingleFlight()
        self.refusals = Refusals()
        self._closing = False

    async def close(self) -> None:
        """End everything that runs."""
        self._closing = True
        await self._flights.close()
        await self._making.close()

    async def get(self, ecosystem: Ecosystem, target: DocumentTarget, grant: Grant) -> Stored:
        """The client's form of a document, its body open. The receiver MUST close it.

        Raises what `proxy.errors` has.
        """
        if target.scope not in grant.scopes or grant.ecosystem != ecosystem.name:
            raise AssertionError("a grant for something else was shown")
        if not isinstance(ecosystem, Streaming):
            raise TypeError("an ecosystem names a document bulk that it cannot stream")
        origin = self._origins[ecosystem.name]
        key = document_key(ecosystem.name, origin, target)
        variant = variant_key(ecosystem.name, origin, target)
        question = _Question(ecosystem.name, ecosystem, target, key, variant)
        raw = await self._fresh(question)
        return await self._open(question, raw)

    # --- what the upstream says --------------------------------------------------------------

    async def _fresh(self, question: _Question) -> _Raw:
        now, key = self._clock(), question.key
        held = self._load(key)
        verdict = self._judge(held, now)
        if held is not None and verdict is not None and verdict.fresh:
            return held
        if (known := self.refusals.find(key, now)) is not None:
            return self._settle(question, held, verdict, known, remembered=True)
        task, joined = self._flights.join(key, lambda: self._refresh(question, held))
        try:
            async with asyncio.timeout(PATIENCE if verdict and verdict.usable else None):
                found = await asyncio.shield(task)
        except TimeoutError:
            if held is None or verdict is None:
                raise
            status = CacheStatus(ttl=min(verdict.ttl, -1), detail="stale-while-revalidate")
            return replace(held, status=status)
        except ProxyError as error:
            return self._settle(question, held, verdict, error)
        return replace(found, status=replace(found.status, collapsed=True)) if joined else found

    def _load(self, key: str) -> _Raw | None:
        record = self._storage.lookup(key)
        facts = DocumentFacts.of_record(record) if record is not None else None
        return _Raw(record, facts) if record is not None and facts is not None else None

    def _judge(self, held: _Raw | None, now: float) -> Verdict | None:
        if held is None:
            return None
        facts = held.facts
        return judge(
            checked_at=facts.checked_at,
            max_age=facts.max_age,
            moving=False,
            policy=self._policy,
            now=now,
        )

    def _settle(
        self,
        question: _Question,
        held: _Raw | None,
        verdict: Verdict | None,
        error: ProxyError,
        *,
        remembered: bool = False,
    ) -> _Raw:
        settlement = settle(error, verdict)
        if held is not None and verdict is not None:
            if settlement is Settlement.SERVE_HELD:
                return replace(held, status=stale(error, verdict.ttl, remembered=remembered))
            if settlement is Settlement.FORGET:
                self._storage.remove(question.key)
                self._storage.remove(question.variant)
            if settlement is Settlement.RAISE:
                error = too_old(error, verdict.age)
        raise error.with_traceback(None)

    async def _refresh(self, question: _Question, held: _Raw | None) -> _Raw:
        try:
            found = await self._fetch(question, held)
        except ProxyError as error:
            pause = REFRESH_PAUSE if held is not None else FAILURE_PAUSE
            seconds = self._policy.remembered(error, pause)
            self.refusals.remember(question.key, error, self._clock(), seconds)
            raise
        self.refusals.forget(question.key, new=held is None)
        return found

    async def _fetch(self, question: _Question, held: _Raw | None) -> _Raw:
        request = UpstreamRequest(
            ecosystem=question.ecosystem,
            location=question.target.path,
            accept=question.target.accept,
            etag=held.facts.etag if held else "",
            last_modified=held.facts.last_modified if held else "",
            document=True,
        )
        response = await self._upstream.open(request)
        try:
            if response.head.status == 304:
                return self._confirm(held, response.head)
            return await self._take(question, held, response)
        except StorageFailed as error:
            LOG.warning("a large document could not be stored (%s)", error)
            raise Unavailable(_NO_ROOM, retry_after=5, asked=False) from error
        finally:
            await response.close()

    def _confirm(self, held: _Raw | None, head: Head) -> _Raw:
        if held is None:
            raise Malformed("The upstream answered 304 to an unconditional request.")
        facts = held.facts.confirmed(head, self._clock())
        record = held.record
        with suppress(StorageFailed):  # then it is asked again sooner than it had to be
            record = self._storage.update(record, facts.fields())
        return _Raw(record, facts, CacheStatus(fwd="stale", fwd_status=304))

    async def _take(
        self, question: _Question, held: _Raw | None, response: UpstreamResponse
    ) -> _Raw:
        """Take a new document in: kept only after it could be transformed."""
        facts = DocumentFacts.of_head(response.head, self._clock())
        status = CacheStatus(
            fwd="stale" if held else "miss", fwd_status=200 if held else None, stored=True
        )
        writer = self._storage.create(question.key)
        try:
            sha256 = await self._receive(response, writer)
            if held is not None and held.record.sha256 == sha256:
                return _Raw(self._storage.update(held.record, facts.fields()), facts, status)
            body = writer.open()
            await in_thread(
                lambda: self._transform(question, facts.media_type, body, writer.size, sha256)
            )
            record = await in_thread(lambda: writer.commit(sha256, facts.fields()))
        finally:
            writer.close()
        return _Raw(record, facts, status)

    async def _receive(self, response: UpstreamResponse, writer: Writer) -> str:
        """Write the body as it comes; its SHA-256."""
        digest, size = hashlib.sha256(), response.head.size or 0
        async for piece in response.pieces():
            writer.write(piece)
            digest.update(piece)
            size = max(size, writer.size)
            if size > self._max_size:
                raise Malformed(f"The upstream's document is larger than {self._max_size} bytes.")
        return digest.hexdigest()

    # --- what clients get --------------------------------------------------------------------

    async def _open(self, question: _Question, raw: _Raw) -> Stored:
        for _ in range(2):
            record = self._storage.lookup(question.variant)
            if record is None or not await self._sound(record, raw):
                record = await self._make(question, raw)
            body = self._storage.open(record)
            if body is not None:
                age = max(0, int(self._clock() - raw.facts.checked_at))
                return Stored(record, body, raw.status, age, heal=lambda: self._heal(question))
        raise Unavailable("The stored copy could not be read; try again.", retry_after=1)

    async def _sound(self, record: Record, raw: _Raw) -> bool:
        if record.fields.get("of") != raw.record.sha256:
            return False
        return not record.suspect or await in_thread(lambda: self._storage.recheck(record))

    def _heal(self, question: _Question) -> None:
        LOG.warning("a stored body could not be read; its entry is dropped")
        self._storage.remove(question.variant)

    async def _make(self, question: _Question, raw: _Raw) -> Record:
        """Make a representation that nobody has asked for since the document changed."""

        async def make() -> Record:
            suspect = raw.record.suspect
            if suspect and not await in_thread(lambda: self._storage.recheck(raw.record)):
                raise Unavailable("The stored copy was damaged; try again.", retry_after=1)
            body = self._storage.open(raw.record)
            if body is None:
                raise Unavailable("The stored copy could not be read; try again.", retry_after=1)
            size, sha256 = raw.record.size, raw.record.sha256
            try:
                return await in_thread(
                    lambda: self._transform(question, raw.facts.media_type, body, size, sha256)
                )
            except StorageFailed as error:
                LOG.warning("a large document could not be stored (%s)", error)
                raise Unavailable(_NO_ROOM, retry_after=5, asked=False) from error

        task, _ = self._making.join(question.variant, make)
        return await asyncio.shield(task)

    def _transform(
        self, question: _Question, media_type: str, body: Body, size: int, sha256: str
    ) -> Record:
        """In a thread: what lies in `body`, through the transformation, to an entry. Closes it."""
        try:
            stream = question.streaming.stream(question.target, media_type)
            writer = self._storage.create(question.variant)
            try:
                made = self._run(stream, body, size, writer)
                return writer.commit(made, {"of": sha256})
            finally:
                writer.close()
        except OSError as error:
            raise Unavailable("The stored copy could not be read; try again.") from error
        finally:
            body.close()

    def _run(self, stream: Transformation, body: Body, size: int, writer: Writer) -> str:
        digest, offset = hashlib.sha256(), 0
        while offset < size:
            if self._closing:
                raise Unavailable("The proxy is shutting down.", retry_after=1)
            piece = os.pread(body.fileno(), min(PIECE, size - offset), offset)
            if not piece:
                raise Unavailable("The stored copy was cut; try again.", retry_after=1)
            offset += len(piece)
            if made := stream.feed(piece):
                writer.write(made)
                digest.update(made)
        made = stream.finish()
        writer.write(made)
        digest.update(made)
        return digest.hexdigest()
