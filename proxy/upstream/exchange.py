"""One question to one host: under its breaker, with the token only where it belongs.

Purpose: what is known before asking (the host is down, asks for quiet, refuses our token) is said
at once and costs nothing; what the answer means for the next ones is noted; a refusal becomes one
of the errors of `proxy.errors`. Request headers are built here from nothing, never forwarded.
An upstream that works with bearer tokens is asked by way of `bearers`.

Reading: RFC 9110 sections 10 and 13. Non-goals: redirects, retries, the line (see `client`).
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import ceil
from typing import NoReturn, final

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from proxy.egress import Egress
from proxy.errors import CredentialRefused, NotFound, ProxyError, RateLimited, Unavailable
from proxy.upstream.addresses import Address, AddressRules
from proxy.upstream.answers import REFUSED_RETRY_AFTER, read_error
from proxy.upstream.asked import Asked
from proxy.upstream.at_once import AtOnce
from proxy.upstream.base import UpstreamRequest
from proxy.upstream.bearers import Bearers
from proxy.upstream.breaker import Breaker
from proxy.upstream.challenge import (
    BasicWanted,
    Challenged,
    Role,
    bearer_challenge,
    wants_basic,
)
from proxy.upstream.credentials import Credentials
from proxy.upstream.deadlines import Deadlines
from proxy.upstream.fields import fields_of
from proxy.upstream.limits import UpstreamLimits, UpstreamObserver
from proxy.upstream.outages import Outages
from proxy.upstream.questions import Questions
from proxy.upstream.scrubber import Scrubber
from proxy.upstream.session import FAILURES, Answer, make_session, read_side_body, translate

LOG = logging.getLogger(__name__)
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_USABLE = REDIRECTS | {200, 206, 304}
_SHOWING = (Role.UPSTREAM, Role.REALM)  # roles of those who are shown the pull token
_NOT_OFFERED = frozenset({400, 405, 415, 501})  # of a POST: no outage, asking again is vain
_PROOFS = _USABLE | {404}  # the token was good; other statuses may come from something in between


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
        self._tell = observer.upstream_request
        self._configured = frozenset(str(url.origin()) for url in origins.values())
        self._challenging = challenging
        self._bearers = Bearers(self, origins, rules, clock)
        self._basic: set[str] = set()  # the further ones that want their credential itself
        self.outages = Outages(self._configured, clock)
        self._egress = egress
        self._shown = egress.headers if egress is not None else {}
        self._deadlines = Deadlines()
        # Configured upstreams may lie anywhere; learnt addresses only where the rules allow.
        self._own = self._session(tls, None)
        self._learnt = self._session(tls, resolver)
        self.at_once = AtOnce(
            *(self._own, credentials, self.outages, self.scrubber, self._deadlines, observer),
            challenging=challenging,
            seconds=limits.first_byte_timeout,
            clock=clock,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._bearers.close()
        await self._own.close()
        await self._learnt.close()

    def look(self, request: UpstreamRequest, address: Address) -> None:
        """Raise what is known without asking: RateLimited, Unavailable, CredentialRefused."""
        self._let_through(address.origin)
        name = request.upstream_name
        if not address.own or (name in self._challenging and self._bearers.known(request)):
            return
        self._look_at_credential(name, self._clock())

    def _let_through(self, origin: str) -> Breaker:
        """The breaker of an origin that may be asked."""
        breaker = self.outages.of(origin)
        if not breaker.is_calm:
            self._look_at_breaker(breaker)
        return breaker

    def _look_at_breaker(self, breaker: Breaker) -> None:
        now = self._clock()
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

    def ask(self, request: UpstreamRequest, address: Address, seconds: float) -> Awaitable[Answer]:
        """Ask; answer with a 200, 206, 304 or redirect whose head came within `seconds`.

        Raises what `look` and `read_error` say, and what `translate` makes of failures.
        """
        if not address.own:
            return self.once(request, address, None, Role.LEARNT, seconds)
        name = request.upstream_name
        challenging = name in self._challenging
        token = self._credentials.untroubled(name)
        if token is not None and not challenging:  # as mostly
            return self.once(request, address, token, Role.UPSTREAM, seconds)
        self.look(request, address)
        if challenging:
            return self._ask_registry(request, address, seconds)
        return self._show(request, address, Role.UPSTREAM, seconds)

    def go_on(self, asked: Asked) -> Awaitable[Answer]:
        """The answer to what was put `at_once`; as `ask`."""
        answer = self._own.go_on(asked)
        if asked.noted:
            return answer
        gone = self._clock() - asked.started
        seconds = max(0.0, self._limits.first_byte_timeout - gone)
        return self._hear(
            *(answer, asked.request, asked.address, asked.token, Role.UPSTREAM, seconds),
            *(asked.breaker, asked.started),
        )

    async def _ask_registry(
        self, request: UpstreamRequest, address: Address, seconds: float
    ) -> Answer:
        if request.upstream_name not in self._basic:
            try:
                return await self._bearers.ask(request, address, seconds)
            except BasicWanted:
                self._basic.add(request.upstream_name)
            self.look(request, address)
        return await self._show(request, address, Role.UPSTREAM, seconds)

    async def ask_realm(self, request: UpstreamRequest, url: URL) -> Answer:
        """Ask a token endpoint for what `request` needs, with the pull token where there is one.

        Raises what `ask` does; CredentialRefused where it refuses the pull token.
        """
        address = Address.of(url, own=False)
        self._look_at_credential(request.upstream_name, self._clock())
        self._let_through(address.origin)
        return await self._show(request, address, Role.REALM, self._limits.first_byte_timeout)

    def _show(
        self, request: UpstreamRequest, address: Address, role: Role, seconds: float
    ) -> Awaitable[Answer]:
        """One exchange with the pull token, where there is one."""
        token = self._credentials.use(request.upstream_name, self._clock())
        breaker = self.outages.of(address.origin)
        return self._perform(request, address, token, role, seconds, breaker)

    def once(
        self,
        request: UpstreamRequest,
        address: Address,
        token: str | None,
        role: Role,
        seconds: float,
    ) -> Awaitable[Answer]:
        """One exchange. `token`: the Authorization value. Raises Challenged, BasicWanted too."""
        breaker = self._let_through(address.origin)
        return self._perform(request, address, token, role, seconds, breaker)

    def _perform(  # noqa: PLR0913, PLR0917  # all that one exchange takes
        self,
        request: UpstreamRequest,
        address: Address,
        token: str | None,
        role: Role,
        seconds: float,
        breaker: Breaker,
    ) -> Awaitable[Answer]:
        """The same, when the breaker lets it through. To be awaited at once."""
        question = self._question(request, address, token, role)
        breaker.enter()
        started = self._clock()
        return self._hear(question, request, address, token, role, seconds, breaker, started)

    async def _hear(  # noqa: PLR0913, PLR0917  # all that one exchange takes
        self,
        question: Awaitable[Answer],
        request: UpstreamRequest,
        address: Address,
        token: str | None,
        role: Role,
        seconds: float,
        breaker: Breaker,
        started: float,
    ) -> Answer:
        """What comes of a question. In one piece: each coroutine in another costs as much as what
        is done here."""
        response: Answer | None = None
        failure: ProxyError | None = None
        try:
            try:
                with self._deadlines.within(seconds):
                    response = await question
            except FAILURES as error:
                failure = self._failure(address, error)
            finally:
                outcome = "error" if response is None else _outcome(response, role)
                self._tell(request.ecosystem, outcome, self._clock() - started)
            if response is None:
                # Raised out here: the library's exception must not travel along (see `session`).
                raise failure or AssertionError("no answer")  # noqa: TRY301  # the breaker hears
            if token is not None and role in _SHOWING and response.status in _PROOFS:
                self._credentials.accepted(request.upstream_name, token)
            if response.status not in _USABLE:
                await self._refuse(request, response, token, role)
        except ProxyError as error:
            self.outages.settle(breaker, address, error)
            raise
        except (Challenged, BasicWanted):
            self.outages.settle(breaker, address, None)
            raise
        except BaseException:
            breaker.abandoned()
            raise
        self.outages.settle(breaker, address, None)
        return response

    def _question(
        self, request: UpstreamRequest, address: Address, token: str | None, role: Role
    ) -> Awaitable[Answer]:
        """What is asked, and on whose connections."""
        if token is not None:
            self.scrubber.sent(token)
        configured = role is not Role.LEARNT and address.origin in self._configured
        session = self._own if configured else self._learnt
        headers = fields_of(request, token, own=role is not Role.LEARNT)
        if self._shown and address.url.scheme == "http":
            headers |= self._shown  # there is no tunnel that could be asked for with it
        return session.ask(address, headers, request.body)

    def _failure(self, address: Address, error: Exception) -> ProxyError:
        """What a failure of the library comes to."""
        LOG.debug("asking %s failed: %s", address.url.host, type(error).__name__)
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            self._observer.limit_reached("connect_timeout")
        elif isinstance(error, TimeoutError):
            self._observer.limit_reached("first_byte_timeout")
        return translate(error)

    async def _refuse(
        self,
        request: UpstreamRequest,
        response: Answer,
        token: str | None,
        role: Role,
    ) -> NoReturn:
        """Raise what a status means that is neither usable nor a redirect; the answer is over."""
        pull_token = token if role in _SHOWING else None
        try:
            body = await read_side_body(response)
        finally:
            response.close()
        asked = response.status == 401 and role is Role.REGISTRY
        if asked and (challenge := bearer_challenge(_challenges(response))) is not None:
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
        seconds = self._credentials.outlook(ecosystem, now)
        if seconds is None and self._credentials.configured(ecosystem):
            raise CredentialRefused(
                "The proxy's pull token cannot be read; the operator must look at its log.",
                retry_after=REFUSED_RETRY_AFTER,
                asked=False,
            )
        if seconds:
            raise CredentialRefused(
                "The upstream refuses the proxy's pull token; the operator must renew it.",
                retry_after=ceil(seconds),
                asked=False,
            )

    def _session(self, tls: ssl.SSLContext, resolver: AbstractResolver | None) -> Questions:
        timeout = self._limits.connect_timeout
        session = make_session(tls, connect_timeout=timeout, resolver=resolver, egress=self._egress)
        return Questions(session, timeout, self._shown if self._egress is not None else None)


def _outcome(response: Answer, role: Role) -> str:
    """How an answer is counted."""
    if role is Role.REGISTRY and response.status == 401:
        return "challenge" if bearer_challenge(_challenges(response)) else "401"
    return str(response.status)


def _challenges(response: Answer) -> Sequence[str]:
    return response.headers.getall("WWW-Authenticate", ())
