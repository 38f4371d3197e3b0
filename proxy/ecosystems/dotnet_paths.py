"""What a path below the NuGet mount is about. Pure.

Purpose: from the segments of a path to its target. A NuGet source says in its service index where
everything else is; the paths here are the upstream's own, so a path is understood by its shape:

    /dotnet/v3/index.json                           service index
    <folder>/<id>/index.json                        its versions, or its registration
    <folder>/<id>/page/<lowest>/<highest>.json      a page of its registration
    <folder>/<id>/<version>.json                    a leaf of its registration
    <folder>/<id>/<version>/<id>.<version>.nupkg    package
    <folder>/<id>/<version>/<id>.nuspec             its manifest
    <folder>/<id>.<version>.json                    its entry in the catalogue
    <folder>/query, search, autocomplete            calls that are passed on
    /dotnet/v3/vulnerabilities/...json              known vulnerabilities

Which folder holds which of them, the service index says: the upstream's 404 in the wrong one is the
client's, and a document that is none of those that may lie at its path is refused (`dotnet`).
Identifiers and versions are asked for in their normal spelling, whatever the client wrote.

Reading: NuGet's documentation, "Server API" (all resources). Non-goals: reading documents.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlencode

from proxy.ecosystems.dotnet_versions import identifier, normalise, split_file
from proxy.errors import InvalidName, UnknownPath
from proxy.model import ArtifactTarget, DocumentTarget, ForwardTarget, Target, encode_path

MOUNT: Final = "dotnet"
JSON: Final = "application/json"
SERVICE_INDEX: Final = (MOUNT, "v3", "index.json")
VULNERABILITIES: Final = (MOUNT, "v3", "vulnerabilities")
PACKAGES: Final = (MOUNT, "v3-flatcontainer")
"""Where a package is here that the upstream keeps elsewhere."""
NUPKG: Final = ".nupkg"
NUSPEC: Final = ".nuspec"
SEARCHES: Final = ("query", "search")
COMPLETIONS: Final = ("autocomplete",)
INDEX: Final = "index.json"
_ENDING: Final = ".json"
_MEDIA_TYPES: Final = {NUPKG: "application/octet-stream", NUSPEC: "application/xml"}
_MOST_FOLDERS: Final = 6
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ASKED: Final = ("q", "skip", "take", "prerelease", "semVerLevel", "packageType")

Segments = tuple[str, ...]


def target(segments: Segments, query: tuple[tuple[str, str], ...] = ()) -> Target:
    """Understand a path that ends in no slash. Raises UnknownPath, InvalidName."""
    if segments == SERVICE_INDEX:
        return _document(segments, neutral=True)
    if segments[:3] == VULNERABILITIES:
        return _vulnerabilities(segments)
    *before, name = segments
    if (before == [MOUNT] or is_folder(tuple(before))) and name in (*SEARCHES, *COMPLETIONS):
        return _call(segments, query)
    found = _artifact(segments) or _listing(segments) or _entry(segments)
    if found is None:
        raise UnknownPath("This is no path of a NuGet source.")
    return found


def is_folder(segments: Segments) -> bool:
    """Tell whether packages, or what is said of them, may lie there."""
    mount, *inner = segments or ("",)
    known = mount == MOUNT and 0 < len(inner) <= _MOST_FOLDERS and not inner[-1].endswith(_ENDING)
    return known and segments[:3] != VULNERABILITIES and all(map(_FOLDER.fullmatch, inner))


def package_index(folder: Segments, package: str) -> DocumentTarget:
    """The index of a package (normal spelling) in a folder."""
    return _document((*folder, package, INDEX), package)


def entry(segments: Segments, package: str, version: str) -> DocumentTarget | None:
    """The catalogue's entry of a version, at an address that is called like one; None: it is not.

    For who knows what it is of: in `a.1.2.3.4` two versions can be read.
    """
    *folder, name = segments
    if not is_folder(tuple(folder)) or name.lower() != f"{package}.{version}{_ENDING}":
        return None
    return _document(segments, package, version)


def artifact_path(folder: Segments, package: str, version: str, ending: str) -> str:
    """Where an artifact is in a folder, percent-encoded; everything in its normal spelling."""
    name = f"{package}.{version}{ending}" if ending == NUPKG else f"{package}{ending}"
    return encode_path((*folder, package, version, name))


def _listing(segments: Segments) -> DocumentTarget | None:
    match segments:
        case (*folder, package, "page", lowest, last) if last.endswith(_ENDING):
            versions = (normalise(lowest), normalise(last.removesuffix(_ENDING)))
            if None not in versions and is_folder(tuple(folder)):
                # Bounds are spelt as the upstream spells them: they are its name for the page.
                return _document((*folder, _id(package), "page", lowest, last), _id(package))
        case (*folder, package, "index.json") if is_folder(tuple(folder)):
            return package_index(tuple(folder), _id(package))
        case (*folder, package, last) if last.endswith(_ENDING) and is_folder(tuple(folder)):
            version = normalise(last.removesuffix(_ENDING))
            if version is not None:
                path = (*folder, _id(package), version + _ENDING)
                return _document(path, _id(package), version)
    return None


def _artifact(segments: Segments) -> ArtifactTarget | None:
    match segments:
        case (*folder, given, written, name) if name.lower().endswith((NUPKG, NUSPEC)):
            package, version = identifier(given), normalise(written)
        case _:
            return None
    ending = NUPKG if name.lower().endswith(NUPKG) else NUSPEC
    stem = name[: -len(ending)].lower()
    if package is None or version is None or not is_folder(tuple(folder)):
        return None
    if ending == NUPKG and stem.startswith(f"{package}."):
        stem = f"{package}." + (normalise(stem.removeprefix(f"{package}.")) or "")
    path = artifact_path(tuple(folder), package, version, ending)
    filename = path.rpartition("/")[2]
    if f"{stem}{ending}" != filename:
        raise UnknownPath("A package's file is called like its package and version.")
    return ArtifactTarget(
        path=path,
        scope=MOUNT,
        package=package,
        filename=filename,
        version=version,
        media_type=_MEDIA_TYPES[ending],
        listed_in=(_document(SERVICE_INDEX, neutral=True),),
    )


def _entry(segments: Segments) -> DocumentTarget | None:
    *folder, name = segments
    if not is_folder(tuple(folder)) or not name.endswith(_ENDING):
        return None
    found = split_file(name.removesuffix(_ENDING).lower())
    return _document(segments, *found) if found is not None else None


def _vulnerabilities(segments: Segments) -> DocumentTarget:
    inner = segments[len(VULNERABILITIES) :]
    known = 0 < len(inner) <= _MOST_FOLDERS and all(map(_FOLDER.fullmatch, inner))
    if not known or not inner[-1].endswith(_ENDING):
        raise UnknownPath("This is no list of vulnerabilities.")
    return _document(segments, neutral=True)


def _call(segments: Segments, query: tuple[tuple[str, str], ...]) -> ForwardTarget:
    """A search or a completion. What is named by `id` is a package, whose versions are asked for;
    any other answer is of packages that the client may have or not."""
    known = [(name, value) for name, value in query if name in _ASKED]
    package = ""
    if segments[-1] in COMPLETIONS:
        given = [value for name, value in query if name == "id"]
        package = _id(given[0]) if given else ""
        known += [("id", package)] if package else []
    path = encode_path(segments) + (f"?{urlencode(known)}" if known else "")
    return ForwardTarget(path, MOUNT, package=package, accept=JSON, sifted=True)


def _id(text: str) -> str:
    package = identifier(text)
    if package is None:
        raise InvalidName("This can be the identifier of no NuGet package.")
    return package


def _document(
    segments: Segments, package: str = "", version: str = "", *, neutral: bool = False
) -> DocumentTarget:
    return DocumentTarget(
        path=encode_path(segments),
        scope=MOUNT,
        package=package,
        version=version,
        accept=JSON,
        representation=JSON,
        based=True,
        neutral=neutral,
    )
