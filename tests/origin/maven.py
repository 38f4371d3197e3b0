"""Real Maven content for the test origin, taken through this machine's own Maven.

Purpose: a project is built once by each given Maven, exactly as the machine is configured, into an
empty local repository; what they have brought, pinned by the project's POMs, is the content. A
second run starts no process: the folder appears only when it is whole, named by a hash of what was
built by what. Single files (`fetch`) come the same way.

Non-goals: knowing any repository's address; resolving anything by itself.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.origin.download import DownloadFailed, build_folder, cache_folder, kept, run_client
from tests.origin.jars import MavenFile, from_repository

_GET = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:get"


def real_jars(project: Path, programs: Mapping[str, str]) -> list[MavenFile]:
    """Everything that building a project needs. `programs`: Mavens, by name and version.

    Blocking: a minute or two the first time. Raises DownloadFailed.
    """

    def make(temporary: Path) -> Path:
        repository = temporary / "repository"
        for number, program in enumerate(programs.values()):
            work = temporary / str(number)
            shutil.copytree(project, work)
            _run(work, program, repository, "package")
        return repository

    folder = build_folder("java", project, "\n".join(programs))
    return list(from_repository(kept(folder, make)))


def fetch(coordinates: str, sha256: str) -> Path:
    """One file by its coordinates (`group:artifact:version:type[:classifier]`), kept in the cache.

    Blocking. Raises DownloadFailed; also when it has another SHA-256.
    """

    def make(temporary: Path) -> Path:
        wanted = (f"-Dartifact={coordinates}", "-Dtransitive=false")
        _run(temporary, "mvn", temporary / "repository", _GET, *wanted)
        found = [path for path in temporary.rglob("*") if path.is_file()]
        whole = [path for path in found if _sha256(path) == sha256]
        if not whole:
            raise DownloadFailed(f"{coordinates} has not the digest {sha256}")
        return whole[0]

    return kept(cache_folder() / f"java-file-{sha256}", make)


def _run(folder: Path, program: str, repository: Path, *arguments: str) -> None:
    """Run a Maven as this machine is configured, but for its local repository."""
    environment = dict(os.environ)
    environment.pop("MAVEN_ARGS", None)
    command = [program, "-B", "-ntp", f"-Dmaven.repo.local={repository}", *arguments]
    run_client(command, folder, environment)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
