"""Artifacts: the stored one, or the flight that brings it.

Purpose: before any byte, stored or not, `rights` are asked; then the stored body is opened, or the
one flight for it joined or begun.

Reading: design rules 3, 5, 8 and 9. Non-goals: documents, protocols, HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import final

from proxy.cache.checksums import Checksums, not_before
from proxy.cache.decisions import Refusals
from proxy.cache.documents import Documents
from proxy.cache.download import Download
from proxy.cache.entry import ArtifactFacts
from proxy.cache.extracts import stored_whole
from proxy.cache.flights import Flights
from proxy.cache.found import Described, Flying, Stored, Told
from proxy.cache.freshness import Policy
from proxy.cache.grounds import Grounds
from proxy.cache.keys import artifact_key, flight_name
from proxy.cache.opening import Opening
from proxy.cache.permits import Permit, asks_own, facts_of
from proxy.cache.rights import Rights
from proxy.cache.singleflight import SingleFlight
from proxy.cache.status import HIT, CacheStatus
from proxy.ecosystems.base import Ecosystem
from proxy.errors import ProxyError, StorageFailed, Unavailable, UpstreamVerdict
from proxy.model import ArtifactTarget, ChecksumTarget, Grant, Links, upstream_name
from proxy.observe.metrics import Metrics
from proxy.storage.base import Record, Storage
from proxy.upstream.base import Upstream

__all__ = ["Artifacts", "Described", "Flying", "Stored", "Told"]

FOREGROUND = 1.0  # seconds that a cached artifact waits for its rights to be looked at again


@final
class Artifacts:
    """`origins`: ecosystem name to upstream origin, part of every key."""

    def __init__(  # noqa: PLR0913  # the composition root's one call
        self,
        storage: Storage,
        documents: Documents,
        upstream: Upstream,
        download: Download,
        policy: Policy,
        *,
        origins: Mapping[str, str],
        clock: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._storage = storage
        self._origins = origins
        self._clock = clock
        self.refusals = decisions = Refusals()
        self._checksums = Checksums(upstream, clock=clock)
        self._rights = Rights(
            *(storage, documents, upstream, policy, decisions),
            checksums=self._checksums,
            clock=clock,
        )
        self._grounds = Grounds(storage, documents, self._rights, decisions, clock)
        self._opening = Opening(storage, clock, metrics.cache_healed)
        self._rechecks: SingleFlight[bool] = SingleFlight()
        self._flights = Flights(
            *(storage, download, policy, decisions),
            rights=self._rights,
            checksums=self._checksums,
            opening=self._opening,
            clock=clock,
            metrics=metrics,
        )

    async def close(self) -> None:
        """Stop every flight."""
        await self._rights.close()
        await self._checksums.close()
        await self._rechecks.close()
        await self._flights.close()

    def forget_all(self) -> None:
        """What is remembered of the upstream's answers counts no more."""
        self.refusals.forget_all()
        self._rights.forget_all()

    async def get(  # noqa: PLR0913  # two callers
        self,
        ecosystem: Ecosystem,
        target: ArtifactTarget,
        grant: Grant,
        links: Links,
        *,
        head_only: bool = False,
        follows: bool = False,
    ) -> Stored | Flying | Described:
        """The artifact, by the shortest way that is allowed. Raises what `proxy.errors` has.

        `follows`: for the sake of what belongs to it, and to be the one that was given just now.
        """
        deadline = asyncio.get_running_loop().time() + FOREGROUND
        key = self._key(ecosystem, target)
        record = self._storage.lookup(key)
        facts = self._opening.facts(record) if record is not None else None
        try:
            permit = await self._rights.permit(
                ecosystem, target, grant, links, facts, deadline=deadline
            )
        except UpstreamVerdict as news:
            if record is not None and facts is not None and asks_own(target, grant, facts):
                self._rights.withhold(record, facts, news)
            raise
        name = flight_name(key, permit.source)
        look = partial(self._stored, ecosystem, target, permit, key=key, name=name, follows=follows)
        # While the upstream was asked something may have landed; else what was not there is not.
        here = record is not None or permit.status is not HIT
        if here and (stored := await look(deadline)) is not None:
            return stored
        flight = self._flights.find(name)
        landed = flight is not None and await flight.lands(FOREGROUND)
        if landed and (stored := await look(deadline)) is not None:
            return stored
        if permit.target is not None:
            shared = await self._shared(ecosystem, key, name, permit)
            if shared is not None:
                return shared
        if head_only and permit.source.size is not None:
            self._rights.refuse_known(name)
            return Described(permit.source.size, CacheStatus(fwd="miss"))
        return await self._flights.fly(ecosystem, key, name, permit, head_only=head_only)

    def begin(self, ecosystem: Ecosystem, target: ArtifactTarget, grant: Grant) -> Flying | None:
        """Begin the flight of what is certainly not here and may be had, or join it, if that can be
        said without waiting; its head is not known yet. None: ask `get`, nothing has happened.

        Who can send only a small whole, and finds that it is none, goes on with `follow`.
        """
        if not target.listed_in:
            return None
        key = self._key(ecosystem, target)
        if self._storage.lookup(key) is not None:
            return None
        try:
            permit = self._rights.permit_at_hand(ecosystem, target, grant)
        except ProxyError:
            return None
        if permit is None:
            return None
        return self._flights.begin(ecosystem, key, flight_name(key, permit.source), permit)

    async def follow(self, flying: Flying) -> Stored | Flying:
        """See `Flights.follow`."""
        return await self._flights.follow(flying)

    async def checksum(
        self, ecosystem: Ecosystem, target: ChecksumTarget, grant: Grant, links: Links
    ) -> Told:
        """The digest of an artifact, of the generation that clients get. Raises as `get`.

        Nothing is fetched for it but the upstream's own, while the artifact is not here. Where the
        upstream has none, the artifact is.
        """
        of = target.of
        key = self._key(ecosystem, of)
        permit = await self._rights.permit(
            ecosystem, of, grant, links, None, deadline=asyncio.get_running_loop().time()
        )
        name = flight_name(key, permit.source)
        if self._storage.lookup(key) is None and self._flights.find(name) is None:
            self._rights.refuse_known(name)
            digest = await self._checksums.one(ecosystem, of, target.document)
            if digest is not None:
                return Told(digest, CacheStatus(fwd="miss"))
        found = await self.get(ecosystem, of, grant, links, follows=True)
        try:
            if isinstance(found, Flying):
                await found.follower.settled(None)
                found = self.landed(found) or found
            digest = found.digest_by(target.algorithm)
            if digest is None and isinstance(found, Stored):
                digest = await self._checksums.computed(found, target.algorithm)
            if digest is not None:
                basis = found.basis if isinstance(found, Stored) else lambda: None
                return Told(digest, found.status, found.age, basis)
        finally:
            found.close()
        raise Unavailable("The checksum is not known yet; try again.", retry_after=1)

    def landed(self, flying: Flying) -> Stored | None:
        """See `Flights.landed`."""
        return self._flights.landed(flying)

    # --- the stored one ----------------------------------------------------------------------

    async def _stored(  # noqa: PLR0913  # one caller
        self,
        ecosystem: Ecosystem,
        target: ArtifactTarget,
        permit: Permit,
        deadline: float,
        *,
        key: str,
        name: str,
        follows: bool,
    ) -> Stored | None:
        """The stored body, unless the listing now promises other bytes."""
        # Looked up again: while the listing was asked, a flight may have landed.
        record, facts = self._find(key, permit)
        if record is None or facts is None:
            return None
        if facts.extracted == "parts" and stored_whole(self._storage, key, facts.whole):
            return None  # made of unverified parts: made anew, now that the whole is here
        status = None
        if not self._rights.is_settled(ecosystem, name, permit, facts, follows=follows):
            status = await self._rights.confirm(ecosystem, name, permit, (record, facts), deadline)
            if permit.compare is not None:
                found, anew = self._find(key, permit)
                if found is None or anew is None:  # it has been superseded
                    self._flights.mistrust(name)
                    return None
                record, facts = found, anew
        if record.suspect and not await self._recheck(record):
            return None
        status = status or permit.status
        age = max(0, int(self._clock() - facts.fetched_at))
        if status.detail:
            return self._opening.open(record, status, age)
        stored = await self._opening.ready(record, HIT, age)
        about = (record, facts)
        return stored and stored._replace(
            basis=lambda: self._grounds.of(ecosystem, target, name, permit, about)
        )

    def _find(self, key: str, permit: Permit) -> tuple[Record, ArtifactFacts] | tuple[None, None]:
        """What is stored, if it is what is promised now."""
        record = self._storage.lookup(key)
        facts = self._opening.facts(record) if record is not None else None
        if record is None or facts is None:
            return None, None
        if not facts.fulfils(permit.source.promise, record.sha256, permit.source.seal):
            return None, None
        if facts.fetched_at < not_before(self._storage, key, permit.compare):
            return None, None
        return record, facts

    async def _shared(
        self, ecosystem: Ecosystem, key: str, name: str, permit: Permit
    ) -> Stored | None:
        """The bytes that another package has brought here: once the upstream has let us have them
        from this one, they need not come again."""
        digest = permit.source.digest
        if digest is None or digest.algorithm != "sha256" or not self._storage.holds(digest.hex):
            return None
        await self._rights.ask(ecosystem, name, permit)
        try:
            record = self._storage.share(key, digest.hex, facts_of(permit, self._clock()).fields())
        except StorageFailed:
            return None
        if record is None or (record.suspect and not await self._recheck(record)):
            return None
        return self._opening.open(record, CacheStatus(fwd="miss", stored=True), 0)

    def _key(self, ecosystem: Ecosystem, target: ArtifactTarget) -> str:
        name = ecosystem.name
        known_as = upstream_name(name, target.upstream) if target.upstream else name
        return artifact_key(name, self._origins[known_as], target)

    async def _recheck(self, record: Record) -> bool:
        async def recheck() -> bool:
            return await asyncio.to_thread(self._storage.recheck, record)

        task, _ = self._rechecks.join(record.key, recheck)
        return await asyncio.shield(task)
