"""Which address asks, behind fronts."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.access.peer import MAX_HOPS, parse_address, resolve_peer, within

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


# What a front says: X-Forwarded-For lines in the order sent, and who it is then. None: nobody.
TABLE: list[tuple[str, list[str], str | None]] = [
    # an untrusted peer is itself, whatever it claims
    ("192.0.2.1", [], "192.0.2.1"),
    ("192.0.2.1", ["10.1.1.1"], "192.0.2.1"),
    ("192.0.2.1", ["198.51.100.9"], "192.0.2.1"),
    # a trusted one speaks for the hop on its left
    ("10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
    # a front that says nothing is not the client
    ("10.0.0.1", [], None),
    ("10.0.0.1", [""], None),
    ("10.0.0.1", [" , "], None),
    # the right-most untrusted counts; what is left of it is an invention
    ("10.0.0.1", ["198.51.100.9, 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
    ("10.0.0.1", ["127.0.0.1, 192.0.2.7"], "192.0.2.7"),
    ("10.0.0.1", ["garbage, 192.0.2.7"], "192.0.2.7"),
    # several lines are one list
    ("10.0.0.1", ["198.51.100.9", "192.0.2.7", "10.0.0.2"], "192.0.2.7"),
    ("10.0.0.1", ["192.0.2.7", ""], None),
    ("10.0.0.1", ["192.0.2.7", "198.51.100.9"], "198.51.100.9"),
    # fronts all the way: none of them says for whom
    ("10.0.0.1", ["10.0.0.2"], None),
    ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], None),
    ("fd00::1", ["::ffff:10.0.0.2"], None),
    # garbage ends the walk
    ("10.0.0.1", ["192.0.2.7, garbage"], None),
    ("10.0.0.1", ["192.0.2.7, garbage, 10.0.0.2"], None),
    ("10.0.0.1", ["192.0.2.7, , 10.0.0.2"], None),
    ("10.0.0.1", ["192.0.2.7,"], None),
    ("10.0.0.1", ["unknown"], None),
    ("10.0.0.1", ["192.0.2.7, unknown"], None),
    ("10.0.0.1", ["_hidden"], None),
    ("10.0.0.1", ["192.0.2.07"], None),
    ("10.0.0.1", ["192.0.2"], None),
    ("10.0.0.1", ["3221225991"], None),
    ("10.0.0.1", ["0xC0.0.2.7"], None),
    ("10.0.0.1", ["192.0.2.7:port"], None),
    ("10.0.0.1", ["192.0.2.7:"], None),
    ("10.0.0.1", ["192.0.2.7 198.51.100.9"], None),
    ("10.0.0.1", ['"192.0.2.7"'], None),
    ("10.0.0.1", ["for=192.0.2.7"], None),
    ("10.0.0.1", ["[192.0.2.7"], None),
    ("10.0.0.1", ["[2001:db8::1"], None),
    ("10.0.0.1", ["[2001:db8::1]x"], None),
    ("10.0.0.1", ["[2001:db8::1]:"], None),
    ("10.0.0.1", ["2001:db8::1]"], None),
    ("10.0.0.1", ["192.0.2.7\u0660"], None),
    # the forms that fronts write
    ("10.0.0.1", ["192.0.2.7:4711"], "192.0.2.7"),
    ("10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
    ("10.0.0.1", ["[2001:db8::1]"], "2001:db8::1"),
    ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
    ("10.0.0.1", ["2001:DB8:0::1"], "2001:db8::1"),
    ("10.0.0.1", ["fe80::1%eth0"], "fe80::1"),
    ("10.0.0.1", ["192.0.2.7%eth0"], None),
    ("10.0.0.1", ["\t192.0.2.7 "], "192.0.2.7"),
    ("10.0.0.1", ["192.0.2.7, 10.0.0.2:80, [fd00::2]:443"], "192.0.2.7"),
    # IPv4-mapped IPv6 is IPv4, on both sides
    ("::ffff:10.0.0.1", ["::ffff:192.0.2.7"], "192.0.2.7"),
    ("10.0.0.1", ["[::ffff:192.0.2.7]:1"], "192.0.2.7"),
    ("fd00::1", ["192.0.2.7"], "192.0.2.7"),
]


@pytest.mark.parametrize(("peer", "lines", "expected"), TABLE)
def test_the_right_most_untrusted_hop_is_the_client(
    peer: str, lines: list[str], expected: str | None
) -> None:
    wanted = ip_address(expected) if expected is not None else None
    assert resolve_peer(ip_address(peer), lines, TRUSTED) == wanted


def test_with_nobody_trusted_the_header_is_not_looked_at() -> None:
    assert resolve_peer(ip_address("10.0.0.1"), ["192.0.2.7"], ()) == ip_address("10.0.0.1")


def test_the_walk_is_bounded() -> None:
    for fronts, expected in ((MAX_HOPS - 2, ip_address("192.0.2.7")), (MAX_HOPS, None)):
        line = ", ".join(["192.0.2.7", *["10.9.9.9"] * fronts])
        assert resolve_peer(ip_address("10.0.0.1"), [line], TRUSTED) == expected


@given(st.lists(st.text("0123456789.:,[] af%" + "unkow", max_size=80), max_size=4))
def test_no_header_makes_a_front_the_client(lines: list[str]) -> None:
    found = resolve_peer(ip_address("10.0.0.1"), lines, TRUSTED)
    assert found is None or not within(found, TRUSTED)


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
