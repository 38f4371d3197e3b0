"""When a token ends, read off the token itself, and how urgent that is. Pure: `now` is given.

Purpose: the vendor's pull tokens end after 30 days if nobody says otherwise, and silently; the end
stands in the token (`exp`). The signature is not looked at: the token is our own, and all that
comes of a wrong end is a wrong warning. Nothing is refused because of it, our clock may be off.

Reading: RFC 7519 section 4.1 (exp, iat). Non-goals: tokens that are no JWT, which say nothing.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime

DAY = 86400.0
STAGES = (30, 14, 7, 1)  # days before the end at which it is said
ENDED = 0
_LATEST = 253402300799.0  # the year 9999, beyond which no date can be written


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Seconds since the epoch. `begin` None: the token does not say."""

    end: float
    begin: float | None = None

    @property
    def soon(self) -> float:
        """Seconds before the end from which on it is high time: a day, of a short life a tenth."""
        return min(DAY, math.inf if self.begin is None else (self.end - self.begin) / 10)

    def stage(self, now: float) -> int | None:
        """The last of `STAGES` that is reached, ENDED, or None while there is time.

        A stage as long as the whole life is none: it would be reached by every new token.
        """
        if self.end <= now:
            return ENDED
        whole = math.inf if self.begin is None else self.end - self.begin
        reached = [days for days in STAGES if self.end - now <= days * DAY < whole]
        return min(reached, default=None)

    def describe(self) -> str:
        """The end, for a person."""
        return datetime.fromtimestamp(self.end, UTC).strftime("%Y-%m-%d %H:%M UTC")


def lifetime_of(token: str) -> Lifetime | None:
    """The lifetime that a JWT states; None where the text is none or states nothing usable."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    if not isinstance(claims, dict) or (end := _moment(claims.get("exp"))) is None:
        return None
    begin = _moment(claims.get("iat"))
    return Lifetime(end, begin if begin is not None and begin < end else None)


def _moment(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value <= _LATEST else None
