"""The seam to aiohttp's low-level server: our own words for what its parser refuses.

Purpose: aiohttp answers a malformed request with its own text, which echoes the bytes, and logs a
traceback for each; here it is one constant line, a request id, a closed connection. Also: aborts
that look like aborts. Everything that leans on aiohttp's protocol class stands in this file.

Reading: aiohttp `web_protocol.py`, `web_server.py` (3.14). Non-goals: what a request means.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

LOG = logging.getLogger(__name__)
KEEPALIVE = 30.0
# Long enough for a client that is still sending a refused body to read the refusal.
LINGERING = 2.0
MAX_LINE = 8190
MAX_HEADERS = 64
_RESET = struct.pack("ii", 1, 0)

Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
# Makes the answer to what the parser, or a defect of ours, refused: request, status.
Refuse = Callable[[web.BaseRequest, int], web.StreamResponse]


@final
class _Connection(RequestHandler):
    """One client connection."""

    __slots__ = ("_refuse",)

    def __init__(self, server: Server, refuse: Refuse, **kwargs: Any) -> None:  # noqa: ANN401  # aiohttp's
        super().__init__(server, **kwargs)
        self._refuse = refuse

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  # aiohttp's text, which echoes the bytes
    ) -> web.StreamResponse:
        """Answer for aiohttp's parser (status 400) and for a defect of ours (status 500)."""
        if isinstance(exc, ConnectionError):
            raise exc
        if status >= 500 and not isinstance(exc, HttpProcessingError):
            LOG.error("a request failed inside the proxy", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a head is out already")
        response = self._refuse(request, status)
        response.force_close()
        return response


@final
class Server(web.Server):
    """aiohttp's low-level server with our connections."""

    def __init__(self, handle: Handle, refuse: Refuse) -> None:
        super().__init__(handle, handler_cancellation=True)
        self._refuse = refuse

    def __call__(self) -> RequestHandler:
        """Make the protocol of a new connection."""
        return _Connection(
            self,
            self._refuse,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=KEEPALIVE,
            lingering_time=LINGERING,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_HEADERS,
            auto_decompress=False,
            access_log=None,
        )


def abort(request: web.BaseRequest) -> ConnectionError:
    """Reset the connection, so that no client can take the body for complete; raise the result.

    A plain close of a body without length looks like its end (measured with curl).
    """
    transport = request.transport
    if isinstance(transport, asyncio.Transport):
        peer = transport.get_extra_info("socket")
        if peer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()
    return ConnectionResetError("aborted")
