"""Documents: held as the upstream sent them, judged, revalidated, rewritten on the way out.

Purpose: the one way to a document, for a client that asked for it and for an artifact that needs
its listing. One revalidation per key at a time; the upstream's news replace what is held, its
silence does not; a document that cannot be rewritten whole is never kept and never passed on.

Reading: RFC 9111, RFC 5861; devpi issues 1112 and 817 (content sniffing; a 404 ends staleness).
Non-goals: rights (the caller shows a Grant), protocols (the ecosystem's pure functions).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import final

from proxy.cache.decisions import FAILURE_PAUSE, Decisions, Refusals
from proxy.cache.entry import DocumentFacts
from proxy.cache.found import Standing
from proxy.cache.freshness import Policy, Settlement, Verdict, judge, lifetime_of, settle, too_old
from proxy.cache.keys import document_key
from proxy.cache.packages import Packages
from proxy.cache.shelf import Held, Shelf, validator_of
from proxy.cache.singleflight import SingleFlight
from proxy.cache.status import HIT, CacheStatus, stale
from proxy.cache.threads import aside
from proxy.cache.variants import Variant, Variants
from proxy.cache.verdicts import from_text, to_text
from proxy.cache.whole import receive
from proxy.ecosystems.base import Ecosystem
from proxy.errors import Blocked, Malformed, ProxyError, Unavailable
from proxy.model import (
    ArtifactTarget,
    Digest,
    Document,
    DocumentTarget,
    Further,
    Grant,
    Links,
    Source,
    upstream_name,
)
from proxy.storage.base import Storage
from proxy.upstream.base import Head, Upstream, UpstreamRequest, UpstreamResponse

REFRESH_PAUSE = 5.0
DOUBT_AFTER = 5.0  # seconds; a document that was confirmed just now is not asked for again
FOREGROUND = 1.0  # the same, where what is held cannot have changed
PATIENCE = 3.0  # seconds that a client waits for news while a copy is held that would do
FOLLOWING = 60  # seconds

__all__ = ["Documents", "Held"]


@final
class Documents:
    """`origins`: ecosystem name to upstream origin, part of every key. Sizes in bytes."""

    def __init__(  # noqa: PLR0913  # the composition root's one call
        self,
        storage: Storage,
        upstream: Upstream,
        policy: Policy,
        variants: Variants,
        *,
        origins: Mapping[str, str],
        max_document: int,
        clock: Callable[[], float],
        healed: Callable[[], None],
        reached: Callable[[], None] = lambda: None,
    ) -> None:
        self._upstream = upstream
        self._policy = policy
        self._variants = variants
        self._origins = origins
        self._max_document = max_document
        self._reached = reached
        self._clock = clock
        self._flights: SingleFlight[Held] = SingleFlight()
        self.refusals = Refusals()
        self._doubted: Decisions[str] = Decisions()
        self._shelf = Shelf(storage, healed)
        self.packages = Packages(policy.ttl, clock)
        self.table = variants.table
        """What a listing says, where that is ready: it need not be located in it."""

    async def close(self) -> None:
        """End every revalidation."""
        await self._flights.close()
        await self._variants.close()

    async def variant(
        self,
        ecosystem: Ecosystem,
        target: DocumentTarget,
        held: Held,
        links: Links,
        *,
        coding: str = "",
    ) -> Variant:
        """The client's form of a document, made once per change. Raises Malformed."""
        return await self._variants.get(
            ecosystem, target, held.document, held.sha256, links, coding=coding
        )

    async def locate(
        self, ecosystem: Ecosystem, target: ArtifactTarget, held: Held
    ) -> Source | Further:
        """`Ecosystem.locate` in a listing. Raises NotListed, Malformed."""
        return await self._variants.locate(ecosystem, target, held.document, held.sha256)

    async def get(
        self,
        ecosystem: Ecosystem,
        target: DocumentTarget,
        grant: Grant,
        links: Links,
        *,
        limit: float | None = None,
    ) -> Held:
        """The document, fresh or as good as can be had.

        While a usable copy is held, a revalidation is waited for `PATIENCE` seconds and goes on
        behind. `limit`: seconds to wait in any case; then Unavailable is raised. Raises what
        `proxy.errors` has for the upstream.
        """
        key, now = self._key_for(ecosystem, target, grant), self._clock()
        held = await self._shelf.load(key)
        verdict = self._judge(target, held, now)
        if held is not None and verdict is not None and verdict.fresh:
            doubted = held.sha256 == self._doubted.find(key, now)
            if not doubted or verdict.age < DOUBT_AFTER:
                return Held(held.document, held.sha256, held.facts, HIT, verdict.age)
            self._doubted.forget(key)
        elif held and verdict and verdict.usable and target.follows and verdict.ttl > -FOLLOWING:
            return replace(held, age=verdict.age)
        if (known := self.refusals.find(key, now)) is not None:
            return self._settle(key, held, verdict, known, remembered=True)
        task, joined = self._flights.join(
            key, lambda: self._refresh(ecosystem, target, links, key, held)
        )
        usable = verdict is not None and verdict.usable
        patience = PATIENCE if target.digest is None else FOREGROUND
        patience = patience if limit is None else min(limit, patience)
        try:
            async with asyncio.timeout(patience if usable else limit):
                found = await asyncio.shield(task)
        except TimeoutError:
            if held is None or verdict is None or not usable:
                raise Unavailable(
                    "The upstream has not answered yet; try again.", retry_after=1
                ) from None
            status = CacheStatus(ttl=min(verdict.ttl, -1), detail="stale-while-revalidate")
            return replace(held, age=verdict.age, status=status)
        except ProxyError as error:
            return self._settle(key, held, verdict, error)
        return replace(found, status=replace(found.status, collapsed=True)) if joined else found

    async def keeps(self, ecosystem: Ecosystem, target: DocumentTarget, grant: Grant) -> bool:
        """Whether a copy is held that may be served while the upstream does not answer."""
        held = await self._shelf.load(self._key_for(ecosystem, target, grant))
        verdict = self._judge(target, held, self._clock())
        return verdict is not None and verdict.usable

    async def last(self, ecosystem: Ecosystem, target: DocumentTarget) -> Held | None:
        """What was heard of a document last, however long ago; None: it is not known. Raises the
        refusal by which the upstream has taken it back."""
        key = self._key(ecosystem, target)
        if verdict := self._shelf.verdict(key):
            raise from_text(verdict)
        return await self._shelf.load(key)

    def doubt(self, ecosystem: Ecosystem, target: DocumentTarget, sha256: str) -> None:
        """Ask the upstream at the next use of these very bytes of a document, fresh or not."""
        key = self._key(ecosystem, target)
        self._doubted.remember(key, sha256, self._clock(), self._policy.ttl)

    def standing(self, ecosystem: Ecosystem, target: DocumentTarget, held: Held) -> Standing | None:
        """How to ask whether what `get` has just given would be given again: fresh, from the same
        entry, undoubted. None: only `get` can tell."""
        key = self._key(ecosystem, target)
        facts, clock, has_doubt = held.facts, self._clock, self._doubted.has
        unchanged = self._shelf.unchanged(key, held)
        if unchanged is None:
            return None
        since = facts.checked_at
        max_age = facts.max_age if target.digest is None else None
        ends = since + lifetime_of(max_age, moving=target.moving, policy=self._policy)

        def stands() -> int | None:
            now = clock()
            if not since <= now < ends or not unchanged():
                return None
            if has_doubt(key) and self._doubted.find(key, now) is not None:
                return None
            return int(now - since)

        return stands

    def standing_now(
        self, ecosystem: Ecosystem, target: DocumentTarget, sha256: str
    ) -> Standing | None:
        """As `standing`, for the very bytes that something was read off a moment ago."""
        held, stands = self.in_memory(ecosystem, target)
        return stands if held is not None and held.sha256 == sha256 else None

    def in_memory(
        self, ecosystem: Ecosystem, target: DocumentTarget
    ) -> tuple[Held, Standing] | tuple[None, None]:
        """What was read of a document last, with its `standing`. None: only `get` can tell."""
        held = self._shelf.ready(self._key(ecosystem, target))
        stands = self.standing(ecosystem, target, held) if held is not None else None
        return (held, stands) if held is not None and stands is not None else (None, None)

    # --- inside ------------------------------------------------------------------------------

    def _key_for(self, ecosystem: Ecosystem, target: DocumentTarget, grant: Grant) -> str:
        if target.scope not in grant.scopes or grant.ecosystem != ecosystem.name:
            raise AssertionError("a grant for something else was shown")
        return self._key(ecosystem, target)

    def _key(self, ecosystem: Ecosystem, target: DocumentTarget) -> str:
        origin = self._origins[upstream_name(ecosystem.name, target.upstream)]
        return document_key(ecosystem.name, origin, target)

    def _judge(self, target: DocumentTarget, held: Held | None, now: float) -> Verdict | None:
        if held is None:
            return None
        fixed = target.digest is not None
        verdict = judge(
            checked_at=held.facts.checked_at,
            max_age=None if fixed else held.facts.max_age,
            moving=target.moving,
            policy=self._policy,
            now=now,
        )
        # What never changes is never too old: the upstream's silence says nothing about it.
        return replace(verdict, usable=True) if fixed else verdict

    def _settle(
        self,
        key: str,
        held: Held | None,
        verdict: Verdict | None,
        error: ProxyError,
        *,
        remembered: bool = False,
    ) -> Held:
        settlement = settle(error, verdict)
        if held is not None and verdict is not None:
            if settlement is Settlement.SERVE_HELD:
                status = stale(error, verdict.ttl, remembered=remembered)
                return replace(held, age=verdict.age, status=status)
            if settlement is Settlement.FORGET:
                self._shelf.refuse(key, to_text(error))
            if settlement is Settlement.RAISE:
                error = too_old(error, verdict.age)
        raise error.with_traceback(None)

    async def _refresh(
        self,
        ecosystem: Ecosystem,
        target: DocumentTarget,
        links: Links,
        key: str,
        held: Held | None,
    ) -> Held:
        """Ask the upstream, conditionally where something is held."""
        try:
            found = await self._fetch(ecosystem, target, links, key, held)
        except ProxyError as error:
            if isinstance(error, Blocked):
                self.packages.refused(ecosystem.name, target)
            pause = REFRESH_PAUSE if held is not None else FAILURE_PAUSE
            seconds = self._policy.remembered(error, pause)
            self.refusals.remember(key, error, self._clock(), seconds)
            raise
        self.refusals.forget(key, new=held is None)
        self.packages.shown(ecosystem.name, target)
        if target.by_digest:
            await self._keep_by_digest(ecosystem, target, found)
        return found

    async def _keep_by_digest(
        self, ecosystem: Ecosystem, target: DocumentTarget, found: Held
    ) -> None:
        """Keep what a moving name leads to at this moment under its digest, too: most clients ask
        for that next, and the upstream has just shown it."""
        digest = Digest("sha256", found.sha256)
        key = self._key(ecosystem, target.found_by(digest))
        self.refusals.forget(key)
        await self._shelf.keep_too(key, found)

    async def _fetch(
        self,
        ecosystem: Ecosystem,
        target: DocumentTarget,
        links: Links,
        key: str,
        held: Held | None,
    ) -> Held:
        request = UpstreamRequest(
            ecosystem=ecosystem.name,
            location=target.path,
            accept=target.accept,
            etag=validator_of(target, held),
            last_modified=held.facts.last_modified if held else "",
            upstream=target.upstream,
            package=target.package,
            document=True,
        )
        response = await self._upstream.open(request)
        try:
            head = response.head
            if head.status != 304:
                body = await self._read_whole(response, target.max_size)
            elif held is not None and head.etag not in ("", request.etag):
                # It confirms something else than was asked (RFC 9111 section 4.3.4): no answer.
                body = None
            else:
                return self._confirm(key, held, head)
        finally:
            await response.close()
        if body is None:
            return await self._fetch(ecosystem, target, links, key, None)
        facts = DocumentFacts.of_head(head, self._clock())
        document = Document(body, facts.media_type, facts.url, facts.headers)
        status = CacheStatus(fwd="stale" if held else "miss", fwd_status=200 if held else None)
        sha256 = await aside(len(body), lambda: hashlib.sha256(body).hexdigest())
        found = Held(document, sha256, facts, status)
        # Rewriting the whole is the check: what is not understood is neither kept nor passed on.
        await self.variant(ecosystem, replace(target, part=""), found, links)
        return replace(found, status=replace(status, stored=await self._shelf.keep(key, found)))

    def _confirm(self, key: str, held: Held | None, head: Head) -> Held:
        if held is None:
            raise Malformed("The upstream answered 304 to an unconditional request.")
        confirmed = replace(held, facts=held.facts.confirmed(head, self._clock()))
        self._shelf.confirm(key, confirmed)
        return replace(confirmed, status=CacheStatus(fwd="stale", fwd_status=304))

    async def _read_whole(self, response: UpstreamResponse, most: int) -> bytes:
        limit = min(most or self._max_document, self._max_document)
        too_large = f"The upstream's document is larger than {limit} bytes"
        too_large += "." if most == limit else " ([limits] max_document)."
        return await receive(response, limit, too_large, self._reached)
