"""What the head of a request says. Built from nothing, never forwarded. Pure.

Reading: RFC 9110 sections 12.5, 13 and 14.2. Non-goals: what a proxy on the way out is shown.
"""

from __future__ import annotations

from proxy.upstream.base import UpstreamRequest

USER_AGENT = "cgr-proxy"


def fields_of(request: UpstreamRequest, token: str | None, *, own: bool) -> dict[str, str]:
    """Four to eight fields. A learnt host gets only what says which bytes are wanted."""
    headers = {
        "Accept": request.accept,
        "Accept-Encoding": "identity",
        "User-Agent": USER_AGENT,
    }
    if request.range:
        headers["Range"] = request.range
        if request.if_range:
            headers["If-Range"] = request.if_range
    if not own:
        return headers
    if request.body:
        headers["Content-Type"] = "application/json"
    if request.no_cache:
        headers["Cache-Control"] = "no-cache"
    if request.etag:
        headers["If-None-Match"] = request.etag
    elif request.last_modified:
        headers["If-Modified-Since"] = request.last_modified
    if token is not None:
        headers["Authorization"] = token
    return headers
