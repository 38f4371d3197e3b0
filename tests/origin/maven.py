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
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.origin.download import DownloadFailed, cache_folder
from tests.origin.jars import MavenFile, from_repository

_LIMIT = 580.0
_GET = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:get"


def real_jars(project: Path, programs: Mapping[str, str]) -> list[MavenFile]:
    """Everything that building a project needs. `programs`: Mavens, by name and version.

    Blocking: a minute or two the first time. Raises DownloadFailed.
    """
    made = hashlib.sha256("\n".join(programs).encode())
    for path in sorted(project.rglob("*")):
        if path.is_file():
            made.update(path.read_bytes())
    target = cache_folder() / f"java-{made.hexdigest()[:16]}"
    if not target.is_dir():
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_folder()) as temporary:
            repository = Path(temporary) / "repository"
            for number, program in enumerate(programs.values()):
                work = Path(temporary) / str(number)
                shutil.copytree(project, work)
                _run(work, program, repository, "package")
            try:
                repository.replace(target)
            except OSError:
                # Another process did the same meanwhile: its folder is as good as ours.
                if not target.is_dir():
                    raise
    return list(from_repository(target))


def fetch(coordinates: str, sha256: str) -> Path:
    """One file by its coordinates (`group:artifact:version:type[:classifier]`), kept in the cache.

    Blocking. Raises DownloadFailed; also when it has another SHA-256.
    """
    target = cache_folder() / f"java-file-{sha256}"
    if not target.is_file():
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_folder()) as temporary:
            folder = Path(temporary)
            wanted = (f"-Dartifact={coordinates}", "-Dtransitive=false")
            _run(folder, "mvn", folder / "repository", _GET, *wanted)
            found = [path for path in folder.rglob("*") if path.is_file()]
            whole = [path for path in found if _sha256(path) == sha256]
            if not whole:
                raise DownloadFailed(f"{coordinates} has not the digest {sha256}")
            whole[0].replace(target)
    return target


def _run(folder: Path, program: str, repository: Path, *arguments: str) -> None:
    """Run a Maven as this machine is configured, but for its local repository."""
    environment = dict(os.environ)
    environment.pop("MAVEN_ARGS", None)
    try:
        done = subprocess.run(
            [program, "-B", "-ntp", f"-Dmaven.repo.local={repository}", *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LIMIT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DownloadFailed(f"{program}: {error}") from error
    if done.returncode:
        raise DownloadFailed(f"{program}: {done.stdout[-2000:]}{done.stderr[-500:]}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
