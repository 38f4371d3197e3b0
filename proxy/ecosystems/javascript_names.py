"""Names, versions and paths of npm packages. Pure.

Purpose: the one place that knows how a package, a version and a tarball are spelt: as segments of
a request, in a link to this proxy, in a path of the upstream, in a package URL's parts.

    express            /javascript/express           /javascript/express/-/express-5.1.0.tgz
    @babel/core        /javascript/@babel/core       /javascript/@babel/core/-/core-7.28.0.tgz

A tarball is always called `<name without scope>-<version>.tgz` here, whatever the upstream calls
it: so its path gives package and version, and a path that mixes two packages is none. Clients ask
for a scoped package with an encoded slash (`@babel%2fcore`), which the server has decoded.

Reading: npm's package.json documentation and `validate-npm-package-name` (old packages have
capitals and some punctuation). Non-goals: what exists.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from proxy.errors import InvalidName
from proxy.model import encode_path

MOUNT: Final = "javascript"
FALLBACK: Final = "javascript-upstream"
"""Where the upstream keeps what it has from elsewhere. Here it is the same as `MOUNT`."""
ENDING: Final = ".tgz"
LONGEST_NAME: Final = 214

# Old packages may have these besides; none begins with a dot or an underscore.
_PART = re.compile(r"[A-Za-z0-9~!'()*-][A-Za-z0-9._~!'()*-]*")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_~-]{0,254}")
_TAG = re.compile(r"[!-.0-~]{1,255}")  # anything visible but a slash
_NO_PACKAGES = frozenset({"-", "node_modules", "favicon.ico"})


class Named(NamedTuple):
    """A package at the beginning of some segments, and what follows it."""

    package: str
    rest: tuple[str, ...]


def split_package(segments: Sequence[str]) -> Named:
    """Find the package that segments begin with. Raises InvalidName."""
    if segments and segments[0].startswith("@"):
        if len(segments) < 2 or not is_package("/".join(segments[:2])):  # scope, name
            raise InvalidName("This can be the name of no scoped npm package.")
        return Named("/".join(segments[:2]), tuple(segments[2:]))
    if not segments or not is_package(segments[0]):
        raise InvalidName("This can be the name of no npm package.")
    return Named(segments[0], tuple(segments[1:]))


def is_package(name: str) -> bool:
    """Tell whether this can be a package: `name` or `@scope/name`, old spellings included."""
    if len(name) > LONGEST_NAME or name in _NO_PACKAGES:
        return False
    scope, slash, bare = name.rpartition("/")
    if not slash:
        return _PART.fullmatch(name) is not None
    return (
        scope.startswith("@")
        and _PART.fullmatch(scope[1:]) is not None
        and _PART.fullmatch(bare) is not None
    )


def is_version(text: str) -> bool:
    """Tell whether this can be a version that has a tarball here."""
    return _VERSION.fullmatch(text) is not None


def is_version_or_tag(text: str) -> bool:
    """Tell whether this can be a version or a dist-tag."""
    return _TAG.fullmatch(text) is not None


def split_spec(segments: Sequence[str]) -> tuple[str, str] | None:
    """Split `name@version` or `@scope/name@version`; None: it is no such thing."""
    package, at, version = "/".join(segments).rpartition("@")
    if not at or not is_package(package) or not is_version(version):
        return None
    return package, version


def filename(package: str, version: str) -> str:
    """What a tarball is called here."""
    return f"{package.rpartition('/')[2]}-{version}{ENDING}"


def version_of(package: str, name: str) -> str:
    """The version that a tarball's name says; "": it is none of this package."""
    start = f"{package.rpartition('/')[2]}-"
    if not (name.startswith(start) and name.endswith(ENDING)):
        return ""
    version = name[len(start) : -len(ENDING)]
    return version if is_version(version) else ""


def tarball_path(package: str, version: str) -> str:
    """The path of a tarball here, percent-encoded."""
    return encode_path((MOUNT, *package.split("/"), "-", filename(package, version)))


def packument_path(package: str) -> str:
    """The upstream's path of a packument, spelt as npm spells it: with an encoded slash."""
    return _escaped(encode_path((MOUNT, *package.split("/"))), package)


def statement_path(kind: str, package: str, version: str) -> str:
    """The upstream's path of what is stated about one version, `kind` such as `sbom/spdx`."""
    spec = f"{package}@{version}".split("/")
    return _escaped(encode_path((MOUNT, "-", "npm", "v1", *kind.split("/"), *spec)), package)


def _escaped(path: str, package: str) -> str:
    """Encode the slash of a scoped package, which is the last one of the path."""
    if "/" not in package:
        return path
    head, _, last = path.rpartition("/")
    return f"{head}%2f{last}"
