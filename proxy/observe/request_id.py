"""Ids of requests: 16 characters, unique, cheap.

Purpose: one id joins a client's error message, the answer's header and the log lines. Five
random bytes tell processes apart, a counter tells requests apart; no system call a request.

Reading: RFC 4648 section 6 (base32). Non-goals: secrecy; an id opens nothing.
"""

from __future__ import annotations

import itertools
import secrets

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_MASK = (1 << 40) - 1
_ODD = 0x9E3779B97F & _MASK | 1  # odd: a bijection of 40 bits, so no two counts share an id


class RequestIds:
    """The ids of one process. Good for 2**40 requests before the first repeats.

    `seed`: five bytes that tell this process from others; random where not given.
    """

    def __init__(self, seed: bytes | None = None) -> None:
        self._pairs = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
        self._counter = itertools.count(1)
        number = int.from_bytes(secrets.token_bytes(5) if seed is None else seed[:5], "big")
        self._prefix = self._encode(number)

    def next(self) -> str:
        """The next id; safe to call from several threads."""
        # Scattered, so that an id does not tell a client how much traffic there is.
        return self._prefix + self._encode(next(self._counter) * _ODD & _MASK)

    def _encode(self, number: int) -> str:
        pairs = self._pairs
        return (
            f"{pairs[number >> 30]}{pairs[number >> 20 & 1023]}"
            f"{pairs[number >> 10 & 1023]}{pairs[number & 1023]}"
        )
