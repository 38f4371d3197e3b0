"""The public keys of one OpenID issuer: learnt, kept, replaced.

Purpose: keys come by discovery (`/.well-known/openid-configuration`, then the `jwks_uri` in it),
again every hour, and at once when a token names a key that is not known yet, or was not signed with
the one that is: that is how issuers rotate. Strangers can send such tokens too, so the latter
happens once a minute at most. Each answer replaces the one before, whole: a key that it does not
hold, under the same id or at all, is withdrawn, and a set of none withdraws all. While the issuer
is silent, or what it says is no key set, the last known keys go on counting for `GRACE` seconds;
without any nobody can be judged, which is a 503 and no 401.

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
from dataclasses import dataclass, field
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
GRACE = 86400.0
"""Seconds that the last known keys count on while their issuer tells none."""
MAX_KEYS = 100
RSA_BITS = range(2048, 8193)  # a longer one would only cost time
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
    """One usable key. `material`: what it is made of (DER), so that another key under the same id
    is another one. `public`: as the cryptography library has it."""

    id: str
    algorithms: frozenset[str]
    material: bytes = field(repr=False)
    public: Any = field(compare=False, repr=False)

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

    There may be none: that is the issuer's word too. Raises ValueError for what is no JWK set.
    """
    found = data.get("keys") if isinstance(data, dict) else None
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise ValueError("it is no JWK set")
    read = (_read(item) for item in found[:MAX_KEYS])
    return tuple(key for key in read if key is not None)


def _read(item: JWKDict) -> Key | None:
    kind, use, name = item.get("kty"), item.get("use", "sig"), item.get("kid", "")
    curve = "" if kind == "RSA" else str(item.get("crv", ""))
    allowed = _ALGORITHMS.get((str(kind), curve), ())
    if "alg" in item:
        allowed = tuple(algorithm for algorithm in allowed if algorithm == item["alg"])
    if not allowed or use != "sig" or not isinstance(name, str):
        return None
    operations = item.get("key_ops", ["verify"])
    # Whoever publishes the private half has nothing to prove with it.
    if not isinstance(operations, list) or "verify" not in operations or "d" in item:
        return None
    return _load(name, item, allowed)


def _load(name: str, item: JWKDict, allowed: tuple[str, ...]) -> Key | None:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  # late: few need it
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        PublicFormat,
    )
    from jwt import PyJWK, PyJWTError  # noqa: PLC0415

    try:
        public = PyJWK({**item, "alg": allowed[0]}, allowed[0]).key
        if item["kty"] == "RSA" and public.key_size not in RSA_BITS:
            return None
        material = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (PyJWTError, UnsupportedAlgorithm, ArithmeticError, ValueError, TypeError):
        return None
    return Key(name, frozenset(allowed), material, public)


@final
class Keys:
    """The keys of one issuer. `url` as its tokens spell it; `clock` in seconds, monotonic."""

    def __init__(self, url: str, fetch: Fetch, *, clock: Callable[[], float]) -> None:
        self.url = url
        self._fetch = fetch
        self._clock = clock
        self._known: tuple[Key, ...] = ()
        self._learnt = self._asked = self._unknown_asked = float("-inf")
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    async def find(self, name: str, algorithm: str, other_than: Key | None = None) -> Key | None:
        """The key of that id for that algorithm; None: the issuer has none.

        A token without a key id means the only key that fits. `other_than`: one that turned out
        not to be it. Raises IssuerUnavailable.
        """
        found = self._find(name, algorithm)
        if found == other_than and self._may_ask():
            await self._ask()
            found = self._find(name, algorithm)
        if found is None and not self._told:
            raise IssuerUnavailable(
                f"The ID token cannot be judged: its issuer {self.url} has not told its keys"
                f" {'for too long' if self._known else 'so far'}; try again later.",
                retry_after=int(NEVER_PAUSE),
            )
        return found if found != other_than else None

    def counts(self, key: Key) -> bool:
        """Tell whether a key is (still) one of the issuer's."""
        return self._told and key in self._known

    def poll(self) -> None:
        """Begin to ask again if it is time to; waits for nothing."""
        pause = FAILED_PAUSE if self._failing else REFRESH
        if self._clock() - self._asked >= (pause if self._told else NEVER_PAUSE):
            self._begin()

    async def renew(self) -> None:
        """Ask now; an asking that began earlier does not count."""
        if self._task is not None:
            await self._ask()
        await self._ask()

    async def close(self) -> None:
        """Stop asking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def _told(self) -> bool:
        """Whether the issuer has told its keys, none perhaps, and not too long ago."""
        return self._clock() - self._learnt <= GRACE

    def _find(self, name: str, algorithm: str) -> Key | None:
        fitting = [
            key
            for key in self._known
            if algorithm in key.algorithms and (key.id == name or not name)
        ]
        if not self._told or not fitting:
            return None
        return fitting[0] if name or len(fitting) == 1 else None

    def _may_ask(self) -> bool:
        if not self._told:
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
            self._task = asyncio.get_running_loop().create_task(self._learn(self._asked))
        return self._task

    async def _learn(self, asked: float) -> None:
        try:
            keys = parse_keys(await self._fetch(await self._address(), self.url))
        except (IssuerUnavailable, ValueError) as error:
            if not self._failing:
                kept = "the last known ones count on for a day" if self._told else "there are none"
                LOG.warning("no keys from the issuer %s (%s); %s", self.url, error, kept)
            self._failing = True
            return
        except Exception:
            # Whatever it is, the next asking must come, and nobody's request is to blame.
            LOG.exception("learning the keys of %s failed inside the proxy", self.url)
            self._failing = True
            return
        finally:
            self._task = None
        if self._failing:
            LOG.info("the issuer %s tells its keys again", self.url)
        if gone := set(self._known) - set(keys):
            LOG.warning("the issuer %s has withdrawn %d of its keys", self.url, len(gone))
        if not keys and (gone or self._learnt < 0):
            LOG.warning("the issuer %s has no key that can be used: nobody is believed", self.url)
        self._failing = False
        self._known, self._learnt = keys, asked

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
