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
from collections.abc import Sequence
from dataclasses import dataclass
from socket import AddressFamily
from typing import final

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from proxy.errors import ForbiddenAddress
from proxy.model import HostRules

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MAX_URL = 8000


def parse_url(text: str, *, relative_to: URL | None = None) -> URL:
    """Take a URL byte for byte (never re-quoted: a pre-signed one would break).

    Raises ForbiddenAddress for what is no absolute http(s) URL without user information.
    """
    if len(text) > MAX_URL or not text.isascii() or not text.isprintable() or " " in text:
        raise ForbiddenAddress("The upstream named an address that is not a valid URL.")
    try:
        url = URL(text, encoded=True)
        if relative_to is not None and not url.absolute:
            # A path is joined by hand: yarl's join would normalise it.
            if not text.startswith("/") or text.startswith("//"):
                raise ForbiddenAddress("The upstream redirected to a relative address.")
            url = URL(str(relative_to.origin()) + text, encoded=True)
        valid = url.absolute and url.scheme in ("http", "https") and bool(url.host) and url.port
    except ValueError as error:
        raise ForbiddenAddress("The upstream named an address that is not a valid URL.") from error
    if not valid or url.user is not None or url.password is not None:
        raise ForbiddenAddress("The upstream named an address of a kind that is not allowed.")
    return url


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
        default = 443 if url.scheme == "https" else 80
        host = url.host or ""
        if not self.hosts.allows(host, url.port or default, default):
            raise ForbiddenAddress(
                f"The upstream redirected to {host}, which [upstream] redirect_hosts does not name."
            )
        if (number := _literal(host)) is not None:
            self.check_number(number)

    def check_number(self, number: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
        """Raise ForbiddenAddress unless a resolved address is public or in allow_networks."""
        if isinstance(number, ipaddress.IPv6Address) and number.ipv4_mapped is not None:
            number = number.ipv4_mapped
        if number.is_global and not number.is_multicast:
            return
        if any(number in network for network in self.networks):
            return
        raise ForbiddenAddress(
            "The upstream redirected into a private network that [upstream] allow_networks"
            " does not name."
        )


@final
class CheckedResolver(AbstractResolver):
    """Resolves learnt names; the connection is made to the very address that was checked."""

    def __init__(self, rules: AddressRules) -> None:
        self._rules = rules
        self._resolver = ThreadedResolver()

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


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
