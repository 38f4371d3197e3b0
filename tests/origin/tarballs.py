"""npm packages of the test origin: tarballs with what a packument says of them.

Purpose: made-up ones in memory, each a real package that every client installs; real ones from
what this machine's own npm keeps after an installation, which is made once into a folder of its own
(`real_npm`). No registry's address is known here: npm's cache has whole packuments, as they came.

Reading: npm's registry API; cacache (`index-v5`: a line for each entry). Non-goals: HTTP.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from tests.origin.blobs import BytesBlob, FileBlob
from tests.origin.content import Artifact, Content
from tests.origin.download import cache_folder, kept, run_client

INDEX = "javascript"
ALPHA, SCOPED, FALLBACK = "alpha-js", "@scope/beta-js", "fallback-js"
# A tree of CommonJS, types, install scripts and binaries of platforms: 90 packages.
WANTED = ("express", "@types/node", "vite", "esbuild")
_TARBALL = re.compile(r"/(?P<package>(?:@[^/]+/)?[^/@]+)/-/[^/]+\.tgz$")


@dataclass(frozen=True, slots=True)
class Tarball(Artifact):
    """One version. `manifest`: its package.json as the packument repeats it; `dist`: further
    members of it (`integrity` and `shasum` are true unless they are given here)."""

    manifest: Mapping[str, Any] = field(default_factory=dict)
    dist: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The path it is served at, decoded."""
        prefix = "javascript-upstream" if self.fallback else "javascript"
        return f"/{prefix}/{self.project}/-/{self.filename}"


def tarball(
    package: str,
    version: str,
    *,
    fallback: bool = False,
    files: Mapping[str, str] | None = None,
    **manifest: Any,
) -> Tarball:
    """Make a package in memory. `manifest`: further members of its package.json."""
    full = {"name": package, "version": version, **manifest}
    index = f"#!/usr/bin/env node\nmodule.exports='{version}';\n"
    data = _pack({"package.json": json.dumps(full), "index.js": index, **(files or {})})
    name = f"{package.rpartition('/')[2]}-{version}.tgz"
    return Tarball(
        *(name, package, version, BytesBlob(data)), index=INDEX, fallback=fallback, manifest=full
    )


def add_tiny(content: Content) -> None:
    """Add three small packages, one of a scope, one of the upstream's fallback."""
    content.add(tarball(ALPHA, "0.9.0", deprecated="too old"))
    content.add(tarball(ALPHA, "1.0.0", dependencies={SCOPED: "^2.0.0"}))
    content.add(tarball(SCOPED, "2.0.0", bin={"beta-js": "index.js"}, engines={"node": ">=4"}))
    content.add(tarball(FALLBACK, "3.1.0", fallback=True))


def integrity_of(data: bytes) -> str:
    """SRI."""
    return "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()


def _pack(files: Mapping[str, str]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size, info.mode = len(text.encode()), 0o755
            archive.addfile(info, io.BytesIO(text.encode()))
    return gzip.compress(raw.getvalue(), mtime=0)


# --- real ones ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RealNpm:
    """What one installation needed: packuments as they came, by package; their tarballs."""

    packuments: Mapping[str, bytes]
    tarballs: tuple[Tarball, ...]

    def fill(self, content: Content) -> None:
        """Add the tarballs to a catalogue."""
        for one in self.tarballs:
            content.add(one)


def real_npm(folder: Path | None = None, wanted: tuple[str, ...] = WANTED) -> RealNpm:
    """Give real packages with all that they need, fetching them if they are not there.

    Blocking: half a minute the first time. Raises DownloadFailed.
    """
    digest = hashlib.sha256("\n".join(wanted).encode()).hexdigest()[:16]
    target = (folder or cache_folder()) / f"npm-{digest}"
    return _read(kept(target, lambda temporary: _fetch(temporary, wanted)))


def _fetch(folder: Path, wanted: tuple[str, ...]) -> Path:
    project, cache, fresh = folder / "project", folder / "cache", folder / "fresh"
    for made in (project, fresh / "packuments", fresh / "tarballs"):
        made.mkdir(parents=True)
    (project / "package.json").write_text('{"name":"wanted","version":"1.0.0"}')
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    run_client(["npm", "install", "--cache", str(cache), *quiet, *wanted], project)
    for path, content in _cached(cache / "_cacache"):
        match = _TARBALL.search(path)
        if match is None:
            name = _package_of(path, content)
            (fresh / "packuments" / quote(name, safe="")).write_bytes(content)
        else:
            name = f"{quote(match['package'], safe='')}#{path.rpartition('/')[2]}"
            (fresh / "tarballs" / name).write_bytes(content)
    return fresh


def _cached(cache: Path) -> Iterator[tuple[str, bytes]]:
    """The decoded path of each address in npm's cache, with what came from there."""
    for file in sorted((cache / "index-v5").rglob("*")):
        if not file.is_file():
            continue
        entry = json.loads(file.read_text().strip().splitlines()[-1].partition("\t")[2])
        algorithm, _, value = entry["integrity"].partition("-")
        digest = base64.b64decode(value).hex()
        body = cache / "content-v2" / algorithm / digest[:2] / digest[2:4] / digest[4:]
        address = entry["key"].partition("request-cache:")[2]
        yield unquote(urlsplit(address).path), body.read_bytes()


def _package_of(path: str, content: bytes) -> str:
    name: str = json.loads(content)["name"]
    assert path.endswith(name), path
    return name


def _read(folder: Path) -> RealNpm:
    packuments = {
        unquote(path.name): path.read_bytes() for path in (folder / "packuments").iterdir()
    }
    found = []
    for path in sorted((folder / "tarballs").iterdir()):
        package, _, filename = unquote(path.name).partition("#")
        version = filename.removeprefix(f"{package.rpartition('/')[2]}-").removesuffix(".tgz")
        # Every third one has come by the vendor's fallback: an address outside the registry's own.
        fallback = hashlib.sha256(package.encode()).digest()[0] % 3 == 0
        found.append(
            Tarball(filename, package, version, FileBlob(path), index=INDEX, fallback=fallback)
        )
    return RealNpm(packuments, tuple(found))
