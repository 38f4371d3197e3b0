"""Pull tokens as they stand in their files: complete, and for how long yet.

Purpose: what can be said without asking anybody. What the upstream thinks of them, `trial` hears.
Nothing of a token comes out but its end.

Reading: RFC 7519 (exp). Non-goals: tokens that are had by exchange (asked for in `rounds`).
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.doctor.findings import Finding, bad, good
from proxy.upstream.credentials import PairSource
from proxy.upstream.lifetime import DAY, Lifetime
from proxy.upstream.pairs import Unusable, read_pair

RENEW = (
    "Make a new one (`chainctl auth pull-token`, for this very ecosystem) and put it where the old"
    " one is; a running proxy takes it by itself."
)


def examine(ecosystem: str, sources: Sequence[PairSource], now: float) -> list[Finding]:
    """Look at the pull tokens of an ecosystem. Blocks. `now`: seconds since the epoch."""
    found = []
    for at, source in enumerate(sources):
        which = "the pull token" if len(sources) == 1 else f"pull token no. {at + 1}"
        try:
            pair = read_pair(source)
        except Unusable as error:
            fix = (
                "Put user name and password where [credentials] says, each whole and on a line, in"
                " files that the proxy's user may read."
            )
            found.append(bad(ecosystem, "token", f"{which} cannot be used: {error}", fix))
        else:
            found.append(judge(ecosystem, which, pair.lifetime, now))
    return found


def judge(ecosystem: str, which: str, lifetime: Lifetime | None, now: float) -> Finding:
    """What the end of a token means now."""
    if lifetime is None:
        return good(ecosystem, "token", f"{which} is there; it does not say when it ends")
    if lifetime.end <= now:
        detail = f"{which} has expired: it ended on {lifetime.describe()}"
        return bad(ecosystem, "token-expired", detail, RENEW)
    days = (lifetime.end - now) / DAY
    left = f"{which} ends on {lifetime.describe()}, in {days:.0f} days"
    if lifetime.end - now <= lifetime.soon:
        hours = (lifetime.end - now) / 3600
        detail = f"{which} ends on {lifetime.describe()}, in {hours:.0f} hours"
        return bad(ecosystem, "token", detail, RENEW)
    return good(ecosystem, "token", left)
