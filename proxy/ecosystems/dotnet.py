"""NuGet packages, for nuget, dotnet, MSBuild, Paket and everybody else who speaks NuGet v3.

Purpose: implements `Ecosystem` for a NuGet source. Clients are told one address, that of the
service index, and find everything else in it: it is pointed here, and names only what is served
here (`dotnet_service`). Paths are the upstream's own (`dotnet_paths`).

The right to a package, its digest and its true address come from its registration, which the
service index leads to, and from its entry in the catalogue, where that has the digest. Where the
upstream has no registrations, the list of versions is what gives the right, and a package without a
digest is judged by what it is (`dotnet_package`).

A client prints the status and its reason phrase, and as a warning what stands in `X-NuGet-Warning`.
One that is told 404 asks its other sources, so that it is no news worth a warning.

Reading: NuGet's documentation, "Server API". Non-goals: publishing, symbols, signing certificates,
NuGet v2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from proxy.ecosystems import dotnet_paths as paths
from proxy.ecosystems import dotnet_registration as registration
from proxy.ecosystems import dotnet_search, dotnet_service, dotnet_setup
from proxy.ecosystems.base import Span, package_url, problem, refuse_post
from proxy.ecosystems.dotnet_package import MAX_MANIFEST, check, check_manifest
from proxy.ecosystems.dotnet_paths import JSON, MOUNT, NUPKG
from proxy.ecosystems.json_objects import json_object, json_value, standard
from proxy.ecosystems.setups import Setup
from proxy.errors import Malformed, NotListed, ProxyError, UnknownPath
from proxy.model import (
    ArtifactTarget,
    Document,
    DocumentTarget,
    ErrorBody,
    ForwardTarget,
    Further,
    Links,
    Mount,
    RequestLine,
    Source,
    Target,
)

_WARNING: Final = "X-NuGet-Warning"
_NO_NEWS: Final = (401, 404, 410)
_LONGEST_WARNING: Final = 500


@dataclass(frozen=True, slots=True)
class Dotnet:
    """The .NET ecosystem. No state: every instance is the same."""

    name: str = "dotnet"
    upstream: str = "libraries"

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """The one that the upstream has."""
        return (Mount((MOUNT,), MOUNT),)

    @property
    def setups(self) -> tuple[Setup, ...]:
        """See `Introducing`."""
        return dotnet_setup.SETUPS

    def purl(self, package: str, version: str = "") -> str:
        """Spell a package (normal spelling) as package URL."""
        return package_url("nuget", package, version) if package else ""

    def classify(self, line: RequestLine) -> Target:
        """Say what a request line asks for. Raises UnknownPath, InvalidName, MethodNotAllowed."""
        refuse_post(line, "Packages are only read here; nothing can be published.")
        if line.slash or len(line.segments) == 1:
            raise UnknownPath("The address of this NuGet source ends in /dotnet/v3/index.json.")
        return paths.target(line.segments, line.query)

    def locate(self, target: ArtifactTarget, listing: Document) -> Source | Further:
        """Find an artifact, or the next document on the way to it. Raises NotListed, Malformed."""
        top = json_object(listing.body, standard)
        if "resources" not in top:
            return registration.locate(target, top, listing)
        places = dotnet_service.places(top, listing.url)
        folder = tuple(target.path.strip("/").split("/")[:-3])
        if folder not in (places.content, paths.PACKAGES):
            raise NotListed(target.filename)
        ending = paths.NUPKG if target.filename.endswith(NUPKG) else paths.NUSPEC
        true = paths.artifact_path(places.content, target.package, target.version, ending)
        listed = places.registrations if ending == NUPKG else None
        index = paths.package_index(listed or places.content, target.package)
        return Further(index, target._replace(path=true))

    def rewrite(self, target: DocumentTarget, document: Document, links: Links) -> Document:
        """Make the document that a client gets. Raises Malformed."""
        segments = tuple(target.path.strip("/").split("/"))
        if segments == paths.SERVICE_INDEX:
            body = dotnet_service.rewrite(document, links)
        elif segments == (*paths.VULNERABILITIES, paths.INDEX):
            items = json_value(document.body, standard)
            body = dotnet_service.vulnerabilities(items, document, links)
        elif not target.package:
            json_object(document.body, standard)
            body = document.body
        else:
            body = registration.rewrite(target, document, links)
        return Document(body, JSON, document.url)

    def answer(
        self, target: ForwardTarget, answer: Document, links: Links, may: Callable[[str, str], bool]
    ) -> Document:
        """See `Answering`: the results of a search."""
        return replace(answer, body=dotnet_search.answer(target, answer, links, may))

    def judge(self, source: Source, size: int) -> Generator[Span, bytes, Mapping[str, str]]:
        """Look at an artifact that no digest vouches for: see `Judging`. Raises Malformed."""
        # Where a package is, its address may not say; a manifest is where its path here says.
        if not source.location.endswith(paths.NUSPEC):
            yield from check(source.package, source.version, size)
            return {}
        if size > MAX_MANIFEST:
            raise Malformed("The upstream's manifest is beyond measure.")
        body = yield (0, size)
        check_manifest(source.package, source.version, body)
        return {}

    def probe(self) -> Generator[str, Document, str]:
        """See `Probing`: a small package that many others need."""
        index = yield f"/{'/'.join(paths.SERVICE_INDEX)}"
        places = dotnet_service.places(json_object(index.body, standard), index.url)
        folder = f"/{'/'.join(places.content)}/microsoft.netcore.platforms"
        versions = json_object((yield f"{folder}/{paths.INDEX}").body, standard).get("versions")
        if not isinstance(versions, list) or not versions:
            raise Malformed("The upstream's list of microsoft.netcore.platforms names no version.")
        return f"{folder}/{versions[-1]}/microsoft.netcore.platforms.{versions[-1]}{NUPKG}"

    def render_error(self, error: ProxyError, request_id: str) -> ErrorBody:
        """Word a failure as problem details, and as the warning that clients print."""
        worded = problem(error, request_id)
        if error.status in _NO_NEWS:
            return worded
        text = f"{error.reason}: {error.detail}".encode("ascii", "replace").decode("ascii")
        plain = re.sub(r"[^ -~]+", " ", text)[:_LONGEST_WARNING].strip()
        return replace(worded, headers=((_WARNING, plain),))
