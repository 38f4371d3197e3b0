"""Artifacts: the right to have one, the stored one, or the flight that brings it.

Purpose: an artifact never expires, but its right to be served does. Before any byte, stored or not,
a current listing must name it (the *listing decision*); the listing gives the true address, digest
and size. Equal requests share one flight.

Reading: design rules 3, 5 and 9; Chainguard's resolution cache (the same path may be re-listed with
another digest). Non-goals: documents, protocols, HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import final

from proxy.cache.decisions import Decisions
from proxy.cache.documents import Documents, Held
from proxy.cache.download import Download, Order
from proxy.cache.entry import ArtifactFacts
from proxy.cache.flight import Flight, Follower
from proxy.cache.freshness import Policy
from proxy.cache.keys import artifact_key
from proxy.cache.ready import Ready
from proxy.cache.singleflight import SingleFlight
from proxy.cache.status import HIT, CacheStatus, stale
from proxy.ecosystems.base import Ecosystem
from proxy.errors import NotFound, NotListed, Outcome, ProxyError, StorageFailed
from proxy.model import ArtifactTarget, DocumentTarget, Grant, Links, Source
from proxy.observe.metrics import Metrics
from proxy.storage.base import Body, Record, Storage
from proxy.upstream.base import Upstream, UpstreamRequest

LOG = logging.getLogger(__name__)
FOREGROUND = 1.0  # seconds that a cached artifact waits for its listing to be revalidated
FAILURE_PAUSE = 1.0
DOUBT = 600.0  # seconds in which a bare Range after a failed transfer gets the whole
MAX_DOUBTS = 10_000
LOCATED_BUDGET = 4 << 20


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored artifact, its body open. `age` in seconds. The receiver MUST close it.

    `doubted`: a transfer of it failed a short while ago. A client that asks for the rest of what
    it got then, without saying of what (no If-Range), must get the whole.
    """

    record: Record
    body: Body
    status: CacheStatus
    age: int
    doubted: bool = False

    def close(self) -> None:
        """Release the body."""
        self.body.close()


@dataclass(frozen=True, slots=True)
class Flying:
    """An artifact on its way, its head known. The receiver MUST close it."""

    follower: Follower
    status: CacheStatus

    def close(self) -> None:
        """Leave the flight."""
        self.follower.leave()


@dataclass(frozen=True, slots=True)
class Described:
    """All that a HEAD needs, known from the listing alone: `size` in bytes."""

    size: int
    status: CacheStatus

    def close(self) -> None:
        """Nothing to release."""


