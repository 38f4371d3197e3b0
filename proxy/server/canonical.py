"""The one place that reads a request target: everything behind it sees checked segments.

Purpose: turn the raw target of a request line into a `RequestLine`, or refuse it. Two spellings
of one path either become the same line or one of them is refused, so that access, cache key and
upstream path can never disagree about what was asked. Pure.

What is refused, and why:
- dot segments, empty segments, backslashes, control characters: traversal, in every encoding;
- a percent sign that is left after decoding once: double encoding, somebody would decode again;
- a name that is not in Unicode's normal form C, or that holds invisible, directional or
  line-separating characters: two names that look alike must not share or split an entry;
- a fragment, bytes outside ASCII, characters that RFC 3986 does not allow in a path.

Reading: RFC 3986 section 3.3 and 6.2.2, RFC 9112 section 3.2 (request target), RFC 9110
section 7.2 (Host). Non-goals: what a path means (ecosystems), OPTIONS and CONNECT (the server
answers them before), Unicode look-alikes across scripts.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NoReturn
from urllib.parse import unquote_to_bytes

from proxy.errors import BadRequest, MethodNotAllowed
from proxy.model import Method, RequestLine

MAX_TARGET = 8000
MAX_SEGMENTS = 60
MAX_SEGMENT = 1000
MAX_QUERY = 2000
MAX_PARAMETERS = 20

_NO_SEGMENTS = frozenset({"", ".", ".."})
_METHODS: Final[Mapping[str, Method]] = {"GET": "GET", "HEAD": "HEAD", "POST": "POST"}
# RFC 3986 pchar and "/", plus the brackets that many clients send as they are. Runs of characters
# between escapes: one alternative for each character takes five times as long.
_PLAIN = r"[A-Za-z0-9._~!$&'()*+,;=:@/\[\]-]*"
_RAW_PATH = re.compile(rf"{_PLAIN}(?:%[0-9A-Fa-f]{{2}}{_PLAIN})*")
_RAW_QUERY = re.compile(r"[!$&-~]*(?:%[0-9A-Fa-f]{2}[!$&-~]*)*")
_ABSOLUTE = re.compile(r"(https?)://([^/?]*)(.*)", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LONGEST_HOST = 300  # characters; a name has 254 at most, a port 6
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Control, format (directional marks, zero-width joiners, byte order marks), surrogates, line and
# paragraph separators: nothing of these belongs into a name, a log line or a key.
_BAD_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def canonicalise(
    method: str, target: str, *, host: str | None, accept: Sequence[str] = ()
) -> RequestLine:
    """Make the canonical request line of a raw request target.

    `target` as sent: origin-form, or absolute-form with exactly the authority that `host` (the
    Host header) names. `accept`: every Accept line, in order.

    Raises MethodNotAllowed for a method other than GET, HEAD and POST, BadRequest for the rest.
    """
    if method not in _METHODS:
        raise MethodNotAllowed(
            "Only GET, HEAD and POST are understood here: the proxy is read-only, nothing can be"
            " published, changed or logged in to."
        )
    if len(target) > MAX_TARGET:
        raise BadRequest(f"The request target is longer than {MAX_TARGET} characters.")
    if "#" in target:
        raise BadRequest("The request target holds a fragment.")
    path, query = target if target[:1] == "/" else _origin_form(target, host), ""
    if "?" in path:
        path, _, query = path.partition("?")
    segments, slash = _segments(path)
    parameters = _parameters(query) if query else ()
    escaped = "%" in path
    return RequestLine(_METHODS[method], segments, slash, escaped, parameters, tuple(accept))


def check_host(value: str | None) -> tuple[str, int | None]:
    """Read a Host header: the host in lower case (IPv6 in its brackets) and the port, if given.

    Raises BadRequest unless it is a name, an IPv4 or a bracketed IPv6 address with at most a port.
    """
    return _check_host(value or "") if len(value or "") <= _LONGEST_HOST else _no_host()


def _no_host() -> NoReturn:
    raise BadRequest("The Host header is missing or malformed.")


@lru_cache(maxsize=1024)  # few, and in every request; a refusal is not kept
def _check_host(value: str) -> tuple[str, int | None]:
    match = _AUTHORITY.fullmatch(value)
    if match is None:
        _no_host()
    name, port = match.group(1).lower(), match.group(2)
    if not (_is_address(name) or _is_name(name)):
        raise BadRequest("The Host header names no valid host.")
    if port is None:
        return name, None
    if not 0 < int(port) < 65536:  # the range of TCP ports
        raise BadRequest("The Host header names no valid port.")
    return name, int(port)


def _is_address(name: str) -> bool:
    literal = name.startswith("[")
    try:
        address = ipaddress.ip_address(name[1:-1] if literal else name)
    except ValueError:
        return False
    return literal == (address.version == 6)  # IPv6


def _is_name(name: str) -> bool:
    labels = name.removesuffix(".").split(".")
    # A last label of digits only would be an IPv4 address in disguise (WHATWG URL, "ends in a
    # number"): `999.1.1.1` is neither.
    return (
        len(name) <= 253  # RFC 1035
        and all(_LABEL.fullmatch(label) for label in labels)
        and not labels[-1].isdigit()
    )


def _origin_form(target: str, host: str | None) -> str:
    """What stands behind the authority of an absolute target."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise BadRequest("The request target is not a path.")
    scheme, authority, rest = match.groups()
    default = _DEFAULT_PORTS[scheme.lower()]
    # The authority would overrule Host (RFC 9112 section 3.2.2): it may only repeat it.
    if _with_port(check_host(authority), default) != _with_port(check_host(host), default):
        raise BadRequest("The request target names another host than the Host header.")
    return rest if rest.startswith("/") else "/" + rest


