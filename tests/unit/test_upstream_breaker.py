"""The breaker by table: `now` is given, nothing waits."""

from __future__ import annotations

import pytest

from proxy.errors import (
    Blocked,
    CredentialRefused,
    ForbiddenAddress,
    InsecureUpstream,
    Malformed,
    NotFound,
    ProxyError,
    RateLimited,
    Unavailable,
)
from proxy.upstream.breaker import (
    FAILURES_TO_OPEN,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    MAX_LEARNT,
    PROBE_WAIT,
    TOLD_EVERY,
    Breaker,
    Breakers,
    News,
    Turn,
)

SILENT = Unavailable("refused")


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN):
        breaker.enter()
        breaker.settle(SILENT, now)
    return breaker


def test_it_opens_after_ten_failures_in_a_row_and_not_before() -> None:
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN - 1):
        assert breaker.wait(0.0) == 0
        breaker.settle(SILENT, 0.0)
    assert breaker.wait(0.0) == 0
    breaker.settle(SILENT, 0.0)
    assert breaker.is_open
    assert breaker.wait(1.0) == FIRST_PAUSE - 1.0


def test_one_answer_in_between_starts_the_count_again() -> None:
    breaker = Breaker()
    for _ in range(3):
        for _ in range(FAILURES_TO_OPEN - 1):
            breaker.settle(SILENT, 0.0)
        breaker.settle(None, 0.0)
    assert breaker.wait(0.0) == 0


@pytest.mark.parametrize(
    "error",
    [
        None,
        NotFound("404"),
        NotFound("410", gone=True),
        Blocked("403"),
        Blocked("409", conflict=True),
        CredentialRefused("401", upstream_status=401),
        RateLimited("429", retry_after=1, upstream_status=429),
        Unavailable("a page in place of a 403", upstream_status=403),
        Unavailable("too long a path", upstream_status=414),
        Unavailable("beyond the end", upstream_status=416),
        ForbiddenAddress("its name leads inside"),
    ],
    ids=str,
)
def test_what_says_nothing_about_the_origin_never_opens_it(error: ProxyError | None) -> None:
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN * 3):
        breaker.enter()
        breaker.settle(error, 0.0)
    assert not breaker.is_open
    assert breaker.wait(0.0) == 0


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("no connection"),
        Unavailable("500", upstream_status=500),
        Unavailable("599", upstream_status=599),
        InsecureUpstream("expired"),
        Malformed("no HTTP"),
    ],
    ids=str,
)
def test_what_means_that_it_cannot_answer_opens_it(error: ProxyError) -> None:
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN):
        breaker.enter()
        breaker.settle(error, 0.0)
    assert breaker.is_open


def test_after_the_pause_one_caller_probes_and_the_others_wait_for_its_verdict() -> None:
    breaker = opened()
    assert breaker.wait(FIRST_PAUSE) == 0
    breaker.enter()
    assert breaker.wait(FIRST_PAUSE) == PROBE_WAIT
    breaker.settle(None, FIRST_PAUSE)
    assert breaker.wait(FIRST_PAUSE) == 0
    assert not breaker.is_open


def test_looking_alone_does_not_take_the_place_of_the_probe() -> None:
    breaker = opened()
    assert [breaker.wait(FIRST_PAUSE) for _ in range(3)] == [0, 0, 0]


def test_a_probe_that_leaves_gives_its_place_to_the_next() -> None:
    breaker = opened()
    breaker.enter()
    breaker.abandoned()
    assert breaker.wait(FIRST_PAUSE) == 0
    assert breaker.is_open


