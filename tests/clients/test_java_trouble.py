"""What real Mavens make of trouble: nothing wrong is kept, nothing but absence is remembered.

Purpose: all that the build needs is in the local repository but one library, which the proxy is to
bring while something is wrong. The next build, with the same local repository and without `-U`,
tells what was remembered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.jvm import MAVENS, Workshop, settings
from tests.clients.machine import Done
from tests.origin import Content, OriginThread, html_page, status, wrong_bytes
from tests.running import Process, process
from tests.unit.stored import until

pytestmark = pytest.mark.client

LIBRARY = "commons-io:commons-io"
JAR = "commons-io-2.15.1.jar"
WHERE = "commons-io/commons-io/2.15.1"
ENDS = (MAVENS[0], MAVENS[-1])  # the oldest and the newest


@dataclass(frozen=True, slots=True)
class Scene:
    """A build that needs one library of the proxy."""

    origin: OriginThread
    proxy: Process
    workshop: Workshop
    program: str

    def build(self) -> Done:
        arguments = ("-pl", "core", "-am", "compile")
        return self.workshop.maven(self.program, settings(self.proxy.url), *arguments)

    def is_served(self) -> bool:
        names = (JAR, JAR.replace(".jar", ".pom"))
        return all(self.proxy.get(f"/java/{WHERE}/{name}").status == 200 for name in names)

    @property
    def jar(self) -> Path:
        return self.workshop.repository / WHERE / JAR

    def is_right(self) -> bool:
        wanted = self.origin.call(lambda origin: origin.content.find(JAR).blob.sha256)
        return hashlib.sha256(self.jar.read_bytes()).hexdigest() == wanted


@pytest.fixture
def scene(mavens: Mapping[str, str], java_content: Content, tmp_path: Path) -> Callable[[str], Any]:
    @contextmanager
    def make(version: str) -> Iterator[Scene]:
        with (
            OriginThread(content=java_content) as origin,
            process(tmp_path / "proxy", origin, {"cache": {"negative_ttl": "1s"}}) as proxy,
        ):
            workshop = Workshop.new(tmp_path / "workshop", "maven")
            workshop.furnish(java_content, without=LIBRARY)
            yield Scene(origin, proxy, workshop, mavens[version])

    return make


TROUBLE: dict[str, tuple[dict[str, Any], str]] = {
    "the upstream is down": (
        {"server": "origin", "path": WHERE, **status(503)},
        "Upstream unavailable",
    ),
    "the object store does not have it": (
        {"server": "store", "path": r"\.jar\?", **status(404)},
        "Upstream unavailable",
    ),
    "a corrupt jar": ({"server": "store", "path": r"\.jar\?", **wrong_bytes()}, ""),
    "a page in place of the jar": ({"server": "store", "path": r"\.jar\?", **html_page()}, ""),
    "a checksum of something else": (
        {"server": "store", "path": r"\.jar\.sha1\?", **status(200, b"0" * 40)},
        "",
    ),
    "a checksum file that is none": (
        {"server": "store", "path": r"\.pom\.sha1\?", **status(200, b"oops")},
        "Upstream answer unusable",
    ),
}


# The oldest asks least of a checksum; of the newest two are enough to see that it is no different.
CASES = [(MAVENS[0], what) for what in TROUBLE]
CASES += [(MAVENS[-1], what) for what in ("the upstream is down", "a corrupt jar")]


@pytest.mark.parametrize(("version", "what"), CASES)
def test_trouble_ends_the_build_and_is_forgotten_by_the_next_one(
    scene: Callable[[str], Any], version: str, what: str
) -> None:
    fault, words = TROUBLE[what]
    with scene(version) as at:
        trouble = at.origin.fault(**fault, times=None)
        done = at.build()
        assert done.code != 0
        assert "BUILD FAILURE" in done.output
        assert words in done.output, done.output
        assert not at.jar.exists()
        assert trouble.hits >= 1
        trouble.clear()
        until(at.is_served)  # the proxy itself remembers a failure for a moment
        done = at.build()
        assert done.code == 0, done.output
        assert at.is_right()


@pytest.mark.parametrize("version", MAVENS)
def test_absence_is_told_as_absence_and_remembered_by_maven(
    scene: Callable[[str], Any], version: str
) -> None:
    with scene(version) as at:
        at.origin.call(
            lambda origin: [origin.content.drop(JAR.replace(".jar", e)) for e in (".jar", ".pom")]
        )
        done = at.build()
        assert done.code != 0
        assert "Could not find artifact commons-io:commons-io:" in done.output, done.output
        asked = len(at.origin.log)
        assert at.build().code != 0
        assert len(at.origin.log) == asked


@pytest.mark.parametrize("version", ENDS)
def test_what_is_blocked_ends_the_build_with_the_reason(
    scene: Callable[[str], Any], version: str
) -> None:
    with scene(version) as at:
        at.origin.call(lambda origin: origin.block(LIBRARY, "2.15.1"))
        done = at.build()
        assert done.code != 0
        assert "Blocked by upstream" in done.output
        if version != "installed":  # which prints no body
            assert "MALWARE_DETECTED" in done.output
        at.origin.call(lambda origin: origin.unblock(LIBRARY, "2.15.1"))
        assert not at.jar.exists()
