"""Flights without a task that leads them: short ones that the upstream could be asked for at once.

Purpose: nothing has to be awaited to ask on a connection that stands idle, and nothing more when
all of the answer has come: it is verified and stored at once, and whoever waits is told. Whatever
else happens is left to a task, which goes on with what was begun here (`Begun`): so each failure is
met and told in one place only.

Where no other process uses the store, nothing is claimed: there is no file before the body is here.

Reading: `short`, `download`. Non-goals: whether a flight may be a short one (`short`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple, final

from proxy.cache.flight import Flight
from proxy.cache.leader import resign
from proxy.cache.order import Order
from proxy.cache.short import ShortFlights, is_short
from proxy.errors import StorageFailed
from proxy.storage.base import Foreign, Record, Storage, Writer, is_foreign
from proxy.upstream.base import Asked, PromptUpstream

LOG = logging.getLogger(__name__)


class Begun(NamedTuple):
    """What has been begun of a flight. `asked`: a question that was put; None: none was. `claimed`:
    what the claim came to, None if the store takes nothing; `is_claimed` False: none was made."""

    asked: Asked | None
    claimed: Writer | Foreign | None
    is_claimed: bool = True


@final
class Untended:
    """One of them, with its writer, which may be on a claim. `over` is told, once, that it has come
    to its end, before its followers are; or what is to be gone on with."""

    __slots__ = ("_asked", "_flight", "_is_claimed", "_order", "_over", "_short", "_writer")

    def __init__(  # noqa: PLR0913  # `UntendedFlights` makes them
        self,
        flight: Flight,
        order: Order,
        writer: Writer,
        short: ShortFlights,
        over: Callable[[Begun | None], object],
        *,
        is_claimed: bool,
    ) -> None:
        self._flight = flight
        self._order = order
        self._writer = writer
        self._short = short
        self._over = over
        self._is_claimed = is_claimed
        self._asked: Asked | None = None

    def set_out(self, upstream: PromptUpstream) -> bool:
        """Ask; False: that is not possible at once."""
        try:
            self._asked = upstream.put(self._order.request(), self._told)
        except Exception:
            # A defect, whichever: flight and claim would be held by nobody. A task asks instead.
            LOG.exception("a question could not be put for a reason inside the proxy")
        return self._asked is not None

    def stop(self) -> None:
        """Give it up."""
        if self._asked is not None:
            self._asked.leave()

    def _told(self, body: memoryview | None) -> bool:
        """See `proxy.upstream.base.Told`."""
        flight, order, writer = self._flight, self._order, self._writer
        asked, self._asked = self._asked, None  # no circle, or the body would stay for a while
        record: Record | None = None
        left: Writer | None = writer
        try:
            if body is not None and (sha256 := self._short.fits(order, body)):
                left = None  # whatever becomes of it
                record = self._short.store(flight, order, writer, body, sha256)
            elif body is not None and asked is not None:
                asked.distrust()
        except Exception:
            # A defect, whichever: the body can still be passed on, and the claim is given back.
            LOG.exception("a flight could not be stored for a reason inside the proxy")
            left = None
            resign(flight, writer, "")
        if record is None:
            is_claimed = self._is_claimed or left is None
            if not is_claimed:
                writer.close()
            self._over(Begun(asked, left if is_claimed else None, is_claimed))
            return False
        self._over(None)
        flight.finish(record, body)
        return True


@final
class UntendedFlights:
    """Begins them. `claim`: as of `Download`."""

    def __init__(
        self,
        storage: Storage,
        upstream: PromptUpstream,
        short: ShortFlights,
        claim: Callable[[Order], Writer | Foreign | None],
    ) -> None:
        self._storage = storage
        self._upstream = upstream
        self._short = short
        self._claim = claim

    def begin(
        self, flight: Flight, order: Order, over: Callable[[Begun | None], object]
    ) -> Untended | Begun | None:
        """See `Download.begin`."""
        if order.source.extracted or not is_short(flight, order):
            return None
        if self._storage.alone:
            return self._begin_alone(flight, order, over)
        claimed = self._claim(order)
        if claimed is None or is_foreign(claimed) or claimed.size:
            return Begun(None, claimed)
        untended = Untended(flight, order, claimed, self._short, over, is_claimed=True)
        # Else another process stored it between our look and our claim.
        absent = self._storage.lookup(order.key) is None
        return untended if absent and untended.set_out(self._upstream) else Begun(None, claimed)

    def taken_up(
        self, order: Order, begun: Begun | None
    ) -> tuple[Asked | None, Writer | Foreign | None]:
        """What is to be gone on with: what was begun, if anything was, claimed now if it was not.
        Nothing was asked of what somebody else is writing."""
        asked, claimed, is_claimed = begun or (None, None, False)
        if is_claimed:
            return asked, claimed
        claimed = self._claim(order)
        if asked is not None and claimed is not None and is_foreign(claimed):
            asked.drop()  # not alone any more
            return None, claimed
        return asked, claimed

    def _begin_alone(
        self, flight: Flight, order: Order, over: Callable[[Begun | None], object]
    ) -> Untended | None:
        """The same where nobody needs to be told of it, and nobody can have stored it."""
        try:
            writer = self._storage.create(order.key)
        except StorageFailed:
            return None  # the general way says so
        untended = Untended(flight, order, writer, self._short, over, is_claimed=False)
        if untended.set_out(self._upstream):
            return untended
        writer.close()
        return None
