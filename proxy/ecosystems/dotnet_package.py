"""Whether a NuGet package, or its manifest, is whole and its own, where no digest tells. Pure.

Purpose: a truncated archive, a page, another package: the directory of a package stands at its end,
which a truncated one lacks, and the one manifest (`.nuspec`) in its root says whose it is.

Reading: NuGet's documentation, ".nuspec reference"; the Open Packaging Conventions; PKWARE's
APPNOTE. Non-goals: signatures, which clients look at; what a package holds besides.
"""

from __future__ import annotations

import zipfile
from collections.abc import Generator
from typing import Final
from xml.parsers import expat  # a document type, hence any entity, is refused

from proxy.ecosystems.archive import BROKEN, Parts, TooMuch
from proxy.ecosystems.base import Span
from proxy.ecosystems.dotnet_paths import NUSPEC
from proxy.ecosystems.dotnet_versions import identifier, normalise
from proxy.errors import Malformed

MAX_MANIFEST: Final = 4 << 20
_TAIL: Final = 64 << 10
_BUDGET: Final = 40 << 20
_LONGEST: Final = 1000  # characters of an identifier or a version, with white space


def check(package: str, version: str, size: int) -> Generator[Span, bytes, None]:
    """Check a package of `size` bytes. Yields spans, is sent their bytes. Raises Malformed."""
    file = Parts(size, _BUDGET)
    try:
        yield from file.fetch(max(0, size - _TAIL), size)
        archive = yield from file.complete(lambda: zipfile.ZipFile(file))
        names = [info for info in archive.infolist() if _is_manifest(info.filename)]
        if len(names) != 1:
            raise Malformed("The upstream's package does not hold one manifest.")
        manifest = yield from file.complete(lambda: _read(archive, names[0]))
    except TooMuch:
        raise Malformed("The upstream's package has a directory beyond measure.") from None
    except BROKEN as error:
        raise Malformed("The upstream's package is cut, or is none.") from error
    check_manifest(package, version, manifest)


def check_manifest(package: str, version: str, body: bytes) -> None:
    """Check that a manifest is that of a package. Raises Malformed."""
    found = _fields(body)
    if identifier(found.get("id", "").strip()) != package:
        raise Malformed("The upstream's package is another one.")
    if normalise(found.get("version", "").strip()) != version:
        raise Malformed("The upstream's package is another version.")


def _is_manifest(name: str) -> bool:
    return "/" not in name and name.lower().endswith(NUSPEC)


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if max(info.file_size, info.compress_size) > MAX_MANIFEST:
        raise Malformed("The manifest in the upstream's package is beyond measure.")
    with archive.open(info) as member:
        return member.read(MAX_MANIFEST + 1)


def _fields(body: bytes) -> dict[str, str]:
    """The texts of `package/metadata/...`, by name. Raises Malformed."""
    path: list[str] = []
    found: dict[str, str] = {}

    def begun(tag: str, _: dict[str, str]) -> None:
        path.append(tag.rpartition(":")[2])

    def ended(_: str) -> None:
        path.pop()

    def told(text: str) -> None:
        if path[:2] == ["package", "metadata"] and path[2:] in (["id"], ["version"]):
            found[path[2]] = (found.get(path[2], "") + text)[:_LONGEST]

    def typed(*_: object) -> None:
        raise Malformed("The upstream's manifest has a document type, which none needs.")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = begun, ended
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = told, typed
    try:
        parser.Parse(body, True)  # noqa: FBT003  # expat knows no keywords
    except expat.ExpatError as error:
        raise Malformed("The upstream's manifest is cut or not well-formed.") from error
    return found
