"""The object store: pre-signed URLs on another address, and nothing else.

Purpose: it looks like an S3-compatible store and refuses what those refuse: a URL that is not
byte for byte the issued one, another method, a second kind of authentication, an expired URL.
Shared by every part of the origin that redirects.

Non-goals: uploading, listing, real signatures (an issued URL is simply remembered).
"""

from __future__ import annotations

import re
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from email.utils import formatdate
from urllib.parse import quote

from tests.origin.blobs import Blob, Part, whole
from tests.origin.journal import Journal, Received
from tests.origin.settings import Settings
from tests.origin.wire import Header, Request, Response

_MOST = 100_000
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, slots=True)
class Grant:
    """What an issued URL is good for, until `expires` (the origin's clock)."""

    blob: Blob
    expires: float


class Store:
    """Issues pre-signed targets and answers requests for them."""

    def __init__(self, settings: Settings, journal: Journal) -> None:
        self._settings = settings
        self._journal = journal
        self._grants: OrderedDict[str, Grant] = OrderedDict()

    def presign(self, blob: Blob, filename: str) -> str:
        """Issue a new target (path and query) for a blob.

        Its spelling is hostile to normalisers: escapes that need not be there, hex digits in both
        cases, a query out of order with an empty value and escaped `/` and `+`.
        """
        now = self._settings.clock()
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        path = f"/cgr%2dlibraries/%40blobs/sha256%3a{blob.sha256[:32]}%2Bv1%7Ex/{quote(filename)}"
        query = (
            "X-Amz-SignedHeaders=host"
            f"&X-Amz-Credential=AK%2F{stamp[:8]}%2Fauto%2Fs3%2faws4_request"
            "&X-Amz-Algorithm=AWS4-HMAC-SHA256"
            f"&X-Amz-Expires={int(self._settings.presign_lifetime)}"
            f"&response-content-disposition=attachment%3b+filename%3D%22{quote(filename)}%22"
            f"&X-Amz-Signature=a%2Bb%2fc{secrets.token_hex(24)}%3D"
            f"&X-Amz-Date={stamp}&x-id=GetObject&versionId="
        )
        target = f"{path}?{query}"
        if self._settings.pip_friendly:
            target = target.replace("%2d", "-").replace("%7E", "~")
            target = _ESCAPE.sub(lambda escape: escape.group(0).upper(), target)
        self._grants[target] = Grant(blob, now + self._settings.presign_lifetime)
        while len(self._grants) > _MOST:
            self._grants.popitem(last=False)
        return target

    async def answer(self, request: Request, received: Received) -> Response:
        """Answer one request, noting every broken rule."""
        foreign = sorted(name for name, _ in request.headers if _is_foreign(name))
        if foreign:
            self._journal.violation(received, f"headers {', '.join(foreign)}")
            return _xml(400, "InvalidArgument", "Only one auth mechanism allowed")
        if request.method != "GET":
            self._journal.violation(received, "only GET is signed")
            return _xml(403, "SignatureDoesNotMatch", "The signature covers the method")
        if request.all("accept-encoding") != "identity":
            self._journal.violation(received, "Accept-Encoding of an artifact is not identity")
        grant = self._grants.get(request.target)
        if grant is None:
            self._journal.counters["presigned_unknown"] += 1
            return _xml(403, "SignatureDoesNotMatch", "The signature we calculated does not match")
        if self._settings.clock() >= grant.expires:
            self._journal.counters["presigned_expired"] += 1
            return _xml(403, "AccessDenied", "Request has expired")
        asked = request if self._settings.ranges else request.without("range", "if-range")
        return serve_blob(asked, grant.blob, self._settings.store_media_type)


def serve_blob(
    request: Request, blob: Blob, media_type: str, extra: tuple[Header, ...] = ()
) -> Response:
    """Answer 200, 206 or 416 for one blob, after Range and If-Range (RFC 9110 section 14)."""
    headers = (
        ("Content-Type", media_type),
        ("ETag", blob.etag),
        ("Accept-Ranges", "bytes"),
        ("Last-Modified", formatdate(1_772_000_000, usegmt=True)),
        *extra,
    )
    wanted = _wanted(request, blob)
    if wanted is None:
        return Response(200, headers, whole(blob))
    start, end = wanted
    if start >= end:
        return Response(416, (("Content-Range", f"bytes */{blob.size}"),))
    covered = ("Content-Range", f"bytes {start}-{end - 1}/{blob.size}")
    return Response(206, (*headers, covered), Part(blob, start, end))


def _wanted(request: Request, blob: Blob) -> tuple[int, int] | None:
    match = _RANGE.fullmatch(request.all("range"))
    if match is None or match.group(0) == "bytes=-":
        return None
    condition = request.header("if-range")
    if condition is not None and condition != blob.etag:
        return None
    first, last = match.groups()
    if not first:
        return max(0, blob.size - int(last)), blob.size
    return int(first), min(blob.size, int(last) + 1 if last else blob.size)


def _is_foreign(name: str) -> bool:
    lower = name.lower()
    return lower in {"authorization", "proxy-authorization", "cookie"} or lower.startswith("x-")


def _xml(status: int, code: str, message: str) -> Response:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    )
    return Response.of(status, "application/xml", body.encode())
