"""Heads and refusals of the upstream by table, and whatever else hypothesis can think of."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.errors import (
    Blocked,
    CredentialRefused,
    Malformed,
    NotFound,
    ProxyError,
    RateLimited,
    Unavailable,
)
from proxy.observe.redaction import forms_of
from proxy.upstream.answers import (
    HIDDEN_REASON,
    read_error,
    read_head,
    reason_of,
    retry_after,
)
from proxy.upstream.base import Head, UpstreamRequest
from proxy.upstream.scrubber import Scrubber

JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html; charset=utf-8"}
DATE = "Wed, 21 Oct 2026 07:28:00 GMT"
URL = "https://libraries.example/x"
USER = "0a1b2c3d4e/f5a6b7c8"
PASSWORD = "s3cr3t/pull-token+0123456789"
PAIR = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
BEARER = "c29tZS1oZWFkZXI.c29tZS1jbGFpbXM.c2lnbmF0dXJlLXNpZw"
ECHOES = {
    "password": PASSWORD,
    "cut short": PASSWORD[:20],
    "user": USER,
    "user in a URL": USER.replace("/", "_"),
    "header": f"Basic {PAIR}",
    "URL-encoded": quote(PASSWORD, safe=""),
    "base64 of it alone": base64.b64encode(PASSWORD.encode()).decode(),
    "in two lines": f"{PASSWORD[:14]} {PASSWORD[14:]}",
    "bearer token": BEARER,
    "segment of it": BEARER.split(".")[2],
}


def told() -> Scrubber:
    scrubber = Scrubber()
    scrubber.sent(f"Basic {PAIR}")
    scrubber.sent(f"Bearer {BEARER}")
    return scrubber


SCRUBBER = told()


def refused(
    status: int, headers: dict[str, str] | None = None, body: bytes = b"", *, learnt: bool = False
) -> ProxyError:
    return read_error(status, CIMultiDict(headers or {}), body, SCRUBBER, learnt=learnt)


def head(
    status: int = 200,
    headers: dict[str, str] | None = None,
    *,
    conditional: bool = True,
    **asked: Any,
) -> Head:
    request = UpstreamRequest("python", "/x", **asked)
    return read_head(
        request, URL, status, CIMultiDict(headers or {}), SCRUBBER, conditional=conditional
    )


def test_where_no_credential_is_configured_a_401_asks_for_one_and_blames_no_token() -> None:
    error = read_error(401, CIMultiDict(), b"", SCRUBBER, learnt=False, configured=False)
    assert isinstance(error, CredentialRefused)
    assert "has none for it" in str(error)
    assert "pull token" not in str(error)


# --- the table of statuses ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind", "ours"),
    [
        (401, {}, b"", CredentialRefused, 503),
        (403, JSON, b'{"reason":"MALWARE_DETECTED"}', Blocked, 403),
        (403, {}, b"not entitled", Blocked, 403),
        (403, {}, b"", Blocked, 403),
        (403, HTML, b"<html>", Unavailable, 503),
        (403, {}, b"  <!DOCTYPE html><html>", Unavailable, 503),
        (404, JSON, b"{}", NotFound, 404),
        (404, HTML, b"<html>", NotFound, 404),
        (410, {}, b"", NotFound, 410),
        (409, JSON, b'{"message":"blocked"}', Blocked, 409),
        (409, HTML, b"<html>", Unavailable, 503),
        (429, {"Retry-After": "5"}, b"", RateLimited, 429),
        (400, {}, b"", Unavailable, 503),
        (407, {}, b"", Unavailable, 503),
        (414, {}, b"", Unavailable, 503),
        (416, {}, b"", Unavailable, 503),
        (101, {}, b"", Unavailable, 503),
        (204, {}, b"", Unavailable, 503),
        (300, {}, b"", Unavailable, 503),
        (500, {}, b"", Unavailable, 503),
        (502, HTML, b"<html>", Unavailable, 503),
        (503, {}, b"", Unavailable, 503),
        (504, {}, b"", Unavailable, 503),
        (999, {}, b"", Unavailable, 503),
    ],
)
def test_every_status_of_the_upstream_has_its_error(
    status: int, headers: dict[str, str], body: bytes, kind: type[ProxyError], ours: int
) -> None:
    error = refused(status, headers, body)
    assert type(error) is kind
    assert error.status == ours


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 500, 503])
def test_a_learnt_host_never_speaks_about_the_artifact(status: int) -> None:
    error = refused(status, JSON, b'{"reason":"no"}', learnt=True)
    assert isinstance(error, Unavailable)
    assert error.upstream_status == status


def test_a_learnt_host_may_ask_for_quiet() -> None:
    error = refused(429, {"Retry-After": "7"}, learnt=True)
    assert isinstance(error, RateLimited)
    assert error.retry_after == 7


def test_an_overloaded_upstream_says_itself_when_to_come_back() -> None:
    assert refused(503, {"Retry-After": "120"}).retry_after == 120
    assert refused(503).retry_after == 30


# --- Retry-After -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("5", "", 5),
        (" 5 ", "", 5),
        ("0", "", 1),
        ("999999999", "", 300),
        ("9" * 400, "", 30),
        ("-1", "", 1),
        ("-999999999999", "", 1),
        ("1.5", "", 30),
        ("soon", "", 30),
        ("", DATE, 30),
        ("\u0665", "", 30),
        ("Wed, 21 Oct 2026 07:29:40 GMT", DATE, 100),
        ("Wed, 21 Oct 2026 07:29:40", DATE, 100),
        ("Wed, 21 Oct 2026 09:29:40 +0200", DATE, 100),
        ("Wednesday, 21-Oct-26 07:29:40 GMT", DATE, 100),
        ("Wed, 21 Oct 2026 07:00:00 GMT", DATE, 1),
        ("Fri, 31 Dec 9999 23:59:59 GMT", DATE, 300),
        ("Wed, 21 Oct 99999 07:28:00 GMT", DATE, 30),
        ("Wed, 21 Oct 2026 07:29:40 GMT", "", 30),
        ("Wed, 21 Oct 2026 07:29:40 GMT", "yesterday", 30),
    ],
)
def test_a_pause_is_read_in_every_form_and_kept_within_bounds(
    value: str, date: str, seconds: int
) -> None:
    assert retry_after(value, date) == seconds


@given(st.text(), st.text())
def test_no_pause_is_too_odd_to_read(value: str, date: str) -> None:
    assert 1 <= retry_after(value, date) <= 300


# --- reasons -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [
        (JSON, b'{"reason":"MALWARE_DETECTED","message":"no"}', "MALWARE_DETECTED: no"),
        (JSON, b'{"code":"NOT_ENTITLED","message":"java"}', "NOT_ENTITLED: java"),
        (JSON, b'{"errors":[{"code":"DENIED","message":"no"}]}', "DENIED: no"),
        ({"Content-Type": "application/problem+json"}, b'{"detail":"held back"}', "held back"),
        ({"Content-Type": "text/plain"}, b"held back\nmore", "held back"),
        ({}, b"held back", "held back"),
        ({}, b'{"error":"untyped"}', "untyped"),
        (JSON, b'{"reason":"same","error":"same"}', "same"),
        (JSON, b'{"reason":7,"message":["x"]}', ""),
        (JSON, b'["x"]', ""),
        (JSON, b'{"errors":["x"]}', ""),
        (JSON, b'{"reason":"cut', ""),
        (JSON, b"[" * 60_000, ""),
        (JSON, b"\xff\xfe", ""),
        ({"Content-Type": "image/png"}, b"held back", ""),
        (
            JSON,
            json.dumps({"reason": "a\r\nSet-Cookie: b\x1b[31m\u2028é"}).encode(),
            "a??Set-Cookie: b?[31m??",
        ),
    ],
)
def test_the_reason_is_one_printable_line(
    headers: dict[str, str], body: bytes, reason: str
) -> None:
    assert reason_of(headers, body, SCRUBBER) == reason


def test_a_reason_is_short_and_holds_no_address_and_no_token() -> None:
    identity = "f" * 40 + "/" + "a" * 16
    token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"
    said = f"for {identity} with {token} see https://store.example/x?X-Amz-Signature=abc now"
    assert reason_of(JSON, json.dumps({"reason": said}).encode(), SCRUBBER) == (
        "for [...] with [...] see [...] now"
    )
    assert len(reason_of(JSON, json.dumps({"reason": "no " * 5000}).encode(), SCRUBBER)) <= 300


@given(
    st.integers(100, 999),
    st.dictionaries(
        st.sampled_from(["Content-Type", "Retry-After", "Date", "X"]), st.text(max_size=50)
    ),
    st.binary(max_size=300),
    st.booleans(),
)
def test_every_refusal_becomes_an_error_with_a_printable_sentence(
    status: int, headers: dict[str, str], body: bytes, learnt: bool
) -> None:
    error = refused(status, headers, body, learnt=learnt)
    assert error.detail.isascii()
    assert error.detail.isprintable()


# --- heads -------------------------------------------------------------------------------------


def test_the_head_keeps_what_is_needed_and_nothing_else() -> None:
    found = head(
        headers={
            "Content-Type": "application/json",
            "Content-Length": "12",
            "ETag": '"a"',
            "Last-Modified": DATE,
            "Cache-Control": "public, max-age=60",
            "Set-Cookie": "x=y",
            "X-Other": "z",
            "Link": "</v2/x>; rel=next",
        }
    )
    assert found == Head(
        status=200,
        url=URL,
        media_type="application/json",
        size=12,
        framed=True,
        etag='"a"',
        last_modified=DATE,
        max_age=60,
        fields=(("link", "</v2/x>; rel=next"),),
    )


@pytest.mark.parametrize("value", ['"a\x00b"', '"a\x1bb"', '"\udcff"', '"é"', "x" * 2001, '"a\tb"'])
def test_a_field_that_is_not_printable_ascii_is_not_kept(value: str) -> None:
    assert head(headers={"ETag": value, "Content-Type": value}) == Head(200, URL, framed=False)


@pytest.mark.parametrize(
    ("headers", "size", "framed"),
    [
        ({"Content-Length": "7"}, 7, True),
        ({"Content-Length": "0"}, 0, True),
        ({"Transfer-Encoding": "chunked"}, None, True),
        ({"Transfer-Encoding": "Chunked", "Content-Length": "7"}, None, True),
        ({}, None, False),
        ({"Content-Length": "+7"}, None, False),
        ({"Content-Length": "7, 7"}, None, False),
        ({"Content-Length": "9" * 19}, None, False),
    ],
)
def test_the_end_of_a_body_is_known_only_from_sound_framing(
    headers: dict[str, str], size: int | None, framed: bool
) -> None:
    found = head(headers=headers)
    assert (found.size, found.framed) == (size, framed)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Cache-Control": "public"}, None),
        ({"Cache-Control": "max-age=60"}, 60),
        ({"Cache-Control": 'max-age="60"'}, 60),
        ({"Cache-Control": "max-age=60, s-maxage=30"}, 30),
        ({"Cache-Control": "MAX-AGE=60"}, 60),
        ({"Cache-Control": "no-cache, max-age=60"}, 0),
        ({"Cache-Control": "no-store"}, 0),
        ({"Cache-Control": "x-max-age=60"}, None),
        ({"Cache-Control": "max-age=60", "Age": "45"}, 15),
        ({"Cache-Control": "max-age=60", "Age": "600"}, 0),
        ({"Cache-Control": "max-age=60", "Age": "-5"}, 60),
        ({"Cache-Control": "max-age=99999999999999"}, 9999999999),
    ],
)
def test_freshness_is_what_is_left_of_the_upstreams(
    headers: dict[str, str], seconds: int | None
) -> None:
    assert head(headers=headers).max_age == seconds


def test_a_206_that_was_asked_for_gives_its_place_and_the_whole_size() -> None:
    found = head(206, {"Content-Range": "bytes 5-9/10", "Content-Length": "5"}, start=5)
    assert (found.status, found.start, found.size, found.framed) == (206, 5, 10, True)


def test_a_206_without_a_length_is_not_framed() -> None:
    assert not head(206, {"Content-Range": "bytes 5-9/10"}, start=5).framed


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Range": "bytes 4-9/10"},
        {"Content-Range": "bytes 5-8/10"},
        {"Content-Range": "bytes 5-9/*"},
        {"Content-Range": "bytes 5-4/5"},
        {"Content-Range": "bytes */10"},
        {"Content-Range": "items 5-9/10"},
        {"Content-Range": "bytes 5-9/10", "Content-Length": "4"},
        {"Content-Range": "bytes \u0665-9/10"},
        {"Content-Type": "multipart/byteranges; boundary=x"},
    ],
)
def test_a_206_about_other_bytes_is_not_used(headers: dict[str, str]) -> None:
    with pytest.raises(Malformed):
        head(206, headers, start=5)


def test_a_206_that_nobody_asked_for_is_not_used() -> None:
    with pytest.raises(Malformed):
        head(206, {"Content-Range": "bytes 0-9/10"})


def test_a_200_in_place_of_a_range_begins_at_zero() -> None:
    assert head(200, {"Content-Length": "10"}, start=5).start == 0


def test_a_304_is_an_answer_to_a_validator_only() -> None:
    assert head(304, etag='"a"').status == 304
    assert head(304, last_modified=DATE).status == 304
    with pytest.raises(Malformed):
        head(304)
    with pytest.raises(Malformed):
        head(304, etag='"a"', conditional=False)


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br", "zstd", "identity, gzip", "x"])
def test_a_coding_that_was_not_asked_for_is_not_used(coding: str) -> None:
    with pytest.raises(Malformed):
        head(headers={"Content-Encoding": coding})


def test_a_document_may_come_packed_whatever_was_asked_for() -> None:
    found = head(headers={"Content-Encoding": "GZip", "Content-Length": "10"}, document=True)
    assert (found.packed, found.size, found.framed) == (True, None, True)
    assert head(304, {"Content-Encoding": "gzip"}, etag='"a"', document=True).status == 304
    with pytest.raises(Malformed):
        head(headers={"Content-Encoding": "br"}, document=True)


@pytest.mark.parametrize("coding", ["identity", "", "aws-chunked"])
def test_what_object_stores_call_a_coding_and_is_none_is_let_through(coding: str) -> None:
    assert head(headers={"Content-Encoding": coding}).status == 200


# --- what the upstream echoes ------------------------------------------------------------------


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
@pytest.mark.parametrize("status", [403, 409])
def test_a_reason_that_holds_a_secret_is_not_shown(status: int, echo: str) -> None:
    for headers, body in (
        (JSON, json.dumps({"message": f"token {echo} is not good"}).encode()),
        ({"Content-Type": "text/plain"}, f"token {echo} is not good".encode()),
    ):
        error = refused(status, headers, body)
        assert isinstance(error, Blocked)
        assert error.detail == f"The upstream blocks it: {HIDDEN_REASON}"


@pytest.mark.parametrize("echo", [*ECHOES.values(), "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"])
def test_a_header_that_holds_a_secret_is_dropped_and_the_others_stay(echo: str) -> None:
    fields = ("Docker-Content-Digest", "Link", "X-PyPI-Last-Serial")
    for name in ("ETag", "Last-Modified", "Content-Type", *fields):
        got = head(200, {"ETag": '"a"', "Link": "<x>", name: f'"{echo}"'})
        assert echo not in repr(got)
        assert got.etag == ("" if name == "ETag" else '"a"')
        assert got.fields == (() if name == "Link" else (("link", "<x>"),))


def test_a_text_without_a_secret_is_kept_whole() -> None:
    assert not SCRUBBER.holds("MALWARE_DETECTED: the package holds s3cr3t things of a pull token")
    assert not Scrubber().holds(PASSWORD)


def test_a_credential_stays_known_after_a_rotation() -> None:
    scrubber = told()
    for number in range(4):
        scrubber.sent(f"Bearer token-number-{number}-of-some-length")
    assert scrubber.holds(PASSWORD)


def test_a_short_user_name_with_a_slash_is_found_and_a_plain_word_is_not() -> None:
    scrubber = Scrubber()
    scrubber.sent("Basic " + base64.b64encode(f"me/abc:{PASSWORD}".encode()).decode())
    scrubber.sent("Basic " + base64.b64encode(f"python:{PASSWORD}".encode()).decode())
    assert scrubber.holds("token of me/abc")
    assert scrubber.holds("token of me_abc")
    assert not scrubber.holds("application/vnd.python.simple")


def test_a_credential_that_goes_out_again_and_again_stays_known_while_others_rotate() -> None:
    scrubber = Scrubber()
    for number in range(100):
        scrubber.sent(f"Bearer {PASSWORD}")
        scrubber.sent(f"Bearer rotated-{number:032}")
        assert scrubber.holds(PASSWORD)


@given(st.integers(0, len(PASSWORD) - 16), st.integers(0, 40), st.integers(0, 40))
def test_a_piece_of_a_secret_is_found_wherever_it_stands(at: int, before: int, after: int) -> None:
    piece = PASSWORD[at : at + 16]
    assert told().holds("|" * before + piece + "|" * after)
    assert not told().holds("|" * before + piece[1:] + "|" * after)


@pytest.mark.parametrize(
    "password", [PASSWORD, "a/short-one+", "eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl"]
)
def test_every_form_in_which_a_credential_travels_is_found(password: str) -> None:
    user = "0" * 40 + "/" + "1" * 16
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    scrubber = Scrubber()
    scrubber.sent(f"Basic {pair}")
    for text in (pair, password, user, f"{user}:{password}"):
        for form in forms_of(text):
            assert scrubber.holds(f"it is {form}")


def test_a_field_that_holds_a_secret_is_dropped_and_its_neighbours_stay() -> None:
    headers = CIMultiDict({"ETag": f'"{PASSWORD}"', "Last-Modified": DATE, "Content-Type": "a/b"})
    head = read_head(UpstreamRequest("python", "/x"), URL, 200, headers, told())
    assert (head.etag, head.last_modified, head.media_type) == ("", DATE, "a/b")


def test_two_fields_that_would_only_together_hold_a_secret_both_stay() -> None:
    first, second = PASSWORD[:14], PASSWORD[14:28]
    headers = CIMultiDict({"Content-Type": first, "ETag": second})
    head = read_head(UpstreamRequest("python", "/x"), URL, 200, headers, told())
    assert (head.media_type, head.etag) == (first, second)


def test_what_was_sent_when_an_answer_came_is_kept_from_it_however_late_it_is_read() -> None:
    scrubber = Scrubber()
    scrubber.sent(f"Bearer {BEARER}")
    headers = CIMultiDict({"ETag": f'"{BEARER}"', "Link": DATE})
    head = read_head(UpstreamRequest("python", "/x"), URL, 200, headers, scrubber)
    for number in range(100):  # more than the scrubber remembers
        scrubber.sent(f"Bearer {number:040d}")
    assert not scrubber.holds(BEARER)
    assert (head.etag, head.fields) == ("", (("link", DATE),))


def test_the_fields_of_an_answer_are_read_once_and_only_when_they_are_asked_for() -> None:
    read = list[str]()

    class Headers(CIMultiDict[str]):
        def get(self, name: str, default: Any = None) -> Any:
            read.append(name.lower())
            return super().get(name, default)

    headers = Headers({"ETag": '"a"', "Content-Length": "5", "Cache-Control": "max-age=7"})
    head = read_head(UpstreamRequest("python", "/x"), URL, 200, headers, Scrubber())
    assert (head.size, head.framed, head.start, head.packed) == (5, True, 0, False)
    assert not {"etag", "cache-control"}.intersection(read)
    assert (head.etag, head.max_age, head.last_modified) == ('"a"', 7, "")
    assert read.count("etag") == read.count("cache-control") == 1
