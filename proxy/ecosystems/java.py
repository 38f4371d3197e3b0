"""Java packages: two Maven repositories, for Maven, Gradle, Ivy, bazel and their kin.

Purpose: implements `Ecosystem` for the Maven 2 layout. Paths are the upstream's own, so that moving
here changes the host only; what each means says `java_paths`.

No document lists an artifact: its path is its address, the upstream's answer at that path its right
to be served, and the upstream's `.sha1` and `.sha256`, where there are any, what it is compared
with. Sidecars are told from the very copy that clients get, so that a file and its checksum are of
one generation; digests are told in `X-Checksum-...` fields as well, which spares newer clients the
question. Metadata is a document, passed on byte for byte if it is whole, and its sidecars are other
forms of the same document.

A client writes "not found" down and does not ask again: 404 is for what the upstream does not have.

Reading: the Maven 2 repository layout and metadata; Maven Resolver's checksums ("remote included").
Non-goals: snapshots of our own, merging repositories, reading POMs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote
from xml.parsers import expat  # a document type, hence any entity, is refused

from proxy.ecosystems import java_folder, java_paths, java_setup
from proxy.ecosystems.base import package_url, problem, refuse_post, to_folder
from proxy.ecosystems.java_paths import CATALOG, FIELDS, MOUNTS, SIDECARS, TEXT
from proxy.ecosystems.setups import Setup
from proxy.errors import Malformed, NotListed, ProxyError, UnknownPath
from proxy.model import (
    HEX_LENGTHS,
    ArtifactTarget,
    Digest,
    Document,
    DocumentTarget,
    ErrorBody,
    Links,
    Mount,
    RequestLine,
    Source,
    Target,
)

_JSON: Final = "application/json"
_ABSENT: Final = (404, 410)
_ROOTS: Final = {CATALOG: "archetype-catalog"}


@dataclass(frozen=True, slots=True)
class Java:
    """The Java ecosystem. No state: every instance is the same."""

    name: str = "java"
    upstream: str = "libraries"

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """All builds, and remediated builds only."""
        return tuple(Mount((name,), name) for name in MOUNTS)

    @property
    def setups(self) -> tuple[Setup, ...]:
        """See `Introducing`."""
        return java_setup.SETUPS

    def purl(self, package: str, version: str = "") -> str:
        """Spell `group:artifact` as package URL."""
        return package_url("maven", package.replace(":", "/"), version) if package else ""

    def classify(self, line: RequestLine) -> Target:
        """Say what a request line asks for. Raises UnknownPath, MethodNotAllowed."""
        refuse_post(line, "Packages are only read here; nothing can be deployed.")
        segments = line.segments
        if line.slash:
            target: Target | None = java_paths.folder(segments)
        elif len(segments) == 1:
            return to_folder(line, segments, f"{segments[0]}/", scope=segments[0])
        else:
            target = java_paths.file(segments)
        if target is None:
            raise UnknownPath("This can be no file of a Maven repository; folders end in a slash.")
        return target

    def locate(self, target: ArtifactTarget, listing: Document) -> Source:
        """Read a sidecar of an artifact: `listing.url` tells which. Raises NotListed."""
        ending = java_paths.split_sidecar(listing.url.partition("?")[0])[1]
        digest = _checksum(listing.body, SIDECARS[ending]) if ending else None
        if digest is None:
            raise NotListed(target.filename)
        return Source(target.path, target.package, target.version, digest)

    def rewrite(self, target: DocumentTarget, document: Document, links: Links) -> Document:  # noqa: ARG002  # links are relative
        """Make the document that a client gets. Raises Malformed."""
        if target.path.endswith("/"):
            body = self._folder(target, document)
            return Document(body, target.representation, document.url)
        _check(target.path.rpartition("/")[2], document)
        if target.follows:
            algorithm = target.representation.rpartition("=")[2]
            return Document(_hex(document.body, algorithm).encode("ascii"), TEXT, document.url)
        fields = tuple((name, _hex(document.body, algorithm)) for algorithm, name in FIELDS)
        return Document(document.body, target.representation, document.url, fields)

    def probe(self) -> Generator[str, Document, str]:
        """See `Probing`: the POM of a library that few builds do without."""
        metadata = yield "/java/commons-io/commons-io/maven-metadata.xml"
        found = re.findall(rb"<version>([0-9][0-9A-Za-z.-]{0,40})</version>", metadata.body)
        if not found:
            raise Malformed("The upstream's metadata of commons-io names no version.")
        version = found[-1].decode("ascii")
        return f"/java/commons-io/commons-io/{version}/commons-io-{version}.pom"

    def render_error(self, error: ProxyError, request_id: str) -> ErrorBody:
        """Word a failure as problem details: newer Maven prints them, all print the reason.

        But absence as plain JSON: newer Maven takes a 404 with problem details for trouble, and
        fails where it would have gone on without (measured with 3.9.11 and 4.0.0-rc-4).
        """
        worded = problem(error, request_id)
        return worded if error.status not in _ABSENT else replace(worded, media_type=_JSON)

    def _folder(self, target: DocumentTarget, document: Document) -> bytes:
        listed = java_folder.names(document)
        # The address that was asked for: what is understood is decided by the path here.
        folder = tuple(unquote(segment) for segment in target.path.strip("/").split("/"))

        def known(name: str) -> bool:
            segments = (*folder, name.removesuffix("/"))
            found = java_paths.folder if name.endswith("/") else java_paths.file
            return found(segments) is not None

        path = "/" + "/".join(folder) + "/"
        return java_folder.page(path, listed, known, root=len(folder) == 1)


# --- sidecars --------------------------------------------------------------------------------


def _checksum(body: bytes, algorithm: str) -> Digest | None:
    """The one digest in a checksum file, in any of the forms that are about: bare, before or behind
    a file's name. None: there is none, or more than one."""
    text = body.decode("ascii", "replace")
    if "<" in text:  # a page of something in between may hold anything
        return None
    length = HEX_LENGTHS[algorithm]
    found = set(re.findall(rf"(?<![0-9A-Za-z])[0-9A-Fa-f]{{{length}}}(?![0-9A-Za-z])", text))
    return Digest.of(algorithm, found.pop()) if len(found) == 1 else None


def _hex(body: bytes, algorithm: str) -> str:
    return hashlib.new(algorithm, body, usedforsecurity=False).hexdigest()


# --- documents -------------------------------------------------------------------------------


def _check(name: str, document: Document) -> None:
    """Tell a document that is whole and what it is called from anything else. Raises Malformed."""
    if name.endswith(".properties"):
        if b"<" in document.body or b"\0" in document.body or not document.body.strip():
            raise Malformed("The upstream's index properties are none.")
        return
    wanted = _ROOTS.get(name, "metadata")
    roots: list[str] = []

    def begun(tag: str, _: dict[str, str]) -> None:
        roots.extend([tag] if not roots else ())

    def typed(*_: object) -> None:
        raise Malformed("The upstream's XML has a document type, which no metadata needs.")

    parser = expat.ParserCreate()
    parser.StartElementHandler = begun
    parser.StartDoctypeDeclHandler = typed
    try:
        parser.Parse(document.body, True)  # noqa: FBT003  # expat knows no keywords
    except expat.ExpatError as error:
        raise Malformed("The upstream's XML is cut or not well-formed.") from error
    if roots != [wanted]:
        raise Malformed(f"The upstream's XML is no {wanted}.")
