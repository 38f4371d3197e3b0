"""Parsers of single values: a text in, a checked value out, or ValueError with one sentence.

Purpose: each kind of value is understood in one place, the same for file, environment and command
line. Pure. The message of a ValueError says what is wanted and gives an example; it repeats the
given text only where no secret can stand (never URLs, user names, token hashes, paths).

Reading: RFC 3986 (URLs), RFC 4632 (networks), RFC 7617 section 2 (no colon in a user name).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from ipaddress import IPv6Network, ip_address, ip_network
from typing import TypeVar
from urllib.parse import quote, unquote, urlsplit

from proxy.config.mistakes import shown
from proxy.config.settings import ECOSYSTEMS, Address, Network
from proxy.distinguished import parse_name

_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([A-Za-z]{1,3})")
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SIZES = {
    "b": 1,
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", start=1)},
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", start=1)},
}
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_ALL_DIGITS = re.compile(r"[0-9.]+")  # a host of digits that is no IPv4 address: 127.1, 2130706433
_PORT = re.compile(r"[0-9]{1,5}")
_URL_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*/?")
_ORGANIZATION = re.compile(r"[0-9a-f]{40}(?:/[0-9a-f]{16})*")
_IDENTITY = re.compile(r"[0-9a-f]{40}(?:[/_][0-9a-f]{16})+")
_ALIAS = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_CLIENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOKEN_HASH = re.compile(r"sha256:[0-9a-fA-F]{64}")
# The name may hold an @ only where a segment begins (an npm scope): else a version begins there.
_PURL = re.compile(
    r"pkg:([A-Za-z][A-Za-z0-9.+-]*)/((?:@?[A-Za-z0-9._~%:+-]+/)*(?:@?[A-Za-z0-9._~%:+-]+)?)"
    r"(@[A-Za-z0-9._~%:+-]*)?"
)
_JUDGED_CLAIMS = frozenset({"iss", "aud", "exp", "nbf", "iat"})
_LONGEST_CLAIM = 500
_NETLOC = re.compile(r"(\[[^\]]*\]|[^\[\]:]+)(?::([0-9]{0,5}))?")
_NO_URL = "must be a URL such as https://mirror.example or http://127.0.0.1:8080/path"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LAST_PORT = 65535

Number = TypeVar("Number", int, float)


def duration(text: str) -> float:
    """Seconds of `500ms`, `30s`, `1.5m`, `24h`, `7d`."""
    found = _QUANTITY.fullmatch(text)
    if not found or found[2] not in _MILLISECONDS:
        raise ValueError(
            f'{shown(text)} is not a time: write a number with ms, s, m, h or d, such as "30s"'
        )
    units, parts = _exactly(found[1])
    return units * _MILLISECONDS[found[2]] / (1000 * parts)


def size(text: str) -> int:
    """Bytes of `64MiB`, `1.5GiB` (powers of 1024), `50GB` (powers of 1000), `512B`."""
    found = _QUANTITY.fullmatch(text)
    if not found or found[2].lower() not in _SIZES:
        raise ValueError(
            f"{shown(text)} is not a size: write a number with B, KiB, MiB, GiB or TiB"
            ' (KB to TB count thousands), such as "20GiB"'
        )
    units, parts = _exactly(found[1])
    factor: int = _SIZES[found[2].lower()]
    return units * factor // parts


def _exactly(number: str) -> tuple[int, int]:
    """Numerator and denominator of `1.5`. (`fractions` would bring `decimal`: 0.4 MiB for this.)"""
    whole, _, part = number.partition(".")
    return int(whole + part), 10 ** len(part)


def bounded(parse: Callable[[str], Number], low: str, high: str) -> Callable[[str], Number]:
    """Narrow a quantity to `low`..`high`, both written as in the file."""

    def narrow(text: str) -> Number:
        value = parse(text)
        if value < parse(low):
            raise ValueError(f"must be at least {low}")
        if value > parse(high):
            raise ValueError(f"must be at most {high}")
        return value

    return narrow


def count(value: int) -> int:
    """A number of things: 1 to a million."""
    if not 1 <= value <= 1_000_000:  # far beyond every file descriptor limit
        raise ValueError("must be between 1 and 1000000")
    return value


def workers(value: int) -> int:
    """A number of processes: 1 to 64."""
    if not 1 <= value <= 64:  # what more of them would need is another machine
        raise ValueError("must be between 1 and 64")
    return value


def choice(*allowed: str) -> Callable[[str], str]:
    """One of a few words."""

    def pick(text: str) -> str:
        if text in allowed:
            return text
        wanted = " or ".join(f'"{word}"' for word in allowed)
        raise ValueError(f"{shown(text)} is none of {wanted}")

    return pick


def ecosystem(text: str) -> str:
    """The name of an ecosystem."""
    if text not in ECOSYSTEMS:
        raise ValueError(f"{shown(text)} is no ecosystem: {', '.join(ECOSYSTEMS)}")
    return text


def network(text: str) -> Network:
    """A network in CIDR form, or one address."""
    try:
        value = ip_network(text)
    except ValueError:
        raise ValueError(_network_mistake(text)) from None
    if isinstance(value, IPv6Network) and value.network_address.ipv4_mapped:
        raise ValueError("write the IPv4 network itself, not its form inside IPv6")
    return value


def _network_mistake(text: str) -> str:
    try:
        right = ip_network(text, strict=False)
    except ValueError:
        return f'{shown(text)} is not a network: write it such as "10.1.0.0/16"'
    return f'{shown(text)} has bits set behind the prefix: the network is "{right}"'


def address(text: str) -> Address:
    """HOST:PORT to listen on; IPv6 in brackets; port 0 picks a free one."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not _PORT.fullmatch(port) or int(port) > _LAST_PORT:
        raise ValueError(
            f'{shown(text)} is not HOST:PORT: write it such as "127.0.0.1:8080" or "[::1]:8080"'
        )
    return Address(_bare_host(host), int(port))


