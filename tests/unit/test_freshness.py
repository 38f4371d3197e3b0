"""Judging what is held, and settling what a failure means: pure, so by table and by property."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cache.freshness import CLOCK_SKEW, Policy, Settlement, Verdict, judge, settle, too_old
from proxy.errors import (
    Blocked,
    ClientForbidden,
    CredentialRefused,
    DigestMismatch,
    ForbiddenAddress,
    FrozenMiss,
    InsecureUpstream,
    Malformed,
    NotFound,
    ProxyError,
    RateLimited,
    Unavailable,
)

POLICY = Policy(ttl=300, tag_ttl=60, max_stale=86400, negative_ttl=30)
NOW = 1_800_000_000.0
SECONDS = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False)


def judged(age: float, *, max_age: int | None = None, moving: bool = False) -> Verdict:
    return judge(checked_at=NOW - age, max_age=max_age, moving=moving, policy=POLICY, now=NOW)


@pytest.mark.parametrize(
    ("age", "max_age", "moving", "expected"),
    [
        (0, None, False, Verdict(0, 300, fresh=True, usable=True)),
        (299.5, None, False, Verdict(299, 0, fresh=True, usable=True)),
        (300, None, False, Verdict(300, -1, fresh=False, usable=True)),
        (420, None, False, Verdict(420, -120, fresh=False, usable=True)),
        (10, 5, False, Verdict(10, -5, fresh=False, usable=True)),
        (10, 9999, False, Verdict(10, 290, fresh=True, usable=True)),
        (1, 0, False, Verdict(1, -1, fresh=False, usable=True)),
        (59, None, True, Verdict(59, 1, fresh=True, usable=True)),
        (61, None, True, Verdict(61, -1, fresh=False, usable=True)),
        (86700, None, False, Verdict(86700, -86400, fresh=False, usable=True)),
        (86701, None, False, Verdict(86701, -86401, fresh=False, usable=False)),
        (-30, None, False, Verdict(0, 330, fresh=True, usable=True)),
        (-CLOCK_SKEW - 1, None, False, Verdict(0, 0, fresh=False, usable=True)),
    ],
)
def test_a_held_document_is_judged_by_its_age(
    age: float, max_age: int | None, expected: Verdict, *, moving: bool
) -> None:
    assert judged(age, max_age=max_age, moving=moving) == expected


@given(age=SECONDS, max_age=st.none() | st.integers(0, 10**9), moving=st.booleans())
def test_no_age_is_negative_and_what_is_fresh_has_time_left(
    age: float, max_age: int | None, *, moving: bool
) -> None:
    verdict = judged(age, max_age=max_age, moving=moving)
    assert verdict.age >= 0
    assert verdict.ttl >= 0 if verdict.fresh else verdict.ttl <= 0
    assert verdict.ttl <= POLICY.ttl + CLOCK_SKEW
    assert verdict.usable or not verdict.fresh


@given(age=SECONDS, max_age=st.integers(0, 10**9), moving=st.booleans())
def test_max_age_never_makes_anything_fresher(age: float, max_age: int, *, moving: bool) -> None:
    with_it = judged(age, max_age=max_age, moving=moving)
    without = judged(age, moving=moving)
    assert with_it.ttl <= without.ttl
    assert without.fresh or not with_it.fresh


@given(age=SECONDS)
def test_with_max_stale_of_zero_nothing_stale_is_usable(age: float) -> None:
    policy = Policy(ttl=300, tag_ttl=60, max_stale=0, negative_ttl=30)
    verdict = judge(checked_at=NOW - age, max_age=None, moving=False, policy=policy, now=NOW)
    assert not verdict.usable


USABLE = Verdict(age=400, ttl=-100, fresh=False, usable=True)
OLD = Verdict(age=99999, ttl=-99000, fresh=False, usable=False)
SILENCE: list[ProxyError] = [
    Unavailable("x"),
    CredentialRefused("x"),
    RateLimited("x"),
    Malformed("x"),
    DigestMismatch("x"),
    ForbiddenAddress("x"),
    InsecureUpstream("x"),
]
NEWS: list[ProxyError] = [
    NotFound("x"),
    NotFound("x", gone=True),
    Blocked("x"),
    Blocked("x", conflict=True),
]


@pytest.mark.parametrize("error", SILENCE, ids=repr)
def test_silence_and_rubbish_let_a_usable_copy_be_served(error: ProxyError) -> None:
    assert settle(error, USABLE) is Settlement.SERVE_HELD
    assert settle(error, OLD) is Settlement.RAISE
    assert settle(error, None) is Settlement.RAISE


@pytest.mark.parametrize("error", NEWS, ids=repr)
@pytest.mark.parametrize("held", [USABLE, OLD, None])
def test_news_replace_what_is_held(error: ProxyError, held: Verdict | None) -> None:
    assert settle(error, held) is Settlement.FORGET


def test_what_is_frozen_is_served_however_old() -> None:
    assert settle(FrozenMiss("x", asked=False), OLD) is Settlement.SERVE_HELD
    assert settle(FrozenMiss("x", asked=False), None) is Settlement.RAISE


def test_a_refusal_of_ours_says_nothing_about_the_copy() -> None:
    assert settle(ClientForbidden("x"), USABLE) is Settlement.RAISE


@pytest.mark.parametrize(
    ("age", "words"), [(7200 + 300, "2 h 5 min ago"), (59, "59 s ago"), (86400, "24 h 0 min ago")]
)
def test_a_copy_that_is_too_old_is_named_with_its_age(age: int, words: str) -> None:
    error = RateLimited("It said no.", retry_after=7, upstream_status=429)
    told = too_old(error, age)
    assert isinstance(told, RateLimited)
    assert (told.retry_after, told.upstream_status) == (7, 429)
    assert told.detail.startswith("It said no. ")
    assert words in told.detail
    assert too_old(NEWS[0], age) is NEWS[0]
    assert words in too_old(Malformed("x"), age).detail