def _with_port(host: tuple[str, int | None], default: int) -> tuple[str, int]:
    name, port = host
    return name, default if port is None else port


def _segments(path: str) -> tuple[tuple[str, ...], bool]:
    if not _RAW_PATH.fullmatch(path):
        raise BadRequest("The path holds a character or an escape that no path may hold.")
    decoded = _decode(path) if "%" in path else path
    if "%" in decoded or "\\" in decoded:
        raise BadRequest("The path is encoded twice or holds a backslash.")
    inner = decoded[1:]
    if not inner:
        return (), True
    slash = inner[-1] == "/"
    segments = tuple((inner[:-1] if slash else inner).split("/"))
    long = len(inner) > MAX_SEGMENT and max(map(len, segments)) > MAX_SEGMENT
    if long or len(segments) > MAX_SEGMENTS:
        raise BadRequest("The path has too many segments, or one that is too long.")
    if not _NO_SEGMENTS.isdisjoint(segments):
        raise BadRequest("The path holds an empty or a dot segment.")
    return segments, slash


def _parameters(query: str) -> tuple[tuple[str, str], ...]:
    if len(query) > MAX_QUERY or query.count("&") >= MAX_PARAMETERS:
        raise BadRequest("The query is too long or has too many parameters.")
    if not _RAW_QUERY.fullmatch(query):
        raise BadRequest("The query holds a character or an escape that no query may hold.")
    # "+" is a space: clients build queries as HTML forms do (WHATWG URL section 5.1).
    pairs = (part.replace("+", " ").partition("=") for part in query.split("&") if part)
    return tuple((_decode(name), _decode(value)) for name, _, value in pairs)


def _decode(text: str) -> str:
    """Decode percent-escapes exactly once, as strict UTF-8 of visible characters in form C."""
    try:
        decoded = unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest("An escape in the request target is not UTF-8.") from error
    if decoded.isascii():
        if not decoded.isprintable():
            raise BadRequest("The request target holds a control character.")
        return decoded
    if any(unicodedata.category(character) in _BAD_CATEGORIES for character in decoded):
        raise BadRequest("The request target holds an invisible or control character.")
    if not unicodedata.is_normalized("NFC", decoded):
        raise BadRequest("The request target is not in Unicode normal form C.")
    return decoded
