"""The public keys of one OpenID issuer: learnt, kept, replaced.

Purpose: keys come by discovery (`/.well-known/openid-configuration`, then the `jwks_uri` in it),
again every hour, and at once when a token names a key that is not known yet: that is how issuers
rotate. Strangers can send tokens with made-up key ids, so the latter happens once a minute at most.
While the issuer is away the last known keys go on counting; if there never were any, nobody can be
judged, which is a 503 and no 401.

A key is used for the algorithms of its own kind only, from a fixed list without `none` and without
shared secrets: what a token's header asks for chooses among these and nothing else.

Reading: OpenID Connect Discovery 1.0; RFC 7517 (JWK); RFC 8725 sections 3.1, 3.2. PyJWT's own
`PyJWKClient` is not used: it blocks, and reads the environment. Non-goals: claims; the HTTP part
(`Fetch`), which MUST be bounded in time and size and follow no redirect.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from proxy.errors import IssuerUnavailable

if TYPE_CHECKING:
    from jwt.types import JWKDict

LOG = logging.getLogger(__name__)
REFRESH = 3600.0
UNKNOWN_PAUSE = 60.0
"""Seconds between two askings that a token with an unknown key id set off."""
FAILED_PAUSE = 60.0
NEVER_PAUSE = 5.0
"""Seconds between two askings as long as there is not one key."""
MAX_KEYS = 100
MIN_RSA_BITS = 2048
# Kind of key (and curve) to the algorithms that it may be used with.
_ALGORITHMS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("RSA", ""): ("RS256", "PS256"),
    ("EC", "P-256"): ("ES256",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
ALGORITHMS = frozenset(name for names in _ALGORITHMS.values() for name in names)

Fetch = Callable[[str, str], Awaitable[object]]
"""Gets the JSON at a URL, which the issuer (second) named. Raises IssuerUnavailable."""


@dataclass(frozen=True, slots=True)
class Key:
    """One usable key. `public`: as the cryptography library has it."""

    id: str
    algorithms: frozenset[str]
    public: Any

    def verify(self, token: str, algorithm: str) -> bool:
        """Tell whether the signature of a compact token is this key's, by that algorithm."""
        from jwt import PyJWS, PyJWTError  # noqa: PLC0415  # late: few proxies need it

        if algorithm not in self.algorithms:
            return False
        try:
            PyJWS(algorithms=[algorithm]).decode_complete(
                token, key=self.public, algorithms=[algorithm]
            )
        except (PyJWTError, ValueError, TypeError):
            return False
        return True


def parse_keys(data: object) -> tuple[Key, ...]:
    """Take the usable keys out of a JWK set; those of other kinds and uses are left out.

    Raises ValueError where there is none, or it is no JWK set.
    """
    found = data.get("keys") if isinstance(data, dict) else None
    if not isinstance(found, list):
        raise ValueError("it is no JWK set")  # noqa: TRY004  # bad data, not a bad argument
    read = (_read(item) for item in found[:MAX_KEYS] if isinstance(item, dict))
    if not (keys := tuple(key for key in read if key is not None)):
        raise ValueError("it holds no key that can be used")
    return keys


def _read(item: JWKDict) -> Key | None:
    from jwt import PyJWK, PyJWTError  # noqa: PLC0415  # late: few proxies need it

    kind, use, name = item.get("kty"), item.get("use", "sig"), item.get("kid", "")
    curve = "" if kind == "RSA" else str(item.get("crv", ""))
    allowed = _ALGORITHMS.get((str(kind), curve), ())
    if "alg" in item:
        allowed = tuple(algorithm for algorithm in allowed if algorithm == item["alg"])
    if not allowed or use != "sig" or not isinstance(name, str):
        return None
    try:
        public = PyJWK({**item, "alg": allowed[0]}, allowed[0]).key
    except (PyJWTError, ValueError, TypeError):
        return None
    if "d" in item or (kind == "RSA" and public.key_size < MIN_RSA_BITS):
        # Whoever publishes the private half has nothing to prove with it.
        return None
    return Key(name, frozenset(allowed), public)


@final
class Keys:
    """The keys of one issuer. `url` as its tokens spell it; `clock` in seconds, monotonic.

    `forget` is called when a key that was known is none any more.
    """

    def __init__(
        self,
        url: str,
        fetch: Fetch,
        *,
        clock: Callable[[], float],
        forget: Callable[[], None],
    ) -> None:
        self.url = url
        self._fetch = fetch
        self._clock = clock
        self._forget = forget
        self._keys: tuple[Key, ...] = ()
        self._asked = self._unknown_asked = float("-inf")
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    async def find(self, name: str, algorithm: str) -> Key | None:
        """The key of that id for that algorithm; None: the issuer has none.

        A token without a key id means the only key that fits. Raises IssuerUnavailable.
        """
        found = self._find(name, algorithm)
        if found is None and self._may_ask():
            await self._ask()
            found = self._find(name, algorithm)
        if found is None and not self._keys:
            raise IssuerUnavailable(
                f"The ID token cannot be judged: its issuer {self.url} has not told its keys so"
                " far; try again later.",
                retry_after=int(NEVER_PAUSE),
            )
        return found

    def poll(self) -> None:
        """Begin to ask again if it is time to; waits for nothing."""
        pause = FAILED_PAUSE if self._failing else REFRESH
        if self._clock() - self._asked >= (pause if self._keys else NEVER_PAUSE):
            self._begin()

    async def close(self) -> None:
        """Stop asking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _find(self, name: str, algorithm: str) -> Key | None:
        fitting = [
            key
            for key in self._keys
            if algorithm in key.algorithms and (key.id == name or not name)
        ]
        return fitting[0] if fitting and (name or len(fitting) == 1) else None

    def _may_ask(self) -> bool:
        if not self._keys:
            return self._task is not None or self._clock() - self._asked >= NEVER_PAUSE
        if self._clock() - self._unknown_asked < UNKNOWN_PAUSE:
            return self._task is not None
        self._unknown_asked = self._clock()
        return True

    async def _ask(self) -> None:
        """Ask, all at once who want to; shielded, so that a client who leaves stops nobody."""
        await asyncio.shield(self._begin())

    def _begin(self) -> asyncio.Task[None]:
        if self._task is None:
            self._asked = self._clock()
            self._task = asyncio.get_running_loop().create_task(self._learn())
        return self._task

    async def _learn(self) -> None:
        try:
            keys = parse_keys(await self._fetch(await self._address(), self.url))
        except (IssuerUnavailable, ValueError) as error:
            if not self._failing:
                kept = "the last known ones count on" if self._keys else "there are none so far"
                LOG.warning("no keys from the issuer %s (%s); %s", self.url, error, kept)
            self._failing = True
            return
        finally:
            self._task = None
        if self._failing:
            LOG.info("the issuer %s tells its keys again", self.url)
        self._failing = False
        before, self._keys = self._keys, keys
        if not {key.id for key in before} <= {key.id for key in keys}:
            self._forget()

    async def _address(self) -> str:
        """Where the keys are. Raises IssuerUnavailable, ValueError."""
        place = f"{self.url.rstrip('/')}/.well-known/openid-configuration"
        data = await self._fetch(place, self.url)
        if not isinstance(data, dict) or data.get("issuer") != self.url:
            raise ValueError("its configuration is of another issuer")
        address = data.get("jwks_uri")
        if not isinstance(address, str):
            raise ValueError("its configuration names no keys")  # noqa: TRY004  # bad data
        return address
