"""Bearer challenges and token answers: what is read out of them, and what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Malformed
from proxy.upstream.challenge import (
    DEFAULT_LIFETIME,
    LONGEST_LIFETIME,
    MAX_SCOPES,
    BearerChallenge,
    bearer_challenge,
    read_token,
    token_address,
)

REALM = "https://registry.example/token"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([f'Bearer realm="{REALM}"'], BearerChallenge(REALM)),
        (
            [f'Bearer realm="{REALM}",service="registry.example",scope="repository:a/b:pull"'],
            BearerChallenge(REALM, "registry.example", ("repository:a/b:pull",)),
        ),
        (
            [f'bEARER   scope="x:y:pull" , REALM = "{REALM}" , Service=plain'],
            BearerChallenge(REALM, "plain", ("x:y:pull",)),
        ),
        # Scopes repeated in one value, and as parameters.
        (
            [f'Bearer realm="{REALM}",scope="repository:a:pull  repository:b:pull,push"'],
            BearerChallenge(REALM, "", ("repository:a:pull", "repository:b:pull")),
        ),
        (
            [f'Bearer realm="{REALM}",scope="repository:a:pull",scope="repository:b:pull"'],
            BearerChallenge(REALM, "", ("repository:a:pull", "repository:b:pull")),
        ),
        (
            [f'Bearer realm="{REALM}",scope="repository:a:pull repository:a:pull"'],
            BearerChallenge(REALM, "", ("repository:a:pull",)),
        ),
        # A token for pulling is enough, whatever is offered.
        (
            [f'Bearer realm="{REALM}",scope="repository:a.b:5000/c:* registry:catalog:*"'],
            BearerChallenge(REALM, "", ("repository:a.b:5000/c:pull", "registry:catalog:*")),
        ),
        # Quoted values hold commas, equal signs, quotes and names of schemes.
        (
            [f'Bearer error="no, Basic realm=\\"x\\"",realm="{REALM}"'],
            BearerChallenge(REALM),
        ),
        # Several challenges, in one line and in several.
        ([f'Basic realm="other", Bearer realm="{REALM}"'], BearerChallenge(REALM)),
        ([f'Negotiate dG9rZW4=, Bearer realm="{REALM}"'], BearerChallenge(REALM)),
        ([f'Negotiate, Bearer realm="{REALM}"'], BearerChallenge(REALM)),
        (['Basic realm="other"', f'Bearer realm="{REALM}"'], BearerChallenge(REALM)),
        # The first of two equal names counts: no later one may redirect the pull token.
        ([f'Bearer realm="{REALM}",realm="https://evil.example"'], BearerChallenge(REALM)),
    ],
)
def test_a_challenge_is_read(lines: list[str], expected: BearerChallenge) -> None:
    assert bearer_challenge(lines) == expected


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Bearer",
        "Bearer realm=",
        'Bearer realm=""',
        'Bearer service="x"',
        'Basic realm="Bearer realm=x"',
        f'Bearer realm="{REALM}#fragment"',
        f'Bearer realm="{REALM}',
        '"Bearer" realm="x"',
        "=,;",
        ", , ,",
        'x Bearer realm="y"',
    ],
)
def test_what_is_no_challenge_asks_for_nothing(line: str) -> None:
    assert bearer_challenge([line]) is None


@given(st.text(max_size=300))
def test_no_line_makes_the_parser_fail(line: str) -> None:
    found = bearer_challenge([line])
    assert found is None or found.realm


def test_a_flood_of_scopes_is_cut() -> None:
    scopes = " ".join(f"repository:r{n}:pull" for n in range(200))
    found = bearer_challenge([f'Bearer realm="{REALM}",scope="{scopes}"'])
    assert found is not None
    assert len(found.scopes) == MAX_SCOPES


@pytest.mark.parametrize(
    ("challenge", "expected"),
    [
        (BearerChallenge(REALM), REALM),
        (
            BearerChallenge(REALM, "r.example", ("repository:a/b:pull", "repository:c:pull")),
            f"{REALM}?service=r.example&scope=repository:a/b:pull&scope=repository:c:pull",
        ),
        (BearerChallenge(REALM + "?a=%2f", "s"), REALM + "?a=%2f&service=s"),
        (BearerChallenge(REALM, "a b&c=d#e"), REALM + "?service=a%20b%26c%3Dd%23e"),
    ],
)
def test_the_address_repeats_scopes_and_keeps_the_realm(
    challenge: BearerChallenge, expected: str
) -> None:
    assert token_address(challenge) == expected


@pytest.mark.parametrize(
    ("answer", "lifetime"),
    [
        ({"token": "abc", "expires_in": 300}, 300.0),
        ({"access_token": "abc", "expires_in": 1.5}, 1.5),
        ({"token": "abc", "access_token": "other"}, DEFAULT_LIFETIME),
        ({"token": "abc", "expires_in": "300"}, DEFAULT_LIFETIME),
        ({"token": "abc", "expires_in": True}, DEFAULT_LIFETIME),
        ({"token": "abc", "expires_in": -5}, DEFAULT_LIFETIME),
        ({"token": "abc", "expires_in": float("nan")}, DEFAULT_LIFETIME),
        ({"token": "abc", "expires_in": 1e99}, LONGEST_LIFETIME),
    ],
)
def test_a_token_answer_is_read(answer: dict[str, object], lifetime: float) -> None:
    token = read_token(json.dumps(answer).encode())
    assert (token.value.reveal(), token.lifetime) == ("abc", lifetime)
    assert "abc" not in repr(token)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>secret-canary</html>",
        b"[]",
        b"{}",
        b'{"token": ""}',
        b'{"token": 7}',
        b'{"token": "secret-canary with spaces"}',
        b'{"token": "secret-canary\\r\\nX-Evil: 1"}',
        b"[" * 100_000,
    ],
)
def test_an_answer_without_a_token_is_refused_and_not_quoted(body: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        read_token(body)
    assert "canary" not in str(caught.value)
