"""When to stop asking an origin that does not answer. Pure: `now` is given, in seconds.

Purpose: with the upstream down a cached answer must not pay a timeout, and an upstream that comes
back must not be met by a stampede. Counts only what means "could not answer" (no connection, no
trustworthy one, a timeout, 5xx, what is no HTTP); 401, 403 and 404 of one path say nothing about
the origin, and a client must not be able to shut it by asking for odd paths.

Reading: M. Nygard, Release It!, "Circuit Breaker". Non-goals: rate limiting of our own.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from math import inf
from typing import final

from proxy.errors import (
    ForbiddenAddress,
    InsecureUpstream,
    Malformed,
    ProxyError,
    RateLimited,
    Unavailable,
)

FAILURES_TO_OPEN = 10
FIRST_PAUSE = 5.0
LONGEST_PAUSE = 30.0
LONGEST_RETRY_AFTER = 300
PROBE_WAIT = 1.0  # others come back after that while one probes
MAX_LEARNT = 64
TOLD_EVERY = 10.0  # seconds between two lines about single failures


class Turn(Enum):
    """What the end of an exchange changed, where that is worth a line in the log."""

    FAILS = "fails"  # the first failure after it was well; not one of each hiccup
    DOWN = "down"
    BACK = "back"  # after either


class News(Enum):
    """What one process has learnt of an origin and the others want to know."""

    DOWN = "down"
    BACK = "back"
    QUIET = "quiet"  # it asked to be left alone for some seconds


@final
class Breaker:
    """The state of one origin: closed, open until a moment, or half open (one probe at a time).

    Look with `quiet` and `wait`, then `enter` and, whatever happens, one of `settle`, `abandoned`.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._open_until = 0.0
        self._probing = False
        self._quiet_until = 0.0
        self._told = False
        self._tell_from = -inf

    @property
    def is_calm(self) -> bool:
        """Tell whether there is nothing to wait for and nothing that a good answer would change."""
        return not (self._failures or self._told or self._quiet_until)

    def wait(self, now: float) -> float:
        """Seconds for which nothing may be asked because the origin is down; 0: go ahead."""
        if not self.is_open:
            return 0.0
        if now < self._open_until:
            return self._open_until - now
        return PROBE_WAIT if self._probing else 0.0

    def quiet(self, now: float) -> float:
        """Seconds for which the origin asked to be left alone (429 with Retry-After). When they are
        over, that is forgotten."""
        if self._quiet_until <= now:
            self._quiet_until = 0.0
            return 0.0
        return self._quiet_until - now

    def enter(self) -> None:
        """Go ahead: when the pause of an open breaker is over this caller is its probe."""
        self._probing = self._failures >= FAILURES_TO_OPEN

    def settle(self, error: ProxyError | None, now: float) -> Turn | None:
        """The exchange is over: `error` is what it came to, None a usable answer."""
        turn: Turn | None = None
        if isinstance(error, ForbiddenAddress):
            self.abandoned()  # its name was looked up, nobody was asked
        elif _could_not_answer(error):
            turn = self._failed(now)
        else:
            turn = self._succeeded()
        if isinstance(error, RateLimited):
            self._quiet_until = now + clamp_retry_after(error.retry_after or 1)
        return turn

    def hear(self, news: News, now: float, seconds: float = 0.0) -> None:
        """Another process has learnt this of the origin. `seconds`: of a QUIET."""
        match news:
            case News.DOWN if not self.is_open:
                self._failures = FAILURES_TO_OPEN
                self._open_until = now + self._pause
                self._told = True
            case News.BACK:
                self._succeeded()
            case News.QUIET:
                self._quiet_until = max(self._quiet_until, now + seconds)
            case _:
                pass

    def abandoned(self) -> None:
        """The caller left before the origin could show anything: the probe's place is free."""
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Tell whether the origin is held to be down."""
        return self._failures >= FAILURES_TO_OPEN

    def _succeeded(self) -> Turn | None:
        turn = Turn.BACK if self._told else None
        self._told = False
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._open_until = 0.0
        self._probing = False
        return turn

    def _failed(self, now: float) -> Turn | None:
        self._probing = False
        if now < self._open_until:
            return None  # asked before it opened: one outage, not another reason to wait longer
        self._failures += 1
        if self.is_open:
            self._open_until = now + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
        if self._failures == FAILURES_TO_OPEN:
            self._told = True
            return Turn.DOWN
        if self._failures == 1 and now >= self._tell_from:
            self._told, self._tell_from = True, now + TOLD_EVERY
            return Turn.FAILS
        return None


@final
class Breakers:
    """One breaker per origin. Those of learnt origins are bounded, the configured ones stay."""

    def __init__(self, configured: Iterable[str]) -> None:
        self._configured = {origin: Breaker() for origin in configured}
        self._learnt: dict[str, Breaker] = {}

    def of(self, origin: str) -> Breaker:
        """Give the breaker of an origin."""
        if (breaker := self._configured.get(origin)) is not None:
            return breaker
        if origin not in self._learnt and len(self._learnt) >= MAX_LEARNT:
            # More object stores than anybody has: the one that was learnt first goes.
            del self._learnt[next(iter(self._learnt))]
        return self._learnt.setdefault(origin, Breaker())

    @property
    def open_origins(self) -> tuple[str, ...]:
        """Origins that are held to be down."""
        both = {**self._configured, **self._learnt}
        return tuple(origin for origin, breaker in both.items() if breaker.is_open)


def clamp_retry_after(seconds: int) -> int:
    """Bring a Retry-After into 1..300 seconds."""
    return max(1, min(seconds, LONGEST_RETRY_AFTER))


def _could_not_answer(error: ProxyError | None) -> bool:
    if isinstance(error, Unavailable):
        return error.upstream_status is None or error.upstream_status >= 500
    return isinstance(error, InsecureUpstream | Malformed)
