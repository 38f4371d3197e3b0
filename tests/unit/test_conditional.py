"""Conditional and range requests: a table of RFC 9110, and what holds for any input."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.server.conditional import (
    Conditions,
    Failed,
    NotModified,
    Part,
    Selection,
    Unsatisfiable,
    Whole,
    select,
    wants_range,
)

ETAG = '"sha256:0f"'
SIZE = 10
EVERYTHING, NOTHING, CHANGED, BEYOND = Whole(), NotModified(), Failed(), Unsatisfiable()

RANGES: list[tuple[str, Selection]] = [
    ("bytes=0-3", Part(0, 4)),
    ("bytes=0-0", Part(0, 1)),
    ("bytes=9-9", Part(9, 10)),
    ("bytes=0-9", Part(0, 10)),
    ("bytes=0-10", Part(0, 10)),
    ("bytes=5-", Part(5, 10)),
    ("bytes=0-", Part(0, 10)),
    ("bytes=-3", Part(7, 10)),
    ("bytes=-10", Part(0, 10)),
    ("bytes=-11", Part(0, 10)),
    ("bytes=0009-0009", Part(9, 10)),
    (" bytes=0-3\t", Part(0, 4)),
    ("Bytes=0-3", Part(0, 4)),
    ("bytes=10-", BEYOND),
    ("bytes=10-20", BEYOND),
    ("bytes=9999999999999999999-", BEYOND),
    ("bytes=-0", BEYOND),
    ("bytes=-", EVERYTHING),
    ("bytes=", EVERYTHING),
    ("bytes", EVERYTHING),
    ("", EVERYTHING),
    ("bytes=5-2", EVERYTHING),
    ("bytes=0-1,2-3", EVERYTHING),
    ("bytes=0-1,", EVERYTHING),
    (",bytes=0-1", EVERYTHING),
    ("bytes=0-1 ,", EVERYTHING),
    ("bytes=0 - 1", EVERYTHING),
    ("bytes =0-1", EVERYTHING),
    ("bytes= 0-1", EVERYTHING),
    ("bytes=+0-1", EVERYTHING),
    ("bytes=0x0-1", EVERYTHING),
    ("bytes=1_0-", EVERYTHING),
    ("bytes=--1", EVERYTHING),
    ("bytes=0-1-2", EVERYTHING),
    ("bytes=٠-٣", EVERYTHING),  # noqa: RUF001  # digits that are none of ASCII
    ("bytes=²-", EVERYTHING),
    ("bytes=" + "1" * 20 + "-", EVERYTHING),
    ("bytes=0-" + "1" * 20, EVERYTHING),
    ("items=0-1", EVERYTHING),
    ("bytes=0-3\n", Part(0, 4)),
    ("bytes=0-3\x00", EVERYTHING),
]

TAGS: list[tuple[Conditions, Selection]] = [
    (Conditions(), EVERYTHING),
    (Conditions(if_none_match=[ETAG]), NOTHING),
    (Conditions(if_none_match=["W/" + ETAG]), NOTHING),
    (Conditions(if_none_match=["*"]), NOTHING),
    (Conditions(if_none_match=[" * "]), NOTHING),
    (Conditions(if_none_match=['"a", "b",', ETAG]), NOTHING),
    (Conditions(if_none_match=['"a"' + ETAG]), NOTHING),
    (Conditions(if_none_match=["sha256:0f"]), EVERYTHING),
    (Conditions(if_none_match=[ETAG.upper()]), EVERYTHING),
    (Conditions(if_none_match=['"sha256:0f']), EVERYTHING),
    (Conditions(if_none_match=["'sha256:0f'"]), EVERYTHING),
    (Conditions(if_none_match=[""]), EVERYTHING),
    (Conditions(if_none_match=['"*"']), EVERYTHING),
    (Conditions(if_none_match=['w/"sha256:0f" x']), NOTHING),
    (Conditions(if_none_match=['"a",' * 3000 + ETAG]), EVERYTHING),
    (Conditions(if_match=[ETAG]), EVERYTHING),
    (Conditions(if_match=["*"]), EVERYTHING),
    (Conditions(if_match=['"a", ' + ETAG]), EVERYTHING),
    (Conditions(if_match=["W/" + ETAG]), CHANGED),
    (Conditions(if_match=['"a"']), CHANGED),
    (Conditions(if_match=[""]), CHANGED),
    # The order of RFC 9110 section 13.2.2: If-Match, If-None-Match, If-Range and Range.
    (Conditions(if_match=['"a"'], if_none_match=[ETAG]), CHANGED),
    (Conditions(if_match=[ETAG], if_none_match=[ETAG]), NOTHING),
    (Conditions(if_none_match=[ETAG], range=["bytes=0-1"]), NOTHING),
    (Conditions(if_none_match=['"a"'], range=["bytes=0-1"]), Part(0, 2)),
    (Conditions(if_match=[ETAG], range=["bytes=0-1"]), Part(0, 2)),
    (Conditions(if_match=['"a"'], range=["bytes=99-"]), CHANGED),
    (Conditions(if_range=[ETAG], range=["bytes=0-1"]), Part(0, 2)),
    (Conditions(if_range=[f" {ETAG} "], range=["bytes=0-1"]), Part(0, 2)),
    (Conditions(if_range=[ETAG], range=["bytes=99-"]), BEYOND),
    (Conditions(if_range=['"a"'], range=["bytes=0-1"]), EVERYTHING),
    (Conditions(if_range=['"a"'], range=["bytes=99-"]), EVERYTHING),
    (Conditions(if_range=["W/" + ETAG], range=["bytes=0-1"]), EVERYTHING),
    (Conditions(if_range=["*"], range=["bytes=0-1"]), EVERYTHING),
    (Conditions(if_range=[""], range=["bytes=0-1"]), EVERYTHING),
    (Conditions(if_range=[ETAG, ETAG], range=["bytes=0-1"]), EVERYTHING),
    (Conditions(if_range=[f'{ETAG}, "a"'], range=["bytes=0-1"]), EVERYTHING),
    (
        Conditions(if_range=["Wed, 21 Oct 2026 07:28:00 GMT"], range=["bytes=0-1"]),
        EVERYTHING,
    ),
    (Conditions(if_range=[ETAG]), EVERYTHING),
    (Conditions(range=["bytes=0-1", "bytes=0-1"]), EVERYTHING),
]


@pytest.mark.parametrize(("value", "wanted"), RANGES)
def test_a_range_is_a_part_or_unsatisfiable_or_ignored(value: str, wanted: Selection) -> None:
    assert select(Conditions(range=[value]), etag=ETAG, size=SIZE) == wanted


@pytest.mark.parametrize(("conditions", "wanted"), TAGS)
def test_conditions_are_judged_in_the_order_of_the_rfc(
    conditions: Conditions, wanted: Selection
) -> None:
    assert select(conditions, etag=ETAG, size=SIZE) == wanted


@pytest.mark.parametrize("value", ["bytes=0-", "bytes=0-0", "bytes=-1"])
def test_of_an_empty_body_no_part_can_be_had(value: str) -> None:
    assert select(Conditions(range=[value]), etag=ETAG, size=0) == BEYOND


@pytest.mark.parametrize(("value", "wanted"), RANGES)
def test_a_range_is_waited_for_only_if_it_could_be_answered(value: str, wanted: Selection) -> None:
    # An order that is wrong is seen only later; all else that is ignored is seen at once.
    could = not isinstance(wanted, Whole) or value == "bytes=5-2"
    assert wants_range(Conditions(range=[value])) is could


LINES = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.sampled_from([ETAG, "W/" + ETAG, "*", '"', "W/", ",", '"a", ', "bytes=0-1", "bytes=-0"]),
        st.builds("bytes={}-{}".format, st.integers(0, 30), st.integers(0, 30)),
        st.builds("bytes=-{}".format, st.integers(0, 30)),
        st.builds("bytes={}-".format, st.integers(0, 30)),
    ),
    max_size=3,
)
ANY = st.builds(Conditions, LINES, LINES, LINES, LINES)


@given(ANY, st.integers(0, 20))
@example(Conditions(range=["bytes=0-0"]), 0)
def test_whatever_is_sent_a_part_lies_within_the_body(conditions: Conditions, size: int) -> None:
    match select(conditions, etag=ETAG, size=size):
        case Part(start, end):
            assert 0 <= start < end <= size
            assert wants_range(conditions)
        case NotModified():
            assert conditions.if_none_match
        case Failed():
            assert conditions.if_match
        case Unsatisfiable():
            assert wants_range(conditions)
        case Whole():
            pass


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 20))
def test_a_part_is_what_slicing_gives(first: int, last: int, size: int) -> None:
    body = bytes(range(size))
    match select(Conditions(range=[f"bytes={first}-{last}"]), etag=ETAG, size=size):
        case Part(start, end):
            assert body[start:end] == body[first : last + 1]
        case Unsatisfiable():
            assert first >= size
        case _:
            assert last < first


@pytest.mark.parametrize(
    "text",
    ['"' * 8000, 'W/"' * 2600, "," * 8000, '"a' * 4000, "W/" * 4000, " " * 8000, '"a" ' * 2000],
)
def test_long_garbage_costs_nothing(text: str) -> None:
    started = time.perf_counter()
    for conditions in (
        Conditions(if_match=[text]),
        Conditions(if_none_match=[text]),
        Conditions(if_range=[text], range=[text]),
    ):
        select(conditions, etag=ETAG, size=SIZE)
    assert time.perf_counter() - started < 0.5
