"""Bearer challenges and the answers of token endpoints, read and spelt. Pure.

Purpose: a registry says with a 401 where a token is to be had and for what; this is the one place
that reads it, with a real parser, since a quoted value may hold commas, spaces and names of other
parameters. What the realm may be is said elsewhere (`addresses`).

Reading: RFC 9110 section 11.6.1 (WWW-Authenticate), the distribution project's token specification
(`auth/token`, `auth/scope`: a scope for each resource, the query repeats it). Non-goals: asking,
keeping (`bearers`); OAuth 2 refresh tokens: a pull token can be shown again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, final
from urllib.parse import quote

from proxy.errors import Malformed
from proxy.secret import Secret

MAX_LINE = 8192
MAX_SCOPES = 16
DEFAULT_LIFETIME = 60.0  # seconds, as the specification has it
LONGEST_LIFETIME = 86400.0
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  # a pattern
_PARAMETER = re.compile(rf'({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))')
_SCHEME = re.compile(rf"({_TOKEN})(?:\s+|$|(?=,))")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*\s*(?=,|$)")
_REPOSITORY = re.compile(r"(repository(?:\([a-z0-9]+\))?:.+):[a-z,*]+")
_ESCAPE = re.compile(r"\\(.)")
_VISIBLE = re.compile(r"[\x21-\x7e]{1,16384}")


class Role(Enum):
    """What a host is to the question that it is asked."""

    UPSTREAM = "takes the pull token"
    REGISTRY = "takes bearer tokens"
    REALM = "gives bearer tokens for the pull token"
    LEARNT = "takes no token: an upstream has redirected to it"


@dataclass(frozen=True, slots=True)
class BearerChallenge:
    """What a Bearer challenge says. `scopes`: one for each resource, in the order given."""

    realm: str
    service: str = ""
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BearerToken:
    """What a token endpoint gave. `lifetime`: seconds for which it is good, as it says."""

    value: Secret
    lifetime: float


@final
class Challenged(Exception):
    """An upstream answered 401 and says where a token is to be had. Never leaves the room."""

    def __init__(self, challenge: BearerChallenge) -> None:
        super().__init__("a token is asked for")
        self.challenge = challenge


@final
class BasicWanted(Exception):
    """An upstream answered 401 and wants the credential itself. Never leaves the room."""


def wants_basic(lines: Sequence[str]) -> bool:
    """Tell whether there is a Basic challenge in the WWW-Authenticate lines."""
    return any(scheme.lower() == "basic" for line in lines for scheme, _ in _challenges(line))


def bearer_challenge(lines: Sequence[str]) -> BearerChallenge | None:
    """The first Bearer challenge in the WWW-Authenticate lines; None where there is none with a
    realm, or where the lines are no challenges at all."""
    for line in lines:
        for scheme, parameters in _challenges(line):
            named = dict(reversed(parameters))  # the first of a name counts, but of scopes all
            if scheme.lower() != "bearer" or not named.get("realm") or "#" in named["realm"]:
                continue
            scopes = [value for name, value in parameters if name == "scope"]
            words = dict.fromkeys(_to_pull(word) for scope in scopes for word in scope.split())
            return BearerChallenge(
                named["realm"], named.get("service", ""), tuple(words)[:MAX_SCOPES]
            )
    return None


def _to_pull(scope: str) -> str:
    """The same scope for pulling only: nobody is to get a token that could do more."""
    found = _REPOSITORY.fullmatch(scope)
    return f"{found.group(1)}:pull" if found is not None else scope


def token_address(challenge: BearerChallenge) -> str:
    """The address to ask at: the realm as it is, with service and scopes in its query."""
    pairs = [("service", challenge.service)] if challenge.service else []
    pairs += [("scope", scope) for scope in challenge.scopes]
    query = "&".join(f"{name}={quote(value, safe=':/,*')}" for name, value in pairs)
    if not query:
        return challenge.realm
    return f"{challenge.realm}{'&' if '?' in challenge.realm else '?'}{query}"


def read_token(body: bytes) -> BearerToken:
    """Read a token endpoint's answer. Raises Malformed; its text holds nothing of the answer."""
    try:
        data: Any = json.loads(body)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise Malformed("The upstream's token endpoint sent something else than a token.")
    value = data.get("token") or data.get("access_token")
    if not isinstance(value, str) or not _VISIBLE.fullmatch(value):
        raise Malformed("The upstream's token endpoint sent no token.")
    return BearerToken(Secret(value), _lifetime(data.get("expires_in")))


def _lifetime(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return DEFAULT_LIFETIME
    return float(min(value, LONGEST_LIFETIME))


def _challenges(line: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Every challenge of a line; ends at the first thing that is none."""
    at, line = 0, line[:MAX_LINE].strip()
    while at < len(line):
        scheme = _SCHEME.match(line, at)
        if scheme is None:
            return
        at = scheme.end()
        parameters: list[tuple[str, str]] = []
        while (found := _PARAMETER.match(line, at)) is not None:
            quoted, plain = found.group(2), found.group(3)
            value = _ESCAPE.sub(r"\1", quoted) if quoted is not None else plain
            parameters.append((found.group(1).lower(), value))
            at = _after_comma(line, found.end())
        if not parameters and (other := _TOKEN68.match(line, at)) is not None:
            at = other.end()
        elif not parameters and line[at : at + 1] not in ("", ","):
            return
        yield scheme.group(1), parameters
        at = _after_comma(line, at)


def _after_comma(line: str, at: int) -> int:
    while at < len(line) and line[at] in ", \t":
        at += 1
    return at
