"""The canonicaliser: two spellings of a path agree, or one of them is refused."""

from __future__ import annotations

import re
from random import Random
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.errors import BadRequest, MethodNotAllowed
from proxy.model import RequestLine, encode_path
from proxy.server.canonical import canonicalise, check_host


def line(target: str, host: str | None = "proxy.example") -> RequestLine:
    return canonicalise("GET", target, host=host)


BAD_TARGETS = {
    "B01 raw dot segments": "/java/../../etc/passwd",
    "B02 encoded dots": "/java/%2e%2e/%2e%2e/etc/passwd",
    "B02 half encoded dots": "/java/.%2E/etc/passwd",
    "B03 encoded slashes and dots": "/java/..%2f..%2fetc/passwd",
    "B04 empty segments by encoded slashes": "/%2F%2F%2F..%2F..%2Fetc%2Fpasswd",
    "B05 below one segment": "/python/simple/..%2f..%2fx/",
    "B06 below v2": "/v2/../../x/blobs/sha256:00",
    "B06 below v2, encoded": "/v2/%2e%2e%2fx",
    "B07 backslashes": "/java/..\\..\\etc",
    "B07 encoded backslashes": "/java/..%5c..%5Cetc",
    "B08 overlong UTF-8": "/java/%c0%ae%c0%ae/etc/passwd",
    "B09 encoded twice": "/java/%252e%252e%252fetc",
    "B10 empty segment": "/java//etc/passwd",
    "B10 encoded empty segment": "/java/%2fetc/passwd",
    "B10 two slashes at the start": "//evil.example/x",
    "B10 two slashes at the end": "/python/simple//",
    "B11 dots behind a parameter": "/a;b=c/../d",
    "B12 NUL": "/java/a%00b",
    "B13 raw 8-bit": "/java/\udcff",
    "B13 raw non-ASCII": "/java/é",
    "B13 raw control": "/java/a\x00b",
    "B13 raw DEL": "/java/a\x7fb",
    "B13 raw space": "/java/a b",
    "B14 no hex": "/java/a%zz",
    "B14 lone percent": "/java/a%",
    "B14 half an escape": "/java/a%2",
    "B15 CRLF": "/java/%0d%0aX-Evil:1",
    "B16 dot": "/java/./a",
    "B16 dot at the end": "/java/a/.",
    "B16 dots with a slash": "/java/../",
    "B17 4000 characters": "/java/" + "a" * 4000,
    "B17 200 segments": "/a" * 200,
    "B18 9 KB": "/" + "a/" * 4500,
    "B19 fragment": "/java/a#frag",
    "B19 fragment in the query": "/java/a?x#frag",
    "B20 right-to-left override": "/python/simple/a%E2%80%AEb/",
    "B20 zero-width joiner": "/python/simple/a%E2%80%8Db/",
    "B20 normal form D": "/python/simple/" + quote("e\u0301") + "/",
    "B20 line separator": "/python/simple/a%E2%80%A8b/",
    "B20 C1 control": "/python/simple/a%C2%85b/",
    "B20 surrogate in UTF-8": "/python/simple/a%ED%A0%80b/",
    "B22 encoded twice": "/javascript/@babel%252fcore",
    "B23 empty by encoding": "/javascript/%2fx",
    "B48 address of a cloud": "http://169.254.169.254/latest/meta-data/",
    "B48 another host": "http://evil.example/javascript/x",
    "B48 a prefix of our host": "http://proxy.example.evil.example/x",
    "B48 another port": "http://proxy.example:8080/x",
    "B48 userinfo": "http://user:pw@proxy.example/x",
    "B48 no authority": "http:///x",
    "B48 another scheme": "ftp://proxy.example/x",
    "B50 asterisk": "*",
    "B49 authority": "evil.example:443",
    "B69 8 KB of query": "/a?" + "x" * 8000,
    "B69 21 parameters": "/a?" + "&".join("x=1" for _ in range(21)),
    "B69 control in the query": "/a?x=%0a",
    "B69 NUL in the query": "/a?x=%00",
    "B69 bad escape in the query": "/a?x=%zz",
    "B69 8-bit in the query": "/a?x=%ff",
    "empty": "",
    "no slash": "java/a",
}


@pytest.mark.parametrize("target", BAD_TARGETS.values(), ids=BAD_TARGETS.keys())
def test_a_bad_target_is_a_bad_request(target: str) -> None:
    with pytest.raises(BadRequest) as caught:
        line(target)
    assert caught.value.status == 400
    assert caught.value.detail.isascii()
    assert "evil" not in caught.value.detail


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "FOO", "get", "", "A" * 999])
def test_other_methods_are_not_allowed_and_learn_which_are(method: str) -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        canonicalise(method, "/java/a", host="proxy.example")
    assert caught.value.allow == "GET, HEAD"


@pytest.mark.parametrize(
    "target",
    [
        "/javascript/@babel/core",
        "/javascript/@babel%2fcore",
        "/javascript/@babel%2Fcore",
        "/javascript/%40babel%2fcore",
        "/%6aavascript/@babel/core",
        "http://proxy.example/javascript/@babel/core",
        "HTTP://PROXY.example:80/javascript/@babel%2fcore",
        "https://proxy.example:443/javascript/@babel/core",
    ],
)
def test_all_spellings_of_one_path_are_one_line_and_one_upstream_path(target: str) -> None:
    one = line(target)
    assert one.segments == ("javascript", "@babel", "core")
    assert one.path == "/javascript/@babel/core"
    assert encode_path(one.segments, slash=one.slash) == "/javascript/@babel/core"


