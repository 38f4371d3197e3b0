"""The Cache-Status of an answer. Pure.

Reading: RFC 9211 (Cache-Status), RFC 8941 (structured fields). Only our own member is sent: what
caches in front of the upstream did is none of a client's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from proxy.errors import Outcome, ProxyError, UpstreamSilent

NAME = "cgr-proxy"
Detail = Literal["", "stale-if-error", "upstream-malformed", "stale-while-revalidate"]


@dataclass(frozen=True, slots=True)
class CacheStatus:
    """One member of the field. `label`: the metric label of it, one of a closed set.

    `fwd` empty means hit. `ttl` is sent only when negative: clients need not know the rest.
    """

    fwd: Literal["", "miss", "stale"] = ""
    fwd_status: int | None = None
    stored: bool = False
    collapsed: bool = False
    ttl: int = 0
    detail: Detail = ""

    @property
    def label(self) -> Literal["hit", "miss", "collapsed", "revalidated", "stale"]:
        """The metric label."""
        if self.detail:
            return "stale"
        if self.collapsed:
            return "collapsed"
        if not self.fwd:
            return "hit"
        return "miss" if self.fwd == "miss" else "revalidated"

    def __str__(self) -> str:
        text = f"{NAME}; fwd={self.fwd}" if self.fwd else f"{NAME}; hit"
        if self.fwd_status is not None:
            text += f"; fwd-status={self.fwd_status}"
        if self.stored:
            text += "; stored"
        if self.collapsed:
            text += "; collapsed"
        if self.ttl < 0:
            text += f"; ttl={self.ttl}"
        if self.detail:
            text += f"; detail={self.detail}"
        return text


DENIED = f"{NAME}; detail=denied"
PASSED_ON = f"{NAME}; fwd=bypass"
HIT = CacheStatus()
STORED = CacheStatus(fwd="miss", stored=True)
COLLAPSED = CacheStatus(fwd="miss", collapsed=True)


def stale(error: ProxyError, ttl: int, *, remembered: bool = False) -> CacheStatus:
    """The status of a held copy that is served because of `error`. `remembered`: of a moment ago,
    nobody was asked for this answer."""
    detail: Detail = "upstream-malformed" if error.outcome is Outcome.RUBBISH else "stale-if-error"
    ttl = min(ttl, -1)
    if remembered or (isinstance(error, UpstreamSilent) and not error.asked):
        return CacheStatus(ttl=ttl, detail=detail)
    status = error.upstream_status if isinstance(error, UpstreamSilent) else None
    return CacheStatus(fwd="stale", fwd_status=status, ttl=ttl, detail=detail)
