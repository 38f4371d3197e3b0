"""What a path below the Go module proxy is about. Pure.

Purpose: from the segments of a path to its target. Nothing is guessed: what can be no module, or no
version of it, is no path of ours.

    /go/<module>/@v/list                  document
    /go/<module>/@latest                  document
    /go/<module>/@v/<version>.info        artifact; of a branch, a commit, half a version: document
    /go/<module>/@v/<version>.mod .zip    artifacts
    /go/sumdb/...                         nothing: no checksum database is mirrored here

In module paths and versions a capital is spelt `!` and the small letter, so that no two spellings
differ by case only; any other spelling is refused.

Reading: the Go modules reference ("GOPROXY protocol", "Module paths", "Versions"), semantic
versioning 2.0.0. Non-goals: reading documents (`go`), archives (`go_zip`).
"""

from __future__ import annotations

import re
from typing import Final

from proxy.errors import UnknownPath
from proxy.model import ArtifactTarget, DocumentTarget, encode_path

MOUNT: Final = "go"
JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
_MEDIA_TYPES: Final = {"info": JSON, "mod": TEXT, "zip": "application/zip"}
_NO_DATABASE: Final = (
    "No checksum database is mirrored here; set GONOSUMDB, or let the go command ask it directly."
)
_ESCAPED = re.compile(r"(?:[^!A-Z]|![a-z])*")
_HOST = re.compile(r"[a-z0-9][a-z0-9.-]*\.[a-z0-9.-]*[a-z0-9-]")
_ELEMENT = re.compile(r"[A-Za-z0-9_~-](?:[A-Za-z0-9._~-]{0,253}[A-Za-z0-9_~-])?")
_NUMBER = r"(?:0|[1-9][0-9]{0,18})"
_IDENTIFIER = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"v({_NUMBER})\.{_NUMBER}\.{_NUMBER}(-{_IDENTIFIER}(?:\.{_IDENTIFIER})*)?(\+incompatible)?"
)
_QUERY = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._~+@=-]{0,198}[A-Za-z0-9_~+@=-])?")
_MAJOR = re.compile(r"/v([2-9]|[1-9][0-9]+)")
_OTHER_MAJOR = re.compile(r"/v[0-9.]+")  # what looks like one, and is none
_DOTTED = "gopkg.in/"  # whose modules have `.vN` in place of `/vN`, from 0 on
_DOTTED_MAJOR = re.compile(r"\.v(0|[1-9][0-9]*)(?:-unstable)?")


def target(segments: tuple[str, ...]) -> DocumentTarget | ArtifactTarget:
    """Understand a path that ends in no slash. Raises UnknownPath."""
    match segments:
        case (_, "sumdb", *_):
            raise UnknownPath(_NO_DATABASE)
        case (_, *escaped, "@latest"):
            return _document(segments, _module(escaped), JSON)
        case (_, *escaped, "@v", "list"):
            return _document(segments, _module(escaped), TEXT)
        case (_, *escaped, "@v", name):
            return _version(segments, _module(escaped), name)
        case _:
            raise UnknownPath("This is no path of the Go module proxy protocol.")


def is_version(text: str) -> bool:
    """Tell whether it is a version as Go spells it, and not merely something that names one."""
    return _VERSION.fullmatch(text) is not None


def fits(module: str, version: str) -> bool:
    """Tell whether a module can have a version: its path says the major number from 2 on."""
    found = _VERSION.fullmatch(version)
    if found is None:
        return False
    major, before, incompatible = found.groups()
    wanted = _major_of(module)
    if wanted is None:
        return (int(major) < 2) is (incompatible is None)
    if module.startswith(_DOTTED) and wanted == "1" and version.startswith("v0.0.0-"):
        return bool(before) and not incompatible  # as Go once made them, and still reads them
    return major == wanted and not incompatible


def _version(segments: tuple[str, ...], module: str, name: str) -> DocumentTarget | ArtifactTarget:
    escaped, dot, ending = name.rpartition(".")
    version = _unescape(escaped)
    if not dot or ending not in _MEDIA_TYPES or version is None:
        raise UnknownPath("A version has an .info, a .mod and a .zip.")
    if fits(module, version):
        return ArtifactTarget(
            path=encode_path(segments),
            scope=MOUNT,
            package=module,
            filename=name,
            version=version,
            media_type=_MEDIA_TYPES[ending],
        )
    if ending != "info" or not _QUERY.fullmatch(version):
        raise UnknownPath("This can be no version of this module.")
    return _document(segments, module, JSON, moving=True)


def _document(
    segments: tuple[str, ...], module: str, media_type: str, *, moving: bool = False
) -> DocumentTarget:
    path = encode_path(segments)
    return DocumentTarget(path, MOUNT, module, representation=media_type, moving=moving)


def _module(escaped: list[str]) -> str:
    """The module's path, in its own spelling. Raises UnknownPath."""
    path = _unescape("/".join(escaped))
    first, *others = path.split("/") if path else [""]
    known = path is not None and _HOST.fullmatch(first) and all(map(_ELEMENT.fullmatch, others))
    if not path or not known or (_major_of(path) is None and _has_other_major(path)):
        raise UnknownPath("This can be the path of no Go module.")
    return path


def _has_other_major(module: str) -> bool:
    if module.startswith(_DOTTED):
        return True
    return _OTHER_MAJOR.fullmatch(module, module.rfind("/")) is not None


def _major_of(module: str) -> str | None:
    """The major number at the end of a module's path; None: there is none."""
    if module.startswith(_DOTTED):
        start = module.rfind(".v")
        found = _DOTTED_MAJOR.fullmatch(module, start) if start >= 0 else None
    else:
        start = module.rfind("/")
        found = _MAJOR.fullmatch(module, start) if start >= 0 else None
    return found[1] if found else None


def _unescape(text: str) -> str | None:
    """Capitals for what stands for them; None: it is not spelt as it must be."""
    if not _ESCAPED.fullmatch(text):
        return None
    return re.sub(r"!([a-z])", lambda found: found[1].upper(), text)
