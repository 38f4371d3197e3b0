"""From what the engine found to an answer on the wire.

Purpose: documents, stored artifacts and flights as GET or HEAD, whole or in part, with the header
fields of the contract. Nothing of the upstream's head is copied here.

Reading: RFC 9110, RFC 9111 section 5.2.2, RFC 9211. Non-goals: deciding what is served.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from time import time
from typing import TypeAlias, assert_never

from aiohttp import web
from aiohttp.http import HttpVersion11
from multidict import CIMultiDict

from proxy.cache.documents import Held
from proxy.cache.flight import Spot
from proxy.cache.found import Described, Flying, Stored, Told
from proxy.cache.status import PASSED_ON
from proxy.cache.variants import Variant
from proxy.errors import PreconditionFailed, ProxyError, Unavailable
from proxy.model import Algorithm, ArtifactTarget, Digest, Document, DocumentTarget, StaticTarget
from proxy.server.accepting import check_accepted
from proxy.server.answer import Answer, http_date, worded
from proxy.server.conditional import (
    Conditions,
    Failed,
    NotModified,
    Part,
    Unsatisfiable,
    Whole,
    select,
)
from proxy.server.sending import PIECE, BodyLost, Sender
from proxy.server.wire import abort
from proxy.storage.base import Record

DigestBy: TypeAlias = Callable[[Algorithm], Digest | None]
SERVER = "cgr-proxy"
_PLACE = "<here>"  # stands in no field
_IMMUTABLE = "private, max-age=31536000, immutable"
# What a browser could run when it shows it: it is downloaded instead.
_ACTIVE = ("text/html", "image/svg", "text/xml", "application/xml", "application/xhtml")


def base_headers(request_id: str) -> CIMultiDict[str]:
    """The fields of every answer."""
    return CIMultiDict(_base_fields(request_id))


def _base_fields(request_id: str) -> list[tuple[str, str]]:
    return [
        ("Server", SERVER),
        ("X-Request-Id", request_id),
        ("X-Content-Type-Options", "nosniff"),
    ]


def conditions_of(request: web.BaseRequest) -> Conditions:
    """The conditional fields of a request. A Range means something to a GET only."""
    headers = request.headers
    return Conditions(
        if_match=headers.getall("If-Match", ()),
        if_none_match=headers.getall("If-None-Match", ()),
        range=headers.getall("Range", ()) if request.method == "GET" else (),
        if_range=headers.getall("If-Range", ()),
    )


def static(target: StaticTarget, client: str, headers: CIMultiDict[str]) -> web.Response:
    """An answer that is known beforehand, but for the client's name."""
    headers["Content-Type"] = target.media_type
    headers.extend(target.headers)
    body = target.body
    if target.names_client:
        headers["Cache-Control"] = "no-store"
        body = json.dumps({target.names_client: client}).encode("ascii")
    return Answer(status=target.status, body=body, headers=headers)


def passed_on(found: Document, headers: CIMultiDict[str]) -> web.Response:
    """The upstream's answer to a call that is never cached."""
    headers["Cache-Status"] = PASSED_ON
    headers["Cache-Control"] = "no-store"
    headers["Content-Type"] = found.media_type
    return Answer(body=found.body, headers=headers)


def document(
    request: web.BaseRequest,
    target: DocumentTarget,
    held: Held,
    variant: Variant,
    headers: CIMultiDict[str],
) -> web.Response:
    """A document in one representation: 200 or 304 (ranges of documents are not offered)."""
    if target.verbatim:
        check_accepted(request.headers.getall("Accept", ()), held.document.media_type)
    etag = f'"sha256:{held.sha256}"' if target.verbatim else variant.etag
    headers["Cache-Status"] = str(held.status)
    headers["Cache-Control"] = "no-cache" if target.digest is None else _IMMUTABLE
    headers["ETag"] = etag
    headers["Age"] = str(held.age)
    packed = () if target.verbatim else ("Accept-Encoding",)
    headers["Vary"] = ", ".join((*target.vary, *packed))
    if _is_known(request, etag, "document"):
        return Answer(status=304, headers=headers)
    _describe(variant.media_type, headers)
    if variant.coding:
        headers["Content-Encoding"] = variant.coding
    headers.extend(variant.headers)
    return Answer(body=variant.body, headers=headers)


