"""A multi-module build through the proxy, by real Mavens: cold, warm, and with the origin gone.

Purpose: the project has a parent POM, an imported BOM, plugins and tests that run; everything comes
through one mirror of everything. Each Maven makes one journey of fresh machines; the tests then
look at the evidence one question at a time. Neighbours: `test_java_trouble` for what goes wrong,
`test_java_access` for who may, `test_java_others` for Gradle, Ivy and bazel.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.clients.journey import Journey, travel
from tests.clients.jvm import MAVENS, Workshop, settings
from tests.clients.machine import Done
from tests.origin import Content

pytestmark = pytest.mark.client

JARS = re.compile(r"\.(?:jar|pom)$")


@pytest.fixture(scope="module", params=MAVENS)
def version(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module")
def journey(
    version: str,
    mavens: Mapping[str, str],
    java_content: Content,
    tmp_path_factory: pytest.TempPathFactory,
) -> Journey[Workshop]:
    def build(folder: Path, url: str) -> tuple[Workshop, Done]:
        workshop = Workshop.new(folder, "maven")
        return workshop, workshop.maven(mavens[version], settings(url), "package")

    return travel(tmp_path_factory.mktemp("journey"), java_content, build)


def test_every_build_succeeds_and_its_tests_run(journey: Journey[Workshop]) -> None:
    for name, leg in journey.legs.items():
        assert leg.done.code == 0, f"{name}: {leg.done.output}"
        ran = re.findall(r"Tests run: 1, Failures: 0, Errors: 0, Skipped: 0, Time", leg.done.output)
        assert len(ran) == 2, name
        for module in ("core", "app"):
            assert (leg.machine.project / module / "target" / f"{module}-1.jar").is_file()


def test_the_local_repository_holds_what_the_origin_has_byte_for_byte(
    journey: Journey[Workshop], java_content: Content
) -> None:
    for leg in journey.legs.values():
        brought = [path for path in leg.machine.files() if JARS.search(path.name)]
        assert len(brought) > 150
        for path in brought:
            wanted = java_content.find(path.name).blob.sha256
            assert hashlib.sha256(path.read_bytes()).hexdigest() == wanted, path.name


def test_the_local_repository_names_the_mirror_and_no_upstream(journey: Journey[Workshop]) -> None:
    for leg in journey.legs.values():
        origins = {path.read_text("utf-8") for path in leg.machine.files("_remote.repositories")}
        assert all(">cgr-proxy=" in text for text in origins)
        for path in leg.machine.files():
            content = path.read_bytes()
            for part in (*journey.hosts, "X-Amz-"):
                assert part.encode() not in content, path.name


def test_nothing_is_remembered_as_missing(journey: Journey[Workshop]) -> None:
    for name, leg in journey.legs.items():
        assert leg.machine.files(".lastUpdated") == [], name


def test_cold_every_file_is_fetched_once_and_never_by_head(journey: Journey[Workshop]) -> None:
    upstream = journey.legs["cold"].upstream
    bodies = Counter(
        one.target.partition("?")[0].rpartition("/")[2] for one in upstream if one.server == "store"
    )
    assert len(bodies) > 300
    assert set(bodies.values()) == {1}
    assert {one.method for one in upstream} == {"GET"}
    assert journey.violations == ()


@pytest.mark.parametrize("name", ["warm", "cut-off"])
def test_warm_nothing_reaches_the_upstream(journey: Journey[Workshop], name: str) -> None:
    assert journey.legs[name].upstream == ()


def test_maven_is_never_told_that_a_checksum_is_missing_or_wrong(
    journey: Journey[Workshop],
) -> None:
    assert {line["status"] for line in journey.access} == {200}
    for leg in journey.legs.values():
        assert "hecksum validation failed" not in leg.done.output


def test_newer_mavens_read_checksums_off_the_answer_and_ask_for_hardly_any(
    journey: Journey[Workshop], version: str
) -> None:
    paths = [line["path"] for line in journey.access]
    files = [path for path in paths if JARS.search(path)]
    sidecars = [path for path in paths if path.endswith(".sha1")]
    if version == "installed":
        assert len(sidecars) == len(files)
    else:
        assert len(sidecars) < len(files) / 10