def test_the_upstream_spelling_keeps_plus_and_at_and_encodes_the_semicolon() -> None:
    one = line("/files/a/x-1.0%2Bcgr.1;.js/@y/a%20b/%3f")
    spelled = encode_path(one.segments, slash=one.slash)
    assert spelled == "/files/a/x-1.0+cgr.1%3B.js/@y/a%20b/%3F"


def test_root_slash_and_escapes_are_told() -> None:
    assert line("/") == RequestLine("GET", (), slash=True)
    assert line("http://proxy.example").segments == ()
    assert line("/a").slash is False
    assert line("/a/").slash is True
    assert line("/a%2f").slash is True
    assert line("/a%2f").escaped is True
    assert line("/a?%41").escaped is False


def test_the_query_is_decoded_in_order_and_an_empty_one_is_none() -> None:
    assert line("/a?").query == ()
    assert line("/a?x=1&y&x=%2e.%2F+z;w?&").query == (("x", "1"), ("y", ""), ("x", "../ z;w?"))


def test_accept_lines_and_methods_are_kept() -> None:
    one = canonicalise("HEAD", "/a", host=None, accept=["a/b", "c/d"])
    assert (one.method, one.accept) == ("HEAD", ("a/b", "c/d"))


def test_absolute_form_without_host_is_refused() -> None:
    with pytest.raises(BadRequest):
        line("http://proxy.example/a", host=None)


@pytest.mark.parametrize(
    ("value", "host"),
    [
        ("proxy.example", ("proxy.example", None)),
        ("Proxy.Example.:8080", ("proxy.example.", 8080)),
        ("localhost:1", ("localhost", 1)),
        ("a_b-c", ("a_b-c", None)),
        ("127.0.0.1:65535", ("127.0.0.1", 65535)),
        ("[::1]", ("[::1]", None)),
        ("[2001:DB8::1]:443", ("[2001:db8::1]", 443)),
    ],
)
def test_a_valid_host_is_read(value: str, host: tuple[str, int | None]) -> None:
    assert check_host(value) == host


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", ":80", "a:", "a:0", "a:65536", "a:99999999999", "a:8o", "a:\u0663", "a b"),
        *("user@a", "a/b", "a\r\nX: 1", "::1", "[::1", "[127.0.0.1]", "[::1%25eth0]", "a..b"),
        *("-a", "a-", "é", "999.1.1.1", "2130706433", "a" * 64, ".".join(["a"] * 200), "a,b"),
    ],
)
def test_an_invalid_host_is_a_bad_request(value: str | None) -> None:
    with pytest.raises(BadRequest):
        check_host(value)


SEGMENTS = st.lists(
    st.text(
        st.characters(
            exclude_characters="/\\%", exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp", "Cn")
        ),
        min_size=1,
        max_size=20,
    ).filter(lambda text: text not in {".", ".."}),
    max_size=8,
)


@given(SEGMENTS, st.booleans())
def test_encoding_a_canonical_path_again_gives_the_same_segments(
    parts: list[str], slash: bool
) -> None:
    try:
        one = line(encode_path(tuple(parts), slash=slash))
    except BadRequest:
        return  # not in normal form C
    assert one.segments == tuple(parts)
    assert line(encode_path(one.segments, slash=one.slash)).segments == one.segments


@given(SEGMENTS, st.randoms())
def test_two_spellings_of_a_path_agree(parts: list[str], random: Random) -> None:
    plain = encode_path(tuple(parts))
    odd = "".join(_other_spelling(piece, random) for piece in _pieces(plain))
    try:
        expected = line(plain).segments
    except BadRequest:
        with pytest.raises(BadRequest):
            line(odd)
        return
    assert line(odd).segments == expected


def _pieces(path: str) -> list[str]:
    """Split a path into characters and whole escapes."""
    return re.findall(r"%..|.", path, re.DOTALL)


def _other_spelling(piece: str, random: Random) -> str:
    if piece.startswith("%"):
        return random.choice([piece.lower(), piece.upper()])
    # The first slash must stay: it makes the target a path.
    return random.choice([piece, piece if piece == "/" else f"%{ord(piece):02x}"])


@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", ""]) | st.text(max_size=5),
    st.text(max_size=60) | st.text("/.%2eEfF5cC0aA?#&=\\", max_size=40).map("/".__add__),
    st.none() | st.text(max_size=20) | st.just("proxy.example"),
)
@example("GET", "http://[::1/a", "[::1")
def test_junk_gives_a_clean_line_or_a_refusal(method: str, target: str, host: str | None) -> None:
    try:
        one = canonicalise(method, target, host=host)
    except (BadRequest, MethodNotAllowed):
        return
    for segment in one.segments:
        assert segment not in {"", ".", ".."}
        assert not set(segment) & set("/\\%\x00\r\n\x7f")
