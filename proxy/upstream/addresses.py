"""Which addresses may be asked, and with what.

Purpose: the pull token goes to one origin (scheme, host, port) only, and an address that was learnt
(a redirect, a link of a listing) may not make the proxy reach into the networks around it. Names
are compared as parsed parts; numbers are checked on the *resolved* address, at the moment of
connecting, so that neither an odd spelling nor a name that changes its mind helps.

Reading: RFC 6454 (origin), reliability of peers: distribution CVE-2026-33540 (realm), curl
CVE-2022-27774 (port). Non-goals: TLS.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from socket import AddressFamily
from typing import Self, final

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from proxy.errors import ForbiddenAddress
from proxy.model import HostRules

Number = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MAX_URL = 8000
_SPELLING = re.compile(r"[!-\[\]-~]*")  # printable ASCII without space and backslash
_PATH = re.compile(r"/[!\"$->@-\[\]-~]*")  # the same, without what begins a query or a fragment
MAX_SHOWN = 100
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_UNICAST = ipaddress.IPv6Network("2000::/3")


def parse_url(text: str, *, relative_to: URL | None = None) -> URL:
    """Take a URL byte for byte (never re-quoted: a pre-signed one would break).

    `relative_to`: where a reference without scheme and host may come from (RFC 3986 section 5.2).
    Raises ForbiddenAddress for what is no http(s) URL without user information.
    """
    if len(text) > MAX_URL or not _SPELLING.fullmatch(text):
        raise ForbiddenAddress("The upstream named an address that is not a valid URL.")
    try:
        url = URL(text, encoded=True)
        if relative_to is not None and not url.scheme and not url.raw_authority:
            url = URL(str(relative_to.origin()) + _joined(relative_to, text), encoded=True)
        valid = url.absolute and url.scheme in ("http", "https") and bool(url.host) and url.port
    except ValueError:
        raise ForbiddenAddress("The upstream named an address that is not a valid URL.") from None
    if not valid or "@" in url.raw_authority:
        raise ForbiddenAddress("The upstream named an address of a kind that is not allowed.")
    return url


@final
class Address:
    """Where a question goes. `origin` and `target` (path and query, as they go out) are text that
    was checked. `own`: on the origin of the upstream that is asked, and no redirect led away from
    it."""

    __slots__ = ("_above", "_url", "origin", "own", "target")

    def __init__(self, origin: str, target: str, above: URL, *, own: bool) -> None:
        """Of a path. `above`: the URL of the origin."""
        self.origin = origin
        self.target = target
        self.own = own
        self._above = above
        self._url: URL | None = None

    @classmethod
    def of(cls, url: URL, *, own: bool) -> Self:
        """Of a URL, which `parse_url` made."""
        made = cls(str(url.origin()), url.raw_path_qs, url, own=own)
        made._url = url
        return made

    @property
    def url(self) -> URL:
        """All of it. Made when somebody wants it: to ask takes the parts only."""
        if self._url is None:
            self._url = self._above.with_path(self.target, encoded=True)
        return self._url

    def __str__(self) -> str:
        return self.origin + self.target if self._url is None else str(self._url)


@final
class Site:
    """One configured upstream: its base URL, of origin and path, is taken to pieces once for all
    that is asked of it. Raises ForbiddenAddress."""

    def __init__(self, base: str) -> None:
        self.base = parse_url(base)
        self.origin = str(self.base.origin())
        self._above = self.base.origin()
        self._root = f"{self.base.scheme}://{self.base.raw_authority}"
        self._path = self.base.raw_path.rstrip("/")

    def address(self, location: str) -> Address:
        """Of a path below the base (starts with `/`), or of a URL, which need not be here.

        Byte for byte; raises ForbiddenAddress.
        """
        root = self._root
        if location.startswith("/"):
            path = self._path + location
        else:
            path = location[len(root) :] if location.startswith(root) else ""
        if len(path) <= MAX_URL - len(root) and _PATH.fullmatch(path):
            return Address(self.origin, path, self._above, own=True)
        url = parse_url(root + path if location.startswith("/") else location)
        return Address.of(url, own=url.origin() == self._above)


def _joined(base: URL, text: str) -> str:
    """Join by hand what yarl would normalise; no dot segments, nobody needs them."""
    path = text.partition("#")[0].partition("?")[0]
    if not path or not {".", ".."}.isdisjoint(path.split("/")):
        raise ForbiddenAddress("The upstream redirected to a relative address that is not clear.")
    return text if path.startswith("/") else base.raw_path.rpartition("/")[0] + "/" + text


@dataclass(frozen=True, slots=True)
class AddressRules:
    """The operator's rules for learnt addresses (`[upstream]` redirect_hosts, allow_networks)."""

    hosts: HostRules
    networks: tuple[Network, ...] = ()
    allow_insecure: bool = False

    def check(self, url: URL) -> None:
        """Raise ForbiddenAddress unless a learnt URL is on a host and scheme that is allowed."""
        if url.scheme != "https" and not self.allow_insecure:
            raise ForbiddenAddress("The upstream redirected to an address without TLS.")
        self._check_host(
            url,
            self.hosts,
            "The upstream redirected to {}, which [upstream] redirect_hosts does not name.",
        )

    def check_realm(self, url: URL, origin: URL) -> None:
        """Raise ForbiddenAddress unless the credential of `origin` may be shown at a realm.

        That is the origin itself, or a host that is named in full: a pattern covers whoever rents
        a name below it. Nothing may be shown in plain text that came over TLS.
        """
        if url.origin() == origin.origin():
            return
        if url.scheme != "https" and (origin.scheme == "https" or not self.allow_insecure):
            raise ForbiddenAddress("The upstream named a token endpoint without TLS.")
        self._check_host(
            url,
            self.hosts.in_full,
            "The upstream named a token endpoint on {}, which [upstream] redirect_hosts does not"
            " name in full.",
        )

    def check_number(self, number: Number) -> None:
        """Raise ForbiddenAddress unless a resolved address is public or in allow_networks.

        An IPv6 address that carries an IPv4 one is judged as that one: packets end there.
        """
        number = _carried(number)
        if _is_public(number) or any(number in network for network in self.networks):
            return
        raise ForbiddenAddress(
            "The upstream leads into a private network that [upstream] allow_networks"
            " does not name."
        )

    def _check_host(self, url: URL, hosts: HostRules, refusal: str) -> None:
        """Raise ForbiddenAddress unless the rules allow the host and, if it is one, the number."""
        default = 443 if url.scheme == "https" else 80
        host = url.host or ""
        if not hosts.allows(host, url.port or default, default):
            raise ForbiddenAddress(refusal.format(host[:MAX_SHOWN]))
        if (number := _literal(host)) is not None:
            self.check_number(number)


