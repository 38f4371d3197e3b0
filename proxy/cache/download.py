"""The leader's work: upstream to body file, hashed on the way, committed only when right.

Purpose: nothing incomplete and nothing wrong is ever finished or stored. Size and digest come from
the listing where it has them; the upstream's own claims about its bytes prove nothing. A broken
transfer is resumed where a digest will tell whether the rest belongs to it; what has no digest may
be judged by what it is (`judging`). When another process already fetches the same body, it is
followed instead (`relay`). Most small ones of known digest are brought by `short`, and mostly
without a task (`untended`).

Reading: design rules 5 to 10; pypi/support 5879 and nodejs/build 3194 (caches in between that
served wrong or cut bytes: one more try past them). Non-goals: who is waiting (`flight` knows).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from proxy.cache.comparison import ComparisonFailed
from proxy.cache.extracts import Extracts
from proxy.cache.flight import Flight
from proxy.cache.intake import Intake, Piece
from proxy.cache.judging import compare_stored, look
from proxy.cache.leader import Leader
from proxy.cache.order import Order
from proxy.cache.relay import End, Relay
from proxy.cache.short import Heard, ShortFlights, is_short
from proxy.cache.threads import aside, in_thread
from proxy.cache.transfer import Next, Rate, Transfer
from proxy.cache.untended import Begun, Untended, UntendedFlights
from proxy.cache.verdicts import to_text
from proxy.errors import DigestMismatch, Malformed, ProxyError, StorageFailed, Unavailable
from proxy.observe.metrics import Metrics
from proxy.storage.base import Foreign, Record, Storage, Writer, is_foreign
from proxy.upstream.base import PromptUpstream, UpstreamResponse

LOG = logging.getLogger(__name__)
COMMIT_IN_THREAD = 1 << 20
STORE_PATIENCE = 0.1  # seconds that the last bytes of a verified body wait for the disk
MAX_CLAIMS = 20  # of one flight, each after another process gave up
RANGE_REFUSED = 416


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """`max_object`: bytes; a larger one is passed through. `resume_rate`: bytes a second; an answer
    that was slower than that altogether is not resumed when it ends (the upstream room ends it)."""

    max_object: int = 1 << 62
    resume_rate: int = 1024


@final
class Download:
    """Runs flights. One instance serves all ecosystems. `clock`: monotonic seconds."""

    def __init__(  # noqa: PLR0913  # the composition root's one call
        self,
        storage: Storage,
        upstream: PromptUpstream,
        metrics: Metrics,
        limits: DownloadLimits,
        extracts: Extracts,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._extracts = extracts
        self._storage = storage
        self._upstream = upstream
        self._metrics = metrics
        self._limits = limits
        self._clock = clock
        self._relay = Relay(storage)
        self._short = ShortFlights(upstream, limits.max_object, clock, self._unstorable)
        self._untended = UntendedFlights(storage, upstream, self._short, self._claim)

    def begin(
        self, flight: Flight, order: Order, over: Callable[[Begun | None], object]
    ) -> Untended | Begun | None:
        """Set out without a task. `over`: see `Untended`. Begun: the way ends here, for `run` to go
        on; None: there is none, and nothing has happened."""
        return self._untended.begin(flight, order, over)

    async def run(self, flight: Flight, order: Order, begun: Begun | None = None) -> None:
        """Fetch, verify, commit; every end is told to the flight. `begun`: to go on with. Raises
        only what is a defect."""
        try:
            await self._run(flight, order, begun)
        except ProxyError as error:
            flight.fail(error)
        except (StorageFailed, OSError) as error:
            # Neither disk nor memory takes it, or there is no descriptor left.
            LOG.warning("a flight ended for want of room (%s)", type(error).__name__)
            flight.fail(Unavailable("The proxy has no room for it; try again.", retry_after=5))
        except asyncio.CancelledError:
            flight.fail(Unavailable("The transfer was stopped; try again.", retry_after=1))
            raise
        except BaseException:
            flight.fail(Unavailable("The transfer failed inside the proxy.", retry_after=1))
            raise

    async def _run(self, flight: Flight, order: Order, begun: Begun | None) -> None:
        if order.source.extracted:
            return await self._extracts.bring(flight, order)
        for _ in range(MAX_CLAIMS):
            (asked, claimed), begun = self._untended.taken_up(order, begun), None
            if claimed is not None and is_foreign(claimed):
                found = await self._relay.follow(flight, order, claimed)
                if found is End.LANDED:
                    return None
                if found is End.ABANDONED:
                    continue
                claimed = found
            elif claimed is not None and not asked and self._relay.take_stored(flight, order):
                # Another process stored it between our look and our claim.
                return claimed.close()
            heard: Heard | None = None
            if claimed is not None and is_short(flight, order) and not claimed.size:
                heard = await self._short.bring(flight, order, claimed, asked)
                if heard is None:
                    return None
                claimed = heard.writer
            elif asked is not None:
                heard = Heard(await asked.go_on(), claimed)
            return await self._lead(flight, order, claimed, heard)
        raise Unavailable("Nobody could finish it; try again.", retry_after=1)

    def _claim(self, order: Order) -> Writer | Foreign | None:
        try:
            return self._storage.claim(order.key, order.name)
        except StorageFailed as error:
            self._unstorable(error)
            return None

    # --- leading -----------------------------------------------------------------------------

    async def _lead(
        self, flight: Flight, order: Order, writer: Writer | None, heard: Heard | None
    ) -> None:
        """The general way. `heard`: what the first question has led to, if it was asked."""
        transfer = Transfer(
            order.source,
            no_cache=order.no_cache,
            digests=order.digests,
            verifier=order.verifier,
        )
        leader = Leader(flight, writer, transfer, order.compare)
        try:
            if leader.writer.size:  # of a process that is gone: a digest tells whether to go on
                leader.comparison.begin()
                await leader.comparison.settle()
            await self._catch_up(leader)
            await self._pull_all(leader, order, heard)
            compare_stored(self._storage, order.key, leader.said)
            flight.stoppable(None)
            flight.digests = transfer.digests
            record = await self._commit(leader, order)
            flight.finish(record, leader.content)
            leader.tell()
        except ProxyError as error:
            leader.resign(to_text(error))
            raise
        except ComparisonFailed as failed:
            leader.resign(to_text(failed.error))
            raise failed.error.with_traceback(None) from None
        except BaseException:
            leader.resign("")
            raise
        finally:
            leader.comparison.forget()
            leader.writer.close()

    async def _catch_up(self, leader: Leader) -> None:
        """Take in what is here; what the disk takes no second copy of goes on in memory."""
        try:
            await leader.catch_up()
        except StorageFailed as error:
            if leader.spool is not None:
                raise
            self._unstorable(error)
            leader.leave_disk(caught_up=False)
            await leader.catch_up()

    async def _pull_all(self, leader: Leader, order: Order, heard: Heard | None) -> None:
        transfer = leader.transfer
        while not transfer.proven:
            leader.comparison.begin()
            try:
                answer, heard = heard, None
                await self._pull(leader, order, answer)
                await leader.comparison.settle()
                transfer.check()
                await self._judge(leader, order)
            except DigestMismatch as error:
                self._metrics.digest_mismatch(order.ecosystem)
                if leader.flight.headed or transfer.no_cache:
                    raise
                # A cache in between may hold a wrong copy: ask once more, past it.
                LOG.warning("%s; asking once more past caches", error.detail)
                transfer.no_cache = True
                leader.comparison.forget()
                self._rewind(leader)
            except (Unavailable, Malformed) as error:
                if not transfer.proven:
                    await self._go_on(leader, error)
            else:
                return

    async def _judge(self, leader: Leader, order: Order) -> None:
        """Have its ecosystem look at what is here. Raises DigestMismatch, StorageFailed."""
        if order.judge is None:
            return
        if leader.passed:
            raise StorageFailed("what is to be looked at is no longer in memory")
        flight, size, judge = leader.flight, leader.transfer.received, order.judge
        leader.said = await aside(size, lambda: look(flight, size, judge))

    async def _go_on(self, leader: Leader, error: Unavailable | Malformed) -> None:
        """Make ready to go on after a break, or raise it."""
        transfer = leader.transfer
        refused = isinstance(error, Malformed) or error.upstream_status == RANGE_REFUSED
        hopeless = (
            leader.dripping
            or leader.flight.deserted
            or (isinstance(error, Unavailable) and not error.asked)
        )
        if not transfer.resumable:
            await leader.comparison.settle()  # perhaps it will be
        if hopeless or (not transfer.received and (refused or not leader.answered)):
            raise error
        LOG.info("a transfer broke off at %d bytes: %s", transfer.received, error.detail)
        if refused:
            transfer.refuse_range()
        match transfer.broke_off(headed=leader.flight.headed):
            case Next.STOP:
                raise error
            case Next.RESTART:
                self._rewind(leader)
            case Next.RESUME:
                pass
        await asyncio.sleep(random.uniform(0.05, 0.2) * transfer.breaks)  # noqa: S311  # jitter

    async def _pull(self, leader: Leader, order: Order, heard: Heard | None) -> None:
        """One answer of the upstream, into the body file."""
        transfer = leader.transfer
        leader.answered = False
        request = order.request(transfer.start, no_cache=transfer.no_cache)
        response = heard or await self._upstream.open(request)
        rate = Rate(self._limits.resume_rate)
        if heard is not None:
            rate.keeps(0, heard.waited)
        try:
            leader.answered = True
            skip = transfer.accept(response.head)
            self._show(leader)
            await self._take(leader, response, skip, rate)
        finally:
            await response.close()

    async def _take(
        self, leader: Leader, response: UpstreamResponse, skip: int, rate: Rate
    ) -> None:
        """Take the body in, without its first `skip` bytes."""
        intake = Intake(leader, self._leave_disk)
        pieces = response.pieces() if not response.pours() else None
        try:
            while True:
                asked = self._clock()
                piece: Piece
                try:
                    if pieces is None:
                        piece = await intake.draw(response.read_into)
                    else:
                        piece = await anext(pieces, b"")
                except Unavailable:
                    rate.keeps(0, self._clock() - asked)
                    leader.dripping = not rate.sound
                    raise
                if not piece:
                    return
                rate.keeps(len(piece), self._clock() - asked)
                if fresh := piece[skip:]:
                    leader.comparison.look()
                    await intake.put(fresh)
                skip = max(0, skip - len(piece))
        finally:
            await intake.end()

    def _show(self, leader: Leader) -> None:
        try:
            leader.show()
        except StorageFailed as error:
            self._leave_disk(leader, error)
            leader.show()

    def _rewind(self, leader: Leader) -> None:
        try:
            leader.rewind()
        except StorageFailed as error:
            self._leave_disk(leader, error)

    async def _commit(self, leader: Leader, order: Order) -> Record | None:
        transfer, writer = leader.transfer, leader.writer
        too_large = transfer.received > self._limits.max_object
        if leader.spool is not None or not transfer.provable or too_large:
            return None  # passed on, never stored
        facts = order.facts()
        if transfer.digests or leader.comparison.paths:
            digests = " ".join(map(str, transfer.digests))
            facts = facts._replace(digests=digests, compared=leader.comparison.paths)
        sha256, fields = transfer.sha256, facts.fields()
        try:
            if transfer.received <= COMMIT_IN_THREAD:
                return writer.commit(sha256, fields)
            # Nobody waits long for a disk to store what is known to be right.
            release = asyncio.get_running_loop().call_later(STORE_PATIENCE, leader.flight.release)
            try:
                return await in_thread(lambda: writer.commit(sha256, fields))
            finally:
                release.cancel()
        except StorageFailed as error:
            self._unstorable(error)
            return None

    def _leave_disk(self, leader: Leader, error: StorageFailed) -> None:
        if leader.spool is not None:
            raise error
        self._unstorable(error)
        leader.leave_disk()

    def _unstorable(self, error: StorageFailed) -> None:
        LOG.warning("the store takes nothing (%s); passing through", error)
        self._metrics.cache_write_error()