async def bulk(
    request: web.BaseRequest,
    target: DocumentTarget,
    found: Stored,
    headers: CIMultiDict[str],
    min_rate: int,
) -> web.StreamResponse:
    """A document that lies on disk in one representation: 200 or 304."""
    etag = f'"{found.record.sha256[:40]}"'
    headers["Cache-Status"] = str(found.status)
    headers["Cache-Control"] = "no-cache"
    headers["ETag"] = etag
    headers["Age"] = str(found.age)
    headers["Vary"] = ", ".join(target.vary)
    if _is_known(request, etag, "document"):
        return Answer(status=304, headers=headers)
    _describe(target.representation, headers)
    return await _send(request, found, headers, (200, 0, found.record.size), min_rate)


def checksum(request: web.BaseRequest, told: Told, headers: CIMultiDict[str]) -> web.Response:
    """A digest in hex, as a text of its own: 200 or 304."""
    etag = f'"{told.digest.hex[:40]}"'
    headers["Cache-Status"] = str(told.status)
    headers["Cache-Control"] = "no-cache"
    headers["ETag"] = etag
    headers["Age"] = str(told.age)
    if _is_known(request, etag, "checksum"):
        return Answer(status=304, headers=headers)
    headers["Content-Type"] = "text/plain; charset=utf-8"
    return Answer(body=told.digest.hex.encode("ascii"), headers=headers)


def _is_known(request: web.BaseRequest, etag: str, what: str) -> bool:
    """Whether the client has `what`, of which no ranges are offered, as it is now.

    Raises PreconditionFailed.
    """
    headers = request.headers
    conditions = Conditions(headers.getall("If-Match", ()), headers.getall("If-None-Match", ()))
    match select(conditions, etag=etag, size=0):
        case Failed():
            raise PreconditionFailed(f"The {what} has changed (If-Match does not hold).")
        case selection:
            return isinstance(selection, NotModified)


def _describe(media_type: str, headers: CIMultiDict[str]) -> None:
    headers["Content-Type"] = media_type
    if media_type.startswith(_ACTIVE):
        headers["Content-Security-Policy"] = "default-src 'none'"


def _artifact_fields(target: ArtifactTarget) -> list[tuple[str, str]]:
    media_type = target.media_type
    fields = [*target.headers, ("Cache-Control", _IMMUTABLE), ("Content-Type", media_type)]
    if media_type.startswith(_ACTIVE):
        fields.append(("Content-Disposition", "attachment"))
    return fields


def _stored_fields(
    target: ArtifactTarget, sha256: str, status: str, age: int, digest_by: DigestBy
) -> list[tuple[str, str]]:
    """What is said of the whole of a stored artifact, besides its length and the date."""
    fields = _artifact_fields(target)
    fields += [
        ("Cache-Status", status),
        ("ETag", f'"sha256:{sha256}"'),
        ("Age", str(age)),
        ("Accept-Ranges", "bytes"),
    ]
    for algorithm, name in target.digests:
        if (digest := digest_by(algorithm)) is not None:
            fields.append((name, digest.hex))
    return fields


def landed(target: ArtifactTarget, request_id: str, record: Record, status: str) -> bytes:
    """The head that `stored` gives, with `Answer`, to a plain GET of what has just been stored, has
    at least one byte, and of which no `digests` are told. `status`: of the cache.

    Raises ValueError for a field that would be more than one.
    """
    template = _landed_template(target.headers, target.media_type, status)
    values = (request_id, record.sha256, record.size, http_date(int(time())))
    return (template % values).encode("utf-8")


@lru_cache(maxsize=64)  # nearly all of an ecosystem have the same one
def _landed_template(headers: tuple[tuple[str, str], ...], media_type: str, status: str) -> str:
    """A head with `%s` for the request's id, the SHA-256, the length and the date, in this order.

    Made of what makes every head, so that it says what any other does."""
    target = ArtifactTarget("", "", "", "", media_type=media_type, headers=headers)
    fields = _base_fields(_PLACE)
    fields += _stored_fields(target, _PLACE, status, 0, lambda _: None)
    fields += [("Content-Length", _PLACE), ("Date", _PLACE)]
    head = b"%b\r\n" % worded(200, "OK", fields)
    return head.decode("utf-8").replace("%", "%%").replace(_PLACE, "%s")