@final
class CheckedResolver(AbstractResolver):
    """Resolves learnt names; the connection is made to the very address that was checked.

    `resolver`: the one that is asked; None: the system's.
    """

    def __init__(self, rules: AddressRules, resolver: AbstractResolver | None = None) -> None:
        self._rules = rules
        self._resolver = resolver or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AddressFamily.AF_INET
    ) -> list[ResolveResult]:
        """See AbstractResolver; raises ForbiddenAddress when any answer is not allowed."""
        found = await self._resolver.resolve(host, port, family)
        check_resolved(self._rules, [item["host"] for item in found])
        return found

    async def close(self) -> None:
        """See AbstractResolver."""
        await self._resolver.close()


def check_resolved(rules: AddressRules, addresses: Sequence[str]) -> None:
    """Check every address of a name: one bad answer among good ones is a trap, not an accident."""
    for address in addresses:
        rules.check_number(ipaddress.ip_address(address.partition("%")[0]))


def _carried(number: Number) -> Number:
    """The IPv4 address inside an IPv6 one (mapped, compatible, 6to4, NAT64), or the address."""
    if isinstance(number, ipaddress.IPv4Address):
        return number
    if (inner := number.ipv4_mapped or number.sixtofour) is not None:
        return inner
    if number in _NAT64 or number in _COMPATIBLE:
        return ipaddress.IPv4Address(int(number) & 0xFFFFFFFF)
    return number


def _is_public(number: Number) -> bool:
    if isinstance(number, ipaddress.IPv6Address) and number not in _UNICAST:
        return False  # all else is local or not assigned; the library calls some of it global
    return number.is_global and not number.is_multicast


def _literal(host: str) -> Number | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
