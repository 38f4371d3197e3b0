"""aiohttp sessions as this proxy needs them, and what their failures mean.

Purpose: every trap of the client library is closed at this one place: no session credentials, no
redirects of its own, no re-quoting, no decompression, no cookies, no environment, no silent second
try. Its exceptions carry URLs and request headers (pre-signed queries and the pull token among
them): callers raise what `translate` makes of them *outside* the `except` block, so that no
`__cause__` and no `__context__` drags them into a traceback.

Reading: RFC 9112 section 9.3.1 (retrying); httpcore `map_exceptions`. Non-goals: what is asked.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, final

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.connector import Connection
from aiohttp.resolver import ThreadedResolver
from multidict import CIMultiDictProxy
from yarl import URL

from proxy.egress import Egress
from proxy.errors import InsecureUpstream, Malformed, ProxyError, Unavailable
from proxy.upstream.wire import READ_BUFFER, Wire

if TYPE_CHECKING:
    from aiohttp.tracing import Trace

MAX_SIDE_BODY = 64 * 1024
SIDE_BODY_SECONDS = 2.0
KEEP_ALIVE = 30.0
FACTORY = "_factory"
"""What the library's connector makes its protocols with, and keeps to itself. A test says when
another version has another name for it; connections are then no `Wire`, and all is as it was."""
DNS_TTL = 10  # seconds
_LONGEST_REASON = 120


class NotHttp(Exception):
    """What came in answer is not HTTP."""


FAILURES = (aiohttp.ClientError, TimeoutError, OSError, ValueError, NotHttp)


class Content(Protocol):
    """What this room uses of a body, by the names of aiohttp's `StreamReader`."""

    def on_eof(self, callback: Callable[[], None]) -> None:
        """Have somebody told that all of it has come; at once if it has."""
        ...

    def set_exception(self, exc: BaseException) -> None:
        """Have who reads it hear of this."""
        ...

    def exception(self) -> BaseException | None:
        """Why no more will come, if so."""
        ...

    def is_eof(self) -> bool:
        """Whether all of it has come."""
        ...

    def at_eof(self) -> bool:
        """Whether all of it was read besides."""
        ...

    def read_nowait(self) -> bytes:
        """All that has come and was not read yet."""
        ...

    async def readchunk(self) -> tuple[bytes, bool]:
        """The next piece, and whether a chunk ends there. Both are false at the end."""
        ...

    async def read(self, n: int) -> bytes:
        """The next piece, of at most `n` bytes; empty at the end."""
        ...


class Answer(Protocol):
    """What this room uses of an answer, whoever made it."""

    @property
    def status(self) -> int:
        """Its status."""
        ...

    @property
    def url(self) -> URL:
        """Where it comes from."""
        ...

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """Its fields."""
        ...

    @property
    def content(self) -> Content:
        """Its body."""
        ...

    @property
    def content_length(self) -> int | None:
        """The size of its body in bytes, as it says itself."""
        ...

    @property
    def connection(self) -> Connection | None:
        """Its connection, for as long as its body is on the way."""
        ...

    def close(self) -> None:
        """Give its connection up, unless the body was received whole. Idempotent."""
        ...


@final
class _Connector(aiohttp.TCPConnector):
    """Does not give out a connection on which something has come that nobody asked for.

    The library parses it while the connection is idle, and would take it for the answer to the next
    question: a front server's 408 to an idle client, or what belongs to somebody else's question.
    Those that it makes are of our kind (`wire`).
    """

    def __init__(self, **how: Any) -> None:  # noqa: ANN401  # the library's
        super().__init__(**how)
        if hasattr(self, FACTORY):
            setattr(self, FACTORY, partial(Wire, asyncio.get_running_loop()))

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # the library's
    ) -> Connection:
        """See `aiohttp.BaseConnector.connect`."""
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if protocol is None or not protocol.should_close:
                return connection
            connection.close()


def make_session(
    tls: ssl.SSLContext,
    *,
    connect_timeout: float,
    resolver: AbstractResolver | None = None,
    egress: Egress | None = None,
) -> aiohttp.ClientSession:
    """Make a session; its connections are limited by whoever asks, and the time that its answers
    take by whoever reads them (`silence`). `connect_timeout` in seconds.

    With `egress` only that one's name is looked up here, so `resolver` is not asked; its
    `headers` go with each request (see `Exchange`).
    """
    connector = _Connector(
        limit=0,
        ssl=tls,
        resolver=ThreadedResolver() if egress or resolver is None else resolver,
        ttl_dns_cache=DNS_TTL,
        keepalive_timeout=KEEP_ALIVE,
    )
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        requote_redirect_url=False,
        read_bufsize=READ_BUFFER,
        proxy=egress.url if egress else None,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout),
    )
    # It would ask twice for each of our tries. There is no public switch; a test counts.
    session._retry_connection = False  # noqa: SLF001
    return session


async def read_side_body(response: Answer) -> bytes:
    """The body of a refusal or a redirect: at most 64 KiB of it, for at most two seconds.

    Read to its end, the connection can be used again; if it breaks off, what came is the body.
    """
    body = bytearray()
    with suppress(*FAILURES):
        async with asyncio.timeout(SIDE_BODY_SECONDS):
            while piece := await response.content.read(MAX_SIDE_BODY - len(body)):
                body += piece
    return bytes(body)


def translate(error: Exception) -> ProxyError:
    """Say what a failure of the library means. Only the kind of failure is passed on."""
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return InsecureUpstream(
            f"No trustworthy TLS connection to the upstream could be made: {_tls_reason(error)}."
        )
    if isinstance(error, TimeoutError):
        return Unavailable("The upstream did not answer in time; try again later.", retry_after=5)
    if (refusal := _on_the_way_out(error)) is not None:
        return refusal
    if isinstance(error, aiohttp.ClientResponseError | NotHttp):
        return Malformed("The upstream's answer was not valid HTTP.")
    if isinstance(error, ValueError):  # InvalidURL, a host name that cannot be looked up
        return Malformed("The upstream named an address that cannot be asked.")
    return Unavailable("The upstream cannot be reached; try again later.", retry_after=5)


def _on_the_way_out(error: Exception) -> ProxyError | None:
    """What went wrong between us and the organisation's own proxy; None: something else did."""
    match error:
        case aiohttp.ClientHttpProxyError():
            told = f"answered {error.status}: the operator of the network has to let us through"
        case aiohttp.ClientProxyConnectionError():
            told = "cannot be reached; try again later"
        case _:
            return None
    return Unavailable(f"The proxy on the way out (upstream.proxy) {told}.", retry_after=5)


def _tls_reason(error: Exception) -> str:
    """OpenSSL's own words for it, which name no more than the host."""
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", error)
    words = (
        getattr(inner, "verify_message", "") or getattr(inner, "reason", "") or "no reason given"
    )
    text = str(words).rstrip(".")[:_LONGEST_REASON]
    return "".join(char if " " <= char <= "~" else "?" for char in text)
