"""The right of an artifact to be served, as the upstream has it at this moment.

Purpose: an artifact never expires, but its right to be served does. Two decisions make it, each as
old as the document ttl at most: a current listing names it (*permit*: with the true address, digest
and size), and the upstream still gives it (*confirm*: a version may be blocked and stay listed).
The upstream's silence withholds nothing; its refusal does, until it says otherwise.

A client waits a second at most for both; then they go on behind.

Reading: design rule 3; Chainguard's resolution cache (the same path may be re-listed with another
digest). Non-goals: who the client is (`proxy.access`), bytes (`artifacts`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import final

from proxy.cache.checksums import Checksums
from proxy.cache.decisions import Decisions, Refusals
from proxy.cache.documents import Documents
from proxy.cache.entry import ArtifactFacts
from proxy.cache.freshness import Policy
from proxy.cache.listings import Listings
from proxy.cache.permits import Permit, in_order, withheld_of
from proxy.cache.singleflight import SingleFlight
from proxy.cache.status import CacheStatus, stale
from proxy.cache.verdicts import from_text, to_text
from proxy.ecosystems.base import Ecosystem
from proxy.errors import Blocked, NotFound, NotListed, Outcome, ProxyError, StorageFailed
from proxy.model import ArtifactTarget, Digest, Grant, Links, Source
from proxy.storage.base import Record, Storage
from proxy.upstream.base import Upstream, UpstreamRequest

LOG = logging.getLogger(__name__)
SILENCE_PAUSE = 5.0
FOLLOWING = 60.0  # seconds


@final
class Rights:
    """Asks listings and the upstream. `decisions`: what is known of flights, by their names.

    Deadlines are moments of the event loop's clock, `clock` gives seconds since the epoch.
    """

    def __init__(  # noqa: PLR0913  # made once, by `artifacts`
        self,
        storage: Storage,
        documents: Documents,
        upstream: Upstream,
        policy: Policy,
        decisions: Refusals,
        *,
        checksums: Checksums,
        clock: Callable[[], float],
    ) -> None:
        self._storage = storage
        self._documents = documents
        self._upstream = upstream
        self._checksums = checksums
        self._policy = policy
        self._decisions = decisions
        self._clock = clock
        self._confirmed: Decisions[bool] = Decisions()
        self._listings = Listings(documents)
        self._probes: SingleFlight[None] = SingleFlight()

    async def close(self) -> None:
        """End every probe."""
        await self._probes.close()

    def forget_all(self) -> None:
        """What is known only here counts no more."""
        self._confirmed.forget_all()

    # --- is it listed? -----------------------------------------------------------------------

    async def permit(  # noqa: PLR0913  # one caller
        self,
        ecosystem: Ecosystem,
        target: ArtifactTarget,
        grant: Grant,
        links: Links,
        facts: ArtifactFacts | None,
        *,
        deadline: float,
    ) -> Permit:
        """The decision of the first listing that names it. `facts`: of the stored copy.

        Raises NotFound when none does, else what asking them raised.
        """
        if not target.listed_in:
            if target.scope not in grant.scopes:
                raise AssertionError("a grant for something else was shown")
            source = Source(
                *(target.path, target.package, target.version, target.digest),
                upstream=target.upstream,
            )
            return Permit(
                source,
                compare=target if target.checksum_of else None,
                target=target if target.of_package else None,
            )
        if facts is None and (known := self.permit_at_hand(ecosystem, target, grant)) is not None:
            return known
        for listing in in_order(target, grant, facts):
            own = facts is not None and listing.path == facts.listing
            try:
                return await self._listings.look(
                    *(ecosystem, target, listing, grant, links),
                    facts=facts,
                    deadline=deadline if own else None,  # without another one nothing can be said
                )
            except (NotListed, NotFound):
                continue
            except ProxyError as error:
                if facts is not None and own and error.outcome in _SAYS_NOTHING:
                    with suppress(NotListed, NotFound):
                        permit = await self._listings.last(ecosystem, target, listing, facts)
                        return permit._replace(status=stale(error, self._ttl(facts)))
                    continue
                # Whether it is listed there cannot be told now: asking the others would only
                # make the client wait longer for the same answer.
                raise
        raise NotFound("No current index page of the upstream lists this file.")

    def permit_at_hand(
        self, ecosystem: Ecosystem, target: ArtifactTarget, grant: Grant
    ) -> Permit | None:
        """What `permit` would decide of what is listed and not stored, where the listings that are
        in memory say it; None: only `permit` can tell. Raises Malformed."""
        if grant.ecosystem != ecosystem.name:
            return None  # a defect, and `permit` says so
        for listing in target.listed_in:
            if listing.scope in grant.scopes:  # in this order, as nothing is stored (`in_order`)
                try:
                    return self._listings.at_hand(ecosystem, target, listing)
                except NotListed:
                    continue
        return None

    def doubt(self, ecosystem: Ecosystem, permit: Permit) -> None:
        """Have the listings of a permit asked again before their time: the promise was not kept."""
        for step in permit.steps:
            self._documents.doubt(ecosystem, step.document, step.sha256)

    # --- would the upstream still give it? ---------------------------------------------------

    def is_settled(
        self,
        ecosystem: Ecosystem,
        name: str,
        permit: Permit,
        facts: ArtifactFacts,
        *,
        follows: bool,
    ) -> bool:
        """Tell whether the upstream was asked a short while ago, and did not refuse.

        `follows`: somebody who has just got it wants what belongs to the very same: then the minute
        after the ttl counts too.
        """
        leeway = FOLLOWING if follows else 0.0
        if withheld_of(facts, permit):
            return False
        if self._is_recent(name, facts.checked_at, self._clock(), leeway):
            return True
        target, packages = permit.target, self._documents.packages
        return target is not None and packages.is_open(ecosystem.name, target)

    def settled_between(self, permit: Permit, facts: ArtifactFacts) -> tuple[float, float]:
        """Between which moments (epoch seconds) `is_settled` says yes, by these facts alone."""
        if withheld_of(facts, permit):
            return inf, -inf
        return facts.checked_at - self._policy.ttl, facts.checked_at + self._policy.ttl

    async def confirm(  # one caller
        self,
        ecosystem: Ecosystem,
        name: str,
        permit: Permit,
        stored: tuple[Record, ArtifactFacts],
        deadline: float,
    ) -> CacheStatus | None:
        """Ask, once per ttl, whether the upstream would still let us have a stored artifact.

        None: yes, or not answered in time; look at its facts again: they say when it has been
        superseded. A status: it could not answer. Raises its refusal.
        """
        now, (_, facts) = self._clock(), stored
        known = error = self._decisions.find(name, now)
        if known is None:
            task, _ = self._probes.join(name, lambda: self._probe(ecosystem, name, permit, stored))
            try:
                async with asyncio.timeout_at(deadline):
                    await asyncio.shield(task)
            except TimeoutError:
                pass
            except ProxyError as found:
                error = found
            else:
                return None
        if error is not None and error.outcome is Outcome.NEWS:
            raise error.with_traceback(None)
        if withheld := withheld_of(facts, permit):
            raise from_text(withheld)
        if error is None:
            return None
        return stale(error, self._ttl(facts), remembered=known is not None)

    def withhold(self, record: Record, facts: ArtifactFacts, news: ProxyError) -> None:
        """Note with a stored artifact that the upstream has taken it back."""
        if facts.withheld != (said := to_text(news)):
            LOG.warning("the upstream has taken back a stored artifact: %s", news.detail)
            self._note(record, facts._replace(withheld=said))

    def refuse_known(self, name: str) -> None:
        """Raise what is remembered against an artifact that is not stored.

        Nobody is asked: a HEAD is answered from the listing, and the GET that mostly follows it
        is the one request that the upstream gets.
        """
        if (known := self._decisions.find(name, self._clock())) is not None:
            raise known

    async def ask(self, ecosystem: Ecosystem, name: str, permit: Permit) -> None:
        """Ask the upstream whether we may have what is not stored for this package. Raises what it
        says, and what is remembered of the last time."""
        self.refuse_known(name)

        async def ask() -> None:
            try:
                await self._ask(ecosystem, permit)
            except ProxyError as error:
                self._remember(name, error)
                raise

        task, _ = self._probes.join(f"{name}\0unstored", ask)
        await asyncio.shield(task)

    def _remember(self, name: str, error: ProxyError) -> None:
        seconds = self._policy.remembered(error, SILENCE_PAUSE)
        self._decisions.remember(name, error, self._clock(), seconds)

    def _is_recent(self, name: str, checked_at: float, now: float, leeway: float) -> bool:
        if abs(now - checked_at) < self._policy.ttl + leeway:
            return True
        # Known here, but could not be noted with the entry: the disk takes nothing.
        return self._confirmed.find(name, now) is not None

    async def _probe(
        self,
        ecosystem: Ecosystem,
        name: str,
        permit: Permit,
        stored: tuple[Record, ArtifactFacts],
    ) -> None:
        try:
            promised = await self._ask_both(ecosystem, permit, stored[1])
        except ProxyError as error:
            self._remember(name, error)
            if error.outcome is Outcome.NEWS:
                here = stored[1]._replace(location=permit.source.location)
                self.withhold(stored[0], here, error)
            raise
        record, facts = stored
        mine = facts.digest_by(promised.algorithm, record.sha256) if promised else promised
        if promised is not None and promised != mine:
            LOG.info("the upstream's checksum file names other bytes than are stored")
            self._note(record, facts._replace(superseded=str(promised)))
            return
        now = self._clock()
        self._confirmed.remember(name, value=True, now=now, seconds=self._policy.ttl)
        facts = facts._replace(
            location=permit.source.location,
            checked_at=now,
            listing=permit.listing,
            listing_sha256=permit.listing_sha256,
            withheld="",
        )
        self._note(record, facts)

    async def _ask_both(
        self, ecosystem: Ecosystem, permit: Permit, facts: ArtifactFacts
    ) -> Digest | None:
        """Ask for the body and for its sidecar, at once; what the latter says.

        Raises what asking raises, for the body before the sidecar.
        """
        given, promised = await asyncio.gather(
            self._ask(ecosystem, permit),
            self._promise(ecosystem, permit, facts),
            return_exceptions=True,
        )
        if isinstance(given, BaseException):
            raise given
        if isinstance(promised, BaseException):
            raise promised
        return promised

    async def _ask(self, ecosystem: Ecosystem, permit: Permit) -> None:
        """Ask for a body without taking it. Raises what asking raises."""
        source, target, packages = permit.source, permit.target, self._documents.packages
        request = UpstreamRequest(
            ecosystem.name,
            source.location,
            probe=True,
            upstream=source.upstream,
            package=source.package,
        )
        try:
            response = await self._upstream.open(request)
        except Blocked:
            if target is not None:
                packages.refused(ecosystem.name, target)
            raise
        await response.close()
        if target is not None:
            packages.shown(ecosystem.name, target)

    async def _promise(
        self, ecosystem: Ecosystem, permit: Permit, facts: ArtifactFacts
    ) -> Digest | None:
        """What the upstream's sidecar says now; None: nothing. Raises what asking raises."""
        if permit.compare is None:
            return None
        return await self._checksums.current(ecosystem, permit.compare, facts.compared)

    def _note(self, record: Record, facts: ArtifactFacts) -> None:
        current = self._storage.lookup(record.key)
        if current is not None and current.sha256 == record.sha256:
            with suppress(StorageFailed):
                self._storage.update(current, facts.fields())

    def _ttl(self, facts: ArtifactFacts) -> int:
        """Seconds of freshness that the decision about a stored copy has left; mostly negative."""
        return int(self._policy.ttl - (self._clock() - facts.checked_at))


_SAYS_NOTHING = (Outcome.SILENCE, Outcome.RUBBISH)
