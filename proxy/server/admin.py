"""The admin listener: metrics and probes, apart from the clients' port.

Purpose: an operator's view. Off loopback it wants a bearer token (`admin_token_file`); the probes
do not. Every other spelling of its paths is 404.

Non-goals: serving artifacts; changing anything.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol, final

from aiohttp import web
from multidict import CIMultiDict

from proxy.access.credential import parse_authorization
from proxy.errors import (
    ClientForbidden,
    MethodNotAllowed,
    ProxyError,
    Unauthenticated,
    UnknownPath,
)
from proxy.observe.request_id import RequestIds
from proxy.server.errors import refusal, render
from proxy.server.front import check_framing, check_no_body, is_forwarded
from proxy.server.health import Health
from proxy.server.own_names import OwnNames
from proxy.server.responses import base_headers
from proxy.server.watch import Seen, Watch, fingerprint, settled

LOG = logging.getLogger(__name__)
_MAX_TOKEN = 4096


class Numbers(Protocol):
    """What is shown at `/metrics`."""

    def render(self) -> tuple[bytes, str]:
        """The exposition and its content type. Called in a thread."""
        ...


@final
class Admin:
    """Answers admin requests. `token_file` None: on loopback, where no token is needed, but one of
    `own_names`. `views`: what is shown as JSON, by path.

    Raises OSError or ValueError when the file cannot be read or holds no token.
    """

    def __init__(
        self,
        metrics: Numbers,
        health: Health,
        token_file: Path | None,
        own_names: OwnNames,
        views: Mapping[str, Callable[[], object]] | None = None,
    ) -> None:
        self._metrics = metrics
        self._health = health
        self._token_file = token_file
        self._watch = Watch([token_file] if token_file is not None else [])
        self._token = _read_token(token_file) if token_file is not None else None
        self._trouble = ""  # said already
        self._own_names = own_names
        self.views = views if views is not None else {}
        self._ids = RequestIds()

    async def poll(self) -> None:
        """Read the token again once its file has changed and settled. Never raises."""
        if await asyncio.to_thread(self._watch.changed):
            await self.reload()

    async def reload(self) -> None:
        """Read the token again; one that cannot be read, or is being written, leaves the old one
        in force. Never raises."""
        if self._token_file is None:
            return
        reading = await settled(partial(_try_token, self._token_file))
        if reading is None:
            self._watch.doubt()
            LOG.warning("the admin token stays as it was: its file is being written all the time")
            return
        (_, digest), found = reading
        if not digest:
            self._watch.doubt()  # it could not be read, now: that says nothing about the next time
        if isinstance(found, str):
            if found != self._trouble:
                LOG.warning("the admin token stays as it was: %s", found)
            self._trouble = found
            return
        self._trouble = ""
        if found != self._token:
            self._token = found
            LOG.info("the admin token was replaced")

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        request_id = self._ids.next()
        try:
            return await self._answer(request, base_headers(request_id))
        except ProxyError as error:
            return self._render(request, error, request_id)

    def refuse(self, request: web.BaseRequest, status: int) -> web.StreamResponse:
        """Answer what the parser refused, or a defect of ours."""
        return self._render(request, refusal(status), self._ids.next())

    def _render(self, request: web.BaseRequest, error: ProxyError, request_id: str) -> web.Response:
        response = render(error, None, request_id, base_headers(request_id))
        if request.body_exists:
            response.force_close()
        return response

    async def _answer(
        self, request: web.BaseRequest, headers: CIMultiDict[str]
    ) -> web.StreamResponse:
        check_framing(request)
        check_no_body(request)
        if (probe := self._health.probe(request.raw_path, request.method)) is not None:
            return probe(headers)
        self._authenticate(request)
        view = self.views.get(request.raw_path)
        if view is None and request.raw_path != "/metrics":
            known = ", ".join(("/metrics", "/healthz", "/readyz", *self.views))
            raise UnknownPath(f"The admin listener has {known}.")
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("The metrics and views are only read.")
        if view is None:
            body, media_type = await asyncio.to_thread(self._metrics.render)
        else:
            body, media_type = json.dumps(view(), indent=2).encode() + b"\n", "application/json"
        headers["Content-Type"] = media_type
        headers["Cache-Control"] = "no-store"
        return web.Response(body=body, headers=headers)

    def _authenticate(self, request: web.BaseRequest) -> None:
        if self._token is None:
            if is_forwarded(request):
                raise ClientForbidden(
                    "The request came through a front, and without a token only this machine is"
                    " answered: set server.admin_token_file."
                )
            self._own_names.require(request)
            return
        given = parse_authorization(request.headers.getall("Authorization", []))
        token = given.token if given is not None else ""
        if not hmac.compare_digest(_digest(token), self._token):
            raise Unauthenticated("The admin listener needs the admin token as Bearer.")


def _try_token(file: Path) -> tuple[Seen, bytes | str]:
    """What the file is, and the digest of its token or why there is none."""
    seen = fingerprint(file)
    try:
        return seen, _read_token(file)
    except (OSError, ValueError) as error:
        return seen, type(error).__name__


def _read_token(file: Path) -> bytes:
    """The digest of the token in a file. Raises OSError, ValueError."""
    with file.open("rb") as opened:
        text = opened.read(_MAX_TOKEN + 1).decode("ascii").strip()
    # An empty token would let in everybody, who sends none.
    if not text or len(text) > _MAX_TOKEN or not text.isprintable() or " " in text:
        raise ValueError("no token")
    return _digest(text)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
