"""Which entries an operator means: a package URL, or a readable prefix of keys. Pure.

Purpose: `pkg:pypi/flask@3.0.3`, `pkg:pypi/flask`, `python/flask/3.0.3`, `python/flask`, `python`.
A prefix ends where a name ends: `python/flask` is not `python/flask-login`.

Reading: ECMA-427 (package URL), `keys` (how a key is made). Non-goals: finding the entries.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, final
from urllib.parse import parse_qs, unquote

from proxy.cache.keys import SEPARATOR

_PURL = re.compile(
    r"pkg:/*(?P<type>[A-Za-z][A-Za-z0-9.+-]*)/(?P<path>[^?#@]+|(?:[^?#]*/)?[^?#@]+)"
    r"(?:@(?P<version>[^?#]+))?(?:\?(?P<qualifiers>[^#]*))?(?:#.*)?"
)
_RUNS = re.compile(r"[-_.]+")


def _python(name: str, _: dict[str, list[str]]) -> str:
    return _RUNS.sub("-", name).lower()


def _java(name: str, _: dict[str, list[str]]) -> str:
    return name.replace("/", ":")


def _oci(name: str, qualifiers: dict[str, list[str]]) -> str:
    """The repository: its URL says more than the name, which is only the last part of it."""
    url = qualifiers.get("repository_url", [""])[0]
    return url.partition("/")[2].strip("/") or name


def _apk(name: str, _: dict[str, list[str]]) -> str:
    return name.rpartition("/")[2]  # before it stands the distribution


def _same(name: str, _: dict[str, list[str]]) -> str:
    return name  # old npm packages, and Go modules, have capitals


def _lower(name: str, _: dict[str, list[str]]) -> str:
    return name.lower()


_PARTS = 5  # separators in a key of `keys` at the least
_TYPES: dict[str, tuple[str, Callable[[str, dict[str, list[str]]], str]]] = {
    "pypi": ("python", _python),
    "maven": ("java", _java),
    "npm": ("javascript", _same),
    "oci": ("oci", _oci),
    "apk": ("apk", _apk),
    "golang": ("go", _same),
    "nuget": ("dotnet", _lower),
}


@final
@dataclass(frozen=True, slots=True)
class Selection:
    """Some of all keys. `parts`: what the readable form of a key begins with.

    `prefix`: what the key itself begins with, for an ordered walk; wider than the selection.
    """

    parts: str

    @classmethod
    def of(cls, text: str) -> Self:
        """Understand what an operator wrote. Raises ValueError with a sentence for a person."""
        if text.startswith("pkg:"):
            return cls(_parts_of_purl(text))
        parts = text.strip("/")
        if not parts or not parts.isprintable():
            raise ValueError(
                "name what to select, such as pkg:pypi/flask@3.0.3, python/flask or python"
            )
        return cls(parts)

    @property
    def prefix(self) -> str:
        """What every selected key begins with."""
        return self.parts.partition("/")[0] + SEPARATOR

    def matches(self, key: str) -> bool:
        """Tell whether a key is selected."""
        readable = readable_key(key)
        return readable == self.parts or readable.startswith(f"{self.parts}/")


def readable_key(key: str) -> str:
    """A key for a person: its parts joined by slashes, one line."""
    text = key.replace(SEPARATOR, "/")
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def title_of(key: str) -> str:
    """What a key stands for, in a person's words: `python flask 3.0.3: flask-3.0.3.tar.gz`."""
    parts = readable_key(key) if key.count(SEPARATOR) < _PARTS else ""
    if parts:
        return parts
    ecosystem, package, version, path, kind, *_ = key.split(SEPARATOR)
    of = " ".join(part for part in (ecosystem, package, version) if part)
    name = path if kind != "artifact" else path.rpartition("/")[2]
    return readable_key(f"{of}: {name}" + (f" ({kind})" if kind == "variant" else ""))


def ecosystem_of(key: str) -> str:
    """The ecosystem that a key belongs to."""
    return key.partition(SEPARATOR)[0]


def _parts_of_purl(text: str) -> str:
    found = _PURL.fullmatch(text)
    if found is None:
        raise ValueError("a package URL looks like pkg:pypi/flask@3.0.3")
    kind = _TYPES.get(found["type"].lower())
    if kind is None:
        known = ", ".join(sorted(_TYPES))
        raise ValueError(f"packages of that type are not kept here; known types: {known}")
    ecosystem, package = kind
    name = package(unquote(found["path"]).strip("/"), parse_qs(found["qualifiers"] or ""))
    version = unquote(found["version"] or "")
    if not name or not (name + version).isprintable():
        raise ValueError("the package URL names no package")
    return "/".join(part for part in (ecosystem, name, version) if part)
