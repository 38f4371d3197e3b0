"""One question to one host: under its breaker, with the token only where it belongs.

Purpose: what is known before asking (the host is down, asks for quiet, refuses our token) is said
at once and costs nothing; what the answer means for the next ones is noted; a refusal becomes one
of the errors of `proxy.errors`. Request headers are built here from nothing, never forwarded.
An upstream that works with bearer tokens is asked by way of `bearers`.

Reading: RFC 9110 sections 10 and 13. Non-goals: redirects, retries, the line (see `client`).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Protocol, final

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from proxy.egress import Egress
from proxy.errors import CredentialRefused, NotFound, ProxyError, RateLimited, Unavailable
from proxy.upstream.addresses import AddressRules
from proxy.upstream.answers import REFUSED_RETRY_AFTER, read_error
from proxy.upstream.base import UpstreamRequest
from proxy.upstream.bearers import Bearers
from proxy.upstream.breaker import Breaker
from proxy.upstream.challenge import (
    BasicWanted,
    BearerChallenge,
    Challenged,
    Role,
    bearer_challenge,
    wants_basic,
)
from proxy.upstream.credentials import Credentials
from proxy.upstream.outages import Outages
from proxy.upstream.questions import Questions
from proxy.upstream.scrubber import Scrubber
from proxy.upstream.session import FAILURES, Answer, make_session, read_side_body, translate

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

    def limit_reached(self, limit: str) -> None:
        """An exchange ended at a limit, named as in the configuration."""
        ...


@final
class Exchange:
    """Asks hosts, one at a time. `origins`: by upstream name, those that may be sent the pull
    token; `challenging`: the names of those that want bearer tokens in its place.

    `resolver` looks up learnt names, and refuses those that lead where they must not; with `egress`
    nobody here looks up any.
    """

    def __init__(  # noqa: PLR0913  # made once, by `client`
        self,
        origins: Mapping[str, URL],
        credentials: Credentials,
        limits: UpstreamLimits,
        *,
        challenging: frozenset[str],
        rules: AddressRules,
        tls: ssl.SSLContext,
        resolver: AbstractResolver,
        clock: Callable[[], float],
        observer: UpstreamObserver,
        egress: Egress | None = None,
    ) -> None:
        self.scrubber = Scrubber()
        self._credentials = credentials
        self._limits = limits
        self._clock = clock
        self._observer = observer
        self._configured = frozenset(str(url.origin()) for url in origins.values())
        self._challenging = challenging
        self._bearers = Bearers(self, origins, rules, clock)
        self._basic: set[str] = set()  # the further ones that want their credential itself
        self.outages = Outages(self._configured, clock)
        self._egress = egress
        self._shown = egress.headers if egress is not None else {}
        # Configured upstreams may lie anywhere; learnt addresses only where the rules allow.
        self._own = self._session(tls, None)
        self._learnt = self._session(tls, resolver)

    async def close(self) -> None:
        """Close every connection."""
        await self._bearers.close()
        await self._own.close()
        await self._learnt.close()

    @property
    def open_breakers(self) -> tuple[str, ...]:
        """Origins that are held to be down."""
        return self.outages.open_origins

    def look(self, request: UpstreamRequest, url: URL, *, own: bool) -> None:
        """Raise what is known without asking: RateLimited, Unavailable, CredentialRefused."""
        self._look_at_breaker(url)
        if own and self._bearers.known(request) is None:
            self._look_at_credential(request.upstream_name, self._clock())

    def _look_at_breaker(self, url: URL) -> Breaker:
        now = self._clock()
        breaker = self.outages.of(url)
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
        return breaker

    async def ask(self, request: UpstreamRequest, url: URL, *, own: bool, seconds: float) -> Answer:
        """Ask; answer with a 200, 206, 304 or redirect whose head came within `seconds`.

        Raises what `look` and `read_error` say, and what `translate` makes of failures.
        """
        if not own:
            return await self.once(request, url, None, Role.LEARNT, seconds)
        name = request.upstream_name
        self.look(request, url, own=True)
        if name in self._challenging and name not in self._basic:
            try:
                return await self._bearers.ask(request, url, seconds)
            except BasicWanted:
                self._basic.add(name)
            self.look(request, url, own=True)
        token = self._credentials.use(name, self._clock())
        return await self.once(request, url, token, Role.UPSTREAM, seconds)

    async def ask_realm(self, request: UpstreamRequest, url: URL) -> Answer:
        """Ask a token endpoint for what `request` needs, with the pull token where there is one.

        Raises what `ask` does; CredentialRefused where it refuses the pull token.
        """
        name = request.upstream_name
        self._look_at_credential(name, self._clock())
        token = self._credentials.use(name, self._clock())
        return await self.once(request, url, token, Role.REALM, self._limits.first_byte_timeout)

    async def once(
        self, request: UpstreamRequest, url: URL, token: str | None, role: Role, seconds: float
    ) -> Answer:
        """One exchange. `token`: the Authorization value. Raises Challenged, BasicWanted too."""
        breaker = self._look_at_breaker(url)
        breaker.enter()
        try:
            if token is not None:
                self.scrubber.sent(token)
            response = await self._get(request, url, token, role, seconds)
            await self._judge(request, response, token, role)
        except ProxyError as error:
            self.outages.settle(breaker, url, error)
            raise
        except (Challenged, BasicWanted):
            self.outages.settle(breaker, url, None)
            raise
        except BaseException:
            breaker.abandoned()
            raise
        self.outages.settle(breaker, url, None)
        return response

    async def _get(
        self, request: UpstreamRequest, url: URL, token: str | None, role: Role, seconds: float
    ) -> Answer:
        configured = role is not Role.LEARNT and str(url.origin()) in self._configured
        session = self._own if configured else self._learnt
        headers = _headers(request, token, own=role is not Role.LEARNT)
        if url.scheme == "http":
            headers |= self._shown  # there is no tunnel that could be asked for with it
        started = self._clock()
        outcome = "error"
        try:
            async with asyncio.timeout(seconds):
                response = await session.ask(url, headers, request.body)
            outcome = str(response.status)
            if role is Role.REGISTRY and response.status == 401 and _challenge(response):
                outcome = "challenge"
        except FAILURES as error:
            LOG.debug("asking %s failed: %s", url.host, type(error).__name__)
            if isinstance(error, aiohttp.ConnectionTimeoutError):
                self._observer.limit_reached("connect_timeout")
            elif isinstance(error, TimeoutError):
                self._observer.limit_reached("first_byte_timeout")
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
        response: Answer,
        token: str | None,
        role: Role,
    ) -> None:
        """Raise for every status that is neither usable nor a redirect; the answer is over then."""
        pull_token = token if role in (Role.UPSTREAM, Role.REALM) else None
        if pull_token is not None and response.status in _PROOFS:
            self._credentials.accepted(request.upstream_name, pull_token)
        if response.status in _USABLE:
            return
        try:
            body = await read_side_body(response)
        finally:
            response.close()
        asked = response.status == 401 and role is Role.REGISTRY
        if asked and (challenge := _challenge(response)) is not None:
            raise Challenged(challenge)
        # The vendor's pull token is shown to its token endpoint only, whatever a 401 says.
        at_hand = request.upstream and self._credentials.authorization(request.upstream_name)
        if asked and at_hand and wants_basic(_challenges(response)):
            raise BasicWanted
        if response.status == 401:
            self._basic.discard(request.upstream_name)  # it may have changed its mind
        if response.status == 401 and pull_token is not None:
            self._credentials.refused(request.upstream_name, pull_token, self._clock())
        if request.body and response.status in _NOT_OFFERED:
            raise NotFound("The upstream does not offer this call.")
        learnt = role is Role.LEARNT
        ours = self._credentials.configured(request.upstream_name)
        status, headers = response.status, response.headers
        raise read_error(status, headers, body, self.scrubber, learnt=learnt, configured=ours)

    def _look_at_credential(self, ecosystem: str, now: float) -> None:
        if not self._credentials.configured(ecosystem):
            return
        if (seconds := self._credentials.outlook(ecosystem, now)) is None:
            raise CredentialRefused(
                "The proxy's pull token cannot be read; the operator must look at its log.",
                retry_after=REFUSED_RETRY_AFTER,
                asked=False,
            )
        if seconds > 0:
            raise CredentialRefused(
                "The upstream refuses the proxy's pull token; the operator must renew it.",
                retry_after=ceil(seconds),
                asked=False,
            )

    def _session(self, tls: ssl.SSLContext, resolver: AbstractResolver | None) -> Questions:
        timeout = self._limits.connect_timeout
        session = make_session(tls, connect_timeout=timeout, resolver=resolver, egress=self._egress)
        return Questions(session, timeout, self._shown if self._egress is not None else None)


def _challenge(response: Answer) -> BearerChallenge | None:
    return bearer_challenge(_challenges(response))


def _challenges(response: Answer) -> Sequence[str]:
    return response.headers.getall("WWW-Authenticate", ())


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
