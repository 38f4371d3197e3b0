"""The upstream's answers, translated once: a usable head, or an error of `proxy.errors`.

Purpose: the status table of the contract (section 4) from the upstream's side. Header values are
copied by allow-list and only when they are printable ASCII. No text that holds a secret of ours,
as the room's scrubber tells, comes out: an upstream may echo what it was sent.

Reading: RFC 9110 sections 8 and 15, RFC 9111 section 5.2.2. Non-goals: bodies of documents.
"""

from __future__ import annotations

import email.utils
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial

from proxy.errors import (
    Blocked,
    CredentialRefused,
    Malformed,
    NotFound,
    ProxyError,
    RateLimited,
    Unavailable,
)
from proxy.upstream.base import Head, Texts, UpstreamRequest
from proxy.upstream.breaker import clamp_retry_after
from proxy.upstream.plain import PlainHead
from proxy.upstream.scrubber import Scrubber, Secrets
from proxy.upstream.unpacking import GZIP

MAX_VALUE = 2000  # characters of a header's value
_AGE = re.compile(r"[0-9]{1,10}")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
_MAX_AGE = re.compile(r"(?:^|,)\s*(?:s-maxage|max-age)=\"?([0-9]{1,10})", re.IGNORECASE)
_NO_STORE = re.compile(r"(?:^|,)\s*(?:no-cache|no-store)\b", re.IGNORECASE)
_KEPT_FIELDS = ("docker-content-digest", "link", "oci-filters-applied", "x-pypi-last-serial")
_TEXTS = ("content-type", "etag", "last-modified", *_KEPT_FIELDS)
# What no reason needs to hold: it might be a token, an identity, a pre-signed URL.
_NO_REASON = re.compile(r"https?://\S+|\S*eyJ\S*|\S{57,}")
_TOKEN_LIKE = re.compile(r"eyJ[\w-]{9,}|cgrp_[\w-]{8,}")
HIDDEN_REASON = "the upstream's reason held a secret and is not shown"
DEFAULT_RETRY_AFTER = 30
REFUSED_RETRY_AFTER = 10  # of our token: clients wait so long, several times over
MAX_REASON = 300


def read_head(  # noqa: PLR0913  # the answer, and what it is judged by
    request: UpstreamRequest,
    url: str,
    status: int,
    headers: Mapping[str, str],
    scrubber: Scrubber,
    *,
    conditional: bool = True,
) -> Head:
    """Make a Head of a 200, 206 or 304. Raises Malformed when it contradicts the request.

    A value that holds a secret is dropped as if it had not come; they are looked at when they are
    asked for, with what was sent up to now.
    `conditional`: the validators of the request were sent (a learnt host does not get them).
    """
    framing = headers.get("Transfer-Encoding")
    chunked = framing is not None and "chunked" in framing.lower()
    length = None if chunked else _size(headers)
    start, size = 0, length
    if status == 206:
        start, size = _range(request, headers, length)
    if status == 304 and not (conditional and (request.etag or request.last_modified)):
        raise Malformed("The upstream answered 304 to an unconditional request.")
    coding, packed = headers.get("Content-Encoding"), False
    if coding is not None:
        coding = coding.lower()
        packed = request.document and status != 206 and coding in GZIP
        if not packed and coding not in ("identity", "aws-chunked", ""):
            raise Malformed("The upstream encoded a body although identity was asked for.")
    return Head(
        status,
        url,
        size=None if packed else size,
        framed=chunked or length is not None,
        start=start,
        packed=packed,
        late=partial(_texts, headers, scrubber.secrets),
    )


def plain_head(url: str, plain: PlainHead, scrubber: Scrubber) -> Head:
    """What `read_head` makes of a plain head: there is nothing in it that could contradict."""
    secrets = scrubber.secrets
    return Head(200, url, size=plain.size, late=lambda: _texts(plain.fields, secrets))


def read_error(  # noqa: PLR0913  # the answer, and what it is judged by
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    scrubber: Scrubber,
    *,
    learnt: bool,
    configured: bool = True,
) -> ProxyError:
    """Make the error that an answer other than 200, 206, 304 and a redirect stands for.

    `body`: at most 64 KiB of it. `learnt`: it came from a redirect's host, whose 403 and 404 say
    only that the pre-signed URL no longer works, nothing about the artifact. `configured`: the
    proxy has a credential for this upstream.
    """
    pause = retry_after(headers.get("Retry-After", ""), headers.get("Date", ""))
    if status == 429:
        return RateLimited(
            "The upstream limits the rate of requests; try again later.",
            retry_after=pause,
            upstream_status=429,
        )
    if learnt:
        return Unavailable(
            f"The upstream's object store answered {status}; try again later.",
            retry_after=pause,
            upstream_status=status,
        )
    if status in (404, 410):
        return NotFound("The upstream does not have it.", gone=status == 410)
    if status == 401:
        return CredentialRefused(
            "The upstream refuses the proxy's pull token; the operator must renew it."
            if configured
            else "The upstream wants a credential and the proxy has none for it; the operator must"
            " configure one.",
            retry_after=REFUSED_RETRY_AFTER,
            upstream_status=401,
        )
    if status in (403, 409) and not _is_page(headers, body):
        reason = reason_of(headers, body, scrubber) or "The upstream refuses it."
        return Blocked(f"The upstream blocks it: {reason}", conflict=status == 409)
    return Unavailable(
        f"The upstream answered {status}; try again later.",
        retry_after=pause,
        upstream_status=status,
    )


