"""Keep secrets out of log lines: the second line of defence.

Purpose: the first line is that no secret has a text form; this catches what a library's
exception, a debug log or a misconfigured client brings along all the same. Two nets: the values
that were registered, in every form in which they travel (plain, URL-encoded, base64 at each
alignment, JSON-escaped, the segments of a JWT), and things that look like credentials whoever
they belong to.

Reading: RFC 7519 (JWT), RFC 4648 (base64), AWS Signature Version 4 query parameters.
Non-goals: making leaks harmless; hiding names of packages or users.
"""

from __future__ import annotations

import base64
import json
import re
from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache
from urllib.parse import quote, quote_plus

MASK = "***"
_SHORTEST = 8  # characters of a form; below that the mask would eat ordinary words
_SHORTEST_SEGMENT = 12
_KEPT = 128  # registered values; a rotation adds, so the oldest go at some time
_CACHED = 4096

_AUTHORIZATION = re.compile(
    # Authorization: Basic x | 'Authorization': 'Basic x' | (b'Authorization', b'Basic x')
    r"""(authorization \\{0,2}["']? \s*[:=,]\s* (?:b?\\{0,2}["'])?)  # name, quotes, separator
        (?:[a-z]+[ ]+)?                                         # scheme
        [^\s"'\\,;)}\]]+                                        # credential
    """,
    re.IGNORECASE | re.VERBOSE,
)
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (_AUTHORIZATION, rf"\1{MASK}"),
    (re.compile(r"\b(basic|bearer)\s+[\w+/.~-]{16,}=*", re.IGNORECASE), rf"\1 {MASK}"),
    (re.compile(r"eyJ[\w-]{9,}(?:\.[\w-]*){0,2}", re.ASCII), MASK),
    (re.compile(r"cgrp_[\w-]{8,}", re.ASCII), MASK),
    (re.compile(r"(x-(?:amz|goog)-[a-z-]+=)[^&\s\"'<>\\#]+", re.IGNORECASE), rf"\1{MASK}"),
    (
        re.compile(
            r"((?:signature|sig|token|password|passwd|secret|_auth)=)[^&\s\"'<>\\#]+",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(://)[^/\s?#\"'@\\]+@"), rf"\1{MASK}@"),
)


class Redactor:
    """Masks what it was told of and what looks like a credential. Safe from any thread."""

    def __init__(self) -> None:
        self._values: deque[str] = deque(maxlen=_KEPT)
        self._forms: tuple[str, ...] = ()
        self._cached = self._new_cache()
        self.generation = 0
        """Another number after each registration: what was redacted before may hold a secret."""

    def register(self, *values: str) -> None:
        """From now on mask these values in every form.

        Register user name and password, and `user:password` as third where Basic is used.
        Values under 8 characters are left alone: they would mask ordinary words.
        """
        known = set(self._values)
        self._values.extend(value for value in dict.fromkeys(values) if value not in known)
        forms = {form for value in self._values for form in forms_of(value)}
        # Longest first: a whole token goes as one mask, not as a row of segments.
        self._forms = tuple(sorted(forms, key=len, reverse=True))
        self._cached = self._new_cache()
        self.generation += 1

    def redact(self, text: str) -> str:
        """The text with every secret replaced by `***`."""
        if len(text) < _SHORTEST:
            return text
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    def redact_cached(self, text: str) -> str:
        """The same for texts that come again and again, like user agents and paths."""
        return self._cached(text)

    def _new_cache(self) -> Callable[[str], str]:
        # A new one at each registration: a cached text may hold what is a secret only now.
        return lru_cache(maxsize=_CACHED)(self.redact)


def forms_of(value: str) -> Iterator[str]:
    """Every form in which a value travels, of 8 characters and more."""
    candidates = [value, *_base64_forms(value)]
    parts = value.split(".")
    if len(parts) > 1:
        for part in parts:
            if len(part) >= _SHORTEST_SEGMENT:
                candidates += [part, *_base64_forms(part)]
    for candidate in candidates:
        for form in (
            candidate,
            quote(candidate, safe=""),
            quote(candidate),
            quote_plus(candidate),
            json.dumps(candidate)[1:-1],
        ):
            if len(form) >= _SHORTEST:
                yield form


def _base64_forms(value: str) -> Iterator[str]:
    """The stable middle of the value's base64, for each place it can have in a longer text.

    `Basic` encodes `user:password`, so a password starts at any of three alignments.
    """
    raw = value.encode("utf-8", "surrogatepass")
    for offset in range(3):
        padded = base64.b64encode(bytes(offset) + raw)
        first = (0, 2, 3)[offset]  # characters that hold bits of what stands before
        last = (offset + len(raw)) * 8 // 6  # from here on: bits of what comes after, padding
        form = padded[first:last].decode("ascii")
        yield form
        yield form.replace("+", "-").replace("/", "_")
