"""What a verified ID token says, judged. Pure: `now` is given.

Purpose: after its signature holds, a token still has to come from this issuer, be meant for us, be
valid now and be of a job that the operator named. Every refusal is a reason for a person, without
a value of the token in it.

Reading: OpenID Connect Core 1.0 section 3.1.3.7; RFC 7519 section 4.1; RFC 8725 (best practices).
Non-goals: signatures (`proxy.access.keys`), whose keys count.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

from proxy.model import Principal

LEEWAY = 60.0
"""Seconds that clocks may differ."""
LONGEST = 366 * 86400.0
"""Seconds that a token may still be good for. One for ever is a password that nobody can change."""
_LATEST = 253402300799  # the year 9999: what is beyond, infinite or NaN is on no calendar
_LONGEST_NAME = 160
# What stands in a log line between blanks must hold none.
_ODD = re.compile(r"[^A-Za-z0-9._:/@+=,-]")


@dataclass(frozen=True, slots=True)
class Job:
    """One `[[oidc]]` stanza. `claims`: name and wanted value each, exact or with a star behind."""

    name: str
    issuer: str
    audience: str
    claims: tuple[tuple[str, str], ...]
    ecosystems: frozenset[str]
    packages: tuple[str, ...] = ()

    def principal(self, payload: Mapping[str, object]) -> Principal:
        """Who has shown a token with this payload: the job's name and the token's subject."""
        subject = _ODD.sub("_", str(payload.get("sub", "")))
        name = f"{self.name}:{subject}"[:_LONGEST_NAME]
        return Principal(name, "oidc", self.ecosystems, self.packages)


def refusal(job: Job, payload: Mapping[str, object], now: float) -> str:
    """Say why a token is not one of this job's; "" where it is. `now`: epoch seconds."""
    if payload.get("iss") != job.issuer:
        return "it is of another issuer"
    if not _names(payload.get("aud"), job.audience):
        return "it is meant for another audience"
    if wrong := _untimely(payload, now):
        return wrong
    for name, wanted in job.claims:
        if not _says(payload.get(name), wanted):
            return f"its claim {name} is not the one that is asked for here"
    return ""


def _untimely(payload: Mapping[str, object], now: float) -> str:
    expires, begins, issued = (payload.get(name) for name in ("exp", "nbf", "iat"))
    if not _is_time(expires):
        return "it does not say when it ends"
    if any(value is not None and not _is_time(value) for value in (begins, issued)):
        return "a time in it is none"
    if expires <= now - LEEWAY:
        return "it has expired"
    if expires > now + LONGEST:
        return "it would be good for more than a year"
    if any(_is_time(value) and value > now + LEEWAY for value in (begins, issued)):
        return "it is not valid yet, or the clocks differ"
    return ""


def _is_time(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # Compared, not computed with: an integer may be larger than any float.
    return -_LATEST <= value <= _LATEST


def _names(audience: object, wanted: str) -> bool:
    """One name, or several: a token for us and somebody else too is still for us."""
    return audience == wanted or (isinstance(audience, list) and wanted in audience)


def _says(value: object, wanted: str) -> bool:
    if isinstance(value, list):
        return any(_says(item, wanted) for item in value if not isinstance(item, list))
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, int):
        value = str(value)
    if not isinstance(value, str):
        return False
    return value.startswith(wanted[:-1]) if wanted.endswith("*") else value == wanted