def optional_address(text: str) -> Address | None:
    """As `address`; empty means off."""
    return address(text) if text else None


def _bare_host(host: str) -> str:
    """Check a host as it stands in a URL or address; lower-case, IPv6 without brackets."""
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ip_address(host[1:-1]))
        except ValueError:
            raise ValueError("the host between [ and ] is not an IPv6 address") from None
    if ":" in host:
        raise ValueError('an IPv6 address is written in brackets, such as "[::1]:8080"')
    if not _HOST.fullmatch(host):
        raise ValueError("the host is neither a name nor an IP address")
    if _ALL_DIGITS.fullmatch(host):
        try:
            return str(ip_address(host))
        except ValueError:
            raise ValueError("the host is not a complete IPv4 address") from None
    return host.lower()


def url(text: str) -> str:
    """A base URL, normalised: lower-case scheme and host, no default port, no trailing slash."""
    if "@" in text.partition("://")[2].partition("/")[0]:
        raise ValueError("a URL with a user name or password is refused: use [credentials]")
    if not is_visible(text):
        raise ValueError("the URL holds a character that must be percent-encoded")
    if "?" in text or "#" in text:
        raise ValueError("the URL must have no query and no fragment")
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError(_NO_URL) from None
    found = _NETLOC.fullmatch(parts.netloc)
    if parts.scheme not in _DEFAULT_PORTS or not found:
        raise ValueError(_NO_URL)
    if not _URL_PATH.fullmatch(parts.path):
        raise ValueError("the path of the URL has an empty, . or .. segment or a forbidden sign")
    origin = _origin(parts.scheme, _bare_host(found[1]), int(found[2] or 0))
    return origin + parts.path.rstrip("/")


def _origin(scheme: str, host: str, port: int) -> str:
    if port > _LAST_PORT:
        raise ValueError("the port of the URL is above 65535")
    shown_host = f"[{host}]" if ":" in host else host
    shown_port = "" if port in {0, _DEFAULT_PORTS[scheme]} else f":{port}"
    return f"{scheme}://{shown_host}{shown_port}"


def optional_url(text: str) -> str:
    """As `url`; empty stays empty."""
    return url(text) if text else ""


def host_rule(text: str) -> str:
    """`host`, `host:port` or `*.domain`, as `proxy.model.HostRules` takes them; lower-case."""
    if "/" in text or "@" in text or "[" in text:
        raise ValueError('a host rule is only host or host:port, such as "*.store.example"')
    host, colon, port = text.partition(":")
    if colon and (not _PORT.fullmatch(port) or not 1 <= int(port) <= _LAST_PORT):
        raise ValueError(f"{shown(text)} has no valid port")
    name = host.removeprefix("*.")
    if "*" in name or not _HOST.fullmatch(name):
        raise ValueError(f'{shown(text)} is no host: a wildcard stands only on the left, as "*."')
    if name != host and "." not in name:
        raise ValueError(f"{shown(text)} is too wide: name at least two labels after the wildcard")
    return host.lower() + (f":{int(port)}" if colon else "")


def client_name(text: str) -> str:
    """The name of a client: it goes into logs."""
    if not _CLIENT_NAME.fullmatch(text):
        raise ValueError("a name has 1 to 64 letters, digits, dots, dashes and underscores")
    return text


