"""The JSON form of the simple repository API (PEP 691, 700, 708, 714, 740, 792).

Purpose: bytes to `ProjectPage` and back. Reading is strict where being lenient
would let two readers see two things (duplicate keys, NaN, lone surrogates, wrong types) and
bounded where a document could be made to hurt; keys that no PEP names are kept as they are.

Non-goals: choosing between JSON and HTML (`simple_index`), checking links (`simple_page`), the list
of all projects (`simple_root`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final, TypeVar

from proxy.ecosystems.distribution import normalise
from proxy.ecosystems.json_objects import DECODER, check_text, json_object
from proxy.ecosystems.simple_page import (
    NEWEST_MINOR,
    File,
    ProjectPage,
    checked,
)
from proxy.errors import Malformed

MAX_DEPTH = 16
"""How deep keys that no PEP names may nest."""

_VERSION = re.compile(r"1\.([0-9]{1,4})")
_METADATA_KEYS: Final = ("core-metadata", "dist-info-metadata", "data-dist-info-metadata")
_FILE_KEYS: Final = frozenset(
    {
        *("filename", "url", "hashes", "requires-python", "yanked", "size", "upload-time"),
        *("gpg-sig", "provenance", *_METADATA_KEYS),
    }
)
_PAGE_KEYS: Final = frozenset(
    {"meta", "name", "files", "versions", "project-status", "alternate-locations"}
)

_Object = dict[str, object]
_T = TypeVar("_T")


def read_page(body: bytes, project: str, base: str) -> tuple[ProjectPage, int]:
    """Read the page of `project` (normalised) at the URL `base`; also: how many files it named.

    Raises Malformed for anything that is not exactly such a page.
    """
    top = load(body)
    if normalise(_string(top, "name")) != project:
        raise Malformed("The upstream's index page is another project's.")
    meta, minor = read_meta(top)
    named = [_read_file(item) for item in _objects(top, "files")]
    files = tuple(file for raw in named if (file := checked(raw, project, base)) is not None)
    status = _optional(top, "project-status", dict) or {}
    page = ProjectPage(
        name=project,
        files=files,
        versions=_strings(top, "versions") if "versions" in top else None,
        minor=minor,
        status=_optional(status, "status", str),
        status_reason=_optional(status, "reason", str),
        tracks=_strings(meta, "tracks") if "tracks" in meta else (),
        alternate_locations=_strings(top, "alternate-locations")
        if "alternate-locations" in top
        else (),
        extra=_others(top, _PAGE_KEYS),
        meta=_others(meta, frozenset({"api-version", "tracks"})),
    )
    return page, len(named)


def write_page(page: ProjectPage) -> bytes:
    """Write a page. It declares 1.1 and later only if it keeps what PEP 700 asks for: the
    versions, and a size for every file."""
    complete = page.versions is not None and all(f.size is not None for f in page.files)
    minor = min(page.minor, NEWEST_MINOR) if complete else 0
    meta: _Object = {"api-version": f"1.{minor}", **page.meta}
    if page.tracks:
        meta["tracks"] = list(page.tracks)
    top: _Object = {"meta": meta, "name": page.name, "files": [_write_file(f) for f in page.files]}
    if minor and page.versions is not None:
        top["versions"] = list(page.versions)
    if page.status is not None:
        reason = {} if page.status_reason is None else {"reason": page.status_reason}
        top["project-status"] = {"status": page.status, **reason}
    if page.alternate_locations:
        top["alternate-locations"] = list(page.alternate_locations)
    return _dump({**page.extra, **top})


def _dump(top: _Object) -> bytes:
    return json.dumps(top, separators=(",", ":"), allow_nan=False).encode("ascii")


def _write_file(file: File) -> _Object:
    out: _Object = {
        "filename": file.filename,
        "url": file.url,
        "hashes": dict(file.hashes),
        "requires-python": file.requires_python,
        "yanked": file.yanked,
        "size": file.size,
        "upload-time": file.upload_time,
        "gpg-sig": file.gpg_sig,
        "provenance": file.provenance,
    }
    announced = file.core_metadata
    # Only under the new name: pip 22.3 to 23.0 fail on the old one in JSON (PEP 714).
    out["core-metadata"] = dict(announced) if isinstance(announced, Mapping) else announced
    return {**file.extra, **{key: value for key, value in out.items() if value is not None}}


# --- reading, checked ------------------------------------------------------------------------


def load(body: bytes) -> _Object:
    """Read a JSON object, strictly, without half a character in it. Raises Malformed."""
    return json_object(body, _whole)


def _whole(body: bytes) -> object:
    text = body.decode("utf-8")
    value = DECODER.decode(text)
    check_text(text, value)
    return value


def read_meta(top: Mapping[str, object]) -> tuple[_Object, int]:
    """Read what is said about the whole: the meta object, the minor version. Raises Malformed."""
    meta = top.get("meta")
    if not isinstance(meta, dict):
        raise Malformed("The upstream's index page has no meta object.")
    match = _VERSION.fullmatch(_string(meta, "api-version"))
    if match is None:
        # PEP 629: clients must stop at a major version that they do not know.
        raise Malformed("The upstream's index page is of an unknown version of the API.")
    return meta, int(match.group(1))


def _read_file(item: _Object) -> File:
    announced: object = next((item[key] for key in _METADATA_KEYS if key in item), None)
    if announced is not None and not isinstance(announced, bool):
        announced = _hashes(announced)
    yanked = item.get("yanked")
    if not isinstance(yanked, bool | str | None):
        raise _wrong("yanked")
    size = _optional(item, "size", int)
    if isinstance(size, bool) or (size is not None and size < 0):
        raise _wrong("size")
    return File(
        filename=_string(item, "filename"),
        url=_string(item, "url"),
        hashes=_hashes(item.get("hashes") or {}),
        requires_python=_optional(item, "requires-python", str),
        yanked=False if yanked is None else yanked,
        core_metadata=announced,
        size=size,
        upload_time=_optional(item, "upload-time", str),
        gpg_sig=_optional(item, "gpg-sig", bool),
        provenance=_optional(item, "provenance", str),
        extra=_others(item, _FILE_KEYS),
    )


def _hashes(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _wrong("hashes")
    for text in value.values():
        if not isinstance(text, str):
            raise _wrong("hashes")
    return {name.lower(): text for name, text in value.items()}


def _string(item: Mapping[str, object], key: str) -> str:
    value = item.get(key)
    if not isinstance(value, str):
        raise _wrong(key)
    return value


def _optional(item: Mapping[str, object], key: str, kind: type[_T]) -> _T | None:
    value = item.get(key)
    if value is not None and not isinstance(value, kind):
        raise _wrong(key)
    return value


def _strings(item: Mapping[str, object], key: str) -> tuple[str, ...]:
    values = item.get(key)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _wrong(key)
    return tuple(values)


def _objects(item: Mapping[str, object], key: str) -> list[_Object]:
    values = item.get(key)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise _wrong(key)
    return values


def _others(item: _Object, known: frozenset[str]) -> _Object:
    """Keep the keys that no PEP names, unless they nest absurdly deep."""
    others = {key: value for key, value in item.items() if key not in known}
    level: list[object] = list(others.values())
    for _ in range(MAX_DEPTH):
        if not level:
            return others
        level = [child for value in level for child in _children(value)]
    raise Malformed("The upstream's index page nests too deep.")


def _children(value: object) -> list[object]:
    match value:
        case dict():
            return list(value.values())
        case list():
            return value
        case _:
            return []


def _wrong(key: str) -> Malformed:
    return Malformed(f"The upstream's index page has a wrong value for {key}.")
