"""Which origins are down: noted, told to the log and to other processes.

Purpose: the breakers decide; here their turns become a few lines an outage, and news for who shares
the upstream with us. Non-goals: deciding (`breaker`), asking (`exchange`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import final

from proxy.errors import ProxyError, RateLimited
from proxy.upstream.addresses import Address
from proxy.upstream.breaker import Breaker, Breakers, News, Turn, clamp_retry_after

LOG = logging.getLogger(__name__)
# Of an origin: what was learnt; for QUIET, of how many seconds.
Tell = Callable[[str, News, float], None]


@final
class Outages:
    """`configured`: the origins that are known beforehand. `clock`: monotonic seconds. `tell` is
    called with what other processes want to know."""

    def __init__(self, configured: Iterable[str], clock: Callable[[], float]) -> None:
        self._breakers = Breakers(configured)
        self.of = self._breakers.of
        """The breaker of an origin."""
        self._clock = clock
        self.tell: Tell = _tell_nobody

    @property
    def open_origins(self) -> tuple[str, ...]:
        """Origins that are held to be down."""
        return self._breakers.open_origins

    def hear(self, origin: str, news: News, seconds: float) -> None:
        """Another process has learnt this of an origin; see `tell`."""
        self._breakers.of(origin).hear(news, self._clock(), seconds)

    def settle(self, breaker: Breaker, address: Address, error: ProxyError | None) -> None:
        """Tell the breaker how an exchange ended, and who has to know what that changed."""
        if error is None and breaker.is_calm:
            return
        origin, host = address.origin, address.url.host
        detail, was_open = error.detail if error else "", breaker.is_open
        if isinstance(error, RateLimited):
            self.tell(origin, News.QUIET, clamp_retry_after(error.retry_after or 1))
        match breaker.settle(error, self._clock()):
            case Turn.FAILS:
                LOG.warning("the upstream %s fails: %s", host, detail)
            case Turn.DOWN:
                LOG.warning("the upstream %s is held to be down: %s", host, detail)
                self.tell(origin, News.DOWN, 0.0)
            case Turn.BACK:
                LOG.warning("the upstream %s answers again", host)
                if was_open:
                    self.tell(origin, News.BACK, 0.0)
            case None:
                pass


def _tell_nobody(_origin: str, _news: News, _seconds: float) -> None:
    """There is one process."""
