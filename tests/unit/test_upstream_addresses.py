"""Which addresses may be asked: spelling, hosts, numbers, and names that lead inside."""

from __future__ import annotations

import random
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from proxy.errors import ForbiddenAddress
from proxy.model import HostRules
from proxy.upstream.addresses import MAX_URL, AddressRules, CheckedResolver, Site, parse_url
from tests.unit.upstream_room import Names

BASE = URL("https://libraries.example/python/simple/x/", encoded=True)
PRESIGNED = (
    "https://a1.store.example/cgr%2dlibraries/%40blobs/sha256%3aab%2Bv1%7Ex/a%20b.whl"
    "?X-Amz-Credential=AK%2F2026%2Fs3&b=a%2Bb%2fc%3D&versionId=&x-id=GetObject&a=~%7e"
)
RULES = AddressRules(HostRules(("*.store.example", "exact.example:8443")))


# --- parsing -----------------------------------------------------------------------------------


def test_a_presigned_url_stays_as_it_is_byte_for_byte() -> None:
    assert str(parse_url(PRESIGNED)) == PRESIGNED
    assert str(parse_url(PRESIGNED, relative_to=BASE)) == PRESIGNED
    assert parse_url(PRESIGNED).raw_path_qs == PRESIGNED.removeprefix("https://a1.store.example")


@given(st.text(alphabet="abzAZ09%2fF7eE~+&=;:@!$'()*,?/.-_", max_size=60))
def test_no_target_is_ever_requoted(target: str) -> None:
    url = parse_url("https://a1.store.example/" + target)
    # A question mark with nothing behind it is the one thing that the library does not keep.
    whole = target if target.find("?") < len(target) - 1 else target.removesuffix("?")
    assert str(url) == "https://a1.store.example/" + whole


@pytest.mark.parametrize(
    "text",
    [
        "",
        "file:///etc/passwd",
        "ftp://store.example/x",
        "//evil.example/x",
        "javascript:alert(1)",
        "data:text/html,x",
        "https:x",
        "https:/x",
        "https:///x",
        "https://",
        "https://user@store.example/x",
        "https://user:secret@store.example/x",
        "https://:secret@store.example/x",
        "https://@store.example/x",
        "https://:@store.example/x",
        "https://store.example\\@evil.example/x",
        "https://store.example:99999/x",
        "https://store.example:0/x",
        "https://store.example:x/x",
        "https://[::1/x",
        "https://store.example/a b",
        "https://store.example/a\nb",
        "https://store.example/\x00",
        "https://störe.example/x",
        "https://store.example/\udcff",
        "https://store.example/" + "x" * 8000,
        "\\\\evil.example\\x",
    ],
)
def test_what_is_no_plain_http_address_is_refused(text: str) -> None:
    with pytest.raises(ForbiddenAddress):
        parse_url(text)
    with pytest.raises(ForbiddenAddress):
        parse_url(text, relative_to=BASE)


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("/python/simple/y/", "https://libraries.example/python/simple/y/"),
        ("/a%2fb?c=%7e", "https://libraries.example/a%2fb?c=%7e"),
        ("y/", "https://libraries.example/python/simple/x/y/"),
        ("y?c=d", "https://libraries.example/python/simple/x/y?c=d"),
    ],
)
def test_a_reference_without_a_host_stays_on_the_host_it_came_from(text: str, joined: str) -> None:
    assert str(parse_url(text, relative_to=BASE)) == joined


@pytest.mark.parametrize("text", ["../y", "./y", "/a/../b", "?x", "#x", "."])
def test_a_reference_that_needs_normalising_is_refused(text: str) -> None:
    with pytest.raises(ForbiddenAddress):
        parse_url(text, relative_to=BASE)


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_is_forbidden(text: str) -> None:
    try:
        url = parse_url(text, relative_to=BASE)
    except ForbiddenAddress:
        return
    assert url.scheme in ("http", "https")
    assert url.host


# --- hosts and schemes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "https://a1.store.example/x",
        "https://A1.STORE.example./x",
        "https://a.b.store.example:443/x",
        "https://exact.example:8443/x",
    ],
)
def test_a_host_that_is_named_may_be_asked(text: str) -> None:
    RULES.check(parse_url(text))


@pytest.mark.parametrize(
    "text",
    [
        "https://evil.example/x",
        "https://store.example/x",
        "https://evilstore.example/x",
        "https://a1.store.example.evil.example/x",
        "https://a1.store.example:8443/x",
        "https://exact.example/x",
        "https://exact.example:8444/x",
        "http://a1.store.example/x",
        "http://exact.example:8443/x",
        "https://localhost./x",
        "https://localhost/x",
        "https://127.0.0.1/x",
        "https://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/x",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://[fe80::1%25eth0]/x",
        "https://2130706433/x",
        "https://0x7f.1/x",
        "https://127.1/x",
        "https://0/x",
    ],
)
def test_a_host_that_is_not_named_is_not_asked(text: str) -> None:
    with pytest.raises(ForbiddenAddress):
        RULES.check(parse_url(text))


def test_plain_http_needs_the_switch_for_tests_and_a_named_host_all_the_same() -> None:
    rules = AddressRules(RULES.hosts, allow_insecure=True)
    rules.check(parse_url("http://a1.store.example/x"))
    with pytest.raises(ForbiddenAddress):
        rules.check(parse_url("http://evil.example/x"))


