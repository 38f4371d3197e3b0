"""The seam to aiohttp's low-level server: our own words for what its parser refuses.

Purpose: aiohttp answers a malformed request with its own text, which echoes the bytes, and logs a
traceback for each; here it is one constant line, a request id, a closed connection. Also: aborts
that look like aborts. What leans on aiohttp's protocol class stands in this file and in `seam`.

Reading: aiohttp `web_protocol.py`, `web_server.py` (3.14). Non-goals: what a request means.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion, HttpVersion10, HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import PayloadAccessError, RequestHandler, RequestPayloadError

from proxy.server.errand import ErrandHandler, Prompt
from proxy.server.seam import KEEPALIVE, SEAM, Recall
from proxy.server.stalled import Stalled, reset, unsent

LOG = logging.getLogger(__name__)
# Long enough for a client that is still sending a refused body to read the refusal.
LINGERING = 0.5
# How long a client that has closed its side may wait for the next byte.
HALF_CLOSED = 5.0
MAX_LINE = 8190
MAX_HEADERS = 64
MAX_CONNECTIONS = 20_000
ODD_VERSION = web.RequestKey("odd version", HttpVersion)
"""On a request: the version of its line, where it is neither 1.0 nor 1.1."""

_BROKEN_BODY = (RequestPayloadError, PayloadAccessError, HttpProcessingError)

Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
# Makes the answer to what the parser, or a defect of ours, refused: request, status.
Refuse = Callable[[web.BaseRequest, int], web.StreamResponse]


@final
class _Connection(ErrandHandler):
    """One client connection."""

    __slots__ = ("_half_closed", "_refuse", "_stalled", "reached")

    def __init__(
        self,
        server: Server,
        refuse: Refuse,
        ready: tuple[Recall | None, Prompt | None],
        min_rate: int,
        **kwargs: Any,  # noqa: ANN401  # aiohttp's
    ) -> None:
        super().__init__(server, *ready, **kwargs)
        self._refuse = refuse
        self.reached = server.reached
        self._stalled = Stalled(min_rate, server.reached)
        self._half_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be told of every byte that waits in this process, not only of many."""
        super().connection_made(transport)
        plain = transport.get_extra_info("sslcontext") is None
        if plain and isinstance(transport, asyncio.WriteTransport):
            transport.set_write_buffer_limits(high=0)

    def pause_writing(self) -> None:
        """Something waits for the client: it shall be taken in time."""
        super().pause_writing()
        self._stalled.look_at(self.transport)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's own protocol has bool
        """Go on answering who has said that it sends no more (`nc`, RFC 9112 section 9.6).

        Most who say so have gone, but that shows only when something is sent to them.
        """
        if self.is_idle or self.ssl_context is not None:
            return False
        self._half_closed = True
        self._expect_progress(None)
        return True

    def _expect_progress(self, before: tuple[int, int] | None) -> None:
        """End a half-closed connection on which nothing moves, and with it who waits there."""
        transport = self.transport
        if not isinstance(transport, asyncio.Transport):
            return
        request = self._current_request
        now = (len(self._messages), request.writer.output_size if request is not None else 0)
        # A peer that has gone answers whatever is sent with a reset: it is asked by sending.
        if now == before and not unsent(transport):
            transport.abort()
            return
        self._loop.call_later(HALF_CLOSED, self._expect_progress, now)

    def done(self) -> None:
        """See `ErrandHandler.done`; the last answer to a half-closed connection ends it."""
        super().done()
        if self._half_closed and self.is_idle:
            self.force_close()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the rest of an answer; the last one to a half-closed connection ends it."""
        result = await super().finish_response(request, resp, start_time)
        if self._half_closed and not self._messages:
            self.close()
        return result

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
    """aiohttp's low-level server with our connections, `limit` of them at most.

    `min_rate`: bytes a second that a client must take of what waits for it; 0: no minimum.
    `recall`: answers a known question at once. `prompt`: sets out for answers that are ready in a
    moment; only together with `recall`. `seam`: what aiohttp must have for both; without, the
    handler answers everything. `reached` is told which limit was.
    """

    def __init__(  # noqa: PLR0913  # made once a listener
        self,
        handle: Handle,
        refuse: Refuse,
        limit: int = MAX_CONNECTIONS,
        recall: Recall | None = None,
        prompt: Prompt | None = None,
        *,
        min_rate: int = 0,
        seam: Sequence[str] = SEAM,
        reached: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(handle, request_factory=self._request, handler_cancellation=True)
        self._refuse = refuse
        is_known = all(hasattr(RequestHandler, name) for name in seam)
        self._ready = (recall, prompt) if is_known else (None, None)
        if not is_known and recall is not None:
            LOG.warning("this version of aiohttp is not known here: repeated hits are not faster")
        self._limit = limit
        self.reached = reached
        self._min_rate = min_rate

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Take a connection, or end it at once where there are too many."""
        super().connection_made(handler, transport)
        if len(self._connections) > self._limit:
            self.reached("max_connections")
            transport.abort()

    def close_idle(self, which: Callable[[asyncio.BaseTransport], bool] | None = None) -> None:
        """Close what waits for a next request, and everything else after its answer. `which`: of
        those connections only."""
        for connection in self.connections:
            transport = connection.transport
            if which is not None and (transport is None or not which(transport)):
                continue
            if isinstance(connection, _Connection) and connection.is_idle:
                connection.force_close()
            else:
                connection.close()

    def reset_all(self) -> None:
        """Reset every connection: whoever gets an answer at this moment sees that it is cut."""
        for transport in list(self._connections.values()):
            reset(transport)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        """Make the request. aiohttp answers in the version that was asked, whatever it is, and
        keeps what follows an upgrade to itself: such connections end after the answer."""
        version = message.version
        odd = version not in (HttpVersion10, HttpVersion11)
        if odd:
            message = message._replace(version=HttpVersion11, should_close=True)
        elif "Upgrade" in message.headers:
            message = message._replace(should_close=True)
        request = web.BaseRequest(message, payload, protocol, writer, task, self._loop)
        if odd:
            request[ODD_VERSION] = version
        return request

    def __call__(self) -> RequestHandler:
        """Make the protocol of a new connection."""
        return _Connection(
            self,
            self._refuse,
            self._ready,
            self._min_rate,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=KEEPALIVE,
            lingering_time=LINGERING,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_HEADERS,
            auto_decompress=False,
            access_log=None,
        )


def too_slow(request: web.BaseRequest) -> ConnectionError:
    """As `abort`, of a client that takes less than the minimum rate."""
    connection = request.protocol
    if isinstance(connection, _Connection):
        connection.reached("min_rate_client")
    return abort(request)


def abort(request: web.BaseRequest) -> ConnectionError:
    """Reset the connection, so that no client can take the body for complete; raise the result.

    A plain close of a body without length looks like its end (measured with curl).
    """
    if isinstance(request.transport, asyncio.Transport):
        reset(request.transport)
    return ConnectionResetError("aborted")


def body_size(request: web.BaseRequest, response: web.StreamResponse | None) -> int:
    """Bytes of body handed to the socket so far: aiohttp counts the head with them."""
    sent: int = request.writer.output_size
    if not sent or response is None:
        return sent
    if isinstance(response, web.Response) and isinstance(response.body, bytes):
        # Head and body went in one: there is nothing to take apart.
        bare = request.method == "HEAD" or response.status in (204, 304)
        return 0 if bare else len(response.body)
    fields = sum(len(name) + len(value) + 4 for name, value in response.headers.items())
    status_line = len(f"HTTP/1.1 {response.status} {response.reason}\r\n\r\n")
    return max(0, sent - status_line - fields)
