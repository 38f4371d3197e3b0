"""How the sample of each ecosystem changes upstream, for tests that let it.

Purpose: a revision adds a version to the document of `tests.matrix.samples` and, where its path may
be served with other bytes, replaces those of the artifact. An ecosystem without a row here fails
the tests that go over all of them. Non-goals: HTTP, judging.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.matrix.samples import Samples, samples_of
from tests.origin import Origin, apks, jars, modules, nupkgs, tarballs
from tests.origin.apks import REPOSITORY
from tests.origin.images import PUBLIC
from tests.origin.tarballs import ALPHA
from tests.origin.wheels import make_wheel

_NUMBER = re.compile(rb"1\.9\.(\d+)")


@dataclass(slots=True)
class Subject:
    """One ecosystem's sample. `listed`: its document lists the artifact (`falls_back`: where it is
    not to be found, another document may); `of_package`: the right to it is that to its package;
    `server`: which host of the origin has it. `tags`: revisions by the digest of a manifest's
    bytes."""

    ecosystem: str
    samples: Samples
    listed: bool
    falls_back: bool = False
    of_package: bool = False
    server: str = "origin"
    tags: dict[str, int] = field(default_factory=dict)

    def upstream_path(self, path: str) -> str:
        """Where the upstream has what is at `path` here."""
        return path.removeprefix("/apk") if self.ecosystem == "apk" else path

    def refused_path(self, what: str, path: str) -> str:
        """A regular expression for the requests that are refused when `what`, at `path`, is."""
        if what == "artifact" and self.of_package:
            path = path.partition("/blobs/")[0]
            return f"^{re.escape(path)}/"
        return f"^{re.escape(self.upstream_path(path))}(?![^?])"

    def revise(self, origin: Origin, number: int) -> None:
        """Make revision `number` (1 and up) the upstream's."""
        _REVISE[self.ecosystem](origin, number)
        if self.ecosystem == "oci":
            self.tags[origin.images.tagged().digest] = number

    def number(self, body: bytes) -> int:
        """The revision that a document shows."""
        if self.ecosystem == "oci":
            return self.tags.get(f"sha256:{hashlib.sha256(body).hexdigest()}", 0)
        text = gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
        return max((int(found) for found in _NUMBER.findall(text)), default=0)


def subject_of(ecosystem: str) -> Subject:
    """The sample of an ecosystem, unrevised. Raises KeyError when nobody has written its row."""
    assert ecosystem in _REVISE, f"{ecosystem} has no revisions"
    server = {"oci": "registry", "apk": "apk"}.get(ecosystem, "origin")
    return Subject(
        *(ecosystem, samples_of(ecosystem), ecosystem in _LISTED),
        *(ecosystem in _FALLS_BACK, ecosystem == "oci", server),
    )


def _python(origin: Origin, number: int) -> None:
    files = {"alpha/__init__.py": f"revision = {number}\n".encode() * 40}
    origin.content.replace_bytes(
        "alpha-1.0-py3-none-any.whl", make_wheel("alpha", "1.0", files=files)
    )
    origin.content.synthetic("alpha", 100, number, f"1.9.{number}")


def _java(origin: Origin, number: int) -> None:
    origin.content.replace_bytes("demo-1.0.jar", jars.jar({"revision": f"{number}\n".encode()}))
    for file in jars.made_up("org.example:demo", f"1.9.{number}"):
        origin.content.add(file)


def _javascript(origin: Origin, number: int) -> None:
    files = {"revision.js": f"{number}\n"}
    origin.content.add(tarballs.tarball(ALPHA, "1.0.0", files=files))
    origin.content.add(tarballs.tarball(ALPHA, f"1.9.{number}"))


def _go(origin: Origin, number: int) -> None:
    for file in modules.made_up("example.org/demo", f"v1.9.{number}"):
        origin.content.add(file)


def _dotnet(origin: Origin, number: int) -> None:
    files = {"lib/revision.txt": f"{number}\n".encode()}
    origin.content.add(nupkgs.nupkg(nupkgs.ALPHA, "1.0.0", files=files))
    origin.content.add(nupkgs.nupkg(nupkgs.ALPHA, f"1.9.{number}"))


def _oci(origin: Origin, number: int) -> None:
    origin.images.repository(PUBLIC).image(f"revision {number}", "latest")


def _apk(origin: Origin, number: int) -> None:
    files = {"usr/share/revision": f"{number}\n".encode()}
    origin.content.add(apks.package("alpha-apk", "1.0-r0", files))
    origin.content.add(apks.package("beta-apk", f"1.9.{number}-r0"))
    assert origin.content.page(REPOSITORY, "beta-apk")


_REVISE: dict[str, Callable[[Origin, int], None]] = {
    "python": _python,
    "java": _java,
    "javascript": _javascript,
    "go": _go,
    "dotnet": _dotnet,
    "oci": _oci,
    "apk": _apk,
    "openvex": lambda _origin, _number: None,  # the origin has one revision of each
}
_LISTED = {"python", "javascript", "apk", "dotnet"}
_FALLS_BACK = {"dotnet"}