def test_a_named_number_must_lie_in_a_named_network_too() -> None:
    hosts = HostRules(("10.1.2.3", "169.254.169.254", "*.0.0.1"))
    networks = (ip_network("10.0.0.0/8"),)
    AddressRules(hosts, networks).check(parse_url("https://10.1.2.3/x"))
    for text in ("https://169.254.169.254/x", "https://127.0.0.1/x"):
        with pytest.raises(ForbiddenAddress):
            AddressRules(hosts, networks).check(parse_url(text))


def test_a_refusal_does_not_repeat_a_name_of_any_length() -> None:
    with pytest.raises(ForbiddenAddress) as caught:
        RULES.check(parse_url(f"https://{'x' * 4000}.example/"))
    assert len(caught.value.detail) < 300


# --- numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2002:7f00:1::1",
        "2002:a00:1::",
        "2001::1",
        "2001:db8::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "4000::1",
    ],
)
def test_an_address_that_is_not_public_is_refused_in_every_disguise(number: str) -> None:
    with pytest.raises(ForbiddenAddress):
        RULES.check_number(ip_address(number))


@pytest.mark.parametrize(
    "number",
    [
        "1.1.1.1",
        "172.64.66.1",
        "2606:4700::1",
        "::ffff:1.1.1.1",
        "64:ff9b::101:101",
        "2002:101:101::",
    ],
)
def test_a_public_address_is_allowed(number: str) -> None:
    RULES.check_number(ip_address(number))


def test_every_address_of_a_private_network_is_refused_also_when_ipv6_carries_it() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    dice = random.Random(seed)
    for network in ("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"):
        for _ in range(50):
            inside = ip_network(network)[dice.randrange(ip_network(network).num_addresses)]
            number = int(inside)
            for disguise in (number, 0xFFFF << 32 | number, 0x2002 << 112 | number << 80):
                address = ip_address(disguise) if disguise >> 32 else inside
                with pytest.raises(ForbiddenAddress):
                    RULES.check_number(address)


def test_an_allowed_network_allows_the_disguises_of_its_addresses_too() -> None:
    rules = AddressRules(RULES.hosts, (ip_network("10.0.0.0/8"), ip_network("fd00::/8")))
    for number in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "fd00::1"):
        rules.check_number(ip_address(number))
    with pytest.raises(ForbiddenAddress):
        rules.check_number(ip_address("192.168.0.1"))


# --- names -------------------------------------------------------------------------------------


async def test_a_name_is_answered_with_the_very_addresses_that_were_checked() -> None:
    names = Names({"a.store.example": [["1.1.1.1", "2606:4700::1"]]})
    found = await CheckedResolver(RULES, names).resolve("a.store.example", 443)
    assert [(item["host"], item["port"]) for item in found] == [
        ("1.1.1.1", 443),
        ("2606:4700::1", 443),
    ]


@pytest.mark.parametrize("bad", ["127.0.0.1", "10.0.0.1", "::1", "::ffff:127.0.0.1", "fe80::1%2"])
async def test_one_bad_address_among_good_ones_is_a_trap(bad: str) -> None:
    for answer in ([bad], ["1.1.1.1", bad], [bad, "1.1.1.1"]):
        names = Names({"a.store.example": [answer]})
        with pytest.raises(ForbiddenAddress):
            await CheckedResolver(RULES, names).resolve("a.store.example", 443)


async def test_every_look_up_is_checked_so_a_name_cannot_change_its_mind() -> None:
    names = Names({"a.store.example": [["1.1.1.1"], ["127.0.0.1"]]})
    resolver = CheckedResolver(RULES, names)
    await resolver.resolve("a.store.example", 443)
    with pytest.raises(ForbiddenAddress):
        await resolver.resolve("a.store.example", 443)


# --- below a configured upstream ---------------------------------------------------------------


@pytest.mark.parametrize(
    "base", ["https://h.example", "https://h.example:8443/a/b/", "http://h:80"]
)
@given(
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7F), max_size=30).map("/{}".format)
    | st.sampled_from(["/", "//evil.example/x", "/a%2Fb/../c?q=%2f#f", "/" + "x" * MAX_URL])
)
def test_what_is_asked_below_a_base_is_the_url_that_the_two_texts_make(
    base: str, path: str
) -> None:
    site = Site(base)
    whole = base.rstrip("/") + path
    for location in (path, whole):
        try:
            wanted = parse_url(whole)
        except ForbiddenAddress:
            with pytest.raises(ForbiddenAddress):
                site.address(location)
            continue
        got = site.address(location)
        assert (str(got.url), got.url.raw_path_qs) == (str(wanted), wanted.raw_path_qs)
        assert got.url == wanted
        assert (got.origin, got.own) == (str(wanted.origin()), True)


@pytest.mark.parametrize(
    "location",
    [
        "http://h.example/x",
        "https://h.example:8443/x",
        "https://h.example.evil.example/x",
        "https://h.exampl/x",
        "https://store.example/https://h.example/x",
    ],
)
def test_what_only_looks_like_a_configured_upstream_is_not_its_own(location: str) -> None:
    got = Site("https://h.example").address(location)
    assert not got.own
    assert str(got.url) == location
    assert got.origin == str(parse_url(location).origin())


@pytest.mark.parametrize("text", ["", "x", "https://h.example@evil.example/x"])
def test_what_is_no_path_and_no_clean_url_is_not_asked_for(text: str) -> None:
    with pytest.raises(ForbiddenAddress):
        Site("https://h.example").address(text)
