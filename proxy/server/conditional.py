"""Conditional and range requests against one representation. Pure.

Purpose: decide which part of a body with a known size and strong ETag a request gets. Whatever is
odd about a Range is ignored (the whole is always right); only a single, well-formed byte range that
cannot be satisfied is a 416.

Reading: RFC 9110 sections 8.8.3, 13.1, 13.2.2, 14.1.2, 14.2. We send no Last-Modified, so dates
never match. Non-goals: multipart/byteranges.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# The unit is case-insensitive (RFC 9110 section 14.1).
_RANGE = re.compile(r"(?i:bytes)=(?:([0-9]{1,19})-([0-9]{0,19})|-([0-9]{1,19}))", re.ASCII)
_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"')
_STRONG_TAG = re.compile(r'"[\x21\x23-\x7e]*"')
_MAX_FIELD = 8192


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditional fields as sent, each a list of lines."""

    if_match: Sequence[str] = ()
    if_none_match: Sequence[str] = ()
    range: Sequence[str] = ()
    if_range: Sequence[str] = ()


UNCONDITIONAL = Conditions()


@dataclass(frozen=True, slots=True)
class Whole:
    """200."""


@dataclass(frozen=True, slots=True)
class Part:
    """206: bytes `start` up to, not including, `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class NotModified:
    """304."""


@dataclass(frozen=True, slots=True)
class Failed:
    """412."""


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """416."""


Selection = Whole | Part | NotModified | Failed | Unsatisfiable


def select(conditions: Conditions, *, etag: str, size: int) -> Selection:
    """Choose, in the order of RFC 9110 section 13.2.2. `etag`: strong, quoted. `size`: bytes."""
    if conditions.if_match and not _any_matches(conditions.if_match, etag, weakly=False):
        return Failed()
    if conditions.if_none_match and _any_matches(conditions.if_none_match, etag, weakly=True):
        return NotModified()
    if len(conditions.range) != 1 or not _range_applies(conditions.if_range, etag):
        return Whole()
    return _part(conditions.range[0], size)


def wants_range(conditions: Conditions) -> bool:
    """Tell whether there is a byte range that could be answered with a 206."""
    return len(conditions.range) == 1 and _RANGE.fullmatch(conditions.range[0].strip()) is not None


def _part(text: str, size: int) -> Selection:
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        return Whole()
    first, last, suffix = match.groups()
    if suffix is not None:
        count = min(int(suffix), size)
        return Part(size - count, size) if count else Unsatisfiable()
    start = int(first)
    end = min(int(last), size - 1) + 1 if last else size
    if last and int(last) < start:
        return Whole()
    return Part(start, end) if start < size else Unsatisfiable()


def _range_applies(if_range: Sequence[str], etag: str) -> bool:
    if not if_range:
        return True
    return len(if_range) == 1 and if_range[0].strip() == etag


def _any_matches(lines: Sequence[str], etag: str, *, weakly: bool) -> bool:
    text = ",".join(lines)
    if len(text) > _MAX_FIELD:
        return False
    if text.strip() == "*":
        return True
    if weakly:
        return any(tag.removeprefix("W/") == etag for tag in _TAG.findall(text))
    # A weak tag never matches here; cut them out before looking for strong ones.
    strong = [tag for tag in _TAG.findall(text) if _STRONG_TAG.fullmatch(tag)]
    return etag in strong
