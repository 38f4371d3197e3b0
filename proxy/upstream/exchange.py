"""One question to one host: under its breaker, with the token only where it belongs.

Purpose: what is known before asking (the host is down, asks for quiet, refuses our token) is said
at once and costs nothing; what the answer means for the next ones is noted; a refusal becomes one
of the errors of `proxy.errors`. Request headers are built here from nothing, never forwarded.

Reading: RFC 9110 sections 10 and 13. Non-goals: redirects, retries, the line (see `client`).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil
from typing import Protocol, final

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from proxy.errors import CredentialRefused, NotFound, ProxyError, RateLimited, Unavailable
from proxy.upstream.answers import REFUSED_RETRY_AFTER, read_error
from proxy.upstream.base import UpstreamRequest
from proxy.upstream.breaker import Breaker, Breakers, Turn
from proxy.upstream.credentials import Credentials
from proxy.upstream.scrubber import Scrubber
from proxy.upstream.session import FAILURES, make_session, read_side_body, translate

LOG = logging.getLogger(__name__)
USER_AGENT = "cgr-proxy"
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_USABLE = REDIRECTS | {200, 206, 304}
_NOT_OFFERED = frozenset({400, 405, 415, 501})  # of a POST: no outage, asking again is vain
_PROOFS = _USABLE | {404}  # the token was good; other statuses may come from something in between


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """Times in seconds. `first_byte_timeout` bounds each exchange; a whole question with its
    redirects and retries gets twice that. `retry_pause`: before the second try, give or take half;
    the third waits twice as long. `min_rate`: bytes per second over `rate_window`."""

    connections: int = 64
    queue_timeout: float = 30.0
    connect_timeout: float = 3.0
    first_byte_timeout: float = 15.0
    read_timeout: float = 30.0
    retry_pause: float = 0.15
    min_rate: float = 1024.0
    rate_window: float = 30.0


class UpstreamObserver(Protocol):
    """What the room tells the metrics."""

    def upstream_request(self, ecosystem: str, outcome: str, seconds: float) -> None:
        """One exchange with an upstream host ended."""
        ...

    def upstream_bytes(self, ecosystem: str, count: int) -> None:
        """A piece of a body came, of `count` bytes."""
        ...


@final
class Exchange:
    """Asks hosts, one at a time. `configured`: the origins that may be sent the pull token.

    `resolver` looks up learnt names, and refuses those that lead where they must not.
    """

    def __init__(  # noqa: PLR0913  # made once, by `client`
        self,
        configured: Iterable[URL],
        credentials: Credentials,
        limits: UpstreamLimits,
        *,
        tls: ssl.SSLContext,
        resolver: AbstractResolver,
        clock: Callable[[], float],
        observer: UpstreamObserver,
    ) -> None:
        self.scrubber = Scrubber()
        self._credentials = credentials
        self._limits = limits
        self._clock = clock
        self._observer = observer
        self._breakers = Breakers(str(url.origin()) for url in configured)
        # Configured upstreams may lie anywhere; learnt addresses only where the rules allow.
        self._own = self._session(tls, None)
        self._learnt = self._session(tls, resolver)

    async def close(self) -> None:
        """Close every connection."""
        await self._own.close()
        await self._learnt.close()

    @property
    def open_breakers(self) -> tuple[str, ...]:
        """Origins that are held to be down."""
        return self._breakers.open_origins

    def look(self, ecosystem: str, url: URL, *, own: bool) -> None:
        """Raise what is known without asking: RateLimited, Unavailable, CredentialRefused."""
        now = self._clock()
        breaker = self._breakers.of(str(url.origin()))
        if (seconds := breaker.quiet(now)) > 0:
            raise RateLimited(
                "The upstream asked for a pause; try again later.",
                retry_after=ceil(seconds),
                asked=False,
            )
        if (seconds := breaker.wait(now)) > 0:
            raise Unavailable(
                "The upstream does not answer at present; try again later.",
                retry_after=ceil(seconds),
                asked=False,
            )
        if own:
            self._look_at_credential(ecosystem, now)

    async def ask(
        self, request: UpstreamRequest, url: URL, *, own: bool, seconds: float
    ) -> aiohttp.ClientResponse:
        """Ask; answer with a 200, 206, 304 or redirect whose head came within `seconds`.

        Raises what `look` and `read_error` say, and what `translate` makes of failures.
        """
        self.look(request.ecosystem, url, own=own)
        breaker = self._breakers.of(str(url.origin()))
        breaker.enter()
        try:
            token = self._credentials.use(request.ecosystem, self._clock()) if own else None
            if token is not None:
                self.scrubber.sent(token)
            response = await self._get(request, url, token, own=own, seconds=seconds)
            await self._judge(request, response, token, own=own)
        except ProxyError as error:
            self._settle(breaker, url, error)
            raise
        except BaseException:
            breaker.abandoned()
            raise
        self._settle(breaker, url, None)
        return response

    def _settle(self, breaker: Breaker, url: URL, error: ProxyError | None) -> None:
        """Tell the breaker how it ended, and the log what that changed, a few lines an outage."""
        detail = error.detail if error is not None else ""
        match breaker.settle(error, self._clock()):
            case Turn.FAILS:
                LOG.warning("the upstream %s fails: %s", url.host, detail)
            case Turn.DOWN:
                LOG.warning("the upstream %s is held to be down: %s", url.host, detail)
            case Turn.BACK:
                LOG.warning("the upstream %s answers again", url.host)
            case None:
                pass

    async def _get(
        self, request: UpstreamRequest, url: URL, token: str | None, *, own: bool, seconds: float
    ) -> aiohttp.ClientResponse:
        session = self._own if own else self._learnt
        headers = _headers(request, token, own=own)
        started = self._clock()
        outcome = "error"
        try:
            async with asyncio.timeout(seconds):
                response = await session.request(
                    "POST" if request.body else "GET",
                    url,
                    headers=headers,
                    data=request.body or None,
                    allow_redirects=False,
                )
            outcome = str(response.status)
        except FAILURES as error:
            LOG.debug("asking %s failed: %s", url.host, type(error).__name__)
            failure = translate(error)
        else:
            return response
        finally:
            self._observer.upstream_request(request.ecosystem, outcome, self._clock() - started)
        # Raised out here: the library's exception must not travel along (see `session`).
        raise failure

    async def _judge(
        self,
        request: UpstreamRequest,
        response: aiohttp.ClientResponse,
        token: str | None,
        *,
        own: bool,
    ) -> None:
        """Raise for every status that is neither usable nor a redirect; the answer is over then."""
        if token is not None and response.status in _PROOFS:
            self._credentials.accepted(request.ecosystem, token)
        if response.status in _USABLE:
            return
        try:
            body = await read_side_body(response)
        finally:
            response.close()
        if own and token is not None and response.status == 401:
            self._credentials.refused(request.ecosystem, token, self._clock())
        if request.body and response.status in _NOT_OFFERED:
            raise NotFound("The upstream does not offer this call.")
        raise read_error(response.status, response.headers, body, self.scrubber, learnt=not own)

    def _look_at_credential(self, ecosystem: str, now: float) -> None:
        if not self._credentials.configured(ecosystem):
            return
        if self._credentials.authorization(ecosystem) is None:
            raise CredentialRefused(
                "The proxy's pull token cannot be read; the operator must look at its log.",
                retry_after=REFUSED_RETRY_AFTER,
                asked=False,
            )
        if (seconds := self._credentials.pause(ecosystem, now)) > 0:
            raise CredentialRefused(
                "The upstream refuses the proxy's pull token; the operator must renew it.",
                retry_after=ceil(seconds),
                asked=False,
            )

    def _session(
        self, tls: ssl.SSLContext, resolver: AbstractResolver | None
    ) -> aiohttp.ClientSession:
        return make_session(
            tls,
            connect_timeout=self._limits.connect_timeout,
            read_timeout=self._limits.read_timeout,
            resolver=resolver,
        )


def _headers(request: UpstreamRequest, token: str | None, *, own: bool) -> dict[str, str]:
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
