"""Whether a client accepts the one media type that there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import NotFound
from proxy.server.accepting import check_accepted

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [""],
        [INDEX],
        [INDEX.upper()],
        [f"{MANIFEST}, {INDEX}"],
        [MANIFEST, "text/plain", INDEX],
        [f"{INDEX};q=0.1"],
        [f"{INDEX} ; charset=utf-8 ; q=1"],
        ["*/*"],
        ["*"],
        ["application/*;q=0.5"],
        [f"{MANIFEST}, */*;q=0.1"],
    ],
)
def test_it_is_accepted(lines: list[str]) -> None:
    check_accepted(lines, INDEX)
    check_accepted(lines, f"{INDEX}; charset=utf-8")


@pytest.mark.parametrize(
    "lines",
    [[MANIFEST], ["text/*"], [f"{INDEX};q=0"], [f"{INDEX};q=0.000"], [INDEX[:-1]], ["x"]],
)
def test_it_is_not_accepted_and_the_client_is_told_what_there_is(lines: list[str]) -> None:
    with pytest.raises(NotFound) as caught:
        check_accepted(lines, INDEX)
    assert INDEX in caught.value.detail


@given(st.lists(st.text(max_size=80), max_size=5))
def test_no_header_makes_it_fail_in_another_way(lines: list[str]) -> None:
    try:
        check_accepted(lines, INDEX)
    except NotFound:
        return
