"""Who may build through the proxy, and of which repository: tokens, refusals, remediated builds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.clients.jvm import MAVENS, Workshop, settings
from tests.origin import Content, OriginThread
from tests.running import Process, client, process, token

pytestmark = pytest.mark.client

LIBRARY = "commons-io:commons-io"
COMPILE = ("-pl", "core", "-am", "compile")
ENDS = (MAVENS[0], MAVENS[-1])


REFUSED = {
    "nobody": ("", "Client token required"),
    "a wrong token": (token("nobody"), "Client token required"),
    "a client of Python": (token("snake"), "Client not allowed"),
}


@pytest.fixture
def farm(java_content: Content, tmp_path: Path) -> Iterator[Process]:
    """A proxy whose clients have tokens: one for Java, one for Python."""
    tables = {"clients": [client("builder", "java"), client("snake", "python")]}
    with (
        OriginThread(content=java_content) as origin,
        process(tmp_path / "proxy", origin, tables) as proxy,
    ):
        proxy.keep_secret(token("builder"), token("snake"))
        yield proxy


@pytest.fixture
def workshop(java_content: Content, tmp_path: Path) -> Workshop:
    made = Workshop.new(tmp_path / "workshop", "maven")
    made.furnish(java_content, without=LIBRARY)
    return made


@pytest.mark.parametrize("version", MAVENS)
def test_the_token_in_the_settings_lets_the_build_in(
    farm: Process, workshop: Workshop, mavens: Mapping[str, str], version: str
) -> None:
    configured = settings(farm.url)
    done = workshop.maven(mavens[version], configured, *COMPILE, token=token("builder"))
    assert done.code == 0, done.output
    assert token("builder") not in done.output


@pytest.mark.parametrize(
    ("version", "who"), [*((MAVENS[0], who) for who in REFUSED), (MAVENS[-1], "a wrong token")]
)
def test_who_may_not_is_told_why_and_nothing_is_remembered(
    farm: Process,
    workshop: Workshop,
    mavens: Mapping[str, str],
    version: str,
    who: str,
) -> None:
    password, words = REFUSED[who]
    done = workshop.maven(mavens[version], settings(farm.url), *COMPILE, token=password)
    assert done.code != 0
    # Maven 4 tries a wrong password thrice and tells only that.
    assert words in done.output or "too many authentication attempts" in done.output, done.output
    configured = settings(farm.url)
    done = workshop.maven(mavens[version], configured, *COMPILE, token=token("builder"))
    assert done.code == 0, done.output


REMEDIATED = """
<profiles><profile><id>remediated</id><repositories><repository>
  <id>cgr-remediated</id><url>{url}/java-remediated/</url>
</repository></repositories></profile></profiles>
<activeProfiles><activeProfile>remediated</activeProfile></activeProfiles>
"""


@pytest.mark.parametrize("version", ENDS)
def test_a_pinned_remediated_version_comes_from_its_own_repository(
    workshop: Workshop,
    mavens: Mapping[str, str],
    java_content: Content,
    tmp_path: Path,
    version: str,
) -> None:
    with (
        OriginThread(content=java_content) as origin,
        process(tmp_path / "proxy", origin) as proxy,
    ):
        configured = settings(
            proxy.url,
            mirror_of="*,!cgr-remediated",
            more=REMEDIATED.format(url=proxy.url),
        )
        pinned = "-Dcommons-io.version=2.15.1-0.cgr.1"
        done = workshop.maven(mavens[version], configured, pinned, "package")
        assert done.code == 0, done.output
        assert "Tests run: 1, Failures: 0" in done.output
        (jar,) = workshop.files("commons-io-2.15.1-0.cgr.1.jar")
        wanted = java_content.find(jar.name).blob.sha256
        assert hashlib.sha256(jar.read_bytes()).hexdigest() == wanted
