"""Short-lived tokens of registries: had when they are asked for, kept until just before their end.

Purpose: which token a question goes out with. What an upstream has asked for once, for a package of
it, is remembered, so that the next question about that package brings the token along. Tokens are
kept for what they were given for (upstream, realm, service, scopes); equal ones are asked for once
at a time, by a task that belongs to no request.

Whoever is refused with a token that was had just now is denied it.

Reading: go-containerregistry `transport/bearer.go`. Non-goals: the wire (`exchange`), reading
challenges (`challenge`).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, TypeVar, final

from yarl import URL

from proxy.errors import Blocked, ForbiddenAddress, Malformed, NotFound, Unavailable
from proxy.upstream.addresses import Address, AddressRules, parse_url
from proxy.upstream.base import UpstreamRequest
from proxy.upstream.challenge import (
    BearerChallenge,
    BearerToken,
    Challenged,
    Role,
    read_token,
    token_address,
)
from proxy.upstream.session import Answer, read_side_body

MAX_ASKED = 4  # with tokens, for one answer
MAX_KNOWN = 10_000  # packages whose challenge is remembered
MAX_TOKENS = 1000
MARGIN = 0.1  # of its life: a token is not used so close to its end
LONGEST_MARGIN = 20.0  # seconds
_For: TypeAlias = tuple[str, BearerChallenge]
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Bearer:
    """The value of an Authorization header. `fresh`: nobody has used it before."""

    header: str = field(repr=False)
    fresh: bool = False


class Asker(Protocol):
    """Who asks hosts (`exchange`)."""

    def once(
        self,
        request: UpstreamRequest,
        address: Address,
        token: str | None,
        role: Role,
        seconds: float,
    ) -> Awaitable[Answer]:
        """One exchange. Raises Challenged, BasicWanted."""
        ...

    async def ask_realm(self, request: UpstreamRequest, url: URL) -> Answer:
        """Ask a token endpoint."""
        ...


@final
class Bearers:
    """`origins`: by upstream name. `clock`: monotonic seconds."""

    def __init__(
        self,
        asker: Asker,
        origins: Mapping[str, URL],
        rules: AddressRules,
        clock: Callable[[], float],
    ) -> None:
        self._asker = asker
        self._origins = origins
        self._rules = rules
        self._clock = clock
        self._challenges: OrderedDict[tuple[str, str], BearerChallenge] = OrderedDict()
        self._tokens: OrderedDict[_For, tuple[str, float]] = OrderedDict()
        self._running: dict[_For, asyncio.Task[str]] = {}

    async def close(self) -> None:
        """Stop asking."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def known(self, request: UpstreamRequest) -> Bearer | None:
        """The token that a request may bring along at once."""
        challenge = self._challenges.get((request.upstream_name, request.package))
        if challenge is None:
            return None
        header = self._good((request.upstream_name, challenge))
        return Bearer(header) if header is not None else None

    async def ask(self, request: UpstreamRequest, address: Address, seconds: float) -> Answer:
        """Ask a registry; where it wants a token, have one and ask again, all within `seconds`.

        Raises what `Asker` does, Blocked where a token that was had just now is refused.
        """
        until = self._clock() + seconds
        bearer = self.known(request)
        answered: BearerChallenge | None = None
        for _ in range(MAX_ASKED):
            header = bearer.header if bearer is not None else None
            left = max(until - self._clock(), 0.0)
            try:
                return await self._asker.once(request, address, header, Role.REGISTRY, left)
            except Challenged as challenged:
                challenge = challenged.challenge
            if bearer is not None and bearer.fresh and challenge == answered:
                break
            answered = challenge
            try:
                async with asyncio.timeout(until - self._clock()):
                    bearer = await self._obtain(request, challenge, bearer)
            except TimeoutError:
                raise Unavailable(
                    "The upstream's token endpoint did not answer in time; try again later.",
                    retry_after=5,
                ) from None
        raise Blocked("The upstream does not give it to the pull token of this proxy.")

    async def _obtain(
        self, request: UpstreamRequest, challenge: BearerChallenge, refused: Bearer | None
    ) -> Bearer:
        """A token that answers a challenge. `refused`: the one that the request came with."""
        wanted = (request.upstream_name, challenge)
        _keep(self._challenges, (request.upstream_name, request.package), challenge, MAX_KNOWN)
        header = self._good(wanted)
        if header is not None and (refused is None or header != refused.header):
            return Bearer(header)  # somebody else has just had it
        self._tokens.pop(wanted, None)
        task = self._running.get(wanted)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._renew(request, wanted))
            self._running[wanted] = task
            task.add_done_callback(lambda done: self._ended(wanted, done))
        return Bearer(await asyncio.shield(task), fresh=True)

    async def _renew(self, request: UpstreamRequest, wanted: _For) -> str:
        asked = self._clock()
        token = await self._fetch(request, wanted[1])
        header = f"Bearer {token.value.reveal()}"
        end = asked + token.lifetime - min(LONGEST_MARGIN, token.lifetime * MARGIN)
        _keep(self._tokens, wanted, (header, end), MAX_TOKENS)
        return header

    async def _fetch(self, request: UpstreamRequest, challenge: BearerChallenge) -> BearerToken:
        """Ask the token endpoint that a challenge names, if it may be asked."""
        url = parse_url(token_address(challenge))
        self._rules.check_realm(url, self._origins[request.upstream_name])
        question = UpstreamRequest(
            request.ecosystem, "", accept="application/json", upstream=request.upstream
        )
        try:
            response = await self._asker.ask_realm(question, url)
        except NotFound as error:
            # That would be news of the package; but it is the registry that is out of order.
            raise Malformed("The upstream's token endpoint is not there.") from error
        try:
            if response.status != 200:
                raise ForbiddenAddress("The upstream's token endpoint leads somewhere else.")
            return read_token(await read_side_body(response))
        finally:
            response.close()

    def _good(self, wanted: _For) -> str | None:
        found = self._tokens.get(wanted)
        if found is None or found[1] <= self._clock():
            return None
        return found[0]

    def _ended(self, wanted: _For, task: asyncio.Task[str]) -> None:
        self._running.pop(wanted, None)
        if not task.cancelled():
            task.exception()  # retrieved even when everybody who waited has left


def _keep(book: OrderedDict[K, V], key: K, value: V, limit: int) -> None:
    book[key] = value
    book.move_to_end(key)
    if len(book) > limit:
        book.popitem(last=False)
