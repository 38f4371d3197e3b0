"""An OpenID issuer of CI jobs on loopback: discovery, keys, tokens, what can be wrong with them.

    async with JobIssuer() as issuer:
        token = issuer.mint(sub="repo:my-org/app")          # RS256, good for five minutes
        issuer.rotate("ES256")                              # a new key; the old one is withdrawn
        forged = issuer.forge({"alg": "none"}, issuer.claims())

`fault` and `close`/`reopen` work as those of the origin. For a test outside the loop::

    with OriginThread() as origin:
        issuer = origin.run(JobIssuer().open())
        ...
        origin.run(issuer.close())

Signs with the cryptography library alone, so that it shares nothing with what verifies.
Reading: RFC 7515, 7517, 7518. Non-goals: logins, refresh tokens.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.origin.faults import Fault, FaultBook, FaultHandle
from tests.origin.journal import Journal, Received
from tests.origin.transmit import Throttle, Transmitter
from tests.origin.wire import Connection, Listener, Request, Response

HOST = "127.0.0.5"
AUDIENCE = "cgr-proxy.farm"
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key with its id, for one algorithm."""

    id: str
    algorithm: str
    private: Any = field(repr=False)

    @classmethod
    def make(cls, name: str, algorithm: str = "RS256", *, bits: int = 2048) -> SigningKey:
        """RS256, PS256, ES256, ES384 or EdDSA."""
        if algorithm in ("RS256", "PS256"):
            return cls(name, algorithm, rsa.generate_private_key(65537, bits))
        if algorithm == "EdDSA":
            return cls(name, algorithm, ed25519.Ed25519PrivateKey.generate())
        curve = ec.SECP256R1() if algorithm == "ES256" else ec.SECP384R1()
        return cls(name, algorithm, ec.generate_private_key(curve))

    def jwk(self) -> dict[str, Any]:
        """The public half."""
        common = {"kid": self.id, "alg": self.algorithm, "use": "sig"}
        public = self.private.public_key()
        if isinstance(public, ed25519.Ed25519PublicKey):
            raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
            return {"kty": "OKP", "crv": "Ed25519", "x": b64(raw), **common}
        numbers = public.public_numbers()
        if isinstance(numbers, rsa.RSAPublicNumbers):
            return {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e), **common}
        size = (public.key_size + 7) // 8
        curve = f"P-{public.key_size}"
        point = {"x": _number(numbers.x, size), "y": _number(numbers.y, size)}
        return {"kty": "EC", "crv": curve, **point, **common}

    def sign(self, data: bytes) -> bytes:
        """The signature as JWS wants it."""
        if self.algorithm == "EdDSA":
            return bytes(self.private.sign(data))
        if self.algorithm in ("ES256", "ES384"):
            digest = hashes.SHA256() if self.algorithm == "ES256" else hashes.SHA384()
            pair = decode_dss_signature(self.private.sign(data, ec.ECDSA(digest)))
            size = (self.private.key_size + 7) // 8
            return b"".join(number.to_bytes(size, "big") for number in pair)
        scheme: Any = padding.PKCS1v15()
        if self.algorithm == "PS256":
            scheme = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
        return bytes(self.private.sign(data, scheme, hashes.SHA256()))

    def pem(self) -> bytes:
        """The public half as text: what a confused verifier takes for a shared secret."""
        public = self.private.public_key()
        return bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


class JobIssuer:
    """A running issuer. `published`: what it tells; `key`: what it signs with.

    `clock`: epoch seconds. `jwks`: a whole key document in place of its own. `issuer`: what its
    configuration calls itself, if not its URL.
    """

    def __init__(
        self, key: SigningKey | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.clock = clock
        self.key = key or SigningKey.make("key-1")
        self.published = [self.key]
        self.jwks: Any = None
        self.jwks_uri = ""
        self.issuer = ""
        self.journal = Journal()
        self.faults = FaultBook()
        self._sender = Transmitter("oidc", lambda: (), Throttle(), Counter())
        self._listener = Listener(HOST, 0, self._serve)

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def open(self) -> Self:
        """Listen; again on the same port."""
        await self._listener.open()
        return self

    async def close(self, *, keep_port: bool = False) -> None:
        """Be away; `keep_port`: to come back."""
        self.faults.clear()
        await self._listener.close(keep_port=keep_port)

    @property
    def url(self) -> str:
        """What stands in `iss`."""
        return self._listener.url

    def stanza(self, *ecosystems: str, **more: Any) -> dict[str, Any]:
        """An `[[oidc]]` stanza that takes the tokens of `mint`."""
        return {
            "name": "ci",
            "issuer": self.url,
            "audience": AUDIENCE,
            "claims": {"repository": "my-org/*"},
            "ecosystems": list(ecosystems),
            **more,
        }

    def count(self, path: str = "jwks") -> int:
        """Requests so far."""
        return self.journal.count("GET", path)

    def fault(self, path: str = "", **what: Any) -> FaultHandle:
        """Put a fault to work."""
        return self.faults.add(Fault(server="oidc", path=path, **what))

    def rotate(self, algorithm: str = "RS256", *, keep: bool = False) -> None:
        """Sign with a new key from now on. `keep`: the old one is still told."""
        self.key = SigningKey.make(f"key-{len(self.published) + 1}-{algorithm}", algorithm)
        self.published = [*self.published, self.key] if keep else [self.key]

    # --- tokens -----------------------------------------------------------------------------------

    def claims(self, **more: Any) -> dict[str, Any]:
        """What a good token says; None leaves a claim out."""
        now = int(self.clock())
        said = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "repo:my-org/app:ref:refs/heads/main",
            "repository": "my-org/app",
            "iat": now,
            "nbf": now,
            "exp": now + 300,
            **more,
        }
        return {name: value for name, value in said.items() if value is not None}

    def mint(self, *, key: SigningKey | None = None, **more: Any) -> str:
        """A token signed with the issuer's key (or another). `more`: claims."""
        key = key or self.key
        return self.forge({"alg": key.algorithm, "kid": key.id}, self.claims(**more), key)

    @staticmethod
    def forge(header: Json, claims: Json | bytes, key: SigningKey | bytes | None = None) -> str:
        """A token with any header. `key`: a shared secret as bytes; None: no signature."""
        payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
        signed = f"{b64(json.dumps({'typ': 'JWT', **header}).encode())}.{b64(payload)}"
        if key is None:
            return f"{signed}."
        if isinstance(key, bytes):
            return f"{signed}.{b64(hmac.new(key, signed.encode(), hashlib.sha256).digest())}"
        return f"{signed}.{b64(key.sign(signed.encode()))}"

    # --- the wire ---------------------------------------------------------------------------------

    async def _serve(self, connection: Connection, request: Request) -> bool:
        received = Received("oidc", request.method, request.target, request.headers, self.clock())
        self.journal.begin(received)
        self.journal.end(received)
        handle = self.faults.pick("oidc", request.method, request.target)
        response = Response.of(404, "text/plain", b"no\n")
        if request.header("authorization") is not None:
            self.journal.violation(received, "a credential")
        if request.target == "/.well-known/openid-configuration":
            response = _json(
                {
                    "issuer": self.issuer or self.url,
                    "jwks_uri": self.jwks_uri or f"{self.url}/jwks",
                }
            )
        elif request.target == "/jwks":
            keys = {"keys": [key.jwk() for key in self.published]}
            response = _json(keys if self.jwks is None else self.jwks)
        return await self._sender.send(connection, request, response, handle)


def b64(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _number(value: int, size: int = 0) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def _json(data: Any) -> Response:
    return Response.of(200, "application/json", json.dumps(data).encode())
