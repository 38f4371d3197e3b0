"""The upstream over aiohttp: one question in, a usable answer or a translated error out.

Purpose: the course of a question: its place in the line, the tries it gets, and the redirects it
follows, by hand and byte for byte. One host's answer is the work of `exchange`, the library and
its traps that of `session` and `questions`. The pull token goes to the configured origin and is
dropped for good at the first redirect that leaves it.

Reading: design section 5; RFC 9110 section 15.4. Non-goals: caching, single flight, HEAD.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import final

from aiohttp.abc import AbstractResolver

from proxy.egress import Egress
from proxy.errors import (
    CredentialRefused,
    ForbiddenAddress,
    FrozenMiss,
    ProxyError,
    RateLimited,
    Unavailable,
    UpstreamSilent,
)
from proxy.upstream.addresses import Address, AddressRules, CheckedResolver, Site, parse_url
from proxy.upstream.answers import plain_head, read_head
from proxy.upstream.asked import Asked
from proxy.upstream.base import Head, Told, UpstreamRequest
from proxy.upstream.breaker import News
from proxy.upstream.credentials import Credentials
from proxy.upstream.exchange import REDIRECTS, Exchange
from proxy.upstream.limits import UpstreamLimits, UpstreamObserver
from proxy.upstream.outages import Tell
from proxy.upstream.plain import PlainHead
from proxy.upstream.questions import PlainAnswer
from proxy.upstream.response import HttpResponse, Terms
from proxy.upstream.session import Answer, read_side_body
from proxy.upstream.slots import Slots

__all__ = ["HttpResponse", "HttpUpstream", "UpstreamLimits", "UpstreamObserver"]

LOG = logging.getLogger(__name__)
MAX_EXCHANGES = 5  # the first and what redirects add, in one try
MAX_TRIES = 3
TRIES_OF_A_REFUSAL = 2  # a pre-signed URL that ran out: a fresh redirect, once


@final
class HttpUpstream:
    """Implements `PromptUpstream` for all configured ecosystems.

    `origins`: upstream name (see `proxy.model.upstream_name`) to base URL, such as
    `https://libraries.cgr.dev`; `challenging`: the names of those that want bearer tokens. `clock`:
    monotonic seconds. `resolver`: looks up learnt names (their addresses are checked on top); None:
    the system's. `egress`: everybody is asked through it; it looks up the names then.
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
        challenging: frozenset[str] = frozenset(),
        resolver: AbstractResolver | None = None,
        egress: Egress | None = None,
    ) -> None:
        self._sites = {name: Site(origin) for name, origin in origins.items()}
        self._credentials = credentials
        self._rules = rules
        self._limits = limits
        self._clock = clock
        self._frozen = frozen
        self._observer = observer
        self._slots = Slots(limits.connections)
        self._give_back = {  # by whether it was for a document
            brief: partial(self._slots.give_back, brief=brief) for brief in (True, False)
        }
        self._terms = Terms(limits, clock, observer)
        self._exchange = Exchange(
            {name: site.base for name, site in self._sites.items()},
            credentials,
            limits,
            challenging=challenging,
            rules=rules,
            tls=tls,
            resolver=CheckedResolver(rules, resolver),
            clock=clock,
            observer=observer,
            egress=egress,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._exchange.close()

    @property
    def open_breakers(self) -> tuple[str, ...]:
        """Origins that are held to be down."""
        return self._exchange.outages.open_origins

    def on_news(self, tell: Tell) -> None:
        """Have other processes told what is learnt here of an origin."""
        self._exchange.outages.tell = tell

    def hear(self, origin: str, news: News, seconds: float) -> None:
        """Take what another process has learnt of an origin."""
        self._exchange.outages.hear(origin, news, seconds)

    def is_down(self, ecosystem: str) -> bool:
        """Tell whether the configured origin of an ecosystem is held to be down."""
        return self._sites[ecosystem].origin in self.open_breakers

    async def open(self, request: UpstreamRequest) -> HttpResponse:
        """See `Upstream.open`."""
        if request.ecosystem in self._frozen:
            raise FrozenMiss(
                "The operator serves this ecosystem from the cache only, and it is not cached.",
                asked=False,
            )
        site = self._sites[request.upstream_name]
        address = site.address(request.location)
        if not address.own:
            self._rules.check(address.url)
        brief = request.document or request.probe
        if not self._slots.take_now(brief=brief):
            # Before the line: nobody waits in it for a host that is not going to be asked.
            self._exchange.look(request, address)
            await self._queue(brief=brief)
        return await self._answer(request, address, site, None)

    async def _answer(
        self, request: UpstreamRequest, address: Address, site: Site, asked: Asked | None
    ) -> HttpResponse:
        """The usable answer, for who has a place in the line. `asked`: what was put already."""
        brief = request.document or request.probe
        try:
            head, response = await self._insist(request, address, site, asked)
        except BaseException:
            self._slots.give_back(brief=brief)
            raise
        return HttpResponse(head, response, self._give_back[brief], self._terms, request.ecosystem)

    # --- without a task ----------------------------------------------------------------------

    def put(self, request: UpstreamRequest, told: Told) -> Asked | None:
        """See `PromptUpstream.put`."""
        if request.ecosystem in self._frozen or not self._slots.take_now(brief=False):
            return None
        asked: Asked | None = None
        try:
            address = self._sites[request.upstream_name].address(request.location)
            asked = self._exchange.at_once.put(request, address, told, self)
        except (ProxyError, ValueError):
            return None  # `open` says why
        finally:
            if asked is None:
                self._slots.give_back(brief=False)
        return asked

    def answered(self, asked: Asked) -> None:
        """See `Asker`."""
        body = self._exchange.at_once.answered(asked)
        if asked.told(body) and body is not None:
            asked.kept.put(asked.connection)
            self._slots.give_back(brief=False)
            self._observer.upstream_bytes(asked.request.ecosystem, len(body))

    def drop(self, asked: Asked) -> None:
        """See `Asker`."""
        asked.connection.close()
        if not asked.noted:
            asked.breaker.abandoned()
        self._slots.give_back(brief=False)

    def go_on(self, asked: Asked) -> Awaitable[HttpResponse]:
        """See `Asker`."""
        site = self._sites[asked.request.upstream_name]
        return self._answer(asked.request, asked.address, site, asked)

    # --- waiting -----------------------------------------------------------------------------

    async def _queue(self, *, brief: bool) -> None:
        try:
            async with asyncio.timeout(self._limits.queue_timeout):
                await self._slots.take(brief=brief)
        except TimeoutError as error:
            self._observer.limit_reached("queue_timeout")
            raise Unavailable(
                "Too many requests to the upstream are under way; try again.",
                retry_after=5,
                asked=False,
            ) from error

    async def _insist(
        self, request: UpstreamRequest, address: Address, site: Site, asked: Asked | None
    ) -> tuple[Head, Answer]:
        """Try again what another try may mend: no new one once the first answer is overdue."""
        name = request.upstream_name
        seconds = self._limits.first_byte_timeout
        started = self._clock() if asked is None else asked.started
        until = started + 2 * seconds
        attempt = 1
        renewed = False
        token: str | None
        while True:
            try:
                if asked is None:
                    token = self._credentials.authorization(name)
                    response = await self._exchange.ask(request, address, seconds)
                else:
                    token, going, asked = asked.token, asked, None
                    response = await self._exchange.go_on(going)
                if response.status in REDIRECTS:
                    return await self._follow(request, response, address, site, until)
                return self._head(request, str(address), response, address), response
            except CredentialRefused as error:
                if renewed or not error.asked:
                    raise
                renewed = True
                if not await self._credentials.renew(name, token, self._clock()):
                    raise
            except UpstreamSilent as error:
                overdue = self._clock() >= started + self._limits.first_byte_timeout
                # No patience for another try of what will not be asked.
                breaker = self._exchange.outages.of(address.origin)
                overdue = overdue or breaker.wait(self._clock()) > 0
                if overdue or request.body or attempt >= _tries(error):
                    raise
                LOG.debug("try %d failed: %s", attempt, error.detail)
                await asyncio.sleep(self._pause(attempt))
                attempt += 1
            seconds = self._left(until)

    def _left(self, until: float) -> float:
        """Seconds for the next exchange. `until`: the moment at which redirects and retries, which
        share twice the time of one exchange, have taken all of it."""
        left = until - self._clock()
        if left <= 0:
            raise Unavailable(
                "The upstream did not answer in time; try again later.", retry_after=5
            )
        return min(self._limits.first_byte_timeout, left)

    async def _follow(
        self,
        request: UpstreamRequest,
        response: Answer,
        address: Address,
        site: Site,
        until: float,
    ) -> tuple[Head, Answer]:
        """Where an answer of `address` leads to. `until`: see `_left`."""
        first, asked = str(address), 1
        while True:
            try:
                # Its HTML body is read (bounded) only so that the connection can be used again.
                await read_side_body(response)
                if request.probe:
                    return Head(200, first), response
                address = self._next(request, response, address, site)
            except BaseException:
                response.close()
                raise
            response.close()
            if asked == MAX_EXCHANGES:
                raise ForbiddenAddress("The upstream redirects in a circle.")
            response = await self._exchange.ask(request, address, self._left(until))
            asked += 1
            if response.status not in REDIRECTS:
                return self._head(request, first, response, address), response

    def _head(
        self, request: UpstreamRequest, first: str, response: Answer, address: Address
    ) -> Head:
        """What an answer of `address` says; one that must not be used is closed."""
        if isinstance(response, PlainAnswer) and isinstance(response.head, PlainHead):  # as mostly
            return plain_head(first, response.head, self._exchange.scrubber)
        try:
            return read_head(
                request,
                first,
                response.status,
                response.headers,
                self._exchange.scrubber,
                conditional=address.own,
            )
        except BaseException:
            response.close()
            raise

    def _next(
        self,
        request: UpstreamRequest,
        response: Answer,
        address: Address,
        site: Site,
    ) -> Address:
        if request.body:
            raise ForbiddenAddress("The upstream redirected a question that goes to it alone.")
        target = parse_url(response.headers.get("Location", ""), relative_to=address.url)
        # Dropping the header is not enough where the address itself carries the token on.
        if self._exchange.scrubber.carries(str(target)):
            raise ForbiddenAddress("The upstream redirected to an address that holds a credential.")
        origin = target.origin()
        if origin != site.base.origin():
            if address.url.scheme == "https" and target.scheme != "https":
                raise ForbiddenAddress("The upstream redirected to an address without TLS.")
            self._rules.check(target)
        return Address.of(target, own=address.own and origin == site.base.origin())

    def _pause(self, attempt: int) -> float:
        """Longer from try to try, and never the same for two: they would come back together."""
        return self._limits.retry_pause * attempt * random.uniform(0.5, 1.5)  # noqa: S311  # jitter


def _tries(error: UpstreamSilent) -> int:
    """How many tries a failure is worth in all."""
    if isinstance(error, RateLimited) or not error.asked:
        return 1
    if error.upstream_status is not None and error.upstream_status < 500:
        return TRIES_OF_A_REFUSAL
    return MAX_TRIES