async def stored(  # noqa: PLR0913, PLR0917  # all that an answer is made of
    request: web.BaseRequest,
    conditions: Conditions,
    target: ArtifactTarget,
    found: Stored,
    headers: CIMultiDict[str],
    min_rate: int,
) -> web.StreamResponse:
    """A stored artifact: 200, 206, 304, 416 or 412."""
    size = found.record.size
    sha256 = found.record.sha256
    fields = _stored_fields(target, sha256, str(found.status), found.age, found.digest_by)
    headers.extend(fields)
    if found.doubted and not conditions.if_range:
        conditions = replace(conditions, range=())
    match select(conditions, etag=headers["ETag"], size=size):
        case Failed():
            raise PreconditionFailed("The artifact has another ETag (If-Match does not hold).")
        case NotModified():
            del headers["Content-Type"]
            return Answer(status=304, headers=headers)
        case Unsatisfiable():
            headers["Content-Range"] = f"bytes */{size}"
            return Answer(status=416, headers=headers)
        case Part(start, end):
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
            return await _send(request, found, headers, (206, start, end), min_rate)
        case Whole():
            return await _send(request, found, headers, (200, 0, size), min_rate)
        case selection:
            assert_never(selection)


async def _send(
    request: web.BaseRequest,
    found: Stored,
    headers: CIMultiDict[str],
    part: tuple[int, int, int],
    min_rate: int,
) -> web.StreamResponse:
    """Send or make the answer with a `part` of a body: status, first byte, the one behind it."""
    status, offset, end = part
    if request.method != "HEAD":
        if found.content is not None:
            # At most 1 MiB, and in memory anyway: like a document, it needs no sender.
            return Answer(status=status, headers=headers, body=found.content[offset:end])
        if end - offset <= PIECE:
            # Its head and its body leave in one call.
            piece = _read(found, offset, end - offset)
            return Answer(status=status, headers=headers, body=piece)
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = end - offset
    if request.method == "HEAD":
        return response

    def where() -> Spot:
        return Spot(found.body.fileno(), offset, end - offset)

    def passed(count: int) -> None:
        nonlocal offset
        offset += count

    try:
        async with Sender(request, response, min_rate) as sender:
            await sender.send(where, passed)
    except BodyLost as error:
        found.heal()
        raise abort(request) from error
    return response


def _read(found: Stored, offset: int, count: int) -> bytes:
    """A small part of a stored body. Raises Unavailable: the next request fetches it anew."""
    try:
        piece = os.pread(found.body.fileno(), count, offset)
    except OSError:
        piece = b""
    if len(piece) != count:
        found.heal()
        raise Unavailable("The stored copy could not be read; try again.", retry_after=1)
    return piece


async def flying(
    request: web.BaseRequest,
    target: ArtifactTarget,
    found: Flying,
    headers: CIMultiDict[str],
    min_rate: int,
) -> web.StreamResponse:
    """An artifact on its way: always the whole, with the flight's own ETag."""
    follower, flight = found.follower, found.follower.flight
    if flight.size is None and request.version < HttpVersion11:
        # Without a length the end of the body would be the end of the connection: spool first.
        await follower.settled(None)
    headers.extend(_artifact_fields(target))
    headers["Cache-Status"] = str(found.status)
    headers["ETag"] = flight.etag
    response = web.StreamResponse(headers=headers)
    if flight.size is not None:
        response.content_length = flight.size
    else:
        response.enable_chunked_encoding()
    if request.method == "HEAD":
        return response
    try:
        async with Sender(request, response, min_rate) as sender:
            while await follower.more():
                await sender.send(follower.spot, follower.passed)
    except (ProxyError, BodyLost) as error:
        raise abort(request) from error
    return response


def described(
    target: ArtifactTarget, found: Described, headers: CIMultiDict[str]
) -> web.StreamResponse:
    """The head of an artifact that is not here yet."""
    headers.extend(_artifact_fields(target))
    headers["Cache-Status"] = str(found.status)
    response = web.StreamResponse(headers=headers)
    response.content_length = found.size
    return response
