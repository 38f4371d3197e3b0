"""The vendor's platform: token exchange and entitlements, on two addresses of their own.

Purpose: `issue` answers `GET /sts/exchange?aud=&identity=` for a pull token's password or a
trusted OIDC token; `answer` answers `GET /libraries/v1/entitlements?parent_id=` for a token of its
audience. Both check what they receive: the right audience and identity, one bearer token and
nothing else, no pull token where a short-lived one belongs.

Reading: RFC 8693 (what the exchange is like), gRPC gateway (spelling of keys, error bodies).
Non-goals: signatures; roles.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.origin.credentials import Credentials, Pair
from tests.origin.faults import FaultBook
from tests.origin.journal import Journal, Received
from tests.origin.wire import Request, Response

ALL = ("PYTHON", "JAVA", "JAVASCRIPT", "GO", "DOTNET")
LIBRARIES_AUDIENCES = ("libraries.cgr.dev", "cgr.dev", "apk.cgr.dev")
_EXPECTED = {"host", "accept", "accept-encoding", "authorization", "user-agent", "connection"}


@dataclass(slots=True)
class PlatformSettings:
    """Behaviour that the documentation leaves open, and the roles of the token.

    `token_lifetime` in seconds; `say_expiry`: with `expiry` in the answer; `nanoseconds`: as Go
    writes it; `camel_case`: `cooldownDays`; `omit_empty`: `{}` for an empty list; `may_ask`: the
    role may list entitlements; `bodies`: whole bodies in place of the list, one an answer.
    """

    token_lifetime: float = 3600.0
    say_expiry: bool = True
    nanoseconds: bool = False
    camel_case: bool = False
    omit_empty: bool = False
    may_ask: bool = True
    bodies: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Issued:
    """A short-lived token. `expires`: seconds since the epoch."""

    token: str
    audience: str
    identity: str
    expires: float


class Platform:
    """Issuer and API. `entitlements`: items by organisation. `trusted`: OIDC tokens that may assume
    an identity. `issued`: every token so far; `revoke` refuses them from now on."""

    def __init__(
        self, credentials: Credentials, clock: Callable[[], float], api_url: Callable[[], str]
    ) -> None:
        self.settings = PlatformSettings()
        self.journal = Journal()
        self.faults = FaultBook()
        self.entitlements: dict[str, list[dict[str, Any]]] = {}
        self.trusted: dict[str, str] = {}
        self.issued: dict[str, Issued] = {}
        self._revoked: set[str] = set()
        self._credentials = credentials
        self._clock = clock
        self._api_url = api_url

    # --- steering ----------------------------------------------------------------------------

    def entitle(self, pair: Pair, *names: str, policy: str = "POLICY_CHAINGUARD") -> None:
        """Replace the list of a pull token's organisation; without names: every ecosystem."""
        self.entitlements[organisation_of(pair)] = self._items(names or ALL, policy)

    def withdraw(self, pair: Pair) -> None:
        """Leave nothing of the list of a pull token's organisation."""
        self.entitlements[organisation_of(pair)] = []

    def trust(self, token: str, identity: str) -> None:
        """Let an OIDC token assume an identity."""
        self.trusted[token] = identity

    def revoke(self) -> None:
        """Refuse every token issued so far."""
        self._revoked |= set(self.issued)
        for token in self.issued:
            self._credentials.admit(token, 0.0)

    def count(
        self, method: str | None = None, pattern: str | None = None, server: str | None = None
    ) -> int:
        """Count requests to `issuer` and `api`."""
        return self.journal.count(method, pattern, server)

    @staticmethod
    def _items(names: Iterable[str], policy: str) -> list[dict[str, Any]]:
        return [
            {
                "id": secrets.token_hex(20) + "/" + secrets.token_hex(8),
                "ecosystem": name,
                "policy": policy,
                "source": "SOURCE_SUBSCRIPTION",
                "cooldown_days": 7,
            }
            for name in names
        ]

    # --- the issuer --------------------------------------------------------------------------

    async def issue(self, request: Request, received: Received) -> Response:
        """Answer a request to the issuer."""
        query = self._inspect(request, received, {"aud", "identity"})
        if urlsplit(request.target).path != "/sts/exchange" or request.method != "GET":
            return _error(404, 5, "not found")
        audience, identity = query.get("aud", ""), query.get("identity", "")
        if audience != self._api_url() and audience not in LIBRARIES_AUDIENCES:
            self.journal.violation(received, f"an audience that nobody has: {audience!r}")
            return _error(400, 3, "invalid audience")
        proof = _bearer(request)
        if proof in self.trusted:
            return self._exchange(audience, identity, self.trusted[proof])
        verdict = self._credentials.judge(request.header("authorization"))
        pair = self._credentials.pair_of(proof)
        if verdict == "unknown" or (pair is None and proof):
            self.journal.violation(received, "a credential that is no pull token")
        if verdict != "good" or pair is None:
            self.journal.counters[f"issuer_{verdict}"] += 1
            return _error(401, 16, "unauthenticated")
        if identity != pair.username:
            self.journal.violation(received, f"an identity that is not the token's: {identity!r}")
        return self._exchange(audience, identity, pair.username)

    def _exchange(self, audience: str, identity: str, allowed: str) -> Response:
        if identity != allowed:
            return _error(403, 7, "the identity may not be assumed")
        expires = self._clock() + self.settings.token_lifetime
        token = _jwt({"aud": audience, "sub": identity, "exp": int(expires)})
        self.issued[token] = Issued(token, audience, identity, expires)
        if audience in LIBRARIES_AUDIENCES:
            self._credentials.admit(token, expires)
        document = {"token": token, "refresh_token": secrets.token_urlsafe(32)}
        if self.settings.say_expiry:
            document["expiry"] = self._moment(expires)
        return _json(200, document)

    def _moment(self, at: float) -> str:
        text = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return text + (".123456789Z" if self.settings.nanoseconds else "Z")

    # --- the API -----------------------------------------------------------------------------

    async def answer(self, request: Request, received: Received) -> Response:
        """Answer a request to the API."""
        query = self._inspect(request, received, {"parent_id"})
        issued = self.issued.get(_bearer(request))
        if issued is None:
            self.journal.violation(received, "a credential that the issuer never gave out")
            return _error(401, 16, "unauthenticated")
        if issued.audience != self._api_url():
            self.journal.violation(received, f"a token of the audience {issued.audience}")
            return _error(401, 16, "wrong audience")
        if issued.token in self._revoked or issued.expires <= self._clock():
            self.journal.counters["api_expired"] += 1
            return _error(401, 16, "the token has expired")
        if urlsplit(request.target).path != "/libraries/v1/entitlements":
            return _error(404, 5, "not found")
        parent = query.get("parent_id", "")
        if not issued.identity.startswith(f"{parent}/") or not self.settings.may_ask:
            return _error(403, 7, "permission denied")
        if self.settings.bodies:
            return Response.of(200, "application/json", self.settings.bodies.pop(0))
        items = [self._spelt(item) for item in self.entitlements.get(parent, [])]
        if not items and self.settings.omit_empty:
            return _json(200, {})
        return _json(200, {"items": items})

    def _spelt(self, item: dict[str, Any]) -> dict[str, Any]:
        if not self.settings.camel_case:
            return item
        return {("cooldownDays" if key == "cooldown_days" else key): item[key] for key in item}

    def _inspect(
        self, request: Request, received: Received, parameters: set[str]
    ) -> dict[str, str]:
        """Note what no request may have; give its query."""
        names = [name.lower() for name, _ in request.headers]
        if odd := set(names) - _EXPECTED:
            self.journal.violation(received, f"headers that nobody needs: {sorted(odd)}")
        if len(set(names)) != len(names):
            self.journal.violation(received, "a header twice")
        if not request.all("authorization").startswith("Bearer "):
            self.journal.violation(received, "no bearer token")
        pairs = parse_qsl(urlsplit(request.target).query, keep_blank_values=True)
        if {name for name, _ in pairs} != parameters or len(pairs) != len(parameters):
            self.journal.violation(received, "other parameters than it has")
        return dict(pairs)


def organisation_of(pair: Pair) -> str:
    """The organisation's UIDP: what stands before the last slash of a user name."""
    return pair.username.rpartition("/")[0]


def _bearer(request: Request) -> str:
    return (request.header("authorization") or "").removeprefix("Bearer ")


def _json(status: int, document: object) -> Response:
    return Response.of(status, "application/json", json.dumps(document).encode())


def _error(status: int, code: int, message: str) -> Response:
    return _json(status, {"code": code, "message": message, "details": []})


def _jwt(claims: dict[str, Any]) -> str:
    head = {"alg": "RS256", "kid": secrets.token_hex(8), "typ": "JWT"}
    parts = [json.dumps(part).encode() for part in (head, claims)] + [secrets.token_bytes(64)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
