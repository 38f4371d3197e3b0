"""What a path below a Maven repository is about. Pure.

Purpose: from the segments of a path to its target. Nothing is guessed: what can be no file of a
repository is no path of ours.

    /java/<group>/<artifact>/<version>/<artifact>-<version><...>   artifact; with .asc its signature
                                   .../<file>.spdx.json            SBOM; .slsa-attestation.json too
                                   .../<file>.md5 .sha1 ...        sidecar of any of these
    /java/<...>/maven-metadata.xml                                 document, with sidecars
    /java/<...>/                                                   folder page
    /java/archetype-catalog.xml, /java/.index/...                  as the repository has them

and the same below `/java-remediated`, whose versions are `X-0.cgr.N`.

Reading: the Maven 2 repository layout, its metadata (levels of group, artifact and snapshot).
Non-goals: reading documents (`java`, `java_folder`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from proxy.model import (
    Algorithm,
    ArtifactTarget,
    ChecksumTarget,
    DocumentTarget,
    encode_path,
)

MOUNTS: Final = ("java", "java-remediated")
METADATA: Final = "maven-metadata.xml"
CATALOG: Final = "archetype-catalog.xml"
XML: Final = "application/xml"
HTML: Final = "text/html; charset=utf-8"
TEXT: Final = "text/plain; charset=utf-8"
SIDECARS: Final[Mapping[str, Algorithm]] = {
    ".md5": "md5",
    ".sha1": "sha1",
    ".sha256": "sha256",
    ".sha512": "sha512",
}
# The strongest first. MD5 tells nothing that these do not.
_COMPARED: Final = (".sha256", ".sha1")
# Maven's resolver and Gradle take a digest from here and ask for no sidecar then.
FIELDS: Final[tuple[tuple[Algorithm, str], ...]] = (
    ("md5", "X-Checksum-Md5"),
    ("sha1", "X-Checksum-Sha1"),
    ("sha256", "X-Checksum-Sha256"),
    ("sha512", "X-Checksum-Sha512"),
)
# Of a file: what clients ask for. The others are slow, and computed only for who wants them.
_KEPT: Final = tuple(pair for pair in FIELDS if pair[0] in ("sha1", "sha256"))
_INDEX: Final = ".index"
_INDEX_FILE = re.compile(r"nexus-maven-repository-index(?:\.[0-9]{1,9})?\.(?:gz|properties)")
_SIGNATURE: Final = ".asc"
_COMPANIONS: Final = (".spdx.json", ".slsa-attestation.json")
_SNAPSHOT: Final = "-SNAPSHOT"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")  # of groups and artifacts
_MEDIA_TYPES: Final = {
    "asc": "application/pgp-signature",
    "jar": "application/java-archive",
    "json": "application/json",
    "module": "application/vnd.org.gradle.module+json",
    "pom": XML,
    "war": "application/java-archive",
    "xml": XML,
}


def folder(segments: tuple[str, ...]) -> DocumentTarget | None:
    """Understand the path of a folder; None: it can be none."""
    mount, *names = segments
    if mount not in MOUNTS or not all(_NAME.fullmatch(name) for name in names[:-1]):
        return None
    if (found := _coordinates(names)) is None:
        return None
    package, version = found
    return DocumentTarget(
        path=encode_path(segments, slash=True),
        scope=mount,
        package=package,
        version=version,
        accept="text/html",
        representation=HTML,
    )


def file(segments: tuple[str, ...]) -> DocumentTarget | ArtifactTarget | ChecksumTarget | None:
    """Understand the path of a file; None: it can be none."""
    plain, ending = split_sidecar(segments[-1])
    if not ending:
        return _file(segments)
    twice = split_sidecar(plain)[1]
    target = None if twice else _file((*segments[:-1], plain))
    if target is None:
        return None
    algorithm = SIDECARS[ending]
    if isinstance(target, ArtifactTarget):
        return ChecksumTarget(target, algorithm, _sidecar(target, ending))
    # The same document in another form: so it is of the same generation.
    return replace(target, representation=f"{TEXT}; of={algorithm}", follows=True)


def split_sidecar(name: str) -> tuple[str, str]:
    """Split a sidecar's name into its file's and its own ending; "": it is none."""
    ending = next((ending for ending in SIDECARS if name.endswith(ending)), "")
    return name.removesuffix(ending), ending


def _file(segments: tuple[str, ...]) -> DocumentTarget | ArtifactTarget | None:
    mount, *names, filename = segments
    if mount not in MOUNTS:
        return None
    if filename == METADATA and names and all(map(_NAME.fullmatch, names[:-1])):
        if (found := _coordinates(names, snapshot=True)) is None:
            return None
        return DocumentTarget(encode_path(segments), mount, *found, representation=XML)
    if len(names) >= 3:  # group, artifact, version
        *group, artifact, version = names
        named = _is_group(group) and _NAME.fullmatch(artifact)
        if named and _belongs(filename, artifact, version):
            return _artifact(segments, f"{'.'.join(group)}:{artifact}", version)
    return _of_the_root(segments, names)


def _of_the_root(
    segments: tuple[str, ...], names: list[str]
) -> DocumentTarget | ArtifactTarget | None:
    """The files that describe a whole repository."""
    filename, path = segments[-1], encode_path(segments)
    if filename == CATALOG and not names:
        return DocumentTarget(path, segments[0], representation=XML)
    if names != [_INDEX] or not _INDEX_FILE.fullmatch(filename):
        return None
    if filename.endswith(".gz"):
        return _artifact(segments, "", "")
    return DocumentTarget(path, segments[0], representation=TEXT)


def _artifact(segments: tuple[str, ...], package: str, version: str) -> ArtifactTarget:
    filename = segments[-1]
    target = ArtifactTarget(
        path=encode_path(segments),
        scope=segments[0],
        package=package,
        filename=filename,
        version=version,
        media_type=_MEDIA_TYPES.get(filename.rpartition(".")[2], "application/octet-stream"),
        digests=_KEPT,
        about=_about(segments),
    )
    return target._replace(checksum_of=tuple(_sidecar(target, ending) for ending in _COMPARED))


def _about(segments: tuple[str, ...]) -> str:
    """The path of the file that a signature or a statement is about; "": it is none."""
    filename = segments[-1]
    ending = next((end for end in (_SIGNATURE, *_COMPANIONS) if filename.endswith(end)), "")
    stem = filename.removesuffix(ending)
    if not ending or not stem:
        return ""
    whole = stem.endswith(tuple(f".{known}" for known in _MEDIA_TYPES)) or ending == _SIGNATURE
    return encode_path((*segments[:-1], stem if whole else f"{stem}.jar"))


def _sidecar(target: ArtifactTarget, ending: str) -> DocumentTarget:
    return DocumentTarget(target.path + ending, target.scope, target.package, target.version)


def _belongs(filename: str, artifact: str, version: str) -> bool:
    """Tell whether a version has such a file: its name says it, or it is a known companion."""
    stem = f"{artifact}-{version}"
    if filename.startswith((f"{stem}.", f"{stem}-")):
        return True
    if version.endswith(_SNAPSHOT):  # of a certain moment: the version with a timestamp
        base = f"{artifact}-{version.removesuffix(_SNAPSHOT)}-"
        return filename.startswith(base) and len(filename) > len(base)
    plain = filename.removesuffix(_SIGNATURE)
    return plain.endswith(_COMPANIONS) and bool(_NAME.fullmatch(filename))


def _coordinates(names: list[str], *, snapshot: bool = False) -> tuple[str, str] | None:
    """Package and version that a folder is of, as far as its path tells; None: it can be none.

    A folder of groups cannot be told from one of an artifact; its last name is taken for one. A dot
    in a group is a slash in its path: what has one is an artifact or a version, else two folders
    would have one name in rights and in logs.
    """
    if not names or names == [_INDEX]:
        return "".join(names), ""
    *group, last = names
    dotted = len(group) > 1 and "." in group[-1] and not snapshot
    versioned = last.endswith(_SNAPSHOT) if snapshot else dotted or last[0].isdigit()
    if len(names) >= 3 and versioned:  # group, artifact, version
        *group, artifact = group
        return (f"{'.'.join(group)}:{artifact}", last) if _is_group(group) else None
    if ":" in last or not _is_group(group or names):
        return None
    return (f"{'.'.join(group)}:{last}" if group else last), ""


def _is_group(names: list[str]) -> bool:
    return all(_NAME.fullmatch(name) and "." not in name for name in names)
