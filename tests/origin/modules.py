"""Go modules for the test origin: made up, rebuilt, or taken through this machine's own go.

Purpose: `GoFile` is an artifact that lives where its module and version say; `tiny` makes a few in
memory, `real_modules` has the go command of this machine, exactly as it is configured, build a
project into an empty module cache, whose `cache/download` is laid out as a proxy is; `remediated`
makes the vendor's build of one of them (`vX.Y.Z-cgr.1`).

Reading: the Go modules reference ("Module cache", "Module zip files"). Non-goals: HTTP (see
`golang`); knowing any proxy's address.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tests.origin.blobs import BytesBlob, FileBlob
from tests.origin.content import Artifact
from tests.origin.download import build_folder, kept, run_client

GO = "go"
ENDINGS = ("info", "mod", "zip")
_STAMP = (2026, 1, 1, 0, 0, 0)
_TIME = "2026-01-01T00:00:00Z"
_COMMANDS = ("mod download", "mod tidy", "test -count=1 ./...")  # all that tests have it do


@dataclass(frozen=True, slots=True)
class GoFile(Artifact):
    """One file of a version. `project` is the module's path, `version` in its own spelling."""

    @property
    def path(self) -> str:
        """The path it is served at, decoded."""
        return f"/{GO}/{escape(self.project)}/@v/{self.filename}"

    @property
    def link(self) -> str:
        """The path as the go command spells it."""
        return quote(self.path, safe="/!@+")


def escape(text: str) -> str:
    """`!x` for each capital."""
    return re.sub("[A-Z]", lambda found: f"!{found[0].lower()}", text)


def file_of(module: str, version: str, ending: str, data: bytes) -> GoFile:
    """One file of a version, in memory."""
    return GoFile(f"{escape(version)}.{ending}", module, version, BytesBlob(data), GO)


def made_up(
    module: str, version: str, files: Mapping[str, bytes] | None = None
) -> Iterator[GoFile]:
    """A version in memory: a package with a constant, and more `files` by name."""
    go_mod = f"module {module}\n\ngo 1.19\n".encode()
    source = f'package demo\n\nconst Version = "{version}"\n'.encode()
    members = {"go.mod": go_mod, "demo.go": source, **(files or {})}
    yield file_of(module, version, "info", info(version))
    yield file_of(module, version, "mod", go_mod)
    yield file_of(module, version, "zip", archive(f"{module}@{version}/", members))


def tiny() -> Iterator[GoFile]:
    """Two versions of one module, a remediated build of one, and a module with capitals."""
    for version in ("v1.0.0", "v1.1.0", "v1.0.0-cgr.1"):
        yield from made_up("example.org/demo", version)
    yield from made_up("example.org/Deep/Other/v2", "v2.3.4-RC1")


def info(version: str) -> bytes:
    """What an `.info` says."""
    return json.dumps({"Version": version, "Time": _TIME}).encode()


def archive(prefix: str, members: Mapping[str, bytes]) -> bytes:
    """A module's archive; the same bytes each time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(prefix + name, _STAMP), content)
    return buffer.getvalue()


def remediated(files: Iterable[GoFile], module: str, suffix: str = "-cgr.1") -> list[GoFile]:
    """The vendor's build of a module that is among the files, with a file more in its archive."""
    found = []
    for file in files:
        if file.project != module or not isinstance(file.blob, FileBlob):
            continue
        data, version = file.blob.path.read_bytes(), file.version + suffix
        ending = file.filename.rpartition(".")[2]
        if ending == "info":
            data = info(version)
        elif ending == "zip":
            data = _renamed(data, f"{module}@{file.version}/", f"{module}@{version}/")
        found.append(file_of(module, version, ending, data))
    return found


def _renamed(data: bytes, old: str, new: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = {name.removeprefix(old): file.read(name) for name in file.namelist()}
    return archive(new, {**members, "REMEDIATED": new.encode()})


# --- real ones ------------------------------------------------------------------------------------


def real_modules(project: Path) -> list[GoFile]:
    """Everything that building a project needs, and all that its module graph names.

    Blocking: some seconds the first time. A second call starts no process: the folder appears only
    when it is whole, named by a hash of the project. Raises DownloadFailed.
    """

    def make(temporary: Path) -> Path:
        work, modules = temporary / "project", temporary / "modules"
        shutil.copytree(project, work)
        for command in _COMMANDS:
            _go(work, modules, command.split())
        return modules / "cache" / "download"

    return list(from_cache(kept(build_folder("go", project, " ".join(_COMMANDS)), make)))


def from_cache(folder: Path) -> Iterator[GoFile]:
    """Every file of a module cache's `cache/download` (blocking: hashes them)."""
    for path in sorted(folder.rglob("@v/*")):
        stem, _, ending = path.name.rpartition(".")
        if ending in ENDINGS:
            module = _plain(path.parent.parent.relative_to(folder).as_posix())
            yield GoFile(path.name, module, _plain(stem), FileBlob(path), GO)


def _plain(text: str) -> str:
    return re.sub("!([a-z])", lambda found: found[1].upper(), text)


def _go(folder: Path, modules: Path, arguments: list[str]) -> None:
    """Run go as this machine is configured, but for its module cache."""
    # Files of a module cache are read-only, which no temporary folder survives.
    flags = f"{os.environ.get('GOFLAGS', '')} -mod=mod -modcacherw".strip()
    own = {"GOMODCACHE": str(modules), "GOFLAGS": flags, "GOTOOLCHAIN": "local"}
    run_client(["go", *arguments], folder, {**os.environ, **own, "CGO_ENABLED": "0"})
