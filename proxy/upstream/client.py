"""The upstream over aiohttp: one question in, a usable answer or a translated error out.

Purpose: everything that can go wrong between here and the vendor's hosts is handled in this room:
credentials (joined by origin, dropped at every redirect), redirects (by hand, byte for byte),
addresses (checked where they are learnt and where they are connected to), deadlines, retries, the
breaker, the number of connections.

aiohttp traps avoided here: client middlewares and session-level auth follow redirects; URLs are
re-quoted; `.netrc` and proxy variables are read with trust_env; cookies are replayed.

Reading: design section 5; RFC 9110 section 15.4. Non-goals: caching, single flight, HEAD.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Protocol, final

import aiohttp
from yarl import URL

from proxy.errors import (
    CredentialRefused,
    ForbiddenAddress,
    FrozenMiss,
    InsecureUpstream,
    Malformed,
    ProxyError,
    RateLimited,
    Unavailable,
    UpstreamSilent,
)
from proxy.upstream.addresses import AddressRules, CheckedResolver, parse_url
from proxy.upstream.answers import read_error, read_head
from proxy.upstream.base import Head, UpstreamRequest
from proxy.upstream.breaker import Breaker
from proxy.upstream.credentials import Credentials

LOG = logging.getLogger(__name__)
MAX_REDIRECTS = 5
MAX_ATTEMPTS = 3
MAX_ERROR_BODY = 64 * 1024
READ_BUFFER = 256 * 1024
USER_AGENT = "cgr-proxy"
MAX_BREAKERS = 64
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_USABLE = _REDIRECTS | {200, 206, 304}


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """Times in seconds."""

    connections: int = 64
    queue_timeout: float = 30.0
    connect_timeout: float = 3.0
    first_byte_timeout: float = 15.0
    read_timeout: float = 30.0


class UpstreamObserver(Protocol):
    """What the room tells the metrics."""

    def upstream_request(self, ecosystem: str, outcome: str, seconds: float) -> None:
        """One exchange with an upstream host ended."""
        ...


@final
class HttpResponse:
    """Implements `UpstreamResponse` over an aiohttp response."""

    def __init__(self, head: Head, response: aiohttp.ClientResponse, stack: AsyncExitStack) -> None:
        self.head = head
        self._response = response
        self._stack = stack

    async def pieces(self) -> AsyncIterator[bytes]:
        """See `UpstreamResponse.pieces`."""
        try:
            async for piece in self._response.content.iter_any():
                yield piece
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise Unavailable(
                f"The upstream's answer broke off ({type(error).__name__}); try again."
            ) from error

    async def close(self) -> None:
        """See `UpstreamResponse.close`."""
        await self._stack.aclose()


@final
class HttpUpstream:
    """Implements `Upstream` for all configured ecosystems.

    `origins`: ecosystem name to base URL, e.g. `https://libraries.cgr.dev`.
    """

    def __init__(  # noqa: PLR0913  # the composition root's one call
        self,
        origins: Mapping[str, str],
        credentials: Credentials,
        rules: AddressRules,
        limits: UpstreamLimits,
        *,
        tls: ssl.SSLContext,
        clock: Callable[[], float],
        observer: UpstreamObserver,
        frozen: frozenset[str] = frozenset(),
    ) -> None:
        self._origins = {name: parse_url(origin) for name, origin in origins.items()}
        self._credentials = credentials
        self._rules = rules
        self._limits = limits
        self._clock = clock
        self._observer = observer
        self._frozen = frozen
        self._breakers = {url.origin(): Breaker() for url in self._origins.values()}
        self._slots = asyncio.Semaphore(limits.connections)
        # Configured upstreams may lie anywhere; learnt addresses only where the rules allow.
        self._own = _session(limits, tls, None)
        self._learnt = _session(limits, tls, CheckedResolver(rules))

    async def close(self) -> None:
        """Close every connection."""
        await self._own.close()
        await self._learnt.close()

    @property
    def open_breakers(self) -> tuple[str, ...]:
        """Origins that are held to be down."""
        return tuple(str(origin) for origin, breaker in self._breakers.items() if breaker.is_open)

    async def open(self, request: UpstreamRequest) -> HttpResponse:
        """See `Upstream.open`."""
        if request.ecosystem in self._frozen:
            raise FrozenMiss(
                "The operator serves this ecosystem from the cache only, and it is not cached.",
                asked=False,
            )
        origin = self._origins[request.ecosystem]
        url = self._address(request, origin)
        deadline = self._clock() + self._limits.first_byte_timeout
        attempt = 1
        while True:
            try:
                return await self._follow(request, url, origin)
            except CredentialRefused as error:
                if attempt > 1 or not await self._renewed(request.ecosystem, error):
                    raise
            except RateLimited:
                raise
            except UpstreamSilent as error:
                if attempt >= MAX_ATTEMPTS or self._clock() > deadline or self._down(origin):
                    raise
                LOG.debug("attempt %d failed: %s", attempt, error.detail)
                await asyncio.sleep(random.uniform(0.05, 0.2) * attempt)  # noqa: S311  # jitter
            attempt += 1

    async def _renewed(self, ecosystem: str, error: CredentialRefused) -> bool:
        """Tell whether the files hold another pair than the one just refused by the upstream."""
        if error.upstream_status is None:
            return False
        before = self._credentials.authorization(ecosystem)
        await self._credentials.poll()
        await self._credentials.poll()
        return self._credentials.authorization(ecosystem) != before

    def _down(self, origin: URL) -> bool:
        return self._breakers[origin.origin()].is_open

    def _address(self, request: UpstreamRequest, origin: URL) -> URL:
        if request.location.startswith("/"):
            return parse_url(str(origin.origin()) + request.location)
        url = parse_url(request.location)
        if url.origin() != origin.origin():
            self._rules.check(url)
        return url

    async def _follow(self, request: UpstreamRequest, url: URL, origin: URL) -> HttpResponse:
        first = url
        for _ in range(MAX_REDIRECTS + 1):
            own = url.origin() == origin.origin()
            async with AsyncExitStack() as stack:
                response = await self._hop(request, url, own=own, stack=stack)
                if response.status in _REDIRECTS and not request.probe:
                    # Its HTML body is read (bounded) only so that the connection can be used again.
                    await _error_body(response)
                    url = self._next(response, url, origin)
                    continue
                if response.status in _REDIRECTS:
                    head = Head(200, str(first))
                else:
                    head = read_head(request, str(first), response.status, response.headers)
                return HttpResponse(head, response, stack.pop_all())
        raise ForbiddenAddress("The upstream redirects in a circle.")

    async def _hop(
        self, request: UpstreamRequest, url: URL, *, own: bool, stack: AsyncExitStack
    ) -> aiohttp.ClientResponse:
        """One exchange with one host, under that host's breaker."""
        breaker = self._breaker(url)
        self._admit(breaker)
        try:
            response = await self._exchange(request, url, own=own, stack=stack)
            await self._judge(request, response, own=own)
        except RateLimited as error:
            breaker.succeeded()
            breaker.limited(self._clock(), error.retry_after or 1)
            raise
        except (Unavailable, InsecureUpstream):
            breaker.failed(self._clock())
            raise
        except ProxyError:
            breaker.succeeded()
            raise
        except BaseException:
            breaker.abandoned()
            raise
        breaker.succeeded()
        return response

    def _breaker(self, url: URL) -> Breaker:
        if len(self._breakers) > MAX_BREAKERS:
            # More object-store hosts than anybody has: forget the learnt ones.
            self._breakers = {url.origin(): Breaker() for url in self._origins.values()}
        return self._breakers.setdefault(url.origin(), Breaker())

    def _admit(self, breaker: Breaker) -> None:
        now = self._clock()
        if (seconds := breaker.quiet(now)) > 0:
            raise RateLimited(
                "The upstream asked for a pause; try again later.",
                retry_after=int(seconds) + 1,
                asked=False,
            )
        if (seconds := breaker.wait(now)) > 0:
            raise Unavailable(
                "The upstream does not answer at present; try again later.",
                retry_after=int(seconds) + 1,
                asked=False,
            )

    def _next(self, response: aiohttp.ClientResponse, url: URL, origin: URL) -> URL:
        target = parse_url(response.headers.get("Location", ""), relative_to=url)
        if target.origin() != origin.origin():
            if url.scheme == "https" and target.scheme != "https":
                raise ForbiddenAddress("The upstream redirected to an address without TLS.")
            self._rules.check(target)
        return target

    async def _exchange(
        self, request: UpstreamRequest, url: URL, *, own: bool, stack: AsyncExitStack
    ) -> aiohttp.ClientResponse:
        headers = self._headers(request, own=own)
        await self._queue(stack)
        started = self._clock()
        outcome = "error"
        try:
            session = self._own if own else self._learnt
            async with asyncio.timeout(self._limits.first_byte_timeout):
                response = await session.get(url, headers=headers, allow_redirects=False)
            outcome = str(response.status)
        except (aiohttp.ClientError, TimeoutError, ConnectionError, ValueError) as error:
            raise _translate(error) from error
        finally:
            self._observer.upstream_request(request.ecosystem, outcome, self._clock() - started)
        # Read to its end the connection is back in the pool by then; else this ends it.
        stack.callback(response.close)
        return response

    async def _queue(self, stack: AsyncExitStack) -> None:
        try:
            async with asyncio.timeout(self._limits.queue_timeout):
                await self._slots.acquire()
        except TimeoutError as error:
            raise Unavailable(
                "Too many requests to the upstream are under way; try again.", retry_after=5
            ) from error
        stack.callback(self._slots.release)

    def _headers(self, request: UpstreamRequest, *, own: bool) -> dict[str, str]:
        headers = {
            "Accept": request.accept,
            "Accept-Encoding": "identity",
            "User-Agent": USER_AGENT,
        }
        if request.start:
            headers["Range"] = f"bytes={request.start}-"
            if request.if_range:
                headers["If-Range"] = request.if_range
        if not own:
            return headers
        if request.no_cache:
            headers["Cache-Control"] = "no-cache"
        if request.etag:
            headers["If-None-Match"] = request.etag
        elif request.last_modified:
            headers["If-Modified-Since"] = request.last_modified
        if authorization := self._authorization(request.ecosystem):
            headers["Authorization"] = authorization
        return headers

    def _authorization(self, ecosystem: str) -> str | None:
        header = self._credentials.authorization(ecosystem)
        if header is not None and self._credentials.pause(ecosystem, self._clock()) > 0:
            raise CredentialRefused(
                "The upstream refuses the proxy's pull token; the operator must renew it.",
                retry_after=30,
            )
        if header is None and self._credentials.configured(ecosystem):
            raise CredentialRefused(
                "The proxy's pull token cannot be read; the operator must look at its log.",
                retry_after=30,
            )
        return header

    async def _judge(
        self, request: UpstreamRequest, response: aiohttp.ClientResponse, *, own: bool
    ) -> None:
        """Raise for every status that is neither usable nor a redirect."""
        if response.status in _USABLE:
            return
        body = await _error_body(response)
        now = self._clock()
        error = read_error(response.status, response.headers, body, now=now, learnt=not own)
        if isinstance(error, CredentialRefused):
            used = self._credentials.authorization(request.ecosystem)
            self._credentials.refused(request.ecosystem, used, now)
        raise error


def _session(
    limits: UpstreamLimits, tls: ssl.SSLContext, resolver: CheckedResolver | None
) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        limit=0, ssl=tls, resolver=resolver, ttl_dns_cache=10, keepalive_timeout=30
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        requote_redirect_url=False,
        read_bufsize=READ_BUFFER,
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=limits.connect_timeout, sock_read=limits.read_timeout
        ),
    )


async def _error_body(response: aiohttp.ClientResponse) -> bytes:
    try:
        return await response.content.read(MAX_ERROR_BODY)
    except (aiohttp.ClientError, TimeoutError, ConnectionError):
        return b""


def _translate(error: Exception) -> ProxyError:
    """aiohttp's exceptions carry URLs and headers: only the kind of failure is passed on."""
    if isinstance(error.__cause__, ForbiddenAddress):
        return error.__cause__
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ServerFingerprintMismatch):
        return InsecureUpstream("No trustworthy TLS connection to the upstream could be made.")
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL):
        return Malformed("The upstream's answer was not valid HTTP.")
    if isinstance(error, TimeoutError):
        return Unavailable("The upstream did not answer in time; try again later.", retry_after=5)
    return Unavailable("The upstream cannot be reached; try again later.", retry_after=5)
