"""Pull tokens of the test origin: made, accepted, retired, and strangers recognised.

Purpose: a pair that looks like the vendor's (user name `<40 hex>/<16 hex>`, password a JWT with a
real end of life), and a verdict about whatever a request carries.

Reading: RFC 7617 (Basic), RFC 6750 (Bearer), RFC 7519 (JWT).
Non-goals: signatures; the token is opaque to a proxy, so it is only shaped like RS256.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["good", "missing", "retired", "unknown"]


@dataclass(frozen=True, slots=True)
class Pair:
    """A pull token. `expires`: seconds since the epoch, as in the password's `exp`."""

    username: str
    password: str
    expires: float


class Credentials:
    """All pairs that one origin ever issued."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pairs: list[Pair] = []
        self._retired: set[str] = set()
        self._tokens: dict[str, float] = {}
        self._scopes: dict[str, frozenset[str]] = {}

    def issue(self, lifetime: float = 30 * 86400.0) -> Pair:
        """Make a pair that is good for `lifetime` seconds (negative: already expired)."""
        now = self._clock()
        username = f"{secrets.token_hex(20)}/{secrets.token_hex(8)}"
        claims = {
            "iss": "https://issuer.enforce.dev",
            "aud": "https://issuer.enforce.dev",
            "sub": username,
            "iat": int(now),
            "exp": int(now + lifetime),
        }
        head = {"alg": "RS256", "kid": secrets.token_hex(8), "typ": "JWT"}
        parts = [json.dumps(part, separators=(",", ":")).encode() for part in (head, claims)]
        password = ".".join(_urlsafe(part) for part in [*parts, secrets.token_bytes(256)])
        pair = Pair(username, password, float(int(now + lifetime)))
        self._pairs.append(pair)
        return pair

    def retire(self, pair: Pair) -> None:
        """Refuse a pair from now on; it stays known, so its use is no violation."""
        self._retired.add(pair.password)

    def limit(self, pair: Pair, *scopes: str) -> None:
        """Have a pair be good for these entitlement scopes only, as the vendor's are."""
        self._scopes[pair.password] = frozenset(scopes)

    def covers(self, authorization: str | None, scope: str) -> bool:
        """Whether what a request carries is good for a scope."""
        scopes = self._scopes.get(_read(authorization or "")[1])
        return scopes is None or scope in scopes

    def admit(self, token: str, expires: float) -> None:
        """Take a short-lived token too: as bearer, or as password with any user name."""
        self._tokens[token] = expires

    def pair_of(self, password: str) -> Pair | None:
        """The pair that a password was issued with."""
        return next((pair for pair in self._pairs if pair.password == password), None)

    def judge(self, authorization: str | None) -> Verdict:
        """Judge an Authorization header. `unknown`: never issued here, somebody else's secret."""
        if authorization is None:
            return "missing"
        username, password = _read(authorization)
        if (end := self._tokens.get(password)) is not None:
            return "retired" if end <= self._clock() or password in self._retired else "good"
        for pair in self._pairs:
            if pair.password == password and username in (
                None,
                pair.username,
                pair.username.replace("/", "_"),
            ):
                expired = pair.expires <= self._clock()
                return "retired" if expired or password in self._retired else "good"
        return "unknown"


def _read(authorization: str) -> tuple[str | None, str]:
    """Split a header into user name (None: bearer) and password; junk gives an empty password."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return None, value.strip()
    if scheme.lower() != "basic":
        return None, ""
    try:
        username, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None, ""
    return username, password


def _urlsafe(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
