"""What the file name of a Python distribution says: its kind, its project, its version.

Purpose: one answer to three questions: may a simple index list this name at all, does it belong
to that project, and which project and version does it seem to be. Pure.

A wheel's name is unambiguous (binary distribution format, "escaping and Unicode"). Every other
name is a guess as long as the project is not known: `a-b-1.0-1.tar.gz` can be `a-b` 1.0-1 or
`a-b-1.0` 1. So the questions are asked with the project wherever one is known, and the guess is
only used to find the listing, which then gives the exact project.

Reading: PEP 427, PEP 503 (normalised names), PEP 625 (sdist names), PEP 440 (local versions).
"""

from __future__ import annotations

import re
from functools import lru_cache

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

MAX_NAME = 255

# Every ending that an index has ever accepted for upload, the longer ones first.
_ENDINGS = (
    *(".whl", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.z", ".tar", ".tgz", ".tbz"),
    *(".zip", ".egg", ".exe", ".msi", ".rpm", ".deb", ".dmg"),
)
# Visible ASCII without separators of paths and URLs, quotes and shell wildcards.
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9!$&'()+,.:;=@\[\]^_`{}~-]*")
_PROJECT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION_START = re.compile(r"-(?=[vV]?[0-9])")
_WHEEL_PARTS = (5, 6)
_TAGGED = (".egg", ".exe", ".msi")
# A version that is spelled the normal way already (PEP 440 without epochs), as nearly all are.
_PART = r"(?:0|[1-9][0-9]*)"
_NORMAL_TEXT = (
    rf"{_PART}(?:\.{_PART})*(?:(?:a|b|rc){_PART})?(?:\.post{_PART})?(?:\.dev{_PART})?"
    rf"(?:\+(?:{_PART}|[0-9]*[a-z][a-z0-9]*)(?:\.(?:{_PART}|[0-9]*[a-z][a-z0-9]*))*)?"
)
_NORMAL = re.compile(_NORMAL_TEXT)
# A wheel or an sdist with such a version and no hyphen in its name, as nearly all are today.
_PLAIN = re.compile(
    rf"([A-Za-z0-9][A-Za-z0-9._]*)-({_NORMAL_TEXT})"
    r"(?:-[A-Za-z0-9._]+-[A-Za-z0-9._]+-[A-Za-z0-9._]+\.whl|\.tar\.gz)"
)


def is_project_name(name: str) -> bool:
    """Tell whether `name` can be a project at all (name format of the core metadata)."""
    return len(name) <= MAX_NAME and _PROJECT.fullmatch(name) is not None


@lru_cache(maxsize=512)
def normalise(name: str) -> str:
    """Give the normalised project name (PEP 503)."""
    return canonicalize_name(name)


@lru_cache(maxsize=512)  # each file of a project lies in a folder of the same name
def project_named(name: str) -> str:
    """Give the project (normalised) that has this name; "" where none can have it."""
    return canonicalize_name(name) if is_project_name(name) else ""


def is_distribution(filename: str) -> bool:
    """Tell whether an index may list a file of this name."""
    return (
        len(filename) <= MAX_NAME
        and filename.lower().endswith(_ENDINGS)
        and _FILENAME.fullmatch(filename) is not None
    )


def plain(filename: str) -> tuple[str, str] | None:
    """Give project (normalised) and version of a file whose name says both beyond doubt: in one
    step what is asked for in several otherwise. None: those have to be asked.

    What it says of a project that has this name is what `is_distribution`, `belongs` and
    `version_within` say.
    """
    found = _PLAIN.fullmatch(filename) if len(filename) <= MAX_NAME else None
    return (normalise(found[1]), found[2]) if found is not None else None


def belongs(filename: str, project: str) -> bool:
    """Tell whether a file is one of `project` (normalised)."""
    return _version_text(filename, project) is not None


def version_within(filename: str, project: str) -> str:
    """Give the version of `project` (normalised) that a file is; "" when it is not of it."""
    text = _version_text(filename, project)
    return "" if text is None else _version(text)


def is_version_of(text: str, filename: str, project: str) -> bool:
    """Tell whether a file is the version `text` of `project` (normalised)."""
    found = _version_text(filename, project)
    return found is not None and (text == found or _version(text) == _version(found))


def guess(filename: str) -> str:
    """Guess the project (normalised) from the name alone; "" when it gives no hint.

    Of several ways to cut, the first whose rest is a version (PEP 440) is taken.
    """
    stem, ending = _split(filename)
    cuts = [(stem[: m.start()], stem[m.end() :]) for m in _VERSION_START.finditer(stem)]
    if ending == ".whl":
        del cuts[1:]
    named = [(name, rest) for name, rest in cuts if is_project_name(name)]
    good = (name for name, rest in named if _is_version(_first_version(ending, rest)))
    name = next(good, named[0][0] if named else "")
    return normalise(name) if name and belongs(filename, normalise(name)) else ""


def local_parts(version: str) -> tuple[str, ...]:
    """Give the parts of a local version: `("cgr", "1")` of `2.0+cgr.1`, or `()`."""
    if "+" not in version:
        return ()
    local = version.partition("+")[2]
    return tuple(re.split(r"[._-]", local.lower())) if local else ()


@lru_cache(maxsize=1024)  # asked several times for each file
def _version_text(filename: str, project: str) -> str | None:
    stem, ending = _split(filename)
    if ending == ".whl":
        parts = stem.split("-")
        mine = len(parts) in _WHEEL_PARTS and normalise(parts[0]) == project
        return (parts[1] or None) if mine else None
    for match in _VERSION_START.finditer(stem):
        if normalise(stem[: match.start()]) == project:
            return _first_version(ending, stem[match.end() :])
    return None


def _split(filename: str) -> tuple[str, str]:
    """Take the ending off, in small letters; "" where it has none of those that are known."""
    lower = filename.lower()
    for ending in _ENDINGS:
        if lower.endswith(ending):
            return filename[: -len(ending)], ending
    return filename, ""


def _first_version(ending: str, rest: str) -> str:
    """Cut the tags off that eggs and installers carry behind their version."""
    if ending in _TAGGED:
        return rest.split("-", 1)[0]
    return rest


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def _version(text: str) -> str:
    """Spell a version the normal way where it is one; legacy ones stay as they are."""
    if _NORMAL.fullmatch(text) is not None:
        return text
    plain = text if "+" in text else text.replace("_", "-")
    try:
        return str(Version(plain))
    except InvalidVersion:
        return text
