"""What the log says of targets that nobody understood: the path, and no secret."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.server.noted import LONGEST, noted_path

TOKEN = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ"  # of no known kind
PLAIN = "hunter2"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "*",
        "/python/simple/flask/",
        "/files/" + "0a" * 32 + "/flask/Flask_SQLAlchemy-3.0.3-py3-none-any.whl",
        "/files/a1/b2/torch/torch-2.7.1+cu126-cp311-cp311-manylinux_2_28_x86_64.whl",
        "/javascript/@scope/name/-/name-1.0.0.tgz",
        "/v2/org/image/manifests/sha256:" + "0a" * 32,
    ],
)
def test_an_ordinary_path_is_shown_as_it_is(path: str) -> None:
    assert noted_path(path) == path


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (f"/python/simple/?token={PLAIN}", "/python/simple/"),
        (f"/python/simple/%3Ftoken%3D{PLAIN}", "/python/simple/"),
        (f"/python/simple/%253Ftoken%253D{PLAIN}", "/python/simple/"),
        (f"/python/simple/#{PLAIN}", "/python/simple/"),
        (f"/python;jsessionid={PLAIN}/simple/", "/python"),
        (f"/python&x={PLAIN}", "/python"),
        (f"/python/key={PLAIN}/simple/", "/python/key=***/simple/"),
        (f"/python/key%3D{PLAIN}/simple/", "/python/key=***/simple/"),
        (f"/python/{TOKEN}/simple/", "/python/***/simple/"),
        ("/python/%61B3d%455gH7jK9mN1pQ3sT5vW7yZ/", "/python/***/"),
        (f"http://me:{PLAIN}@host.example/python/simple/?x", "/python/simple/"),
        (f"me:{PLAIN}@host.example/python/", "/python/"),
        (f"http://host.example?{PLAIN}", ""),
        ("/a%" + "25" * 9 + "41", "/a***"),
    ],
)
def test_a_secret_is_not_shown_wherever_it_stands(target: str, shown: str) -> None:
    assert noted_path(target) == shown


@given(st.text(max_size=40), st.text(max_size=40), st.integers(0, 6))
def test_what_stands_behind_a_question_mark_never_comes_out(
    before: str, after: str, rounds: int
) -> None:
    secret = f"{PLAIN}-{PLAIN}"
    tail = f"?{after}{secret}"
    for _ in range(rounds):
        tail = quote(tail, safe="")
    found = noted_path(f"/{before}{tail}")
    assert secret not in found
    assert len(found) <= LONGEST


def test_a_long_target_is_cut() -> None:
    assert len(noted_path("/ab" * 10_000)) == LONGEST
