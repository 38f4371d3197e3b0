"""The proxy on the way out, of the settings. Non-goals: asking through it."""

from __future__ import annotations

from collections.abc import Callable

from proxy.config import Settings
from proxy.egress import Egress
from proxy.secret import Secret
from proxy.upstream.pairs import PairSource, Unusable, read_pair


def way_out(settings: Settings, register: Callable[..., None]) -> Egress | None:
    """Read it; None: the way is direct. `register`: told who holds which secrets, that no log may.

    Raises ValueError for a file that holds no pair.
    """
    given = settings.upstream
    if not given.proxy:
        return None
    if given.proxy_password_file is None:
        return Egress(given.proxy)
    try:
        pair = read_pair(PairSource(pair_file=given.proxy_password_file))
    except Unusable as error:
        raise ValueError(str(error)) from None
    register("egress", *pair.spellings)
    return Egress(given.proxy, Secret(pair.authorization))
