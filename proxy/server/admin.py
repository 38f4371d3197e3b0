"""The admin listener: metrics and probes, apart from the clients' port.

Purpose: an operator's view. Off loopback it wants a bearer token (`admin_token_file`); the probes
do not. Every other spelling of its paths is 404.

Non-goals: serving artifacts; changing anything.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import final

from aiohttp import web

from proxy.errors import BadRequest, InternalError, ProxyError, Unauthenticated, UnknownPath
from proxy.observe.metrics import Metrics
from proxy.observe.request_id import RequestIds
from proxy.server.errors import render
from proxy.server.front import check_framing
from proxy.server.health import Health
from proxy.server.responses import base_headers


@final
class Admin:
    """Answers admin requests. `token`: empty on loopback, where none is needed."""

    def __init__(self, metrics: Metrics, health: Health, token: str) -> None:
        self._metrics = metrics
        self._health = health
        self._token = hashlib.sha256(token.encode()).digest() if token else None
        self._ids = RequestIds()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        request_id = self._ids.next()
        try:
            return self._answer(request, request_id)
        except ProxyError as error:
            return render(error, None, request_id, base_headers(request_id))

    def refuse(self, request: web.BaseRequest, status: int) -> web.StreamResponse:  # noqa: ARG002
        """Answer what the parser refused, or a defect of ours."""
        request_id = self._ids.next()
        error: ProxyError = BadRequest("The request is not valid HTTP/1.1.")
        if status >= 500:
            error = InternalError("The proxy failed on this request; its log says why.")
        return render(error, None, request_id, base_headers(request_id))

    def _answer(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        check_framing(request)
        headers = base_headers(request_id)
        if (probe := self._health.probe(request.raw_path, request.method)) is not None:
            return probe(headers)
        self._authenticate(request)
        if request.raw_path != "/metrics" or request.method not in ("GET", "HEAD"):
            raise UnknownPath("The admin listener has /metrics, /healthz and /readyz.")
        body, media_type = self._metrics.render()
        headers["Content-Type"] = media_type
        headers["Cache-Control"] = "no-store"
        return web.Response(body=body, headers=headers)

    def _authenticate(self, request: web.BaseRequest) -> None:
        if self._token is None:
            return
        given = request.headers.get("Authorization", "")
        scheme, _, value = given.partition(" ")
        digest = hashlib.sha256(value.strip().encode("utf-8", "surrogatepass")).digest()
        if scheme.lower() != "bearer" or not hmac.compare_digest(digest, self._token):
            raise Unauthenticated("The admin listener needs the admin token as Bearer.")
