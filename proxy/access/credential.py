"""Read the credential that a client presents. Pure.

Purpose: one Authorization header becomes one token, whichever of the two schemes carried it:
Basic, whose user name is ignored (pip, Maven, docker all insist on one), or Bearer (npm).

Reading: RFC 7617 (Basic), RFC 6750 section 2.1 (Bearer), RFC 9110 section 11.6.2.
Non-goals: deciding whether the token is any good; that is `proxy.access.clients`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import NoReturn

from proxy.errors import BadRequest, Unauthenticated

MAX_LENGTH = 8192
"""Characters of an Authorization value. More is no credential of ours, nor of a registry's."""


class Credential:
    """A token as presented, without a text form: `repr`, `str` and `format` show `***`.

    Never compared with `==` (that would be by identity); `Clients` compares digests.
    """

    __slots__ = ("token",)

    def __init__(self, token: str) -> None:
        self.token = token

    def __repr__(self) -> str:
        return "Credential(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A credential is not pickled.")


def parse_authorization(values: Sequence[str]) -> Credential | None:
    """Read all Authorization lines of one request; None where there is none.

    Raises BadRequest for more than one line (RFC 9110 section 5.3: which one counts would be a
    guess) and Unauthenticated for anything else that is not one well-formed Basic or Bearer.
    """
    if not values:
        return None
    if len(values) > 1:
        raise BadRequest("The request has more than one Authorization header; send exactly one.")
    value = values[0].strip(" \t")
    if len(value) > MAX_LENGTH:
        raise _unreadable(f"is longer than {MAX_LENGTH} characters")
    scheme, _, rest = value.partition(" ")
    match scheme.lower():
        case "basic":
            return Credential(_basic(rest.strip(" ")))
        case "bearer":
            return Credential(_checked(rest.strip(" ")))
        case _:
            raise _unreadable("has a scheme other than Basic and Bearer")


def _basic(encoded: str) -> str:
    try:
        raw = base64.b64decode(encoded, validate=True)
        pair = raw.decode("utf-8")
    except (binascii.Error, ValueError):
        # `from None`: the decoder's error holds the bytes that it could not decode.
        raise _unreadable("is not valid base64 of UTF-8 text") from None
    if base64.b64encode(raw).decode("ascii") != encoded:
        # Surplus padding and stray bits: Python versions differ in what they let through.
        raise _unreadable("is not canonical base64")
    _user, colon, token = pair.partition(":")
    if not colon:
        raise _unreadable("has no colon between user name and password")
    return _checked(token)


def _checked(token: str) -> str:
    # Spaces included: no token that we make has one, and trimming would be a guess.
    if not token or not token.isprintable() or " " in token:
        raise _unreadable("holds no token, or one with blanks or control characters")
    return token


def _unreadable(what: str) -> Unauthenticated:
    return Unauthenticated(
        f"The Authorization header {what}; send a client token of this proxy as Basic password "
        "(any user name) or as Bearer."
    )
