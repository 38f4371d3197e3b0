"""Go modules, for the go command: the GOPROXY protocol.

Purpose: implements `Ecosystem` for the module proxy protocol. Paths are the upstream's own, so that
moving here changes the host only; what each means says `go_paths`. Remediated builds
(`vX.Y.Z-cgr.N`) are versions like any other.

No document lists a digest: a version's path is its address, the upstream's answer at that path its
right to be served. So each artifact is judged by what it is, before its last byte goes out: an
`.info` of this very version, a `.mod` with a module line, a whole `.zip` of this module and
version. A `.zip` whose `go.mod` is not the `.mod` that clients get is refused, and both are fetched
anew. Whether the bytes are those that a project knows is what its go.sum tells.

The go command goes on to the next proxy of its list, or finds that there is no such version, on 404
and 410 only: these are for what the upstream does not have. Any other refusal ends the build, and
its one line of text is printed.

Reading: the Go modules reference ("GOPROXY protocol", "Communicating with proxies"). Non-goals: a
checksum database; answering what the upstream's list leaves out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Final

from proxy.ecosystems import go_paths, go_setup
from proxy.ecosystems.base import Span, one_line, package_url, refuse_post
from proxy.ecosystems.go_paths import MOUNT, TEXT
from proxy.ecosystems.go_zip import MAX_GO_MOD, go_mod_of
from proxy.ecosystems.json_objects import json_object
from proxy.ecosystems.setups import Setup
from proxy.errors import Malformed, NotListed, ProxyError, UnknownPath
from proxy.model import (
    ArtifactTarget,
    Document,
    DocumentTarget,
    ErrorBody,
    Links,
    Mount,
    RequestLine,
    Source,
    Target,
)

_MAX_INFO: Final = 1 << 20
_MODULE_LINE = re.compile(rb"^[ \t]*module(?:[ \t]+[^\s/(]|[ \t]*\([ \t]*\r?$)", re.MULTILINE)
_LISTED = re.compile(r"v[0-9]{1,19}(?:\.[0-9]{1,19}){0,2}(?:[-+][0-9A-Za-z.+-]{1,300})?")


@dataclass(frozen=True, slots=True)
class Go:
    """The Go ecosystem. No state: every instance is the same."""

    name: str = "go"
    upstream: str = "libraries"

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """One: remediated builds are versions of the same modules."""
        return (Mount((MOUNT,), MOUNT),)

    @property
    def setups(self) -> tuple[Setup, ...]:
        """See `Introducing`."""
        return go_setup.SETUPS

    def purl(self, package: str, version: str = "") -> str:
        """Spell a module as package URL; capitals stay, for they tell modules apart."""
        return package_url("golang", package, version) if package else ""

    def classify(self, line: RequestLine) -> Target:
        """Say what a request line asks for. Raises UnknownPath, MethodNotAllowed."""
        refuse_post(line, "Modules are only read here.")
        if line.slash:
            raise UnknownPath("No path of the Go module proxy protocol ends in a slash.")
        return go_paths.target(line.segments)

    def locate(self, target: ArtifactTarget, listing: Document) -> Source:  # noqa: ARG002  # nothing lists addresses
        """Raise NotListed: the path of an artifact is its address."""
        raise NotListed(target.filename)

    def rewrite(self, target: DocumentTarget, document: Document, links: Links) -> Document:  # noqa: ARG002  # there are none
        """Pass a document on as it is, if it is one. Raises Malformed."""
        if target.representation == TEXT:
            _check_list(document.body)
        elif not go_paths.is_version(_version_in(document.body)):
            raise Malformed("The upstream's answer names no version of the module.")
        return Document(document.body, target.representation, document.url)

    def judge(self, source: Source, size: int) -> Generator[Span, bytes, Mapping[str, str]]:
        """Look at all of an artifact: see `Judging`. Raises Malformed."""
        stem, _, ending = source.location.rpartition(".")
        if ending == "zip":
            inner = yield from go_mod_of(source.package, source.version, size)
            return {} if inner is None else {f"{stem}.mod": hashlib.sha256(inner).hexdigest()}
        if size > (_MAX_INFO if ending == "info" else MAX_GO_MOD):
            raise Malformed(f"The upstream's .{ending} is larger than Go takes.")
        body = yield (0, size)
        if ending == "info":
            if _version_in(body) != source.version:
                raise Malformed("The upstream's .info is not that of this version.")
        elif b"\0" in body or not _MODULE_LINE.search(body):
            raise Malformed("The upstream's .mod names no module.")
        return {}

    def probe(self) -> Generator[str, Document, str]:
        """See `Probing`: the `.mod` of a version of a module that needs no other."""
        module = "/go/github.com/google/uuid/@v"
        listed = (yield f"{module}/list").body.decode("utf-8", "replace").split()
        versions = [word for word in listed if go_paths.is_version(word)]
        if not versions:
            raise Malformed("The upstream's list of github.com/google/uuid names no version.")
        return f"{module}/{versions[-1]}.mod"

    def render_error(self, error: ProxyError, request_id: str) -> ErrorBody:
        """Word a failure as one line: the go command prints it as the server's response."""
        return one_line(error, request_id)


def _version_in(body: bytes) -> str:
    """The version that an `.info` is of. Raises Malformed."""
    version = json_object(body).get("Version")
    return version if isinstance(version, str) else ""


def _check_list(body: bytes) -> None:
    """A line for each version, perhaps with a time behind it; none at all is a list, too."""
    for line in body.decode("utf-8", "replace").splitlines():
        words = line.split()
        if words and not _LISTED.fullmatch(words[0]):
            raise Malformed("The upstream's list holds a line that names no version.")
