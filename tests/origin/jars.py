"""Files of a Maven repository for the test origin: made up, rebuilt, or taken from a real one.

Purpose: `MavenFile` is an artifact that lives where its coordinates say; `tiny` makes a few in
memory, `from_repository` takes everything of a local repository that a real Maven has filled,
`remediated` makes the vendor's build of one of them (`X-0.cgr.1`).

Reading: the Maven 2 repository layout. Non-goals: HTTP (see `java`), running Maven (`maven`).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from tests.origin.blobs import BytesBlob, FileBlob
from tests.origin.content import Artifact

JAVA = "java"
REMEDIATED = "java-remediated"
MOUNTS = (JAVA, REMEDIATED)
ENDINGS = ("md5", "sha1", "sha256", "sha512")
_LOCAL = (*(f".{ending}" for ending in ENDINGS), ".lastUpdated", ".properties", ".repositories")
_STAMP = (2026, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class MavenFile(Artifact):
    """One file of a version. `project` is `group:artifact`, `index` the mount."""

    @property
    def folder(self) -> str:
        """The folder of the version, decoded, without a slash at the end."""
        group, _, artifact = self.project.partition(":")
        return f"/{self.index}/{group.replace('.', '/')}/{artifact}/{self.version}"

    @property
    def path(self) -> str:
        """The path it is served at, decoded."""
        return f"{self.folder}/{self.filename}"

    @property
    def link(self) -> str:
        """The path as a client spells it."""
        return quote(self.path, safe="/+")


def made_up(project: str, version: str, mount: str = JAVA) -> Iterator[MavenFile]:
    """A version in memory: POM, jar, sources, Gradle's module, signature, SBOM, attestation."""
    group, _, artifact = project.partition(":")
    coordinates = (
        f"<groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>"
    )
    pom = f"<project><modelVersion>4.0.0</modelVersion>{coordinates}</project>\n".encode()
    files = {
        ".pom": pom,
        ".jar": jar({f"{artifact}.txt": f"{project}:{version}\n".encode()}),
        "-sources.jar": jar({f"{artifact}.java": b"// nothing\n"}),
        ".module": b'{"formatVersion": "1.1"}\n',
        ".jar.asc": b"-----BEGIN PGP SIGNATURE-----\n",
        ".spdx.json": b'{"spdxVersion": "SPDX-2.3"}\n',
        ".slsa-attestation.json": b'{"payloadType": "application/vnd.in-toto+json"}\n',
    }
    for ending, data in files.items():
        yield MavenFile(f"{artifact}-{version}{ending}", project, version, BytesBlob(data), mount)


def tiny() -> Iterator[MavenFile]:
    """Two versions of one artifact, one of another, and a remediated build."""
    for project, version in (
        ("org.example:demo", "1.0"),
        ("org.example:demo", "2.0"),
        ("org.example.deep:other", "1.0"),
    ):
        yield from made_up(project, version)
    yield from made_up("org.example:demo", "1.0-0.cgr.1", REMEDIATED)


def jar(members: dict[str, bytes]) -> bytes:
    """A jar; the same bytes each time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, _STAMP), content)
    return buffer.getvalue()


def from_repository(folder: Path) -> Iterator[MavenFile]:
    """Every file of a local repository that came from a remote one (blocking: hashes them)."""
    for path in sorted(folder.rglob("*")):
        names = path.relative_to(folder).parts
        local = path.name.startswith(("maven-metadata", "_")) or path.name.endswith(_LOCAL)
        if not path.is_file() or local or len(names) < 4:
            continue
        *group, artifact, version, filename = names
        project = f"{'.'.join(group)}:{artifact}"
        yield MavenFile(filename, project, version, FileBlob(path), JAVA)


def remediated(files: list[MavenFile], project: str, suffix: str = "-0.cgr.1") -> list[MavenFile]:
    """The vendor's build of a project that is among the files: POM and jar, another version."""
    found = []
    for file in files:
        if file.project != project or not isinstance(file.blob, FileBlob):
            continue
        data, version = file.blob.path.read_bytes(), file.version + suffix
        if file.filename.endswith(".pom"):
            old, new = (f"<version>{text}</version>".encode() for text in (file.version, version))
            data = data.replace(old, new)
        elif file.filename.endswith(".jar"):
            data = _with_member(data, "META-INF/remediated.txt", version.encode())
        filename = file.filename.replace(file.version, version)
        found.append(
            replace(
                file, filename=filename, version=version, blob=BytesBlob(data), index=REMEDIATED
            )
        )
    return found


def _with_member(data: bytes, name: str, content: bytes) -> bytes:
    buffer = io.BytesIO(data)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name, _STAMP), content)
    return buffer.getvalue()
