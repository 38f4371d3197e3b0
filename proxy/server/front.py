"""What must hold of a request before anybody looks at what it asks for.

Purpose: protocol version, Host, expectations, bodies; who the client is behind trusted fronts; the
base URL that links need. Header names are matched exactly: `X_Forwarded_For` is nobody's.

Reading: RFC 9110 sections 7.2, 10.1.1; RFC 7239. Non-goals: paths (`canonical`), rights (`access`).
"""

from __future__ import annotations

import asyncio
import re
import zlib
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from aiohttp import web
from aiohttp.http import HttpVersion11

from proxy.access.peer import Address, parse_address, resolve_peer, within
from proxy.errors import (
    BadRequest,
    BodyRefused,
    EncodingRefused,
    ExpectationFailed,
    VersionRefused,
)
from proxy.server.canonical import check_host
from proxy.server.wire import ODD_VERSION

Network = IPv4Network | IPv6Network
# Plain segments: no empty one (`//evil` is another host), no dots, nothing that ends a path.
_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*")
BODY_SECONDS = 30.0
_GZIP = 16 + zlib.MAX_WBITS
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# What fronts write besides X-Forwarded-*, whichever of it they were told to. Some are told nothing
# and leave no trace.
_FORWARDED = ("Forwarded", "Via", "X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP")


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end. `address`, `shown`: for logs; `client`: for rights, None: nobody
    knows.

    `trusted`: the connection comes from a trusted front, whatever the request says.
    `forwarded`: the request says that it was passed on.
    """

    address: Address
    client: Address | None
    trusted: bool
    forwarded: bool
    shown: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shown", str(self.address))


def check_framing(request: web.BaseRequest) -> None:
    """Raise for a version, Host, expectation or body that is not answered."""
    if ODD_VERSION in request:
        raise VersionRefused("Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    headers = request.headers
    if "Host" in headers or request.version == HttpVersion11:
        check_host(headers.get("Host"))
    expectation = headers.get("Expect", "").lower()
    if expectation not in ("", "100-continue"):
        raise ExpectationFailed("The only expectation understood here is 100-continue.")


def check_no_body(request: web.BaseRequest) -> None:
    """Raise when the request carries a body. It is never read."""
    if "Content-Encoding" in request.headers:
        raise EncodingRefused("Encoded request bodies are not accepted.")
    if request.body_exists:
        raise BodyRefused("This request takes no body.")


async def read_body(request: web.BaseRequest, limit: int) -> bytes:
    """Read the body of a call that takes one, unpacked: at most `limit` bytes of it.

    It may come as it is or gzip-encoded; what would unpack to more than `limit` is not unpacked
    further. Raises EncodingRefused, BodyRefused (too large), BadRequest (cut, damaged, or slower
    than 30 s).
    """
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("identity", "gzip", "x-gzip"):
        raise EncodingRefused("The body of this call may be encoded with gzip only.")
    if (request.content_length or 0) > limit:
        raise BodyRefused(f"The body of this call may have {limit} bytes at most.")
    if "Expect" in request.headers and request.body_exists:
        await request.writer.write(_CONTINUE)
        request.writer.output_size = 0  # no head of an answer is out yet
    unpacker = None if coding == "identity" else zlib.decompressobj(_GZIP)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.content.iter_any():
                body += piece if unpacker is None else unpacker.decompress(piece, limit + 1)
                if len(body) > limit:
                    raise BodyRefused(f"The body of this call may have {limit} bytes at most.")
    except TimeoutError as error:
        raise BadRequest("The body did not come in time.") from error
    except zlib.error as error:
        raise BadRequest("The body is no valid gzip.") from error
    if unpacker is not None and (not unpacker.eof or unpacker.unused_data):
        raise BadRequest("The body is no valid gzip.")
    return bytes(body)


def is_forwarded(request: web.BaseRequest) -> bool:
    """Tell whether the request says that it was passed on by a front."""
    headers = request.headers
    return any(name in headers for name in _FORWARDED) or any(
        name.lower().startswith("x-forwarded-") for name in headers
    )


def peer_of(request: web.BaseRequest, trusted: tuple[Network, ...]) -> Peer:
    """Find the address that really asks."""
    forwarded = is_forwarded(request)
    peername = request.transport.get_extra_info("peername") if request.transport else None
    if not peername:  # it has left already
        return Peer(IPv4Address(0), None, trusted=False, forwarded=forwarded)
    direct = parse_address(peername[0])
    if not trusted or not within(direct, trusted):
        return Peer(direct, direct, trusted=False, forwarded=forwarded)
    client = resolve_peer(direct, request.headers.getall("X-Forwarded-For", []), trusted)
    return Peer(client or direct, client, trusted=True, forwarded=forwarded)


def base_url(request: web.BaseRequest, public_url: str, peer: Peer) -> str:
    """What clients call us, without trailing slash: configured, or the checked Host."""
    if public_url:
        return public_url
    headers = request.headers
    scheme = "https" if request.secure else "http"
    host = headers.get("Host", "")
    prefix = ""
    if peer.trusted:
        scheme = {"http": "http", "https": "https"}.get(
            headers.get("X-Forwarded-Proto", "").strip().lower(), scheme
        )
        host = headers.get("X-Forwarded-Host", host).strip()
        prefix = headers.get("X-Forwarded-Prefix", "").strip().rstrip("/")
    name, port = check_host(host)
    if not _PREFIX.fullmatch(prefix):
        prefix = ""
    return f"{scheme}://{name}{f':{port}' if port else ''}{prefix}"
