"""Listings: the documents that say of an artifact where it is and what it must be.

Purpose: ask one, and those that it refers to (`Further`), until one of them names the artifact. The
decision stands on all of them: when any changes, it is made anew.

Non-goals: which listing is asked first, what their silence means (`rights`).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import final

from proxy.cache.documents import Documents, Held
from proxy.cache.entry import ArtifactFacts
from proxy.cache.found import Standing
from proxy.cache.permits import Permit, Step, permit_of
from proxy.cache.ready import Ready
from proxy.cache.status import HIT
from proxy.ecosystems.base import Ecosystem, Table
from proxy.errors import Malformed, NotFound
from proxy.model import ArtifactTarget, DocumentTarget, Further, Grant, Links, Source

BUDGET = 4 << 20
MOST_CURRENT = 512
MOST_STEPS = 6
"""Documents that are asked for one artifact; no protocol needs more."""


class _NeverHeardOf(Exception):  # no error: caught here
    """A document that is not held."""


@dataclass(frozen=True, slots=True)
class _Current:
    """A listing that was in memory a moment ago, how to ask whether it still is, and how to get at
    what it says of a package."""

    step: Step
    stands: Standing
    table: Callable[[], Table | None]


@final
class Listings:
    """Looks artifacts up. What was read off a listing is kept while its bytes are the same."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._located: Ready[Source | Further] = Ready(BUDGET)
        self._current: dict[tuple[str, ...], _Current] = {}

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

    def at_hand(
        self, ecosystem: Ecosystem, target: ArtifactTarget, listing: DocumentTarget
    ) -> Permit | None:
        """What `look` would decide of what is not stored, where one fresh listing that is in memory
        says it all; None: only `look` can tell. Raises NotListed, Malformed."""
        name, package = ecosystem.name, target.package
        key = (name, package, listing.upstream, listing.package, listing.version, listing.path)
        current = self._current.get(key)
        if current is None or current.stands() is None:
            current = self._renew(key, ecosystem, package, listing)
            if current is None or current.stands() is None:
                return None
        step = current.step
        found = self._known(ecosystem, target, step, current.table())
        if not isinstance(found, Source):
            return None
        return Permit(found, listing.path, step.sha256, HIT, (step,))

    def _renew(
        self, key: tuple[str, ...], ecosystem: Ecosystem, package: str, listing: DocumentTarget
    ) -> _Current | None:
        """Look for a listing in memory. None: it is not there."""
        self._current.pop(key, None)
        held, stands = self._documents.in_memory(ecosystem, listing)
        if held is None or stands is None:
            return None
        table = self._documents.table(ecosystem, package, held.document.url, held.sha256)
        current = _Current(Step(listing, held.sha256), stands, table)
        self._current[key] = current
        if len(self._current) > MOST_CURRENT:
            del self._current[next(iter(self._current))]
        return current

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
            step = Step(here, held.sha256)
            steps.append((step, held))
            if facts and (facts.listing, facts.listing_sha256) == (listing.path, held.sha256):
                # The one listing of the stored copy: not read again while its bytes are the same.
                return permit_of(facts, held.status, tuple(step for step, _ in steps))
            found = await self._read(ecosystem, found.target, step, held)
        return _permit(found, steps)

    async def _read(
        self, ecosystem: Ecosystem, target: ArtifactTarget, step: Step, held: Held
    ) -> Source | Further:
        url = held.document.url
        table = self._documents.table(ecosystem, target.package, url, held.sha256)
        found = self._known(ecosystem, target, step, table())
        if found is None:
            found = await self._documents.locate(ecosystem, target, held)
            more = found.location if isinstance(found, Source) else found.target.path
            self._located.put(_place(ecosystem, target, step), found, 1024 + len(more))
        return found

    def _known(
        self, ecosystem: Ecosystem, target: ArtifactTarget, step: Step, table: Table | None
    ) -> Source | Further | None:
        """What was read off a listing before; None: nothing yet. `table`: what the listing says of
        the target's package, if that is ready. Raises NotListed."""
        if table is not None:
            return table.find(target)
        return self._located.get(_place(ecosystem, target, step))


def _place(ecosystem: Ecosystem, target: ArtifactTarget, step: Step) -> tuple[str, str, str, str]:
    """What is kept by whether and where a listing of these bytes names it."""
    return ecosystem.name, step.document.path, step.sha256, target.path


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
