"""Find the address that really asks, behind the fronts that the operator trusts. Pure.

Purpose: `X-Forwarded-For` is believed exactly as far as each hop that wrote it is trusted,
read from the right, because everything on the left of the first untrusted hop is an invention
of whoever likes. A trusted front is never a client itself: whoever comes through one that does not
say for whom it asks could be anybody, and is nobody.

Reading: nginx `real_ip_recursive` (which takes the left-most where all are trusted; here that is a
front that says nothing); RFC 7239 section 7.4 has the same form of addresses.
Non-goals: the `Forwarded` header (fronts that write it write the other too).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_PORT = re.compile(r":[0-9]{1,5}")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_HOPS = 32
"""Hops looked at, from the right. A real chain has one to four."""


@lru_cache(maxsize=4096)  # of connected clients: the system has made the text
def parse_address(text: str) -> Address:
    """Parse a socket's peer address; an IPv4-mapped IPv6 address becomes the IPv4 one.

    Raises ValueError for anything that is not a plain address (a zone index is dropped).
    """
    return unwrap(ip_address(text.partition("%")[0]))


def unwrap(address: Address) -> Address:
    """`::ffff:10.0.0.1` is 10.0.0.1: a dual-stack socket shows IPv4 peers in that form.

    A zone index is dropped: it may be any text, and networks have none.
    """
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv6Address(int(address)) if address.scope_id is not None else address


def within(address: Address, networks: Sequence[Network]) -> bool:
    """Tell whether an unwrapped address lies in one of the networks."""
    return any(address in network for network in networks)


def resolve_peer(
    peer: Address, forwarded_for: Sequence[str], trusted: Sequence[Network]
) -> Address | None:
    """The right-most address that is no trusted front; None where none is told.

    `peer`: the socket's. `forwarded_for`: the X-Forwarded-For lines in the order sent.
    The walk ends without result at garbage (`unknown` is some), at the end of the header and after
    `MAX_HOPS`.
    """
    current = unwrap(peer)
    hops = _from_the_right(forwarded_for)
    for _ in range(MAX_HOPS):
        if not within(current, trusted):
            return current
        hop = _parse_hop(next(hops, ""))
        if hop is None:
            return None
        current = hop
    return None


def _from_the_right(lines: Sequence[str]) -> Iterator[str]:
    for line in reversed(lines):
        # One more part than hops: the rest stays unsplit on the left and is never reached.
        yield from reversed(line.rsplit(",", MAX_HOPS + 1))


def _parse_hop(text: str) -> Address | None:
    """`10.0.0.1`, `10.0.0.1:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`."""
    text = text.strip(" \t")
    if text.startswith("["):
        text, bracket, port = text[1:].partition("]")
        if not bracket or (port and not _is_port(port)):
            return None
    elif text.count(":") == 1:
        text, colon, port = text.partition(":")
        if not _is_port(colon + port):
            return None
    try:
        return unwrap(ip_address(text))
    except ValueError:
        return None


def _is_port(text: str) -> bool:
    return _PORT.fullmatch(text) is not None
