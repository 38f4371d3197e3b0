"""Package patterns: whole segments, versions, stars; and how ecosystems spell package URLs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.access.packages import covered, covers
from proxy.ecosystems import ECOSYSTEMS
from proxy.ecosystems.base import Ecosystem, package_url


@pytest.mark.parametrize(
    ("pattern", "purl", "expected"),
    [
        ("pkg:pypi/flask", "pkg:pypi/flask", True),
        ("pkg:pypi/flask", "pkg:pypi/flask@3.0.3", True),
        ("pkg:pypi/flask", "pkg:pypi/flask-login", False),
        ("pkg:pypi/flask", "pkg:pypi/flask-login@1.0", False),
        ("pkg:pypi/flask", "pkg:pypi/fla", False),
        ("pkg:pypi/flask", "pkg:npm/flask", False),
        ("pkg:pypi/flask*", "pkg:pypi/flask-login", True),
        ("pkg:pypi/", "pkg:pypi/anything@1", True),
        ("pkg:pypi/*", "pkg:pypi/anything@1", True),
        ("pkg:pypi/", "pkg:pypi2/anything", False),
        ("pkg:pypi/flask@3.0.3", "pkg:pypi/flask@3.0.3", True),
        ("pkg:pypi/flask@3.0.3", "pkg:pypi/flask@3.0.30", False),
        ("pkg:pypi/flask@3.0", "pkg:pypi/flask@3.0.3", False),
        ("pkg:pypi/flask@3.*", "pkg:pypi/flask@3.0.3", True),
        ("pkg:pypi/flask@3.*", "pkg:pypi/flask@2.0", False),
        ("pkg:pypi/flask@3.0.3", "pkg:pypi/flask", True),
        ("pkg:pypi/flask@3.*", "pkg:pypi/flask", True),
        ("pkg:pypi/flask@3.*", "pkg:pypi/flask-login", False),
        ("pkg:npm/%40scope/", "pkg:npm/%40scope/name@1", True),
        ("pkg:npm/%40scope", "pkg:npm/%40scope/name@1", True),
        ("pkg:npm/%40scope", "pkg:npm/%40scopes/name", False),
        ("pkg:maven/org.apache", "pkg:maven/org.apache/x@1", True),
        ("pkg:maven/org.apache", "pkg:maven/org.apache.commons/x@1", False),
        ("pkg:maven/org.apache.*", "pkg:maven/org.apache.commons/x@1", True),
    ],
)
def test_a_pattern_covers_whole_segments(pattern: str, purl: str, *, expected: bool) -> None:
    assert covers(pattern, purl) is expected


def test_nothing_covers_what_is_of_no_package() -> None:
    assert not covered(("pkg:pypi/", "*"), "")
    assert not covered((), "pkg:pypi/flask")


@pytest.mark.parametrize(
    ("kind", "name", "version", "expected"),
    [
        ("pypi", "flask", "", "pkg:pypi/flask"),
        ("pypi", "torch", "2.0+cgr.1", "pkg:pypi/torch@2.0%2Bcgr.1"),
        ("npm", "@scope/name", "1.0.0", "pkg:npm/%40scope/name@1.0.0"),
        ("maven", "org.apache/x", "1", "pkg:maven/org.apache/x@1"),
        ("pypi", "a@b?c#d", "1", "pkg:pypi/a%40b%3Fc%23d@1"),
        ("generic", "a/b:c", "1:2/3", "pkg:generic/a/b:c@1:2%2F3"),
        ("generic", "\u00e9", "\u0661", "pkg:generic/%C3%A9@%D9%A1"),
    ],
)
def test_a_package_url_encodes_what_has_a_meaning_in_one(
    kind: str, name: str, version: str, expected: str
) -> None:
    assert package_url(kind, name, version) == expected


@given(
    st.sampled_from(ECOSYSTEMS),
    st.text("abc-._@+%", min_size=1, max_size=8),
    st.text("01.+-@%*", min_size=1, max_size=8),
)
def test_a_package_covers_its_versions_in_every_ecosystem(
    ecosystem: Ecosystem, package: str, version: str
) -> None:
    purl = ecosystem.purl(package)
    assert purl.count("@") == 0
    assert ecosystem.purl(package, version).rpartition("@")[0] == purl
    assert covers(purl, ecosystem.purl(package, version))
    assert not covers(purl, ecosystem.purl(f"{package}x", version))
