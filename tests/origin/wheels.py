"""Wheels for the test origin: small ones from nothing, rebuilt ones from real ones, big ones.

Purpose: everything made here is a real wheel that pip and uv install: METADATA, WHEEL and a true
RECORD. Output is deterministic (fixed timestamps), so that pinned hashes stay valid.

Reading: the binary distribution format (PEP 427), RECORD (PEP 376), local versions (PEP 440).
Non-goals: building from source; compiled extensions.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from packaging.utils import canonicalize_name

from tests.origin.blobs import SyntheticBlob

_STAMP = (2026, 1, 1, 0, 0, 0)
_WHEEL = "Wheel-Version: 1.0\nGenerator: test-origin\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def wheel_name(project: str, version: str) -> str:
    """Name a pure wheel: `<project>-<version>-py3-none-any.whl`."""
    return f"{project.replace('-', '_')}-{version}-py3-none-any.whl"


def make_wheel(
    project: str,
    version: str,
    *,
    requires_python: str = ">=3.8",
    requires: Iterable[str] = (),
    files: Mapping[str, bytes] | None = None,
) -> bytes:
    """Make a small pure wheel holding `files` (default: one module that knows its version)."""
    module = project.replace("-", "_")
    metadata = [f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n"]
    metadata += [f"Requires-Python: {requires_python}\n"] if requires_python else []
    metadata += [f"Requires-Dist: {requirement}\n" for requirement in requires]
    info = f"{module}-{version}.dist-info"
    members = dict(files or {f"{module}/__init__.py": f'__version__ = "{version}"\n'.encode()})
    members[f"{info}/METADATA"] = "".join(metadata).encode()
    members[f"{info}/WHEEL"] = _WHEEL.encode()
    return _pack(members, info)


def make_sdist(project: str, version: str) -> bytes:
    """Make a small source distribution that tells its metadata and that no backend builds."""
    folder = f"{project.replace('-', '_')}-{version}"
    members = {
        f"{folder}/PKG-INFO": f"Metadata-Version: 2.2\nName: {project}\nVersion: {version}\n",
        f"{folder}/pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "absent"\n'
        f'[project]\nname = "{project}"\nversion = "{version}"\n',
    }
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return gzip.compress(made.getvalue(), mtime=0)


def rebuild(wheel: bytes, filename: str, local: str) -> tuple[str, bytes]:
    """Rebuild a wheel as another local version (`cgr.1`, `cu126`): its new name and bytes.

    The dist-info folder is renamed, `Version` in METADATA changed, RECORD computed anew.
    """
    project, version, tags = filename.split("-", 2)
    new_version = f"{version}+{local}"
    old_info = f"{project}-{version}.dist-info"
    info = f"{project}-{new_version}.dist-info"
    members = {}
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        for name in archive.namelist():
            if name != f"{old_info}/RECORD" and not name.endswith("/"):
                members[name.replace(old_info, info, 1)] = archive.read(name)
    metadata = members[f"{info}/METADATA"].decode()
    changed = metadata.replace(f"\nVersion: {version}\n", f"\nVersion: {new_version}\n", 1)
    members[f"{info}/METADATA"] = changed.encode()
    return f"{project}-{new_version}-{tags}", _pack(members, info)


def write_big_wheel(path: Path, project: str, version: str, size: int, seed: int = 0) -> None:
    """Write an installable wheel that carries `size` bytes of noise, without holding them."""
    noise = SyntheticBlob(size, seed)
    info = f"{project}-{version}.dist-info"
    data = f"{project}/noise.bin"
    metadata = f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n"
    small = {
        f"{project}/__init__.py": b"",
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": _WHEEL.encode(),
    }
    rows = [_record_row(name, content) for name, content in small.items()]
    rows.append(f"{data},sha256={_urlsafe(bytes.fromhex(noise.sha256))},{size}")
    small[f"{info}/RECORD"] = ("\n".join([*rows, f"{info}/RECORD,,"]) + "\n").encode()
    partial = path.with_name(path.name + ".part")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        with archive.open(zipfile.ZipInfo(data, _STAMP), "w", force_zip64=True) as member:
            for piece in noise.pieces():
                member.write(piece)
        for name, content in small.items():
            archive.writestr(zipfile.ZipInfo(name, _STAMP), content)
    partial.replace(path)


def read_metadata(filename: str, file: IO[bytes]) -> bytes | None:
    """Read the core metadata out of a wheel or sdist; None where it holds none."""
    if filename.endswith(".whl"):
        with zipfile.ZipFile(file) as archive:
            names = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            found = next(names, None)
            return archive.read(found) if found else None
    if filename.endswith(".tar.gz"):
        with tarfile.open(fileobj=file) as archive:
            for member in archive:
                if member.name.count("/") == 1 and member.name.endswith("/PKG-INFO"):
                    content = archive.extractfile(member)
                    return content.read() if content else None
    return None


def project_of(filename: str) -> tuple[str, str]:
    """Split a wheel's or sdist's name into its normalised project and its version."""
    if filename.endswith(".whl"):
        project, version = filename.split("-")[:2]
    else:
        project, _, version = filename.removesuffix(".tar.gz").removesuffix(".zip").rpartition("-")
    return canonicalize_name(project), version


def _pack(members: Mapping[str, bytes], info: str) -> bytes:
    rows = [_record_row(name, content) for name, content in members.items()]
    record = "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**members, f"{info}/RECORD": record.encode()}.items():
            entry = zipfile.ZipInfo(name, _STAMP)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _record_row(name: str, content: bytes) -> str:
    return f"{name},sha256={_urlsafe(hashlib.sha256(content).digest())},{len(content)}"


def _urlsafe(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
