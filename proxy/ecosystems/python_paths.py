"""What a path below the Python mounts is about. Pure.

Purpose: from the segments of a path to its target, and back from a project to the path of its page.
`python` decides with it what a client asks for, `python_links` whether a link would lead back.

    /python/simple/<project>/                                index page
    /files/<...>/<project>/<file>[.metadata|.asc]            artifact, or a companion of it
    /python-upstream/<...>/<file>                            the same by the vendor's fallback
    /files/by-name/<index>/<project>/<file>                  the same, wherever it really lies
    /python/integrity/<project>/<version>/<file>/provenance  who built it and how (PEP 740)
                                          .../bundle.json    the same for sigstore's own tools

Reading: PEP 503, 658, 740. Non-goals: redirects to normal spellings (`python`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from proxy.ecosystems import distribution, simple_index
from proxy.ecosystems.negotiation import choose
from proxy.errors import NotAcceptable
from proxy.model import ArtifactTarget, DocumentTarget, encode_path

SCOPE: Final = "python"
REMEDIATED: Final = "python-remediated"
# The order in which the indexes are asked for a file whose name prefers none.
INDEXES: Final = {
    "python": SCOPE,
    REMEDIATED: REMEDIATED,
    "cu126": SCOPE,
    "cu128": SCOPE,
    "cu129": SCOPE,
}
FILES: Final = "files"
FILE_MOUNTS: Final = (FILES, "python-upstream")
BY_NAME: Final = "by-name"
_REMEDIATION: Final = "cgr"  # part of the local version of such builds
METADATA: Final = ".metadata"
SIGNATURE: Final = ".asc"
OCTETS: Final = "application/octet-stream"
_PGP: Final = "application/pgp-signature"
PROVENANCE: Final = "application/vnd.pypi.integrity.v1+json"
_PLAIN_JSON: Final = "application/json"
_ACCEPT: Final = f"{simple_index.JSON}, {simple_index.HTML};q=0.2, {simple_index.TEXT_HTML};q=0.1"
_COMPANIONS: Final = (SIGNATURE, METADATA)


@lru_cache(maxsize=1024)  # each file of a project has the same ones
def page(index: str, package: str, representation: str) -> DocumentTarget:
    """The page of a project, or with an empty `package` the list of all of them."""
    segments = (index, "simple", package) if package else (index, "simple")
    return DocumentTarget(
        path=encode_path(segments, slash=True),
        scope=INDEXES[index],
        package=package,
        accept=_ACCEPT,
        representation=representation,
        vary=("Accept",),
        based=bool(package),  # links to provenance are absolute
        bulk=not package,
    )


def artifact(segments: Sequence[str]) -> ArtifactTarget | None:
    """Understand the path of a file or of its companion; None: it is none of ours."""
    if len(segments) < 3 or segments[0] not in FILE_MOUNTS:  # mount, folder, file
        return None
    folder, name = segments[-2], segments[-1]
    if segments[1] == BY_NAME and segments[0] == FILES:
        known = _by_name(segments)
    else:
        known = _plain(folder, name) or _in_folder(folder, name)
    if known is None:
        return None
    package, version, listed_in = known
    return ArtifactTarget(
        path=encode_path(tuple(segments)),
        scope=listed_in[0].scope,
        package=package,
        filename=name,
        version=version,
        media_type=_PGP if name.endswith(SIGNATURE) else OCTETS,
        listed_in=listed_in,
    )


# Project, version, and the pages that may list it.
_Known = tuple[str, str, tuple[DocumentTarget, ...]]


def _by_name(segments: Sequence[str]) -> _Known | None:
    if len(segments) != 5 or segments[2] not in INDEXES:  # as in the picture
        return None
    index, package, name = segments[2:]
    filename, _ = split_companion(name)
    if not distribution.is_distribution(filename) or distribution.normalise(package) != package:
        return None
    version = distribution.version_within(filename, package)
    return (package, version, (page(index, package, simple_index.JSON),)) if version else None


def _plain(folder: str, name: str) -> _Known | None:
    """As `_in_folder`, at once, of a name that says it all; else None."""
    plain = distribution.plain(name)
    if plain is None or plain[0] != distribution.project_named(folder):
        return None
    package, version = plain
    return package, version, _likely_pages(package, distribution.local_parts(version))


def _in_folder(folder: str, name: str) -> _Known | None:
    filename, _ = split_companion(name)
    if not distribution.is_distribution(filename):
        return None
    package = project_of(folder, filename)
    version = distribution.version_within(filename, package)
    if not version:
        return None
    return package, version, _likely_pages(package, distribution.local_parts(version))


def split_companion(name: str) -> tuple[str, str]:
    """Split the name of a companion into its file's and its own ending; "": it is none."""
    if not name.endswith(_COMPANIONS):
        return name, ""
    for companion in _COMPANIONS:
        if name.endswith(companion):
            return name[: -len(companion)], companion
    return name, ""


def integrity(segments: Sequence[str], accept: Sequence[str] = ()) -> DocumentTarget | None:
    """Understand the path of a file's provenance; None: it is none. Raises NotAcceptable."""
    match tuple(segments):
        case ("python", "integrity", project, version, filename, "provenance" | "bundle.json"):
            pass
        case _:
            return None
    mine = distribution.is_distribution(filename) and distribution.is_project_name(project)
    normal = distribution.normalise(project)
    if not mine or not distribution.is_version_of(version, filename, normal):
        return None
    wanted = (PROVENANCE, _PLAIN_JSON) if segments[-1] == "provenance" else (_PLAIN_JSON,)
    representation = choose(accept, wanted, default=wanted[0])
    if representation is None:
        raise NotAcceptable(f"Provenance exists as {' and '.join(wanted)}.")
    inside = distribution.version_within(filename, normal)
    return DocumentTarget(
        path=encode_path(tuple(segments)),
        # The path is one for all indexes; whose build it is stands in the version.
        scope=REMEDIATED if _is_remediated(inside) else SCOPE,
        package=normal,
        version=inside,
        accept=", ".join((wanted[0], *(f"{other};q=0.5" for other in wanted[1:]))),
        representation=representation,
        vary=("Accept",),
    )


def project_of(folder: str, filename: str) -> str:
    """Tell the project: the folder's name if the file is one of it, else a guess, else ""."""
    project = distribution.project_named(folder)
    if project and distribution.belongs(filename, project):
        return project
    return distribution.guess(filename)


def _is_remediated(version: str) -> bool:
    """Tell a build of the remediated tier by its version (`X+cgr.N`)."""
    return _REMEDIATION in distribution.local_parts(version)


@lru_cache(maxsize=1024)  # each file of a project has the same ones, but for a few builds
def _likely_pages(package: str, local: tuple[str, ...]) -> tuple[DocumentTarget, ...]:
    """The pages that may list a file: those of the indexes that the parts of its local version
    name, then the rest.

    All of them: a CUDA index lists plain versions too, and a file's path does not tell its index.
    """
    named = [REMEDIATED] if _REMEDIATION in local else []
    named += [part for part in local if part in INDEXES and part not in named]
    indexes = (*named, *(index for index in INDEXES if index not in named))
    return tuple(page(index, package, simple_index.JSON) for index in indexes)
