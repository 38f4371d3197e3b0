"""ID tokens of CI jobs as credentials: so that a farm of builders holds no secret at all.

Purpose: from a token to a principal. Once verified, a token is remembered by its SHA-256 until it
ends, so that the next request costs a look-up; what is remembered counts only as long as the key
that it was verified with does.

Reading: OpenID Connect Core 1.0; RFC 7515 section 7.1 (compact form); GitHub's, GitLab's and
Kubernetes' guides to workload tokens. Non-goals: access tokens that only their issuer can read,
a login for people.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn, final

from proxy.access.claims import Job, refusal
from proxy.access.keys import ALGORITHMS, Fetch, Key, Keys
from proxy.errors import Unauthenticated
from proxy.model import Principal

MAX_KNOWN = 10_000
_DOTS = 2


@dataclass(frozen=True, slots=True)
class _Verified:
    """By which of whose keys a token was verified."""

    keys: Keys
    key: Key

    @property
    def holds(self) -> bool:
        return self.keys.counts(self.key)


@final
class Oidc:
    """Judges ID tokens. `wall`: epoch seconds; `clock`: monotonic ones."""

    def __init__(
        self,
        jobs: Iterable[Job],
        fetch: Fetch,
        *,
        wall: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._fetch = fetch
        self._wall = wall
        self._clock = clock
        # By digest: whose it is, when it ends (epoch seconds), why we think so.
        self._known: dict[bytes, tuple[Principal, float, _Verified]] = {}
        self._jobs: tuple[Job, ...] = ()
        self._issuers: dict[str, Keys] = {}
        self.replace(jobs)

    def replace(self, jobs: Iterable[Job]) -> None:
        """Take other jobs from now on. The keys of an issuer that stays are kept."""
        self._jobs = tuple(jobs)
        self._known.clear()
        before = self._issuers
        self._issuers = {
            url: before.get(url) or Keys(url, self._fetch, clock=self._clock)
            for url in dict.fromkeys(job.issuer for job in self._jobs)
        }

    def concerns(self, token: str) -> bool:
        """Tell, cheaply, whether a token could be an ID token, and any is believed here."""
        # A compact token: three parts, the first the base64 of something that begins with a brace.
        return bool(self._jobs) and token.startswith("e") and token.count(".") == _DOTS

    async def identify(self, token: str) -> Principal | None:
        """Say whose token it is; None: it is no ID token of an issuer that is configured.

        Raises Unauthenticated for one that is, and does not hold; IssuerUnavailable.
        """
        if not self.concerns(token):
            return None
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is not None and self._wall() < known[1] and known[2].holds:
            return known[0]
        if (read := _read(token)) is None:
            return None
        header, payload = read
        issuer = payload.get("iss")
        keys = self._issuers.get(issuer) if isinstance(issuer, str) else None
        if keys is None:
            return None
        key = await _verify(token, header, keys)
        return self._judge(digest, payload, _Verified(keys, key))

    def poll(self) -> None:
        """Begin to learn keys anew where it is time to; waits for nothing."""
        for keys in self._issuers.values():
            keys.poll()

    async def renew(self) -> None:
        """Learn all keys anew, now; returns when each issuer has answered or was given up."""
        await asyncio.gather(*(keys.renew() for keys in self._issuers.values()))

    async def close(self) -> None:
        """Stop learning."""
        for keys in tuple(self._issuers.values()):
            await keys.close()

    def _judge(
        self, digest: bytes, payload: Mapping[str, object], verified: _Verified
    ) -> Principal:
        """The first job that the token is of. Raises Unauthenticated."""
        now, reasons = self._wall(), []
        for job in self._jobs:
            if job.issuer == payload.get("iss"):
                if not (reason := refusal(job, payload, now)):
                    principal = job.principal(payload)
                    self._remember(digest, principal, payload["exp"], verified)
                    return principal
                reasons.append(reason)
        return _refuse(reasons[0] if reasons else "its issuer is not configured here any more")

    def _remember(
        self, digest: bytes, principal: Principal, expires: object, verified: _Verified
    ) -> None:
        keys = verified.keys
        # Keys that were taken out of the configuration meanwhile are never learnt anew.
        if not isinstance(expires, int | float) or self._issuers.get(keys.url) is not keys:
            return
        while len(self._known) >= MAX_KNOWN:
            self._known.pop(next(iter(self._known)))
        self._known[digest] = (principal, expires, verified)


async def _verify(token: str, header: Mapping[str, object], keys: Keys) -> Key:
    algorithm, name = header.get("alg"), header.get("kid", "")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS or not isinstance(name, str):
        _refuse(f"it is not signed with one of {', '.join(sorted(ALGORITHMS))}")
    key = await keys.find(name, algorithm)
    if key is None:
        _refuse("its issuer does not know the key that it names")
    if not key.verify(token, algorithm):
        # By now its issuer may have another key under that id.
        key = await keys.find(name, algorithm, other_than=key)
        if key is None or not key.verify(token, algorithm):
            _refuse("its signature does not hold")
    return key


def _refuse(reason: str) -> NoReturn:
    raise Unauthenticated(f"The ID token is not accepted here: {reason}.")


def _read(token: str) -> tuple[dict[str, object], dict[str, object]] | None:
    """Header and payload of a compact token, unverified; None where it is none."""
    parts = token.split(".")
    header, payload = _object(parts[0]), _object(parts[1])
    return None if header is None or payload is None else (header, payload)


def _object(part: str) -> dict[str, object] | None:
    try:
        raw = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
        data: object = json.loads(raw, parse_constant=_no_constant)
    except (binascii.Error, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _no_constant(name: str) -> NoReturn:
    # JSON has no NaN and no Infinity; a time that never ends would be one.
    raise ValueError(name)
