"""Keep secrets out of log lines: the second line of defence.

Purpose: the first line is that no secret has a text form; this catches what a library's
exception, a debug log or a misconfigured client brings along all the same. Two nets: the values
that were registered, in every form in which they travel (plain, URL-encoded, base64 at each
alignment, JSON-escaped, the segments of a JWT), and things that look like credentials whoever
they belong to. A value is known as long as its owner has it, however often others rotate theirs,
and for `LINGER` seconds more, in which an answer to it may still come.

Reading: RFC 7519 (JWT), RFC 4648 (base64), AWS Signature Version 4 query parameters.
Non-goals: making leaks harmless; hiding names of packages or users.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Hashable, Iterator
from functools import lru_cache
from urllib.parse import quote, quote_plus

MASK = "***"
_SHORTEST = 8  # characters of a form; below that the mask would eat ordinary words
_SHORTEST_SEGMENT = 12
LINGER = 600.0  # seconds; a request, its retries and what is said about it take less
_CACHED = 4096

_AUTHORIZATION = re.compile(
    # Authorization: Basic x | 'Authorization': 'Basic x' | (b'Authorization', b'Basic x')
    r"""(authorization \\{0,2}["']? \s*[:=,]\s* (?:b?\\{0,2}["'])?)  # name, quotes, separator
        (?:[a-z]+[ ]+)?                                         # scheme
        [^\s"'\\,;)}\]]+                                        # credential
    """,
    re.IGNORECASE | re.VERBOSE,
)
_PATTERNS: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = (
    (("authorization",), _AUTHORIZATION, rf"\1{MASK}"),
    (
        ("basic", "bearer"),
        re.compile(r"\b(basic|bearer)\s+[\w+/.~-]{16,}=*", re.IGNORECASE),
        rf"\1 {MASK}",
    ),
    (("eyj",), re.compile(r"eyJ[\w-]{9,}(?:\.[\w-]*){0,2}", re.ASCII), MASK),
    (("cgrp_",), re.compile(r"cgrp_[\w-]{8,}", re.ASCII), MASK),
    (
        ("x-amz-", "x-goog-"),
        re.compile(r"(x-(?:amz|goog)-[a-z-]+=)[^&\s\"'<>\\#]+", re.IGNORECASE),
        rf"\1{MASK}",
    ),
    (
        ("=",),
        re.compile(
            r"((?:signature|sig|token|password|passwd|secret|_auth)=)[^&\s\"'<>\\#]+",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    (("://",), re.compile(r"(://)[^/\s?#\"'@\\]+@"), rf"\1{MASK}@"),
)
"""What a text must hold in lower case, one of several, for a pattern to be looked for; the pattern;
what takes its place. Nearly every text holds none of them, and to look for them is a tenth of the
patterns' cost: these see each path, agent and package of each line."""
_SIGNS = tuple(sign for signs, _, _ in _PATTERNS for sign in signs)


class Redactor:
    """Masks what it was told of and what looks like a credential. `redact` is safe from any thread,
    `register` belongs to one. `clock`: seconds, monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: dict[Hashable, frozenset[str]] = {}
        self._until: dict[str, float] = {}  # what nobody holds any more
        self._known: dict[str, tuple[str, ...]] = {}  # every value, with its forms
        self._forms: tuple[str, ...] = ()
        self._cached = self._new_cache()
        self.generation = 0
        """Another number after each registration: what was redacted before may hold a secret."""

    def register(self, owner: Hashable, *values: str) -> None:
        """From now on mask these values in every form, in place of those that the owner had.

        Register user name and password, and `user:password` as third where Basic is used.
        Values under 8 characters are left alone: they would mask ordinary words.
        """
        now = self._clock()
        for value in self._held.get(owner, ()):
            self._until[value] = now + LINGER
        self._held[owner] = frozenset(values)
        for value in frozenset().union(*self._held.values()):
            self._until.pop(value, None)
            if value not in self._known:
                self._known[value] = tuple(frozenset(forms_of(value)))
        for value in [value for value, until in self._until.items() if until <= now]:
            del self._until[value], self._known[value]
        forms = {form for known in self._known.values() for form in known}
        # Longest first: a whole token goes as one mask, not as a row of segments.
        self._forms = tuple(sorted(forms, key=len, reverse=True))
        self._cached = self._new_cache()
        self.generation += 1

    def redact(self, text: str) -> str:
        """The text with every secret replaced by `***`."""
        if len(text) < _SHORTEST:
            return text
        # Nearly every text holds nothing of all that: `any(map(...))` says so sooner than a loop.
        if any(map(text.__contains__, self._forms)):
            for form in self._forms:
                text = text.replace(form, MASK)
        # Outside ASCII letters have more than one lower case (IGNORECASE knows them): no short cut.
        lower = text.lower() if text.isascii() else None
        if lower is not None and not any(map(lower.__contains__, _SIGNS)):
            return text
        for signs, pattern, replacement in _PATTERNS:
            if lower is None or any(sign in lower for sign in signs):
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
