"""Listings: the documents that say of an artifact where it is and what it must be.

Purpose: ask one, and those that it refers to (`Further`), until one of them names the artifact. The
decision stands on all of them: when any changes, it is made anew.

Non-goals: which listing is asked first, what their silence means (`rights`).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import final

from proxy.cache.documents import Documents, Held
from proxy.cache.entry import ArtifactFacts
from proxy.cache.permits import Permit, Step, permit_of
from proxy.cache.ready import Ready
from proxy.cache.status import HIT
from proxy.ecosystems.base import Ecosystem
from proxy.errors import Malformed, NotFound
from proxy.model import ArtifactTarget, DocumentTarget, Further, Grant, Links, Source

BUDGET = 4 << 20
MOST_STEPS = 6
"""Documents that are asked for one artifact; no protocol needs more."""


class _NeverHeardOf(Exception):  # no error: caught here
    """A document that is not held."""


@final
class Listings:
    """Looks artifacts up. What was read off a listing is kept while its bytes are the same."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._located: Ready[Source | Further] = Ready(BUDGET)

    async def look(  # noqa: PLR0913  # one caller
        self,
        ecosystem: Ecosystem,
        target: ArtifactTarget,
        listing: DocumentTarget,
        grant: Grant,
        links: Links,
        *,
        facts: ArtifactFacts | None,
        deadline: float | None,
    ) -> Permit:
        """The decision of a listing. `facts`: of the stored copy. `deadline`: a moment of the
        event loop's clock, if it has to be made by then.

        Raises NotListed, NotFound, else what asking and reading raise.
        """

        async def ask(here: DocumentTarget) -> Held:
            limit = None if deadline is None else _left(deadline)
            return await self._documents.get(ecosystem, here, grant, links, limit=limit)

        return await self._follow(ecosystem, target, listing, ask, facts)

    async def last(
        self,
        ecosystem: Ecosystem,
        target: ArtifactTarget,
        listing: DocumentTarget,
        facts: ArtifactFacts,
    ) -> Permit:
        """The decision while a listing cannot be asked: by what was heard of it last, though that
        may be too old for who asks for it itself. `facts`: of the stored copy.

        Raises NotListed, and what it was taken back with.
        """

        async def ask(here: DocumentTarget) -> Held:
            held = await self._documents.last(ecosystem, here)
            if held is None:
                raise _NeverHeardOf
            return held

        try:
            return await self._follow(ecosystem, target, listing, ask, facts)
        except _NeverHeardOf:
            return permit_of(facts, HIT)  # it was allowed, and nobody has said otherwise since

    async def _follow(
        self,
        ecosystem: Ecosystem,
        target: ArtifactTarget,
        listing: DocumentTarget,
        ask: Callable[[DocumentTarget], Awaitable[Held]],
        facts: ArtifactFacts | None,
    ) -> Permit:
        steps: list[tuple[Step, Held]] = []
        found: Source | Further = Further(listing, target)
        while isinstance(found, Further):
            if len(steps) == MOST_STEPS:
                raise Malformed("The upstream's listings refer to one another without an end.")
            here = found.listing
            try:
                held = await ask(here)
            except NotFound:
                if found.otherwise is None:
                    raise
                found = found.otherwise
                break
            steps.append((Step(here, held.sha256), held))
            if facts and (facts.listing, facts.listing_sha256) == (listing.path, held.sha256):
                # The one listing of the stored copy: not read again while its bytes are the same.
                return permit_of(facts, held.status, tuple(step for step, _ in steps))
            found = await self._read(ecosystem, found.target, here, held)
        return _permit(found, steps)

    async def _read(
        self, ecosystem: Ecosystem, target: ArtifactTarget, listing: DocumentTarget, held: Held
    ) -> Source | Further:
        table = self._documents.table(ecosystem, target.package, held)
        if table is not None:
            return table.find(target)
        key = (ecosystem.name, listing.path, held.sha256, target.path)
        found = self._located.get(key)
        if found is None:
            found = await self._documents.locate(ecosystem, target, held)
            more = found.location if isinstance(found, Source) else found.target.path
            self._located.put(key, found, 1024 + len(more))
        return found


def _left(deadline: float) -> float:
    return max(0.0, deadline - asyncio.get_running_loop().time())


def _permit(source: Source, steps: list[tuple[Step, Held]]) -> Permit:
    first, held = steps[0]
    if len(steps) == 1:
        return Permit(source, first.document.path, first.sha256, held.status, (first,))
    every = "\n".join(step.sha256 for step, _ in steps)
    sha256 = hashlib.sha256(every.encode("ascii")).hexdigest()
    status = next((held.status for _, held in reversed(steps) if held.status != HIT), HIT)
    return Permit(source, first.document.path, sha256, status, tuple(step for step, _ in steps))
