"""What the test origin holds: artifacts, by index and project.

Purpose: a small mutable catalogue. `Content.tiny()` is made in memory in milliseconds and is right
for most tests; `Content.from_folder` takes real wheels (see `download`) and adds what only the
vendor has: a remediated build and a CUDA build. Each origin works on its own copy.

Non-goals: HTTP. Fetching anything (see `download`).
"""

from __future__ import annotations

import email.parser
import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from tests.origin.blobs import Blob, BytesBlob, FileBlob, SyntheticBlob
from tests.origin.wheels import (
    make_wheel,
    project_of,
    read_metadata,
    rebuild,
    wheel_name,
    write_big_wheel,
)

PYTHON = "python"
REMEDIATED = "python-remediated"
CUDA = ("cu126", "cu128", "cu129")
INDEXES = (PYTHON, REMEDIATED, *CUDA)
_FALLBACK = frozenset({"certifi", "charset-normalizer", "markupsafe", "fallback-only"})


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of one index.

    `project` is normalised. `fallback`: it came through the vendor's upstream fallback and lives
    under `/python-upstream/`. `yanked`: None, or the reason (may be empty). `metadata`: the core
    metadata, if it has any.
    """

    filename: str
    project: str
    version: str
    blob: Blob
    index: str = PYTHON
    fallback: bool = False
    requires_python: str = ""
    yanked: str | None = None
    metadata: bytes | None = None

    @property
    def path(self) -> str:
        """The path it is served at, decoded. Depends on the name alone: bytes may be replaced."""
        digest = hashlib.sha256(f"{self.index}/{self.filename}".encode()).hexdigest()
        if self.fallback:
            return f"/python-upstream/{digest[:2]}/{digest[2:4]}/{digest[4:]}/{self.filename}"
        return f"/files/{digest[:8]}/{digest[8:24]}/{self.project}/{self.filename}"

    @property
    def link(self) -> str:
        """The path as a listing spells it: `+` as `%2B`."""
        return quote(self.path)

    @property
    def uploaded(self) -> str:
        """A made-up but constant upload time (RFC 3339, PEP 700)."""
        day = 1 + int(self.blob.sha256[:4], 16) % 28
        return f"2026-03-{day:02}T07:08:09.123456Z"


class Content:
    """A catalogue. Later artifacts of the same index and name replace earlier ones."""

    def __init__(self, artifacts: Iterable[Artifact] = ()) -> None:
        self._by_path: dict[str, Artifact] = {}
        self.blocked_packages: set[str] = set()
        self.blocked_versions: set[tuple[str, str]] = set()
        for artifact in artifacts:
            self.add(artifact)

    @classmethod
    def tiny(cls) -> Content:
        """Make a small set in memory: 3 projects, 2 tiers, a CUDA build, a yanked file."""
        alpha = make_wheel("alpha", "1.0", requires=["beta-pkg>=2"])
        beta = make_wheel("beta-pkg", "2.0", requires_python=">=3.8,<4")
        alpha_blob, beta_blob = BytesBlob(alpha), BytesBlob(beta)
        old = BytesBlob(make_wheel("alpha", "0.9"))
        fallback = BytesBlob(make_wheel("fallback-only", "3.1"))
        content = cls(
            [
                Artifact(wheel_name("alpha", "0.9"), "alpha", "0.9", old, yanked='bad "build" <&>'),
                _described(wheel_name("alpha", "1.0"), alpha_blob, alpha),
                _described(wheel_name("beta-pkg", "2.0"), beta_blob, beta),
                Artifact(
                    wheel_name("fallback-only", "3.1"),
                    "fallback-only",
                    "3.1",
                    fallback,
                    fallback=True,
                    requires_python=">=3.8",
                ),
            ]
        )
        content.add_rebuilt(wheel_name("alpha", "1.0"), alpha, "cgr.1", REMEDIATED)
        content.add_rebuilt(wheel_name("beta-pkg", "2.0"), beta, "cu126", "cu126")
        return content

    @classmethod
    def from_folder(cls, *folders: Path) -> Content:
        """Take every wheel and sdist of some folders; reads and hashes them all (blocking)."""
        content = cls(
            artifact_of(path)
            for folder in folders
            if folder.is_dir()
            for path in sorted(folder.iterdir())
            if path.name.endswith((".whl", ".tar.gz"))
        )
        for artifact in list(content):
            if not isinstance(artifact.blob, FileBlob):
                continue
            if artifact.project == "requests":
                data = artifact.blob.path.read_bytes()
                content.add_rebuilt(artifact.filename, data, "cgr.1", REMEDIATED)
            if artifact.project == "itsdangerous":
                data = artifact.blob.path.read_bytes()
                content.add_rebuilt(artifact.filename, data, "cu126", "cu126")
                content.add_rebuilt(artifact.filename, data, "cu128", "cu128")
        return content

    def __iter__(self) -> Iterator[Artifact]:
        return iter(self._by_path.values())

    def copy(self) -> Content:
        """Copy the catalogue; blobs are shared, they never change."""
        other = Content(self)
        other.blocked_packages = set(self.blocked_packages)
        other.blocked_versions = set(self.blocked_versions)
        return other

    def add(self, artifact: Artifact) -> Artifact:
        """Add one artifact, or replace the one of the same index and name."""
        self._by_path[artifact.path] = artifact
        return artifact

    def add_rebuilt(self, filename: str, wheel: bytes, local: str, index: str) -> Artifact:
        """Add another local version of a wheel to an index."""
        name, data = rebuild(wheel, filename, local)
        return self.add(_described(name, BytesBlob(data), data, index=index))

    def synthetic(
        self, name: str = "bigblob", size: int = 8 << 20, seed: int = 0, version: str = "1.0"
    ) -> Artifact:
        """Add `size` bytes of noise under a wheel's name; it is no real wheel (see `big_wheel`)."""
        blob = SyntheticBlob(size, seed)
        return self.add(
            Artifact(wheel_name(name, version), project_of(f"{name}-0")[0], version, blob)
        )

    def big_wheel(self, folder: Path, name: str = "bigblob", size: int = 8 << 20) -> Artifact:
        """Add a real, installable wheel with `size` bytes of noise in it, written to `folder`."""
        path = folder / wheel_name(name, "1.0")
        write_big_wheel(path, name.replace("-", "_"), "1.0", size)
        return self.add(artifact_of(path))

    def at(self, path: str) -> Artifact | None:
        """Find an artifact by its decoded path."""
        return self._by_path.get(path)

    def page(self, index: str, project: str) -> list[Artifact]:
        """All artifacts of one project in one index, in the order added."""
        return [item for item in self if item.index == index and item.project == project]

    def projects(self, index: str) -> list[str]:
        """All projects of one index, sorted."""
        return sorted({item.project for item in self if item.index == index})

    def find(self, filename: str, index: str | None = None) -> Artifact:
        """Find an artifact by file name. Raises LookupError."""
        for item in self:
            if item.filename == filename and index in (None, item.index):
                return item
        raise LookupError(filename)

    def drop(self, filename: str) -> Artifact:
        """Take a file off its page, and off its path. Raises LookupError."""
        return self._by_path.pop(self.find(filename).path)

    def replace_bytes(self, filename: str, data: bytes | Blob) -> Artifact:
        """Serve other bytes under the same path: the listing carries the new hash at once."""
        blob = BytesBlob(data) if isinstance(data, bytes) else data
        return self.add(replace(self.find(filename), blob=blob))

    def yank(self, filename: str, reason: str = "") -> Artifact:
        """Mark a file as yanked (PEP 592)."""
        return self.add(replace(self.find(filename), yanked=reason))


def artifact_of(path: Path) -> Artifact:
    """Describe a wheel or sdist on disk; reads and hashes it (blocking)."""
    project, version = project_of(path.name)
    with path.open("rb") as file:
        metadata = read_metadata(path.name, file)
    return Artifact(
        path.name,
        project,
        version,
        FileBlob(path),
        fallback=project in _FALLBACK,
        requires_python=_requires_python(metadata),
        metadata=metadata if path.name.endswith(".whl") else None,
    )


def _described(filename: str, blob: Blob, wheel: bytes, index: str = PYTHON) -> Artifact:
    metadata = read_metadata(filename, io.BytesIO(wheel))
    project, version = project_of(filename)
    return Artifact(
        filename,
        project,
        version,
        blob,
        index=index,
        requires_python=_requires_python(metadata),
        metadata=metadata,
    )


def _requires_python(metadata: bytes | None) -> str:
    if metadata is None:
        return ""
    headers = email.parser.BytesHeaderParser().parsebytes(metadata)
    return headers.get("Requires-Python", "")
