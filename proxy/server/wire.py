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
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion, HttpVersion10, HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import PayloadAccessError, RequestHandler, RequestPayloadError

LOG = logging.getLogger(__name__)
KEEPALIVE = 30.0
# Long enough for a client that is still sending a refused body to read the refusal.
LINGERING = 2.0
MAX_LINE = 8190
MAX_HEADERS = 64
_RESET = struct.pack("ii", 1, 0)
ODD_VERSION = web.RequestKey("odd version", HttpVersion)
"""On a request: the version of its line, where it is neither 1.0 nor 1.1."""

_BROKEN_BODY = (RequestPayloadError, PayloadAccessError, HttpProcessingError)

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

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered or waits to be. Bytes may still be on their way."""
        return self._current_request is None and not self._messages

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

    def log_exception(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # aiohttp's
        """Pass on to the log what is not the client's doing: a broken body is."""
        if not isinstance(kwargs.get("exc_info"), _BROKEN_BODY):
            super().log_exception(*args, **kwargs)


@final
class Server(web.Server):
    """aiohttp's low-level server with our connections."""

    def close_idle(self) -> None:
        """Close what waits for a next request, and everything else after its answer."""
        for connection in self.connections:
            connection.close()
            if isinstance(connection, _Connection) and connection.is_idle:
                connection.force_close()

    def __init__(self, handle: Handle, refuse: Refuse) -> None:
        super().__init__(handle, request_factory=self._request, handler_cancellation=True)
        self._refuse = refuse

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        """Make the request. aiohttp answers in the version that was asked, whatever it is."""
        version = message.version
        odd = version not in (HttpVersion10, HttpVersion11)
        if odd:
            message = message._replace(version=HttpVersion11, should_close=True)
        request = web.BaseRequest(message, payload, protocol, writer, task, self._loop)
        if odd:
            request[ODD_VERSION] = version
        return request

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


def body_size(request: web.BaseRequest, response: web.StreamResponse | None) -> int:
    """Bytes of body handed to the socket so far: aiohttp counts the head with them."""
    sent: int = request.writer.output_size
    if not sent or response is None:
        return sent
    fields = sum(len(name) + len(value) + 4 for name, value in response.headers.items())
    status_line = len(f"HTTP/1.1 {response.status} {response.reason}\r\n\r\n")
    return max(0, sent - status_line - fields)
