"""Single values: what is understood, what is refused, and that nothing else can happen."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import ECOSYSTEMS, values
from proxy.config.settings import Address

# Newer Pythons write such an address in another way.
MAPPED = Address(str(ip_address("::ffff:127.0.0.1")), 1)
TIMES = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
SIZES = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}


@given(st.integers(0, 10**9), st.sampled_from(sorted(TIMES)))
def test_a_whole_number_with_a_unit_is_that_many_seconds(number: int, unit: str) -> None:
    assert values.duration(f"{number}{unit}") == pytest.approx(number * TIMES[unit])


@given(st.integers(0, 10**9), st.sampled_from(sorted(SIZES)))
def test_a_whole_number_with_a_unit_is_exactly_that_many_bytes(number: int, unit: str) -> None:
    assert values.size(f"{number}{unit}") == number * SIZES[unit]


@given(st.decimals(0, 10**6, places=3), st.sampled_from(["h", "GiB"]))
def test_fractions_are_read_exactly(number: Decimal, unit: str) -> None:
    if unit == "h":
        assert values.duration(f"{number}h") == pytest.approx(float(number) * 3600)
    else:
        assert values.size(f"{number}GiB") == math.floor(number * 2**30)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from(sorted(SIZES)))
def test_a_larger_number_is_never_a_smaller_size(one: int, other: int, unit: str) -> None:
    first, second = sorted([one, other])
    assert values.size(f"{first}{unit}") <= values.size(f"{second}{unit}")


PARSERS = [
    values.duration,
    values.size,
    values.address,
    values.optional_address,
    values.url,
    values.optional_url,
    values.network,
    values.host_rule,
    values.client_name,
    values.token_hash,
    values.username,
    values.ecosystem,
]
NEAR_MISSES = st.text("0123456789.:/[]*@-_%abehtpsxKMiB \n\x00\u0663\u00e9", max_size=40)


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@given(text=st.text(max_size=60) | NEAR_MISSES)
def test_any_text_is_either_understood_or_refused_with_a_sentence(
    parse: Callable[[str], object], text: str
) -> None:
    sentence = _refusal(parse, text)
    assert sentence is None or sentence[:1].isalpha() or sentence[:1] in {'"', "~"}


def _refusal(parse: Callable[[str], object], text: str) -> str | None:
    """The sentence of a refusal; errors of other types come through."""
    try:
        parse(text)
    except ValueError as error:
        # A subclass, such as UnicodeError, would be a library's word and not a parser's own.
        return str(error) if type(error) is ValueError else ""
    return None


@given(NEAR_MISSES.map(lambda text: "http://" + text) | st.from_regex(r"\Ahttps?://\S+\Z"))
def test_a_normalised_url_is_a_fixed_point(text: str) -> None:
    try:
        once = values.url(text)
    except ValueError:
        return
    assert values.url(once) == once
    assert not once.endswith("/")
    assert "@" not in once.split("/")[2]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "30",
        "s",
        "-1s",
        "+1s",
        "1 000s",
        "1e3s",
        "30 sec",
        "1h30m",
        "\u0663s",
        "1s\n",
        " 1s",
        "infs",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        values.duration(text)


@pytest.mark.parametrize("text", ["", "20", "GiB", "-1B", "0x10B", "20Gi", "20G", "1_0B", "20GiB "])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        values.size(text)


@pytest.mark.parametrize(
    ("text", "address", "shown", "loopback"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080), "127.0.0.1:8080", True),
        ("127.9.9.9:0", Address("127.9.9.9", 0), "127.9.9.9:0", True),
        ("[::1]:8080", Address("::1", 8080), "[::1]:8080", True),
        ("[::ffff:127.0.0.1]:1", MAPPED, f"[{MAPPED.host}]:1", True),
        ("LOCALHOST:80", Address("localhost", 80), "localhost:80", True),
        ("0.0.0.0:65535", Address("0.0.0.0", 65535), "0.0.0.0:65535", False),
        ("[::]:80", Address("::", 80), "[::]:80", False),
        ("proxy.example:80", Address("proxy.example", 80), "proxy.example:80", False),
    ],
)
def test_addresses_to_listen_on(text: str, address: Address, shown: str, loopback: bool) -> None:
    found = values.address(text)
    assert found == address
    assert str(found) == shown
    assert found.is_loopback is loopback
    assert values.address(str(found)) == found


NO_ADDRESSES = [
    "8080",
    ":8080",
    "127.0.0.1",
    "127.0.0.1:",
    "::1:8080",
    "[::1]",
    "127.1:80",
    "1.2.3.4.5:80",
    "h:65536",
    "h:-1",
    "h:٣",
    "-h:80",
    "[127.0.0.1:80",
    "[x]:80",
    "h:+1",
    "http://h:80",
]


@pytest.mark.parametrize("text", ["", "h: 80", "a b:80", *NO_ADDRESSES])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        values.address(text)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("https://libraries.cgr.dev", "https://libraries.cgr.dev"),
        ("HTTPS://Libraries.CGR.dev:443/", "https://libraries.cgr.dev"),
        ("http://mirror.example:80/base/", "http://mirror.example/base"),
        ("http://mirror.example:8080/a%2Fb", "http://mirror.example:8080/a%2Fb"),
        ("http://[2001:DB8::0:1]:8080", "http://[2001:db8::1]:8080"),
        ("https://mirror.example:/x", "https://mirror.example/x"),
    ],
)
def test_a_url_is_normalised(text: str, normal: str) -> None:
    assert values.url(text) == normal


NO_URLS = [
    "mirror.example",
    "//mirror.example",
    "ftp://mirror.example",
    "https://",
    "https:///x",
    "https://mirror.example?",
    "https://a:b@mirror.example",
    "https://mirror.example?x",
    "https://mirror.example/#x",
    "https://mirror.example/../x",
    "https://mirror.example//x",
    "https://mirror.example:0x1",
    "https://mirror.example:99999",
    "https://[::1]x:80",
    "https://127.1",
    "https://2130706433/",
    "https://mirror.example\\@evil.example",
    "https://é.example",
    "https://mirror.example/./",
]


@pytest.mark.parametrize("text", ["", "https://mirror.example/a b", *NO_URLS])
def test_what_is_no_plain_base_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        values.url(text)


@pytest.mark.parametrize(
    "text", ["store.example", "store.example:8443", "*.store.example", "127.0.0.2:9000"]
)
def test_host_rules_are_kept(text: str) -> None:
    assert values.host_rule(text) == text


NO_RULES = [
    "*",
    "*.example",
    "*.",
    "a.*.example",
    "*store.example",
    "https://store.example",
    "store.example/x",
    "store.example:0",
    "store.example:x",
    "store.example:65536",
    "u@store.example",
    "[::1]:80",
    "::1",
]


@pytest.mark.parametrize("text", ["", "a b", *NO_RULES])
def test_host_rules_that_are_too_wide_or_no_hosts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        values.host_rule(text)


def test_every_ecosystem_of_the_contract_is_known() -> None:
    assert ECOSYSTEMS == ("python", "java", "javascript", "oci", "apk", "go", "dotnet")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pkg:pypi/flask", "pkg:pypi/flask"),
        ("pkg:PyPI/Flask_Login@3.0+cgr.1", "pkg:pypi/flask-login@3.0%2Bcgr.1"),
        ("pkg:nuget/Newtonsoft.Json@13.*", "pkg:nuget/newtonsoft.json@13.*"),
        ("pkg:pypi/flask@3.*", "pkg:pypi/flask@3.*"),
        ("pkg:pypi/flask@*", "pkg:pypi/flask@*"),
        ("pkg:pypi/types-*", "pkg:pypi/types-*"),
        ("pkg:pypi/", "pkg:pypi/"),
        ("pkg:pypi/*", "pkg:pypi/*"),
        ("pkg:npm/@scope/name@1.0.0", "pkg:npm/%40scope/name@1.0.0"),
        ("pkg:npm/%40scope/", "pkg:npm/%40scope/"),
        ("pkg:npm/@scope/*", "pkg:npm/%40scope/*"),
        ("pkg:maven/org.apache/", "pkg:maven/org.apache/"),
        ("pkg:npm/Name", "pkg:npm/Name"),
    ],
)
def test_a_prefix_of_package_urls_is_spelt_the_normal_way(text: str, expected: str) -> None:
    assert values.package(text) == expected
    assert values.package(expected) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CN=build-7,O=farm", "CN=build-7,O=farm"),
        ("CN = build-7, O = farm", "CN=build-7,O=farm"),
        ("CN=a\\, b,O=farm", "CN=a\\, b,O=farm"),
        ("CN=a\\,O=b", "CN=a\\,O=b"),
        ("1.2.840.113549.1.9.1=x@y.example", "1.2.840.113549.1.9.1=x@y.example"),
        ("DNS:Build.Example", "DNS:build.example"),
        ("URI:spiffe://Farm/b/7", "URI:spiffe://Farm/b/7"),
    ],
)
def test_a_subject_is_spelt_as_it_is_read_off_a_certificate(text: str, expected: str) -> None:
    assert values.subject(text) == expected
