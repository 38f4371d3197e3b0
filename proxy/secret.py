"""A secret text that has no text form.

Purpose: a pull token or a password lives in a `Secret` from the moment it is read until the one
place that puts it into a header. Printing, formatting, logging or pickling it gives nothing away.

Reading: go-containerregistry's `transport/bearer.go` (a credential has one home).
Non-goals: wiping memory (Python cannot), finding secrets in other texts (that is the log's work).
"""

from __future__ import annotations

import hmac
from typing import NoReturn, final

MASK = "***"


@final
class Secret:
    """Wraps one secret; only `reveal` gives it back. Compared in constant time, never ordered."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Give the text itself. Every call of this is a place to review."""
        return self._value

    def __repr__(self) -> str:
        return MASK

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        # The padding that a format asks for is ignored: it could tell the length.
        return MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_octets(self._value), _octets(other._value))

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("A secret is neither pickled nor copied.")


def _octets(value: str) -> bytes:
    """Bytes of any text, also of one that came undecodable from the environment."""
    return value.encode("utf-8", "surrogatepass")
