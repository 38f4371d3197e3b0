"""Short-lived tokens: got from the issuer for a pull token, kept until shortly before their end.

Purpose: the one place that shows a pull token to the issuer. Anybody who needs a token of some
audience (the platform's API here, keyless access elsewhere) gets it through the port
`TokenExchange` of `proxy.model`.

Reading: RFC 8693 (token exchange, of which the issuer speaks a dialect), RFC 3339.
Non-goals: where the pull token comes from; looking into tokens, which are opaque here.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import random
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import final

from proxy.access.asking import Asking
from proxy.errors import PlatformRefused, PlatformSilent
from proxy.model import IssuedToken, Subject, TokenExchange, TokenSource
from proxy.secret import Secret

LOG = logging.getLogger(__name__)
TRIES = 3
RETRIED = frozenset({503, 504})
REFUSALS = frozenset({400, 401, 403, 404})
LIFETIME_UNSAID = 300.0  # seconds; the vendor says "up to one hour"
LONGEST_LIFETIME = 3600.0
LONGEST_MARGIN = 60.0  # seconds before its end that a token is not used any more
MAX_TOKENS = 32
_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")
_UIDP = re.compile(r"[0-9a-f]{40}(?:[/_][0-9a-f]{16})+")
_FRACTION = re.compile(r"\.[0-9]+")


@final
class PullTokens:  # implements proxy.model.SubjectSource
    """Reads the identity and its proof off the Basic credential of an ecosystem.

    `assumed`: gives the identity that needs no pull token; it is asked first. A user name that is
    no UIDP belongs to no pull token (a mirror's password, say): the issuer never sees it.
    """

    def __init__(
        self, tokens: TokenSource, assumed: Callable[[str], Subject | None] | None = None
    ) -> None:
        self._tokens = tokens
        self._assumed = assumed

    def subject(self, ecosystem: str) -> Subject | None:
        """See `SubjectSource.subject`."""
        if self._assumed is not None and (subject := self._assumed(ecosystem)) is not None:
            return subject
        scheme, _, encoded = (self._tokens.authorization(ecosystem) or "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            pair = base64.b64decode(encoded, validate=True).decode("ascii")
        except (binascii.Error, ValueError):
            return None
        username, _, password = pair.partition(":")
        if not password or not _UIDP.fullmatch(username):
            return None
        # Inside a URL the slashes of a user name may be written as underscores.
        return Subject(username.replace("_", "/"), Secret(password))

    def stranger(self, ecosystem: str) -> bool:
        """See `SubjectSource.stranger`: a short-lived token with any user name is such a one."""
        given = self._tokens.authorization(ecosystem) is not None
        return given and self.subject(ecosystem) is None


@final
class Issuer:  # implements proxy.model.TokenExchange
    """The vendor's token exchange. `url`: its base. `wall`: seconds since the epoch.

    `pause` sleeps between tries.
    """

    def __init__(
        self,
        asking: Asking,
        url: str,
        *,
        wall: Callable[[], float],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._asking = asking
        self._url = f"{url}/sts/exchange"
        self._wall = wall
        self._pause = pause
        self._blamed_clock = False

    async def exchange(self, audience: str, subject: Subject) -> IssuedToken:
        """See `TokenExchange.exchange`. Only 503 and 504 are worth another try."""
        parameters = {"aud": audience, "identity": subject.identity}
        attempt = 1
        while True:
            reply = await self._asking.get(self._url, parameters, subject.proof)
            if reply.status == 200:
                return self._read(reply.data)
            # A refusal of the issuer itself is JSON; a page comes from something in between.
            if reply.status in REFUSALS and isinstance(reply.data, dict):
                raise PlatformRefused(f"the issuer answered {reply.status}")
            if reply.status not in RETRIED or attempt >= TRIES:
                raise PlatformSilent(f"the issuer answered {reply.status}")
            await self._pause(random.uniform(0.1, 0.3) * attempt)  # noqa: S311  # jitter
            attempt += 1

    def _read(self, data: object) -> IssuedToken:
        token = data.get("token") if isinstance(data, dict) else None
        if not isinstance(data, dict) or not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise PlatformSilent("the issuer answered without a token")
        return IssuedToken(Secret(token), self._lifetime(data.get("expiry")))

    def _lifetime(self, expiry: object) -> float:
        if not isinstance(expiry, str) or not expiry:
            return LIFETIME_UNSAID
        try:
            # Nanoseconds, which Go likes to send, are more than a datetime takes.
            end = datetime.fromisoformat(_FRACTION.sub("", expiry, count=1))
            left = end.replace(tzinfo=end.tzinfo or UTC).timestamp() - self._wall()
        except (ValueError, OverflowError):
            return LIFETIME_UNSAID
        if left > 0:
            return min(left, LONGEST_LIFETIME)
        # Nobody issues a token that is over: our clock is wrong, and what it makes of the end is
        # too. To believe it would be to ask again, for ever, as soon as each answer is there.
        if not self._blamed_clock:
            self._blamed_clock = True
            LOG.warning(
                "the issuer's new token is over already, by the clock of this machine: set that"
                " right"
            )
        return LIFETIME_UNSAID


@final
class Tokens:
    """Tokens of one audience, one for each subject. `steady`: seconds that only go forward.

    Callers that come together ask the issuer once.
    """

    def __init__(self, exchange: TokenExchange, audience: str, steady: Callable[[], float]) -> None:
        self._exchange = exchange
        self._audience = audience
        self._steady = steady
        self._kept: dict[Subject, tuple[Secret, float]] = {}
        self._asking = asyncio.Lock()

    async def get(self, subject: Subject) -> Secret:
        """A token that is good for a while yet. Raises PlatformRefused, PlatformSilent."""
        async with self._asking:
            kept = self._kept.get(subject)
            if kept is not None and self._steady() < kept[1]:
                return kept[0]
            asked = self._steady()
            issued = await self._exchange.exchange(self._audience, subject)
            self._keep(subject, issued, asked)
            return issued.value

    def forget(self, subject: Subject) -> None:
        """The token of a subject was refused: the next one is a new one."""
        self._kept.pop(subject, None)

    def _keep(self, subject: Subject, issued: IssuedToken, asked: float) -> None:
        self._kept = {key: kept for key, kept in self._kept.items() if kept[1] > asked}
        if len(self._kept) >= MAX_TOKENS:
            self._kept.clear()
        margin = min(LONGEST_MARGIN, issued.lifetime / 10)
        self._kept[subject] = (issued.value, asked + issued.lifetime - margin)
