"""Which address asks, behind fronts."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.access.peer import MAX_HOPS, parse_address, resolve_peer

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "lines", "expected"),
    [
        # an untrusted peer is itself, whatever it claims
        ("192.0.2.1", ["10.1.1.1"], "192.0.2.1"),
        # a trusted one speaks for the hop on its left
        ("10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", [], "10.0.0.1"),
        # the right-most untrusted counts; what is left of it is an invention
        ("10.0.0.1", ["198.51.100.9, 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
        ("10.0.0.1", ["127.0.0.1, 192.0.2.7"], "192.0.2.7"),
        # several lines are one list
        ("10.0.0.1", ["198.51.100.9", "192.0.2.7", "10.0.0.2"], "192.0.2.7"),
        # all trusted: the left-most asked
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        # garbage ends the walk at the last good hop
        ("10.0.0.1", ["192.0.2.7, garbage"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7, garbage, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["192.0.2.7, , 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.07"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7:port"], "10.0.0.1"),
        ("10.0.0.1", ["[2001:db8::1"], "10.0.0.1"),
        ("10.0.0.1", ["[2001:db8::1]x"], "10.0.0.1"),
        # the forms that fronts write
        ("10.0.0.1", ["192.0.2.7:4711"], "192.0.2.7"),
        ("10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("10.0.0.1", ["[2001:db8::1]"], "2001:db8::1"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", ["\t192.0.2.7 "], "192.0.2.7"),
        # IPv4-mapped IPv6 is IPv4, on both sides
        ("::ffff:10.0.0.1", ["::ffff:192.0.2.7"], "192.0.2.7"),
        ("fd00::1", ["192.0.2.7"], "192.0.2.7"),
    ],
)
def test_the_right_most_untrusted_hop_is_the_client(
    peer: str, lines: list[str], expected: str
) -> None:
    assert resolve_peer(ip_address(peer), lines, TRUSTED) == ip_address(expected)


def test_with_nobody_trusted_the_header_is_not_looked_at() -> None:
    assert resolve_peer(ip_address("10.0.0.1"), ["192.0.2.7"], ()) == ip_address("10.0.0.1")


def test_the_walk_is_bounded() -> None:
    line = ", ".join(["192.0.2.7", *["10.9.9.9"] * (MAX_HOPS + 5)])
    assert resolve_peer(ip_address("10.0.0.1"), [line], TRUSTED) == ip_address("10.9.9.9")


@given(st.lists(st.text(max_size=80), max_size=4))
def test_no_header_breaks_the_walk(lines: list[str]) -> None:
    resolve_peer(ip_address("10.0.0.1"), lines, TRUSTED)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_a_socket_address_is_read_in_its_plain_form(text: str, expected: str) -> None:
    assert parse_address(text) == ip_address(expected)