def alias(text: str) -> str:
    """One part of a repository's name, as the OCI distribution specification has it."""
    if len(text) > 64 or not _ALIAS.fullmatch(text):
        raise ValueError("an alias has small letters and digits, parted by one of . - _")
    return text


def token_hash(text: str) -> str:
    """`sha256:<64 hex>` of a client token, folded to lower case."""
    if not _TOKEN_HASH.fullmatch(text):
        raise ValueError(
            'put "sha256:" and the SHA-256 of the token here (64 hex digits), not the token;'
            " `cgr-proxy client new` makes both"
        )
    if text.lower() == f"sha256:{hashlib.sha256(b'').hexdigest()}":
        raise ValueError("this is the hash of an empty token")
    return text.lower()


def is_visible(text: str) -> bool:
    """Tell whether it is nothing but visible ASCII: one word, or empty."""
    return text.isascii() and text.isprintable() and " " not in text


def username(text: str) -> str:
    """A user name for HTTP Basic: one line of visible ASCII without a colon; empty: none."""
    if not is_visible(text) or ":" in text:
        raise ValueError("a user name is one word of visible ASCII without a colon")
    return text


def identity(text: str) -> str:
    """The UIDP of an identity, its slashes perhaps written as underscores; empty: none."""
    if text and not _IDENTITY.fullmatch(text):
        raise ValueError("an identity is a UIDP: 40 hex digits, then /16 hex once or more")
    return text.replace("_", "/")


def organization(text: str) -> str:
    """The UIDP of an organisation or folder; empty: from the pull token."""
    if text and not _ORGANIZATION.fullmatch(text):
        raise ValueError("an organisation is a UIDP: 40 hex digits, and /16 hex for each folder")
    return text


def optional_name(text: str) -> str:
    """As `client_name`; empty: none."""
    return client_name(text) if text else ""


def subject(text: str) -> str:
    """What a client certificate must name, spelt the way `proxy.server` reads it off one.

    `DNS:name` and `URI:uri` stand for subject alternative names; everything else is a whole
    distinguished name (RFC 4514), most specific part first.
    """
    kind, colon, rest = text.partition(":")
    if colon and kind in {"DNS", "URI"}:
        if not rest or not is_visible(rest):
            raise ValueError(f"behind {kind}: stands one name, such as DNS:build-7.farm.example")
        return f"DNS:{rest.lower()}" if kind == "DNS" else text
    try:
        return parse_name(text)
    except ValueError:
        raise ValueError(
            "a subject is a distinguished name such as CN=build-7,O=farm (a rare attribute by its"
            " number: openssl x509 -nameopt RFC2253,oid prints it so), or DNS:.. or URI:.."
        ) from None


def package(text: str) -> str:
    """A prefix of package URLs, spelt the normal way: whole segments, or a star at its end."""
    star = "*" if text.endswith("*") else ""
    found = _PURL.fullmatch(text.removesuffix("*"))
    if not found or "*" in text[:-1] or (found[3] == "@" and not star):
        raise ValueError(
            f'{shown(text)} is no prefix of package URLs: write it such as "pkg:pypi/flask",'
            ' "pkg:npm/@scope/" or "pkg:pypi/types-*"'
        )
    kind, name, version = found[1].lower(), found[2], found[3] or ""
    name = quote(unquote(name), safe="/:")
    if kind == "pypi":
        # Index pages are asked for under the normal name (PEP 503).
        name = re.sub("[-_.]+", "-", name).lower()
    elif kind == "nuget":
        name = name.lower()  # the same package in any case
    return f"pkg:{kind}/{name}{version[:1]}{quote(unquote(version[1:]), safe=':')}{star}"


def issuer(text: str) -> str:
    """The URL of an OpenID issuer, exactly as its tokens spell it: it is compared with them."""
    return text if url(text) else ""


def claim(text: str) -> str:
    """What a claim must say."""
    if not 1 <= len(text) <= _LONGEST_CLAIM or not text.isprintable():
        raise ValueError("must be a text of 1 to 500 visible characters")
    return text


def claims(table: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Names of claims and what they must say: exactly that, or with a star at the end."""
    for name, wanted in table.items():
        if not name or name in _JUDGED_CLAIMS:
            raise ValueError(f"{shown(name)} is not compared as a text: it is always checked")
        if "*" in claim(wanted)[:-1]:
            raise ValueError(f"{shown(wanted)} has a star in its middle: it may only end with one")
    return tuple(sorted(table.items()))
