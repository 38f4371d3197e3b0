"""Judging what is held, and settling what a failed revalidation means. Pure: `now` is given.

Reading: RFC 9111 section 4.2 (freshness), RFC 5861 section 4 (stale-if-error); uv `httpcache`.
Non-goals: heuristic freshness; a document without a lifetime of its own gets the configured ttl.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from proxy.errors import FrozenMiss, Outcome, ProxyError, UpstreamSilent

# A clock that was stepped back makes an answer seem to come from the future: that much is jitter.
CLOCK_SKEW = 60.0


@dataclass(frozen=True, slots=True)
class Policy:
    """Seconds. `ttl`: how long a document is fresh at most. `max_stale`: how much longer it may be
    served while the upstream cannot answer. `negative_ttl`: how long a refusal is remembered."""

    ttl: float
    tag_ttl: float
    max_stale: float
    negative_ttl: float

    def remembered(self, error: ProxyError, pause: float) -> float:
        """How long to remember a failure: the upstream's word as refusals are, else for `pause`."""
        return self.negative_ttl if error.outcome is Outcome.NEWS else pause


@dataclass(frozen=True, slots=True)
class Verdict:
    """`age`: seconds since the upstream last confirmed it. `ttl`: seconds of freshness left,
    negative when stale. `usable`: within max_stale, so good enough when the upstream is silent."""

    age: int
    ttl: int
    fresh: bool
    usable: bool


def lifetime_of(max_age: int | None, *, moving: bool, policy: Policy) -> float:
    """Seconds from a confirmation to staleness."""
    lifetime = policy.tag_ttl if moving else policy.ttl
    return lifetime if max_age is None else min(lifetime, float(max_age))


def judge(
    *, checked_at: float, max_age: int | None, moving: bool, policy: Policy, now: float
) -> Verdict:
    """Judge a held document. The upstream's max-age may shorten the ttl, never lengthen it."""
    lifetime = lifetime_of(max_age, moving=moving, policy=policy)
    age = now - checked_at
    if age < -CLOCK_SKEW:
        return Verdict(age=0, ttl=0, fresh=False, usable=policy.max_stale > 0)
    left = lifetime - age
    return Verdict(
        age=max(0, int(age)),
        ttl=int(left) if left > 0 else min(int(left), -1),
        fresh=left > 0,
        usable=-left <= policy.max_stale and policy.max_stale > 0,
    )


class Settlement(Enum):
    """What to do after the upstream failed to give or confirm a document."""

    SERVE_HELD = "serve the held copy, marked"
    FORGET = "drop the held copy and pass the refusal on"
    RAISE = "keep the held copy, but do not serve it; pass the failure on"


def settle(error: ProxyError, held: Verdict | None) -> Settlement:
    """Settle a failure against the held copy, if any.

    News of the upstream replace what is held; silence and rubbish do not.
    """
    match error.outcome:
        case Outcome.NEWS:
            return Settlement.FORGET
        case Outcome.SILENCE | Outcome.RUBBISH:
            if held is None:
                return Settlement.RAISE
            if held.usable or isinstance(error, FrozenMiss):
                return Settlement.SERVE_HELD
            return Settlement.RAISE
        case Outcome.REFUSAL:
            return Settlement.RAISE


def too_old(error: ProxyError, age: int) -> ProxyError:
    """The same failure, with why the held copy of `age` seconds does not help."""
    if error.outcome not in (Outcome.SILENCE, Outcome.RUBBISH):
        return error
    hours, seconds = divmod(age, 3600)
    since = f"{hours} h {seconds // 60} min" if hours else f"{seconds} s"
    detail = (
        f"{error.detail} The copy in the cache was last confirmed {since} ago, which is longer"
        " than [cache] max_stale allows."
    )
    if isinstance(error, UpstreamSilent):
        return type(error)(
            detail,
            retry_after=error.retry_after,
            upstream_status=error.upstream_status,
            asked=error.asked,
        )
    return type(error)(detail, retry_after=error.retry_after)
