"""Flights without a task that leads them: short ones that the upstream could be asked for at once.

Purpose: nothing has to be awaited to ask on a connection that stands idle, and nothing more when
all of the answer has come: it is verified and stored at once, and whoever waits is told. Whatever
else happens is left to a task, which goes on with what was begun here (`Begun`): so each failure is
met and told in one place only.

Reading: `short`, `download`. Non-goals: whether a flight may be a short one (`short`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple, final

from proxy.cache.flight import Flight
from proxy.cache.leader import resign
from proxy.cache.order import Order
from proxy.cache.short import ShortFlights
from proxy.storage.base import Foreign, Record, Writer
from proxy.upstream.base import Asked, PromptUpstream

LOG = logging.getLogger(__name__)


class Begun(NamedTuple):
    """What has been begun of a flight. `claimed`: what the claim came to, None if the store takes
    nothing. `asked`: a question that was put; None: none was."""

    claimed: Writer | Foreign | None
    asked: Asked | None


@final
class Untended:
    """One of them, with the claim that it has. `over` is told, once, that it has come to its end,
    before its followers are; or what is to be gone on with."""

    __slots__ = ("_asked", "_flight", "_order", "_over", "_short", "_writer")

    def __init__(
        self,
        flight: Flight,
        order: Order,
        writer: Writer,
        short: ShortFlights,
        over: Callable[[Begun | None], object],
    ) -> None:
        self._flight = flight
        self._order = order
        self._writer = writer
        self._short = short
        self._over = over
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
            self._over(Begun(left, asked))
            return False
        self._over(None)
        flight.finish(record, body)
        return True
