"""What is under way: one flight for each body that is being brought here.

Purpose: whoever wants what is not stored joins the flight that brings it, or begins one; what it
came to is remembered when it has ended. A flight belongs to nobody who waits for it.

Reading: `flight`, `download`; design rules 5, 8 and 9. Non-goals: whether what is stored will do
(`artifacts`), fetching.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, final

from proxy.cache.checksums import Checksums, not_before
from proxy.cache.decisions import FAILURE_PAUSE, Decisions, Refusals
from proxy.cache.download import Download
from proxy.cache.flight import SMALL, Flight
from proxy.cache.found import Flying, Stored
from proxy.cache.freshness import Policy
from proxy.cache.judging import judge_of
from proxy.cache.keys import beside, flight_name
from proxy.cache.opening import DOUBT, Opening
from proxy.cache.order import Order
from proxy.cache.permits import Permit, facts_of, is_plain
from proxy.cache.rights import Rights
from proxy.cache.status import COLLAPSED, STORED, CacheStatus
from proxy.cache.untended import Begun, Untended
from proxy.ecosystems.base import Ecosystem, Sealing, Verifier
from proxy.errors import DigestMismatch, ProxyError, Unavailable
from proxy.model import Source
from proxy.observe.metrics import Metrics
from proxy.storage.base import Body, Storage

LOG = logging.getLogger(__name__)


@final
class Flights:
    """By their names (`flight_name`). `decisions`: what is remembered of them. `clock`: epoch
    seconds."""

    def __init__(  # noqa: PLR0913  # made once, by `artifacts`
        self,
        storage: Storage,
        download: Download,
        policy: Policy,
        decisions: Refusals,
        *,
        rights: Rights,
        checksums: Checksums,
        opening: Opening,
        clock: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._storage = storage
        self._download = download
        self._policy = policy
        self._decisions = decisions
        self._rights = rights
        self._checksums = checksums
        self._opening = opening
        self._clock = clock
        self._metrics = metrics
        self._wrong: Decisions[bool] = Decisions()
        self._running: dict[str, Flight] = {}
        self._leaders: dict[Flight, asyncio.Task[None]] = {}
        self._untended: dict[Flight, Untended] = {}

    async def close(self) -> None:
        """Stop every flight."""
        for flight in list(self._untended.values()):
            flight.stop()
        for _ in range(2):  # each is told of that, and a task, which has begun then, ends it
            await asyncio.sleep(0)
        for task in list(self._leaders.values()):
            task.cancel()
        await asyncio.gather(*self._leaders.values(), return_exceptions=True)

    def find(self, name: str) -> Flight | None:
        """The flight under way."""
        return self._running.get(name)

    def mistrust(self, name: str) -> None:
        """Have the next flight of that name ask past caches in between: what came was wrong."""
        self._wrong.remember(name, value=True, now=self._clock(), seconds=DOUBT)

    async def fly(
        self, ecosystem: Ecosystem, key: str, name: str, permit: Permit, *, head_only: bool
    ) -> Stored | Flying:
        """Join the flight of what a permit allows, or begin it, and wait until a head may be sent.

        Stored: it has landed meanwhile. Raises its failure, and what is remembered of the last one.
        """
        flying = self._board(ecosystem, key, name, permit, head_only=head_only)
        return await self.follow(flying)

    async def follow(self, flying: Flying) -> Stored | Flying:
        """Go on with what `begin` gave: wait until a head may be sent.

        Stored: it has landed meanwhile. Raises its failure, and leaves it then.
        """
        follower, flight = flying.follower, flying.follower.flight
        try:
            await follower.head()
        except BaseException:
            follower.leave()
            raise
        if flight.spooling or (flight.done and flight.record is None):
            status = CacheStatus(fwd="miss", collapsed=flying.status.collapsed)
            return Flying(follower, status)
        return self.landed(flying) or flying

    def begin(self, ecosystem: Ecosystem, key: str, name: str, permit: Permit) -> Flying | None:
        """Join the small flight of what a permit allows, or begin it, and wait for nothing.

        None: there is something about it, only `fly` can tell; nothing has happened then.
        """
        if not is_plain(permit):
            return None
        if (flight := self._running.get(name)) is not None:
            small = flight.size is not None and flight.size <= SMALL
            return self._join(ecosystem, flight) if small else None
        now = self._clock()
        known = self._decisions.holds(name, now) or self._wrong.find(name, now)
        if known or (permit.source.size or 0) > SMALL:
            return None
        flight = self._start(ecosystem, key, name, permit, no_cache=False)
        return Flying(flight.attach(), STORED)

    def _board(
        self, ecosystem: Ecosystem, key: str, name: str, permit: Permit, *, head_only: bool
    ) -> Flying:
        """Join or begin a flight. Raises what is remembered of the last one."""
        flight = self._running.get(name)
        joined = self._join(ecosystem, flight, head_only=head_only) if flight is not None else None
        if joined is not None:
            return joined
        now = self._clock()
        if (known := self._decisions.find(name, now)) is not None:
            raise known
        no_cache = self._wrong.find(name, now) is not None
        flight = self._start(ecosystem, key, name, permit, no_cache=no_cache)
        return Flying(flight.attach(head_only=head_only), STORED)

    def _join(
        self, ecosystem: Ecosystem, flight: Flight, *, head_only: bool = False
    ) -> Flying | None:
        """Join a flight that is under way; None: nobody may any more."""
        if flight.done or not flight.joinable:
            return None
        self._metrics.follower(ecosystem.name)
        return Flying(flight.attach(head_only=head_only), COLLAPSED)

    def landed(self, flying: Flying) -> Stored | None:
        """Turn a flight that has landed into the stored artifact; the flight is left then."""
        flight = flying.follower.flight
        if (record := flight.record) is None:
            return None
        content = None if flight.content is None else bytes(flight.content)
        stored = self._opening.landed(record, flying.status, content, flight.digests)
        if stored is not None:
            flying.close()
        return stored

    def _start(
        self, ecosystem: Ecosystem, key: str, name: str, permit: Permit, *, no_cache: bool
    ) -> Flight:
        source, about = permit.source, permit.compare
        flight = Flight(source.size)
        order = Order(
            *(ecosystem.name, key, name, source, lambda: facts_of(permit, self._clock())),
            fetch_whole=lambda: self._whole(ecosystem, key, permit),
            no_cache=no_cache,
            verifier=_verifier(ecosystem, source) if source.seal else None,
            judge=judge_of(ecosystem, source) if source.digest is None else None,
            shared=permit.target is not None,
        )
        if about is not None:
            every = self._checksums.every
            order = order._replace(
                compare=lambda anew: every(ecosystem, about, no_cache=anew),
                digests=tuple(name for name, _ in about.digests),
                not_before=not_before(self._storage, key, about),
            )
        self._running[name] = flight

        def over(begun: Begun | None) -> None:
            del self._untended[flight]
            if begun is not None:
                self._tend(flight, self._lead(ecosystem, order, permit, flight, begun))
            elif self._running.get(name) is flight:
                del self._running[name]

        begun = self._download.begin(flight, order, over)
        if isinstance(begun, Untended):
            self._untended[flight] = begun
            flight.stoppable(begun.stop)
        else:
            self._tend(flight, self._lead(ecosystem, order, permit, flight, begun))
        return flight

    def _tend(self, flight: Flight, leader: Coroutine[Any, Any, None]) -> None:
        """Have a task lead it."""
        loop = asyncio.get_running_loop()
        self._leaders[flight] = task = loop.create_task(leader)
        # A task that is cancelled before its first step never runs: it would end nothing, and give
        # nothing back of what was begun.
        flight.stoppable(partial(loop.call_soon, task.cancel))

    async def _lead(
        self,
        ecosystem: Ecosystem,
        order: Order,
        permit: Permit,
        flight: Flight,
        begun: Begun | None,
    ) -> None:
        """The leader's life, from where the flight has begun. Whoever waits hears of the end when
        it has been noted."""
        stopped = False
        try:
            await self._download.run(flight, order, begun)
        except asyncio.CancelledError:
            stopped = True
            raise
        except Exception:
            # A defect, whichever: who waits was told by `Download.run`, and nobody asks the task.
            LOG.exception("a flight failed inside the proxy")
        finally:
            del self._leaders[flight]
            if self._running.get(order.name) is flight:
                del self._running[order.name]
            if (error := flight.error) is not None:
                self._note(ecosystem, order, permit, flight, error, stopped=stopped)

    async def _whole(self, ecosystem: Ecosystem, key: str, permit: Permit) -> Body:
        """The verified and stored whole of an artifact that is to be extracted from it."""
        source, whole = permit.source, permit.source.whole
        if whole is None:
            raise AssertionError("an artifact is to be extracted from nothing")
        parent = Source(source.location, source.package, source.version, whole.digest, whole.size)
        part = permit._replace(source=parent)
        key = beside(key, whole.path)
        name = flight_name(key, parent)
        found = await self.fly(ecosystem, key, name, part, head_only=False)
        if isinstance(found, Stored):
            return found.body
        try:
            # Not only waiting: a full disk waits for the slowest.
            while await found.follower.more():
                found.follower.passed(found.follower.spot().count)
            stored = self.landed(found)
        except BaseException:
            found.close()
            raise
        if stored is not None:
            return stored.body
        found.close()
        raise Unavailable("The proxy has no room for it; try again.", retry_after=5)

    def _note(  # noqa: PLR0913  # all that is known
        self,
        ecosystem: Ecosystem,
        order: Order,
        permit: Permit,
        flight: Flight,
        error: ProxyError,
        *,
        stopped: bool,
    ) -> None:
        """Note how it failed."""
        if flight.headed:
            # Whoever has a part of it has bytes that nobody vouched for.
            self._opening.doubt(order.key)
        if stopped:
            return
        if isinstance(error, DigestMismatch):
            # Perhaps it is the listing that is wrong by now: it is asked again before its time.
            self._rights.doubt(ecosystem, permit)
            self.mistrust(order.name)
        seconds = self._policy.remembered(error, FAILURE_PAUSE)
        self._decisions.remember(order.name, error, self._clock(), seconds)


def _verifier(ecosystem: Ecosystem, source: Source) -> Callable[[], Verifier]:
    """What makes a judge of a sealed artifact."""
    if not isinstance(ecosystem, Sealing):
        raise AssertionError(  # noqa: TRY004  # a defect of the ecosystem
            "an ecosystem has sealed what it cannot verify"
        )
    return partial(ecosystem.verifier, source.seal, source.size)