@dataclass(frozen=True, slots=True)
class _Permit:
    """A current listing decision: the source, and the document (path, SHA-256) that says so."""

    source: Source
    listing: str = ""
    listing_sha256: str = ""
    status: CacheStatus = HIT


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
        self._metrics = metrics
        self._storage = storage
        self._documents = documents
        self._upstream = upstream
        self._download = download
        self._policy = policy
        self._origins = origins
        self._clock = clock
        self._decisions = Decisions()
        self._flights: dict[str, Flight] = {}
        self._leaders: set[asyncio.Task[None]] = set()
        self._located: Ready[Source] = Ready(LOCATED_BUDGET)
        self._doubts: dict[str, float] = {}
        self._probes: SingleFlight[None] = SingleFlight()

    async def close(self) -> None:
        """Stop every flight."""
        await self._probes.close()
        for task in self._leaders:
            task.cancel()
        await asyncio.gather(*self._leaders, return_exceptions=True)

    async def get(
        self,
        ecosystem: Ecosystem,
        target: ArtifactTarget,
        grant: Grant,
        links: Links,
        *,
        head_only: bool = False,
    ) -> Stored | Flying | Described:
        """The artifact, by the shortest way that is allowed. Raises what `proxy.errors` has."""
        key = artifact_key(ecosystem.name, self._origins[ecosystem.name], target)
        record = self._storage.lookup(key)
        facts = ArtifactFacts.of_record(record) if record is not None else None
        permit = await self._permit(ecosystem, target, grant, links, facts)
        # Looked up again: while the right was checked, a flight may have landed.
        stored = await self._stored(ecosystem, self._storage.lookup(key), permit)
        if stored is not None:
            return stored
        if head_only and permit.source.size is not None:
            return Described(permit.source.size, CacheStatus(fwd="miss"))
        return await self._fly(ecosystem, key, permit)

    # --- the stored one ----------------------------------------------------------------------

    async def _stored(
        self, ecosystem: Ecosystem, record: Record | None, permit: _Permit
    ) -> Stored | None:
        """The stored body, unless the listing now promises other bytes."""
        facts = ArtifactFacts.of_record(record) if record is not None else None
        if record is None or facts is None or facts.digest != permit.source.digest:
            return None
        if record.suspect and not await asyncio.to_thread(self._storage.recheck, record):
            return None
        status = await self._still_let(ecosystem, record, facts) or permit.status
        body = self._storage.open(record)
        if body is None:
            return None
        age = max(0, int(self._clock() - facts.fetched_at))
        return Stored(
            record, body, status if status.detail else HIT, age, self._doubted(record.key)
        )

    def _doubted(self, key: str) -> bool:
        until = self._doubts.get(key)
        if until is None:
            return False
        if until <= self._clock() or len(self._doubts) > MAX_DOUBTS:
            self._doubts.pop(key)
        return True

    async def _still_let(
        self, ecosystem: Ecosystem, record: Record, facts: ArtifactFacts
    ) -> CacheStatus | None:
        """Ask the upstream, once per ttl, whether it would still let us have the artifact.

        A version that is blocked may stay in its listing. Waits a second, then goes on behind.
        Raises the upstream's news; its silence is only marked.
        """
        now = self._clock()
        if abs(now - facts.checked_at) < self._policy.ttl:
            return None
        if (known := self._decisions.find(record.key, now)) is not None:
            return self._settled(known)
        task, _ = self._probes.join(record.key, lambda: self._probe(ecosystem, record, facts))
        try:
            async with asyncio.timeout(FOREGROUND):
                await asyncio.shield(task)
        except TimeoutError:
            return None
        except ProxyError as error:
            return self._settled(error)
        return None

    @staticmethod
    def _settled(error: ProxyError) -> CacheStatus:
        if error.outcome is Outcome.NEWS:
            raise error.with_traceback(None)
        return stale(error, -1)

    async def _probe(self, ecosystem: Ecosystem, record: Record, facts: ArtifactFacts) -> None:
        request = UpstreamRequest(ecosystem.name, facts.location, probe=True)
        try:
            response = await self._upstream.open(request)
        except ProxyError as error:
            self._remember(record.key, error)
            raise
        await response.close()
        current = self._storage.lookup(record.key)
        if current is not None and current.sha256 == record.sha256:
            with suppress(StorageFailed):
                checked = replace(facts, checked_at=self._clock())
                self._storage.update(current, checked.fields())

    def _remember(self, name: str, error: ProxyError) -> None:
        news = error.outcome is Outcome.NEWS
        pause = self._policy.negative_ttl if news else FAILURE_PAUSE
        self._decisions.remember(name, error, self._clock() + pause)

    # --- the right to it ---------------------------------------------------------------------

    async def _permit(
        self,
        ecosystem: Ecosystem,
        target: ArtifactTarget,
        grant: Grant,
        links: Links,
        facts: ArtifactFacts | None,
    ) -> _Permit:
        if not target.listed_in:
            return _Permit(Source(target.path, target.package, target.version, target.digest))
        failure: ProxyError | None = None
        for listing in _in_order(target, grant, facts):
            try:
                held = await self._documents.get(
                    ecosystem, listing, grant, links, patience=FOREGROUND if facts else None
                )
                return self._locate(ecosystem, target, listing, held, facts)
            except NotListed:
                continue
            except NotFound:
                continue
            except ProxyError as error:
                if facts is not None and listing.path == facts.listing and _silent(error):
                    # What is stored was allowed, and nobody has said otherwise since.
                    return _permit_of(facts)
                failure = failure or error
        if failure is not None:
            raise failure
        raise NotFound("No current index page of the upstream lists this file.")

    def _locate(
        self,
        ecosystem: Ecosystem,
        target: ArtifactTarget,
        listing: DocumentTarget,
        held: Held,
        facts: ArtifactFacts | None,
    ) -> _Permit:
        """Read the decision off a listing; not parsed again while its bytes are the same."""
        if facts and facts.listing == listing.path and facts.listing_sha256 == held.sha256:
            return replace(_permit_of(facts), status=held.status)
        key = (ecosystem.name, held.sha256, target.path)
        source = self._located.get(key)
        if source is None:
            source = ecosystem.locate(target, held.document)
            self._located.put(key, source, 512 + len(source.location))
        return _Permit(source, listing.path, held.sha256, held.status)

    # --- the flight --------------------------------------------------------------------------

    async def _fly(self, ecosystem: Ecosystem, key: str, permit: _Permit) -> Stored | Flying:
        now = self._clock()
        name = f"{key}\0{permit.source.digest}"
        flight = self._flights.get(name)
        joined = flight is not None and not flight.done and flight.joinable
        if flight is None or not joined:
            if (known := self._decisions.find(name, now)) is not None:
                raise known.with_traceback(None)
            flight = self._start(ecosystem, key, name, permit)
        if joined:
            self._metrics.follower(ecosystem.name)
        follower = flight.attach()
        try:
            await follower.head()
        except BaseException:
            follower.leave()
            raise
        flying = Flying(follower, CacheStatus(fwd="miss", stored=not joined, collapsed=joined))
        return self.landed(flying) or flying

    def landed(self, flying: Flying) -> Stored | None:
        """Turn a flight that has landed into the stored artifact; the flight is left then."""
        record = flying.follower.flight.record
        body = self._storage.open(record) if record is not None else None
        if record is None or body is None:
            return None
        flying.close()
        return Stored(record, body, flying.status, 0, self._doubted(record.key))

    def _start(self, ecosystem: Ecosystem, key: str, name: str, permit: _Permit) -> Flight:
        source = permit.source

        def facts() -> ArtifactFacts:
            now = self._clock()
            return ArtifactFacts(
                location=source.location,
                package=source.package,
                version=source.version,
                digest=source.digest,
                fetched_at=now,
                checked_at=now,
                listing=permit.listing,
                listing_sha256=permit.listing_sha256,
            )

        flight = Flight(source.size)
        order = Order(ecosystem.name, key, name, source, facts)
        task = asyncio.get_running_loop().create_task(self._download.run(flight, order))
        flight.stoppable(task.cancel)
        self._flights[name] = flight
        self._leaders.add(task)
        task.add_done_callback(lambda done: self._ended(key, name, flight, done))
        return flight

    def _ended(self, key: str, name: str, flight: Flight, task: asyncio.Task[None]) -> None:
        if self._flights.get(name) is flight:
            del self._flights[name]
        self._leaders.discard(task)
        if not task.cancelled() and (defect := task.exception()) is not None:
            LOG.error("a flight failed inside the proxy", exc_info=defect)
        if flight.error is None:
            return
        if flight.headed:
            self._doubts[key] = self._clock() + DOUBT
        self._remember(name, flight.error)


def _in_order(
    target: ArtifactTarget, grant: Grant, facts: ArtifactFacts | None
) -> list[DocumentTarget]:
    """The listings to ask: only granted scopes, the one that listed the stored copy first."""
    allowed = [listing for listing in target.listed_in if listing.scope in grant.scopes]
    if facts is not None:
        allowed.sort(key=lambda listing: listing.path != facts.listing)
    return allowed


def _permit_of(facts: ArtifactFacts) -> _Permit:
    source = Source(facts.location, facts.package, facts.version, facts.digest)
    return _Permit(
        source,
        facts.listing,
        facts.listing_sha256,
        CacheStatus(ttl=-1, detail="stale-if-error"),
    )


def _silent(error: ProxyError) -> bool:
    return error.outcome in (Outcome.SILENCE, Outcome.RUBBISH)
