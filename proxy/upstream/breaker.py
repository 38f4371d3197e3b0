"""When to stop asking an origin that does not answer. Pure: `now` is given, in seconds.

Purpose: with the upstream down a cached answer must not pay a timeout, and an upstream that comes
back must not be met by a stampede. Counts only what means "could not answer" (connect failures,
timeouts, 5xx); 401, 403 and 404 of one path say nothing about the origin.

Reading: M. Nygard, Release It!, "Circuit Breaker". Non-goals: rate limiting of our own.
"""

from __future__ import annotations

from typing import final

FAILURES_TO_OPEN = 10
FIRST_PAUSE = 5.0
LONGEST_PAUSE = 30.0
LONGEST_RETRY_AFTER = 300


@final
class Breaker:
    """The state of one origin: closed, open until a moment, or half open (one probe at a time)."""

    def __init__(self) -> None:
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._open_until = 0.0
        self._probing = False
        self._quiet_until = 0.0

    def wait(self, now: float) -> float:
        """Seconds for which nothing may be asked; 0: go ahead.

        When the pause is over the first caller becomes the probe; others wait for its verdict.
        """
        if now < self._open_until:
            return self._open_until - now
        if self._failures < FAILURES_TO_OPEN:
            return 0.0
        if self._probing:
            return 1.0
        self._probing = True
        return 0.0

    def quiet(self, now: float) -> float:
        """Seconds for which the origin asked to be left alone (429 with Retry-After)."""
        return max(0.0, self._quiet_until - now)

    def succeeded(self) -> None:
        """The origin answered, whatever it said."""
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._open_until = 0.0
        self._probing = False

    def failed(self, now: float) -> None:
        """The origin could not answer."""
        self._failures += 1
        self._probing = False
        if self._failures >= FAILURES_TO_OPEN:
            self._open_until = now + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def abandoned(self) -> None:
        """The caller left before the origin could show anything: the probe's place is free."""
        self._probing = False

    def limited(self, now: float, seconds: int) -> None:
        """The origin asked for `seconds` of quiet (clamped to 1..300)."""
        self._quiet_until = now + clamp_retry_after(seconds)

    @property
    def is_open(self) -> bool:
        """Tell whether the origin is held to be down."""
        return self._failures >= FAILURES_TO_OPEN


def clamp_retry_after(seconds: int) -> int:
    """Bring a Retry-After into 1..300 seconds."""
    return max(1, min(seconds, LONGEST_RETRY_AFTER))
