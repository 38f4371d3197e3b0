"""The end of a token: read off it, said in time and once, refused by nobody."""

from __future__ import annotations

import base64
import json
import logging

import pytest

from proxy.upstream.expiry import Watch
from proxy.upstream.lifetime import DAY, ENDED, Lifetime, lifetime_of

NOW = 1_800_000_000.0


def jwt(payload: object) -> str:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return f"eyJhIjoxfQ.{base64.urlsafe_b64encode(raw).decode().rstrip('=')}.c2ln"


def test_the_end_and_the_begin_stand_in_the_token() -> None:
    assert lifetime_of(jwt({"exp": NOW, "iat": NOW - 60})) == Lifetime(NOW, NOW - 60)
    assert lifetime_of(jwt({"exp": int(NOW)})) == Lifetime(NOW)
    assert lifetime_of(jwt({"exp": NOW, "iat": NOW + 1})) == Lifetime(NOW)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b",
        "a.b.c.d",
        "eyJhIjoxfQ.???.c2ln",
        "eyJhIjoxfQ.\u00e4.c2ln",
        jwt([]),
        jwt({}),
        jwt({"exp": "1800000000"}),
        jwt({"exp": True}),
        jwt({"exp": 0}),
        jwt({"exp": -1}),
        jwt({"exp": 1e300}),
        jwt(b'{"exp": NaN}'),
        jwt(b'{"exp": Infinity}'),
        jwt(b'{"exp": 1' + b"0" * 400 + b"}"),
        jwt(b"\xff"),
        jwt(b"[" * 100_000),
    ],
)
def test_what_says_no_end_has_none(token: str) -> None:
    assert lifetime_of(token) is None


@pytest.mark.parametrize(
    ("days", "stage"),
    [(31, None), (30, 30), (15, 30), (14, 14), (7, 7), (6.9, 7), (1, 1), (0.1, 1), (0, ENDED)],
)
def test_a_stage_is_reached_at_its_day(days: float, stage: int | None) -> None:
    assert Lifetime(NOW + days * DAY, NOW - 400 * DAY).stage(NOW) == stage
    assert Lifetime(NOW + days * DAY).stage(NOW) == stage


def test_a_new_token_of_thirty_days_or_of_an_hour_is_no_reason_to_speak() -> None:
    assert Lifetime(NOW + 30 * DAY, NOW).stage(NOW) is None
    assert Lifetime(NOW + 3600, NOW).stage(NOW) is None
    assert Lifetime(NOW + 3600, NOW).stage(NOW + 3600) == ENDED


def test_it_is_high_time_on_the_last_day_and_in_the_last_tenth_of_a_short_life() -> None:
    assert Lifetime(NOW, NOW - 365 * DAY).soon == DAY
    assert Lifetime(NOW).soon == DAY
    assert Lifetime(NOW, NOW - 60).soon == 6


def test_each_stage_is_said_once_and_a_new_token_begins_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    watch = Watch("python")
    life = Lifetime(NOW, NOW - 365 * DAY)
    for hour in range(40 * 24, -24, -1):
        watch.look(life, NOW - hour * 3600, others=False)
    said = [(line.levelname, line.getMessage()) for line in caplog.records]
    assert [level for level, _ in said] == ["INFO", "INFO", "WARNING", "WARNING", "ERROR"]
    assert "ends within 1 day, on 2027-01-15 08:00 UTC" in said[3][1]
    assert "what is cached is still served" in said[4][1]
    caplog.clear()
    watch.look(Lifetime(NOW + 20 * DAY, NOW - 365 * DAY), NOW, others=False)
    assert "ends within 30 days" in caplog.text


def test_the_end_of_one_of_two_is_no_alarm(caplog: pytest.LogCaptureFixture) -> None:
    Watch("python (no. 1)").look(Lifetime(NOW), NOW, others=True)
    Watch("python").look(None, NOW, others=False)
    assert [(line.levelname, "the other one" in line.getMessage()) for line in caplog.records] == [
        ("WARNING", True)
    ]
