"""The service index: where a NuGet source has what. Pure.

Purpose: of all resources that the upstream names, keep those that are served here, pointed at here.
A kind that is not known is left out, and so is a place that is no folder of ours: whatever a client
finds in the index works. Publishing, symbols, events (the catalogue's index), pages for people and
signing certificates are not served; nothing of a source without a place for packages is.

Reading: NuGet's documentation, "Service index" and "Overview" (the kinds and their versions).
Non-goals: what the resources hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from proxy.ecosystems import dotnet_paths as paths
from proxy.ecosystems.dotnet_links import Pointer, meant, pointed, segments_of
from proxy.ecosystems.dotnet_versions import normalise
from proxy.ecosystems.json_objects import json_object, standard
from proxy.errors import Malformed
from proxy.model import Document, ForwardTarget, Links, encode_path

CONTENT: Final = "PackageBaseAddress"
REGISTRATIONS: Final = "RegistrationsBaseUrl"
_SEARCH: Final = "SearchQueryService"
_COMPLETION: Final = "SearchAutocompleteService"
_VULNERABILITIES: Final = "VulnerabilityInfo"
# The best first: those of `/3.4.0` and earlier leave out versions of SemVer 2.0.0.
_BEST: Final = ("/Versioned", "/3.6.0", "/3.4.0", "/3.0.0-rc", "/3.0.0-beta", "")
_KIND = re.compile(r"[A-Za-z]+(?:/[0-9A-Za-z.-]+)?")


class Resource(NamedTuple):
    """One that is served here. `place`: its folder, or its path."""

    kind: str
    version: str
    place: paths.Segments
    given: Mapping[str, object]


class Places(NamedTuple):
    """Where a source keeps packages, and what it says of them."""

    content: paths.Segments
    registrations: paths.Segments | None


def rewrite(document: Document, links: Links) -> bytes:
    """Make the index that a client gets. Raises Malformed."""
    top = json_object(document.body, standard)
    kept = []
    for resource in _resources(top, document.url):
        folder = resource.kind in (CONTENT, REGISTRATIONS)
        address = links.base + encode_path(resource.place, slash=folder)
        known = _version(resource.given.get("clientVersion"))
        said = {"clientVersion": known} if known is not None else {}
        kept.append({"@id": address, "@type": resource.given["@type"], **said})
    places(top, document.url)
    made = {"version": _version(top.get("version")) or "3.0.0", "resources": kept}
    return json.dumps(made, separators=(",", ":")).encode("ascii")


def places(top: Mapping[str, object], base: str) -> Places:
    """Where packages are, by a service index that has been read: `top`, from `base`. Raises
    Malformed when it names no place that may be used."""
    content: paths.Segments | None = None
    registrations: dict[str, paths.Segments] = {}
    for resource in _resources(top, base):
        if resource.kind == CONTENT:
            content = content or resource.place
        elif resource.kind == REGISTRATIONS:
            registrations.setdefault(resource.version, resource.place)
    if content is None:
        raise Malformed("The upstream's service index names no place for packages.")
    best = next((registrations[name] for name in _BEST if name in registrations), None)
    return Places(content, best)


def vulnerabilities(items: object, document: Document, links: Links) -> bytes:
    """Make the list of the lists of vulnerabilities. Raises Malformed."""
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Malformed("The upstream's list of vulnerabilities is none.")
    kept, pointer = [], Pointer(document.url, links)
    for item in items:
        url = item.get("@id")
        address = pointed(url, document.url, links) if isinstance(url, str) else None
        if address is None or _kind_at(str(url), document.url) != _VULNERABILITIES:
            raise Malformed("The upstream's vulnerabilities lie where they are not fetched from.")
        kept.append({**pointer.pointed(item), "@id": address})
    return json.dumps(kept, separators=(",", ":")).encode("ascii")


def _version(given: object) -> str | None:
    return given if isinstance(given, str) and normalise(given) is not None else None


def _resources(top: Mapping[str, object], base: str) -> Iterator[Resource]:
    resources = top.get("resources")
    if not isinstance(resources, list):
        raise Malformed("The upstream's service index names no resources.")
    for given in resources:
        if not isinstance(given, dict):
            raise Malformed("The upstream's service index names a resource that is none.")
        url, kind = given.get("@id"), given.get("@type")
        if not isinstance(url, str) or not isinstance(kind, str) or not _KIND.fullmatch(kind):
            continue
        name, slash, version = kind.partition("/")
        place = segments_of(url, base)
        if place is not None and name == _kind_at(url, base, name):
            yield Resource(name, slash + version, place, given)


def _kind_at(url: str, base: str, wanted: str = "") -> str:
    """The kind of resource that an address can be; `wanted`: of several."""
    segments = segments_of(url, base)
    if segments is None:
        return ""
    if wanted in (CONTENT, REGISTRATIONS):
        return wanted if paths.is_folder(segments) else ""
    target = meant(url, base)
    if segments[:3] == paths.VULNERABILITIES and target is not None:
        return _VULNERABILITIES
    if isinstance(target, ForwardTarget):
        return _COMPLETION if segments[-1] in paths.COMPLETIONS else _SEARCH
    return ""
