"""Gradle, Ivy, bazel, and a plain downloader with `.netrc`, with the proxy's own token."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients import jvm
from tests.clients.jvm import Workshop
from tests.origin import Content, OriginThread
from tests.printed import printed, with_token
from tests.running import Process, client, process, token

pytestmark = pytest.mark.client

JAR = "commons-io-2.15.1.jar"
TOKEN = token("builder")


@dataclass(frozen=True, slots=True)
class Farm:
    """A proxy whose only client has a token, and what is behind it."""

    origin: OriginThread
    proxy: Process
    folder: Path

    @property
    def url(self) -> str:
        return f"{self.proxy.url}/java/"

    def workshop(self, project: str) -> Workshop:
        return Workshop.new(self.folder / project, project)

    def jar(self) -> tuple[str, str]:
        """The library's link and SHA-256."""
        found = self.origin.call(lambda origin: origin.content.find(JAR))
        return found.link, found.blob.sha256

    def asked(self) -> list[dict[str, Any]]:
        """The access lines of the client that got in. The proxy has been stopped by then."""
        return [line for line in self.proxy.access() if line["principal"] == "builder"]


@pytest.fixture
def farm(java_content: Content, tmp_path: Path) -> Iterator[Farm]:
    tables = {"clients": [client("builder", "java")]}
    with (
        OriginThread(content=java_content) as origin,
        process(tmp_path / "proxy", origin, tables) as proxy,
    ):
        proxy.keep_secret(TOKEN)
        yield Farm(origin, proxy, tmp_path)
        assert origin.violations == []  # none of their HEADs goes upstream


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def netrc(farm: Farm, home: Path) -> Path:
    file = home / ".netrc"
    file.write_text(with_token(printed("bazel", farm.proxy.url)[1], TOKEN))
    file.chmod(0o600)
    return file


def test_gradle_builds_and_runs_with_what_the_proxy_brings(farm: Farm) -> None:
    for leg in ("cold", "cut-off"):
        workshop = Workshop.new(farm.folder / leg, "gradle")
        done = workshop.gradle(farm.proxy.url, "-q", "run", token=TOKEN)
        assert done.code == 0, done.output
        assert "read: farm" in done.output
        (jar,) = workshop.home.rglob(JAR)
        assert sha256(jar) == farm.jar()[1]
        farm.origin.close_listener()


def test_gradle_without_the_token_is_refused_and_not_misled(farm: Farm) -> None:
    workshop = farm.workshop("gradle")
    done = workshop.gradle(farm.proxy.url, "-q", "run")
    assert done.code != 0
    assert "401 from server" in done.output, done.output


def test_ivy_resolves_with_checksums_and_retrieves(farm: Farm) -> None:
    workshop = farm.workshop("ivy")
    done = workshop.run(
        *("java", f"-Duser.home={workshop.home}"),
        f"-Dfarm.cache={workshop.folder / 'cache'}",
        f"-Dfarm.url={farm.url}",
        f"-Dfarm.token={TOKEN}",
        *("-jar", str(jvm.ivy()), "-settings", "settings.xml"),
        *("-dependency", "commons-io", "commons-io", "2.15.1", "-confs", "default"),
        *("-retrieve", "lib/[artifact]-[revision].[ext]"),
    )
    assert done.code == 0, done.output
    assert sha256(workshop.project / "lib" / JAR) == farm.jar()[1]


def test_bazel_fetches_with_netrc_and_builds(farm: Farm) -> None:
    workshop, (link, digest) = farm.workshop("bazel"), farm.jar()
    netrc(farm, workshop.home)
    (workshop.project / "WORKSPACE").write_text(
        'load("@bazel_tools//tools/build_defs/repo:http.bzl", "http_file")\n'
        f'http_file(name="commons_io", urls=["{farm.proxy.url}{link}"], sha256="{digest}")\n'
    )
    done = workshop.run(
        str(jvm.bazel()),
        *(f"--output_user_root={workshop.folder / 'bazel'}", "--batch"),
        *("build", "--spawn_strategy=local", "//:copy"),
    )
    workshop.run("chmod", "-R", "u+w", str(workshop.folder / "bazel"))
    assert done.code == 0, done.output
    assert sha256(workshop.project / "bazel-bin" / "commons-io.jar") == digest


def test_a_downloader_with_netrc_resumes_and_compares_the_checksum(farm: Farm) -> None:
    workshop, (link, digest) = farm.workshop("ivy"), farm.jar()
    file, target = netrc(farm, workshop.home), workshop.folder / JAR
    curl = ("curl", "-fsSL", "--netrc-file", str(file))
    first = workshop.run(*curl, "-o", str(target), farm.proxy.url + link)
    assert first.code == 0, first.output
    assert sha256(target) == digest
    target.write_bytes(target.read_bytes()[:1000])
    again = workshop.run(*curl, "-C", "-", "-o", str(target), farm.proxy.url + link)
    assert again.code == 0, again.output
    assert sha256(target) == digest
    for algorithm in ("md5", "sha1", "sha256", "sha512"):
        told = workshop.run(*curl, f"{farm.proxy.url}{link}.{algorithm}")
        assert told.output == hashlib.new(algorithm, target.read_bytes()).hexdigest()
