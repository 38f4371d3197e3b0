"""Failures that travel between processes. Pure.

Purpose: followers in another process hear the same failure as the leader's own. A failure is sent
as the name of its leaf and its sentence; what cannot be read is an `Unavailable`.
"""

from __future__ import annotations

import json

from proxy.errors import (
    Blocked,
    CredentialRefused,
    DigestMismatch,
    ForbiddenAddress,
    FrozenMiss,
    InsecureUpstream,
    Malformed,
    NotFound,
    ProxyError,
    RateLimited,
    Unavailable,
)

_PLAIN: dict[str, type[ProxyError]] = {
    leaf.__name__: leaf
    for leaf in (
        CredentialRefused,
        DigestMismatch,
        ForbiddenAddress,
        FrozenMiss,
        InsecureUpstream,
        Malformed,
        RateLimited,
        Unavailable,
    )
}


def to_text(error: ProxyError) -> str:
    """Write a failure down."""
    data: dict[str, object] = {"leaf": type(error).__name__, "detail": error.detail}
    if error.retry_after is not None:
        data["retry_after"] = error.retry_after
    if isinstance(error, NotFound):
        data["flag"] = error.gone
    if isinstance(error, Blocked):
        data["flag"] = error.conflict
    return json.dumps(data)


def from_text(text: str) -> ProxyError:
    """Read it back."""
    try:
        data = json.loads(text)
        leaf, detail, retry_after = data["leaf"], str(data["detail"]), data.get("retry_after")
    except (ValueError, KeyError, TypeError):
        return Unavailable("The transfer failed in another process.", retry_after=1)
    if leaf == "NotFound":
        return NotFound(detail, gone=data.get("flag") is True)
    if leaf == "Blocked":
        return Blocked(detail, conflict=data.get("flag") is True)
    return _PLAIN.get(leaf, Unavailable)(
        detail, retry_after=retry_after if isinstance(retry_after, int) else None
    )
