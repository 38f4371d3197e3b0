"""The decision table of entitlements, row by row, and what counts as an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.access.entitlements import Verdict
from proxy.access.known import NAMES, Answer, Entitlement, judge, read_items
from proxy.errors import PlatformSilent

ORGANISATION = "a" * 40
ALLOWED, DENIED, UNKNOWN = Verdict.ALLOWED, Verdict.DENIED, Verdict.UNKNOWN


def answer(*names: str) -> Answer:
    return Answer(ORGANISATION, tuple(Entitlement(name) for name in names))


def decide(
    known: Answer | None,
    scope: str = "python",
    *,
    ecosystem: str = "python",
    holds: bool = True,
    unasked: Verdict = UNKNOWN,
) -> Verdict:
    return judge(known, ecosystem, scope, holds=holds, unasked=unasked)


TABLE = [
    # known, holds, unasked, verdict
    (answer("PYTHON"), True, UNKNOWN, ALLOWED),
    (answer("PYTHON"), False, UNKNOWN, UNKNOWN),
    (answer("JAVA"), True, UNKNOWN, DENIED),
    (answer("JAVA"), False, UNKNOWN, DENIED),
    (answer(), True, ALLOWED, DENIED),
    (answer(), False, ALLOWED, DENIED),
    (Answer(ORGANISATION, may_ask=False), True, ALLOWED, ALLOWED),
    (Answer(ORGANISATION, may_ask=False), True, UNKNOWN, UNKNOWN),
    (Answer(ORGANISATION, may_ask=False), False, ALLOWED, UNKNOWN),
    (None, True, ALLOWED, UNKNOWN),
    (None, False, ALLOWED, UNKNOWN),
]


@pytest.mark.parametrize(("known", "holds", "unasked", "verdict"), TABLE)
def test_each_row_of_the_table(
    known: Answer | None, holds: bool, unasked: Verdict, verdict: Verdict
) -> None:
    assert decide(known, holds=holds, unasked=unasked) is verdict


TIERS = [
    (["PYTHON"], ALLOWED),  # tiers are not spoken of: the ecosystem's own right counts
    (["PYTHON", "PYTHON_ATHENA"], ALLOWED),
    (["PYTHON", "JAVA_ATHENA"], DENIED),  # they are spoken of, and this one is not named
    (["PYTHON_ATHENA"], ALLOWED),
    (["JAVA", "JAVA_ATHENA"], DENIED),
    ([], DENIED),
]


@pytest.mark.parametrize(("names", "verdict"), TIERS)
def test_a_tier_gates_the_remediated_scope_where_the_list_names_tiers_at_all(
    names: list[str], verdict: Verdict
) -> None:
    assert decide(answer(*names), "python-remediated") is verdict


def test_a_tier_gives_no_right_to_the_ecosystem_itself() -> None:
    assert decide(answer("PYTHON_ATHENA")) is DENIED


@pytest.mark.parametrize("ecosystem", NAMES)
def test_every_library_ecosystem_is_known_by_the_platforms_name(ecosystem: str) -> None:
    named = answer(NAMES[ecosystem])
    assert decide(named, ecosystem, ecosystem=ecosystem) is ALLOWED
    others = answer(*(name for name in NAMES.values() if name != NAMES[ecosystem]))
    assert decide(others, ecosystem, ecosystem=ecosystem) is DENIED


@pytest.mark.parametrize("known", [None, answer(), answer("PYTHON")])
@pytest.mark.parametrize("ecosystem", ["oci", "apk"])
def test_what_the_list_cannot_speak_of_is_left_to_the_upstream(
    ecosystem: str, known: Answer | None
) -> None:
    assert decide(known, ecosystem, ecosystem=ecosystem, holds=False) is ALLOWED


def test_both_spellings_of_an_item_are_read() -> None:
    snake = {"ecosystem": "PYTHON", "policy": "P", "source": "S", "cooldown_days": 7}
    camel = {"ecosystem": "JAVA", "policy": "P", "cooldownDays": "14", "id": "x", "more": [1]}
    assert read_items({"items": [snake, camel]}) == (
        Entitlement("PYTHON", "P", 7, "S"),
        Entitlement("JAVA", "P", 14),
    )


@pytest.mark.parametrize("nothing", [{}, {"items": []}, {"items": [], "nextPageToken": ""}])
def test_a_list_of_nothing_is_an_answer(nothing: dict[str, Any]) -> None:
    assert read_items(nothing) == ()


def test_an_ecosystem_that_has_only_a_number_yet_is_kept_and_means_nothing() -> None:
    assert decide(Answer(ORGANISATION, read_items({"items": [{"ecosystem": 17}]}))) is DENIED


GARBAGE: list[object] = [
    None,
    [],
    "items",
    7,
    {"items": None},
    {"items": {}},
    {"items": "PYTHON"},
    {"items": ["PYTHON"]},
    {"items": [None]},
    {"items": [{"ecosystem": None}]},
    {"items": [{"ecosystem": ["PYTHON"]}]},
    {"items": [{"ecosystem": True}]},
    {"items": [{"ecosystem": "PYTHON\r\nX: y"}]},
    {"items": [{"ecosystem": "P" * 201}]},
    {"items": [{}] * 1001},
    {"code": 13, "message": "internal"},
    {"error": "try later"},
    {"ITEMS": []},
]


@pytest.mark.parametrize("data", GARBAGE)
def test_what_is_not_understood_is_no_answer(data: object) -> None:
    with pytest.raises(PlatformSilent):
        read_items(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["items", "ecosystem"]), inner),
)


@given(JSON)
def test_whatever_comes_is_a_list_or_no_answer(data: object) -> None:
    try:
        items = read_items(data)
    except PlatformSilent:
        return
    for item in items:
        assert item.ecosystem.isascii()
        assert len(json.dumps(item.ecosystem)) < 500
