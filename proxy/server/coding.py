"""Which content coding a client gets. Pure.

Reading: RFC 9110 section 12.5.3 (Accept-Encoding). Non-goals: packing (`cache.coding`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from proxy.ecosystems.negotiation import MAX_ACCEPT, qualities

_ALIASES = {"x-gzip": "gzip"}


def choose_coding(accept_encoding: Sequence[str], offered: Sequence[str]) -> str:
    """Choose one of `offered`, ours first where the client does not mind; "": identity.

    A client that says nothing gets identity, as does one that rules out everything: it can still
    read an answer that it did not want, but not one that it cannot decode.
    """
    line = ",".join(accept_encoding)
    return _choose(line, tuple(offered)) if len(line) <= MAX_ACCEPT else ""


@lru_cache(maxsize=256)  # clients send one of a few
def _choose(line: str, offered: tuple[str, ...]) -> str:
    wanted = qualities((line,), _ALIASES)
    if not wanted:
        return ""
    others = wanted.get("*", 0.0)
    best, chosen = 0.0, ""
    for coding in offered:
        quality = wanted.get(coding, others)
        if quality > best:
            best, chosen = quality, coding
    # Identity is acceptable unless it is ruled out; it wins only when it was asked for.
    return "" if wanted.get("identity", 0.0) > best else chosen
