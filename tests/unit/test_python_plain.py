"""What a plain file name says at once is what it says when each question is asked for itself."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.ecosystems import distribution, python_paths
from tests.origin.content import Content

PLAIN = [
    ("flask", "flask-3.0.3-py3-none-any.whl"),
    ("flask", "flask-3.0.3.tar.gz"),
    ("Flask", "Flask-3.0.3.tar.gz"),
    ("zope.interface", "zope_interface-8.0.1.tar.gz"),
    ("numpy", "numpy-2.1.0rc1-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"),
    ("torch", "torch-2.6.0+cu128.cgr.1-cp311-cp311-linux_x86_64.whl"),
    ("a", "a-1.0.post1.dev2-py2.py3-none-any.whl"),
]
OTHERS = [
    ("flask", "flask-3.0.3-1-py3-none-any.whl"),  # a build of its own
    ("foo", "foo-1-2.tar.gz"),
    ("foo-1", "foo-1-2.tar.gz"),
    ("zope-interface", "zope-interface-8.0.tar.gz"),
    ("flask", "flask-03.0-py3-none-any.whl"),
    ("flask", "flask-3.0.zip"),
    ("flask", "flask-3.0.tar.gz.asc"),
    ("flask", "flask-3.0-py3-none-any.whl.metadata"),
    ("flask", "FLASK-3.0.TAR.GZ"),
    ("b", "flask-3.0.tar.gz"),
    ("flask_", "flask_-3.0.tar.gz"),
    ("a" * 250, f"{'a' * 250}-3.0.tar.gz"),
]
NAMES = st.from_regex(r"[A-Za-z0-9._-]{1,4}(?:[._-][A-Za-z0-9]{1,2}){0,2}[._-]?", fullmatch=True)
VERSIONS = st.one_of(
    st.from_regex(
        r"v?[0-9]{1,2}(?:\.[0-9]{1,2}){0,3}(?:(?:a|b|rc|c|-|_|\.post|\.dev)[0-9]{1,2})?"
        r"(?:\+[A-Za-z0-9]{1,3}(?:[._-][a-z0-9]{1,3})?)?",
        fullmatch=True,
    ),
    st.sampled_from(["", "1!2.0", "1.0-1", "1.0+cgr.1", "1.0+cu128.cgr.1", "1.0.tar", "x"]),
)
ENDINGS = st.one_of(
    st.sampled_from([".tar.gz", ".zip", ".TAR.GZ", ".whl", ".tar.gz.asc", ".egg", ".exe", ""]),
    st.from_regex(r"(?:-[A-Za-z0-9._]{0,3}){2,5}\.(?:whl|WHL|whl\.metadata)", fullmatch=True),
)


@st.composite
def files(draw: st.DrawFn) -> tuple[str, str]:
    """A folder, mostly of the same name, and a file in it."""
    name = draw(NAMES)
    folder = draw(st.sampled_from([name, distribution.normalise(name), name.upper(), "other"]))
    return folder, f"{name}-{draw(VERSIONS)}{draw(ENDINGS)}"


@settings(max_examples=1000)
@given(files())
@example(OTHERS[-2])
@example(("foo-1", "foo-1-2.tar.gz"))
def test_at_once_is_said_what_is_said_step_by_step(file: tuple[str, str]) -> None:
    plain = python_paths._plain(*file)
    assert plain is None or plain == python_paths._in_folder(*file)


def test_so_it_is_of_all_files_that_the_origin_has() -> None:
    for artifact in Content.tiny():
        file = (artifact.project, artifact.filename)
        plain = python_paths._plain(*file)
        assert plain is None or plain == python_paths._in_folder(*file)


@pytest.mark.parametrize("file", PLAIN)
def test_usual_names_are_plain(file: tuple[str, str]) -> None:
    plain = python_paths._plain(*file)
    assert plain is not None
    assert plain == python_paths._in_folder(*file)


@pytest.mark.parametrize("file", OTHERS)
def test_what_may_mean_more_than_one_thing_is_not_plain(file: tuple[str, str]) -> None:
    assert python_paths._plain(*file) is None
