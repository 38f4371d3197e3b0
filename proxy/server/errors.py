"""A failure as an answer: status, constant reason phrase, a body in the ecosystem's words.

Purpose: the one place that words errors for clients. The reason stands in the body *and* in the
reason phrase, because old Maven and pip print nothing else.

Reading: `proxy.errors` (what each failure is); RFC 9110 section 15. Non-goals: logging.
"""

from __future__ import annotations

from aiohttp import web
from multidict import CIMultiDict

from proxy.cache.status import DENIED
from proxy.ecosystems.base import Ecosystem, one_line
from proxy.errors import (
    AccessError,
    BadRequest,
    InternalError,
    MethodNotAllowed,
    ProxyError,
    RequestError,
    Unauthenticated,
    UnknownPath,
)
from proxy.server.answer import Answer

CHALLENGE = 'Basic realm="cgr-proxy"'


def refusal(status: int) -> ProxyError:
    """What the parser refused (400), or a defect of ours (500), in words for a client."""
    if status >= 500:
        return InternalError("The proxy failed on this request; its log says why.")
    return BadRequest("The request is not valid HTTP/1.1.")


def render(
    error: ProxyError, ecosystem: Ecosystem | None, request_id: str, headers: CIMultiDict[str]
) -> web.Response:
    """Make the answer. `headers`: the fields of every answer."""
    body = (
        ecosystem.render_error(error, request_id)
        if ecosystem is not None
        else one_line(error, request_id)
    )
    headers.extend(body.headers)
    headers["Content-Type"] = body.media_type
    headers["Cache-Control"] = "no-store"
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, AccessError):
        headers["Cache-Status"] = DENIED
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = CHALLENGE
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = error.allow
    response = Answer(status=error.status, reason=error.reason, body=body.body, headers=headers)
    if isinstance(error, RequestError) and not isinstance(error, UnknownPath):
        # Whatever else this client has already sent is not to be trusted either.
        response.force_close()
    return response
