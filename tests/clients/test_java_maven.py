"""A multi-module build through the proxy, by real Mavens: cold, warm, and with the origin gone.

Purpose: the project has a parent POM, an imported BOM, plugins and tests that run; everything comes
through one mirror of everything. Each Maven makes one journey of fresh machines; the tests then
look at the evidence one question at a time. Neighbours: `test_java_trouble` for what goes wrong,
`test_java_access` for who may, `test_java_others` for Gradle, Ivy and bazel.
"""

from __future__ import annotations

import hashlib
import re
import signal
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.clients.jvm import MAVENS, Workshop, settings
from tests.clients.machine import Done
from tests.origin import Content, OriginThread, Received
from tests.running import Process, process

pytestmark = pytest.mark.client

JARS = re.compile(r"\.(?:jar|pom)$")


@dataclass(frozen=True, slots=True)
class Leg:
    """One build: on which machine, how it ended, what reached the upstream meanwhile."""

    workshop: Workshop
    done: Done
    upstream: tuple[Received, ...]


@dataclass(frozen=True, slots=True)
class Journey:
    """The evidence. `access`: the proxy's access lines of the first run; `hosts`: of the origin."""

    version: str
    legs: dict[str, Leg]
    access: tuple[dict[str, Any], ...]
    violations: tuple[str, ...]
    hosts: tuple[str, ...]


@pytest.fixture(scope="module", params=MAVENS)
def journey(
    request: pytest.FixtureRequest,
    mavens: Mapping[str, str],
    java_content: Content,
    tmp_path_factory: pytest.TempPathFactory,
) -> Journey:
    folder = tmp_path_factory.mktemp("journey")
    legs: dict[str, Leg] = {}
    violations: list[str] = []

    def leg(name: str, proxy: Process) -> None:
        origin.reset()
        workshop = Workshop.new(folder / name, "maven")
        done = workshop.maven(mavens[request.param], settings(proxy.url), "package")
        legs[name] = Leg(workshop, done, tuple(origin.log))
        violations.extend(origin.violations)

    with OriginThread(content=java_content) as origin:
        hosts = tuple(url.partition("//")[2] for url in (origin.url, origin.store_url))
        with process(folder / "proxy", origin) as proxy:
            leg("cold", proxy)
            leg("warm", proxy)
            end(proxy)
            access = tuple(proxy.access())
        origin.close_listener()
        # The same cache a restart later, and all that it holds has outlived its ttl.
        with process(folder / "proxy", origin, {"cache": {"document_ttl": "1ms"}}) as proxy:
            leg("cut-off", proxy)
            end(proxy)
    return Journey(request.param, legs, access, tuple(violations), hosts)


def end(proxy: Process) -> None:
    """Have the proxy stop by itself, so that its log is whole."""
    proxy.signal(signal.SIGTERM)
    assert proxy.wait() == 0


def test_every_build_succeeds_and_its_tests_run(journey: Journey) -> None:
    for name, leg in journey.legs.items():
        assert leg.done.code == 0, f"{name}: {leg.done.output}"
        ran = re.findall(r"Tests run: 1, Failures: 0, Errors: 0, Skipped: 0, Time", leg.done.output)
        assert len(ran) == 2, name
        for module in ("core", "app"):
            assert (leg.workshop.project / module / "target" / f"{module}-1.jar").is_file()


def test_the_local_repository_holds_what_the_origin_has_byte_for_byte(
    journey: Journey, java_content: Content
) -> None:
    for leg in journey.legs.values():
        brought = [path for path in leg.workshop.files() if JARS.search(path.name)]
        assert len(brought) > 150
        for path in brought:
            wanted = java_content.find(path.name).blob.sha256
            assert hashlib.sha256(path.read_bytes()).hexdigest() == wanted, path.name


def test_the_local_repository_names_the_mirror_and_no_upstream(journey: Journey) -> None:
    for leg in journey.legs.values():
        origins = {path.read_text("utf-8") for path in leg.workshop.files("_remote.repositories")}
        assert all(">farm=" in text for text in origins)
        for path in leg.workshop.files():
            content = path.read_bytes()
            for part in (*journey.hosts, "X-Amz-"):
                assert part.encode() not in content, path.name


def test_nothing_is_remembered_as_missing(journey: Journey) -> None:
    for name, leg in journey.legs.items():
        assert leg.workshop.files(".lastUpdated") == [], name


def test_cold_every_file_is_fetched_once_and_never_by_head(journey: Journey) -> None:
    upstream = journey.legs["cold"].upstream
    bodies = Counter(
        one.target.partition("?")[0].rpartition("/")[2] for one in upstream if one.server == "store"
    )
    assert len(bodies) > 300
    assert set(bodies.values()) == {1}
    assert {one.method for one in upstream} == {"GET"}
    assert journey.violations == ()


@pytest.mark.parametrize("name", ["warm", "cut-off"])
def test_warm_nothing_reaches_the_upstream(journey: Journey, name: str) -> None:
    assert journey.legs[name].upstream == ()


def test_maven_is_never_told_that_a_checksum_is_missing_or_wrong(journey: Journey) -> None:
    assert {line["status"] for line in journey.access} == {200}
    for leg in journey.legs.values():
        assert "hecksum validation failed" not in leg.done.output


def test_newer_mavens_read_checksums_off_the_answer_and_ask_for_hardly_any(
    journey: Journey,
) -> None:
    paths = [line["path"] for line in journey.access]
    files = [path for path in paths if JARS.search(path)]
    sidecars = [path for path in paths if path.endswith(".sha1")]
    if journey.version == "installed":
        assert len(sidecars) == len(files)
    else:
        assert len(sidecars) < len(files) / 10
