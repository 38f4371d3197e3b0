"""Reading the Authorization header: two schemes, one token, nothing guessed."""

from __future__ import annotations

import base64
import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.access.credential import MAX_LENGTH, Credential, parse_authorization
from proxy.errors import BadRequest, Unauthenticated


def basic(pair: str | bytes, scheme: str = "Basic") -> str:
    raw = pair.encode() if isinstance(pair, str) else pair
    return f"{scheme} {base64.b64encode(raw).decode()}"


def token_of(value: str) -> str:
    credential = parse_authorization([value])
    assert credential is not None
    return credential.token


def test_no_header_is_no_credential() -> None:
    assert parse_authorization([]) is None


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (basic("anybody:cgrp_abc"), "cgrp_abc"),
        (basic(":cgrp_abc"), "cgrp_abc"),
        (basic("a:b:c"), "b:c"),
        (basic("user:cgrp_abc", "bAsIc"), "cgrp_abc"),
        (basic("user:p\u00e4ss"), "p\u00e4ss"),
        ("Bearer cgrp_abc", "cgrp_abc"),
        ("bearer   cgrp_abc ", "cgrp_abc"),
    ],
)
def test_the_password_of_basic_and_the_token_of_bearer_count(value: str, token: str) -> None:
    assert token_of(value) == token


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic dXNlcjpwYXNz=",
        "Basic dXNl\ncjpwYXNz",
        "Basic dXNlcjpw YXNz",
        basic("no-colon"),
        basic("user:"),
        basic(b"user:\xff\xfe"),
        basic("user:a b"),
        basic("user:a\x00b"),
        basic("user:a\nb"),
        "Basic dXNlcjpwYXNz\udcff",
        "Bearer",
        "Bearer ",
        "Bearer a b",
        "Bearer a\tb",
        "Bearer a\udcff",
        "Digest username=x",
        "Negotiate abcd",
        "cgrp_abc",
        "Bearer " + "a" * MAX_LENGTH,
        "Basic " + "YWJj" * 16384,
    ],
)
def test_anything_malformed_is_unauthenticated(value: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        parse_authorization([value])
    assert "Basic" in caught.value.detail
    assert caught.value.__cause__ is None


def test_two_headers_are_a_bad_request_even_when_equal() -> None:
    with pytest.raises(BadRequest):
        parse_authorization(["Bearer a", "Bearer a"])


@given(st.lists(st.text(max_size=200), max_size=3))
def test_any_text_gives_a_token_or_one_of_two_errors(values: list[str]) -> None:
    try:
        credential = parse_authorization(values)
    except Unauthenticated:
        assert len(values) == 1
    except BadRequest:
        assert len(values) > 1
    else:
        assert (credential is None) == (not values)


@given(st.sampled_from(["Basic", "basic", "Bearer"]), st.binary(max_size=300))
def test_any_bytes_behind_a_known_scheme_are_read_or_refused(scheme: str, raw: bytes) -> None:
    for rest in (base64.b64encode(raw).decode(), raw.decode("utf-8", "surrogateescape")):
        try:
            credential = parse_authorization([f"{scheme} {rest}"])
        except Unauthenticated:
            continue
        assert credential is not None
        assert credential.token


def test_a_credential_has_no_text_form() -> None:
    credential = Credential("cgrp_canary")
    for text in (repr(credential), str(credential), f"{credential}", f"{[credential]}"):
        assert "canary" not in text
    with pytest.raises(TypeError):
        pickle.dumps(credential)
    with pytest.raises(TypeError):
        copy.copy(credential)


def test_the_refusal_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(Unauthenticated) as caught:
        parse_authorization(["Canary canary-value"])
    assert "anary" not in caught.value.detail