def retry_after(value: str, date: str) -> int:
    """Seconds of a Retry-After (RFC 9110 section 10.2.3), clamped to 1..300; rubbish: 30.

    `date`: the answer's own Date, which a moment is measured from: no clock of ours comes in.
    """
    value = value.strip()
    if re.fullmatch(r"[0-9]{1,18}", value):
        return clamp_retry_after(int(value))
    if re.fullmatch(r"-[0-9]{1,18}", value):
        return 1
    until, since = _moment(value), _moment(date)
    if until is None or since is None:
        return DEFAULT_RETRY_AFTER
    return clamp_retry_after(int((until - since).total_seconds()))


def reason_of(headers: Mapping[str, str], body: bytes, scrubber: Scrubber) -> str:
    """The human reason in a refusal's body: a JSON member, or one line of plain text.

    One that holds a secret is not shown at all: what is cut out of it might tell where it was.
    """
    text = ""
    media_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type == "application/json" or media_type.endswith("+json") or body[:1] == b"{":
        text = _json_reason(body)
    elif media_type in ("text/plain", ""):
        text = body[:4000].decode("ascii", "replace").strip().partition("\n")[0]
    if scrubber.holds(text):
        return HIDDEN_REASON
    text = "".join(char if " " <= char <= "~" else "?" for char in text)
    return _NO_REASON.sub("[...]", text)[:MAX_REASON].strip()


def _json_reason(body: bytes) -> str:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if isinstance(data, dict) and isinstance(errors := data.get("errors"), list) and errors:
        data = errors[0]
    if not isinstance(data, dict):
        return ""
    # The first two are the vendor's, the others npm's, OCI's and RFC 9457's.
    found = [data.get(name) for name in ("reason", "code", "error", "message", "detail", "title")]
    words = [part for part in found if isinstance(part, str) and part]
    return ": ".join(dict.fromkeys(words))


def _is_page(headers: Mapping[str, str], body: bytes) -> bool:
    """A captive portal or a filter in between speaks HTML; the upstream does not."""
    start = body[:512].lstrip().lower()
    return "text/html" in headers.get("Content-Type", "").lower() or start.startswith(
        (b"<!doctype", b"<html")
    )


def _texts(headers: Mapping[str, str], secrets: Secrets) -> Texts:
    given = _given(headers, secrets)
    return Texts(
        media_type=given.get("content-type", ""),
        etag=given.get("etag", ""),
        last_modified=given.get("last-modified", ""),
        max_age=_max_age(headers),
        fields=tuple([(name, given[name]) for name in _KEPT_FIELDS if name in given]),
    )


def _given(headers: Mapping[str, str], secrets: Secrets) -> Mapping[str, str]:
    """The values that are kept, by name: those that came, are printable, and hold no secret."""
    given = {name: value for name in _TEXTS if (value := headers.get(name))}
    # All of them at once: one look is enough where there is nothing to find.
    if _is_good(" ".join(given.values()), secrets):
        return given
    return {name: value for name, value in given.items() if _is_good(value, secrets)}


def _is_good(text: str, secrets: Secrets) -> bool:
    return _is_printable(text) and not _TOKEN_LIKE.search(text) and not secrets.holds(text)


def _is_printable(text: str) -> bool:
    return len(text) <= MAX_VALUE and text.isascii() and text.isprintable()


def _size(headers: Mapping[str, str]) -> int | None:
    value = headers.get("Content-Length", "")
    return int(value) if len(value) <= 18 and value.isascii() and value.isdigit() else None


def _range(
    request: UpstreamRequest, headers: Mapping[str, str], length: int | None
) -> tuple[int, int]:
    """Start and whole size of a 206: it must be exactly what was asked for."""
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    if match is None or not request.range:
        raise Malformed("The upstream answered a range that was not asked for.")
    first, last, size = (int(part) for part in match.groups())
    start = max(0, size - request.suffix) if request.suffix else request.start
    end = size if request.end is None else min(request.end, size)
    if first != start or not first <= last == end - 1:
        raise Malformed("The upstream answered another range than was asked for.")
    if length is not None and length != end - first:
        raise Malformed("The upstream's range contradicts its length.")
    return first, size


def _max_age(headers: Mapping[str, str]) -> int | None:
    """Seconds of freshness that are left (RFC 9111 section 4.2); None: nothing is said."""
    cache_control = headers.get("Cache-Control")
    if cache_control is None or not _is_printable(cache_control):
        return None
    if _NO_STORE.search(cache_control):
        return 0
    ages = [int(found) for found in _MAX_AGE.findall(cache_control)]
    age = headers.get("Age", "")
    spent = int(age) if _AGE.fullmatch(age) else 0
    return max(0, min(ages) - spent) if ages else None


def _moment(text: str) -> datetime | None:
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # HTTP dates are in GMT, said or not; email.utils leaves an unsaid zone open.
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
