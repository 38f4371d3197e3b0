"""Access without a pull token: short-lived tokens that the issuer gives for the workload's own.

Purpose: one identity's token of one audience, renewed well ahead of its end and never twice at a
time, whoever shares it. While the issuer is away the last one is used until its end, and after it
too: whether it is still good is the upstream's to say.

Reading: RFC 8693 (token exchange), RFC 6750 (Bearer), Kubernetes "service account token volume
projection" (the file changes by the hour). Non-goals: asking the issuer (the port `TokenExchange`).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

from proxy.errors import PlatformRefused, PlatformSilent
from proxy.model import IssuedToken, Subject, TokenExchange
from proxy.secret import Secret
from proxy.upstream.lifetime import Lifetime
from proxy.upstream.pairs import Unusable, checked, read_text

LOG = logging.getLogger(__name__)
EARLIEST, LATEST = 0.5, 0.7  # of its life: the renewal, never at the same moment for two proxies
FIRST_RETRY = 1.0
LONGEST_RETRY = 30.0
# By the key of the upstream in the configuration.
AUDIENCES = {"libraries": "libraries.cgr.dev", "registry": "cgr.dev", "apk": "apk.cgr.dev"}


@dataclass(frozen=True, slots=True)
class KeylessSource:
    """`identity`: UIDP to assume. `token_file`: the workload's OIDC token. `audience`: of what is
    asked for, by the upstream: `libraries.cgr.dev`, `cgr.dev`, `apk.cgr.dev`."""

    identity: str
    token_file: Path
    audience: str


@dataclass(frozen=True, slots=True)
class Clocks:
    """`wall`: seconds since the epoch; `steady`: seconds that only go forward."""

    wall: Callable[[], float]
    steady: Callable[[], float]


@final
class LiveToken:  # implements proxy.upstream.live.Live
    """The token of one source; several ecosystems may hold it. `redact`: see `LivePair`."""

    def __init__(
        self,
        source: KeylessSource,
        exchange: TokenExchange,
        clocks: Clocks,
        redact: Callable[..., None],
    ) -> None:
        self._source = source
        self._exchange = exchange
        self._clocks = clocks
        self._redact = redact
        self._proof: Secret | None = None
        self._due = 0.0  # by the steady clock
        self._failures = 0
        self._patience = LONGEST_RETRY
        self._unreadable = False
        self._asking = asyncio.Lock()
        self.header: str | None = None
        self.lifetime: Lifetime | None = None

    @property
    def subject(self) -> Subject | None:
        """Who may ask the issuer for tokens of other audiences; None: no OIDC token was read."""
        return Subject(self._source.identity, self._proof) if self._proof is not None else None

    async def load(self) -> None:
        """See `Live.load`."""
        await self.exchange()

    async def poll(self) -> None:
        """See `Live.poll`. Reads the file only; the issuer is asked by `exchange`."""
        try:
            proof = Secret(checked(await asyncio.to_thread(read_text, self._source.token_file)))
        except Unusable as error:
            if not self._unreadable:
                self._unreadable = True
                LOG.warning("the OIDC token to be exchanged cannot be used (%s)", error)
            return
        self._unreadable = False
        if proof != self._proof:
            self._proof = proof
            self._tell("proof", proof)
            if self._failures:
                self._due = 0.0  # the old one may have been the trouble

    async def renew(self, header: str) -> None:
        """See `Live.renew`."""
        async with self._asking:
            if self.header == header:
                await self.poll()
                await self._ask()

    async def exchange(self) -> None:
        """Ask the issuer if a new token is due; who comes meanwhile waits for the same one."""
        async with self._asking:
            if self._clocks.steady() >= self._due:
                await self.poll()
                await self._ask()

    async def _ask(self) -> None:
        if (subject := self.subject) is None:
            return self._failed("there is no OIDC token")
        asked = self._clocks.steady()
        try:
            issued = await self._exchange.exchange(self._source.audience, subject)
        except PlatformRefused as error:
            return self._failed(f"{error}: it does not let this identity be assumed")
        except PlatformSilent as error:
            return self._failed(str(error))
        return self._take(issued, asked)

    def _take(self, issued: IssuedToken, asked: float) -> None:
        self._tell("token", issued.value)
        if self._failures:
            LOG.info("the issuer gives tokens for %s again", self._source.audience)
        self._failures = 0
        share = random.uniform(EARLIEST, LATEST)  # noqa: S311  # jitter
        # Between the renewal and the end there must be room for several more tries.
        self._patience = min(LONGEST_RETRY, max(FIRST_RETRY, issued.lifetime / 20))
        self._due = asked + max(FIRST_RETRY, issued.lifetime * share)
        self.header = f"Bearer {issued.value.reveal()}"
        now = self._clocks.wall()
        self.lifetime = Lifetime(now + issued.lifetime, now)

    def _failed(self, trouble: str) -> None:
        if not self._failures:
            LOG.warning(
                "no token for %s could be had (%s); %s",
                self._source.audience,
                trouble,
                "the last one is used until its end" if self.header else "there is none yet",
            )
        pause = min(self._patience, FIRST_RETRY * 2 ** min(self._failures, 10))
        self._failures += 1
        self._due = self._clocks.steady() + pause * random.uniform(0.7, 1.0)  # noqa: S311  # jitter

    def _tell(self, what: Literal["proof", "token"], token: Secret) -> None:
        self._redact((self, what), token.reveal())