def test_each_failed_probe_doubles_the_pause_up_to_a_limit() -> None:
    breaker = opened()
    now, pauses = 0.0, []
    for _ in range(6):
        pauses.append(breaker.wait(now))
        now += pauses[-1]
        breaker.enter()
        breaker.settle(SILENT, now)
    assert pauses == [5.0, 10.0, 20.0, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_failures_that_were_under_way_when_it_opened_are_one_outage() -> None:
    breaker = opened()
    for _ in range(64):
        breaker.settle(SILENT, 0.5)
    assert breaker.wait(0.5) == FIRST_PAUSE - 0.5


def test_a_recovered_origin_starts_again_with_the_first_pause() -> None:
    breaker = opened()
    breaker.enter()
    breaker.settle(SILENT, FIRST_PAUSE)
    breaker.settle(None, 100.0)
    for _ in range(FAILURES_TO_OPEN):
        breaker.settle(SILENT, 200.0)
    assert breaker.wait(200.0) == FIRST_PAUSE


@pytest.mark.parametrize(("said", "quiet"), [(5, 5), (0, 1), (-7, 1), (10**9, 300), (None, 1)])
def test_quiet_is_kept_as_long_as_asked_within_bounds(said: int | None, quiet: int) -> None:
    breaker = Breaker()
    breaker.settle(RateLimited("429", retry_after=said), 10.0)
    assert breaker.quiet(10.0) == quiet
    assert breaker.quiet(10.0 + quiet) == 0
    assert breaker.wait(10.0) == 0


def test_learnt_origins_have_breakers_of_their_own() -> None:
    breakers = Breakers(["https://libraries.example"])
    for _ in range(FAILURES_TO_OPEN):
        breakers.of("https://store.example").settle(SILENT, 0.0)
    assert breakers.open_origins == ("https://store.example",)
    assert breakers.of("https://libraries.example").wait(0.0) == 0


def test_many_learnt_origins_push_out_each_other_and_never_a_configured_one() -> None:
    breakers = Breakers(["https://libraries.example"])
    for _ in range(FAILURES_TO_OPEN):
        breakers.of("https://libraries.example").settle(SILENT, 0.0)
    first = breakers.of("https://0.store.example")
    for number in range(1, MAX_LEARNT + 1):
        breakers.of(f"https://{number}.store.example")
    assert breakers.of("https://0.store.example") is not first
    assert breakers.of("https://libraries.example").wait(1.0) == FIRST_PAUSE - 1.0


def test_an_outage_is_told_when_it_begins_when_it_lasts_and_when_it_is_over() -> None:
    breaker = Breaker()
    turns = [breaker.settle(SILENT, 0.0) for _ in range(FAILURES_TO_OPEN + 1)]
    told = [turn for turn in turns if turn is not None]
    assert told == [Turn.FAILS, Turn.DOWN]
    assert breaker.settle(None, 20.0) is Turn.BACK
    assert breaker.settle(None, 20.0) is None


def test_hiccups_are_told_once_in_ten_seconds() -> None:
    breaker = Breaker()
    turns = [breaker.settle(error, 0.0) for _ in range(3) for error in (SILENT, None)]
    assert turns == [Turn.FAILS, Turn.BACK, None, None, None, None]
    assert breaker.settle(SILENT, TOLD_EVERY) is Turn.FAILS


# --- what another process has learnt -------------------------------------------------------------


def test_an_origin_that_another_process_found_down_is_left_alone_here_too() -> None:
    breaker = Breaker()
    breaker.hear(News.DOWN, 100.0)
    assert breaker.is_open
    assert breaker.wait(100.0) == FIRST_PAUSE
    assert breaker.wait(100.0 + FIRST_PAUSE) == 0  # one probe here, too
    breaker.enter()
    assert breaker.settle(None, 106.0) is Turn.BACK


def test_what_is_known_here_already_is_not_prolonged_by_others() -> None:
    breaker = opened(0.0)
    breaker.hear(News.DOWN, 4.0)
    assert breaker.wait(4.0) == FIRST_PAUSE - 4.0


def test_an_origin_that_answers_another_process_is_asked_here_at_once() -> None:
    breaker = opened(0.0)
    breaker.hear(News.BACK, 1.0)
    assert not breaker.is_open
    assert breaker.wait(1.0) == 0


def test_a_pause_that_was_asked_of_another_process_holds_here_and_the_longer_one_counts() -> None:
    breaker = Breaker()
    breaker.hear(News.QUIET, 0.0, 60)
    breaker.hear(News.QUIET, 0.0, 20)
    assert breaker.quiet(10.0) == 50
    assert not breaker.is_open
