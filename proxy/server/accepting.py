"""Does a client accept a media type that nobody can change? Pure.

Purpose: documents that are passed on as they are have one media type, the upstream's. A client that
names types and not that one would misread it, so it is told that there is nothing for it, as
registries do. Clients send Accept in one line or in many (docker: six).

Reading: RFC 9110 section 12.5.1. Non-goals: choosing among representations (each ecosystem does).
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.errors import NotFound

MAX_ITEMS = 200


def check_accepted(lines: Sequence[str], media_type: str) -> None:
    """Raise NotFound unless the Accept lines (none: everything) name a media type."""
    wanted = media_type.partition(";")[0].strip().lower()
    items = [item for line in lines for item in line.split(",")][:MAX_ITEMS]
    if not any(item.strip() for item in items) or any(_names(item, wanted) for item in items):
        return
    raise NotFound(f"It is there, but as {wanted}, which the request does not accept.")


def _names(item: str, wanted: str) -> bool:
    pattern, *parameters = (part.strip().lower() for part in item.split(";"))
    weights = [part[2:].strip() for part in parameters if part.startswith("q=")]
    if weights and not weights[0].strip("0."):
        return False  # q=0 in one of its spellings
    kind, _, _ = wanted.partition("/")
    return pattern in (wanted, f"{kind}/*", "*/*", "*")
