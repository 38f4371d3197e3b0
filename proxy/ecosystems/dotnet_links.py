"""Links in the upstream's JSON, made to point here, or left out. Pure.

Purpose: no address of the upstream goes to a client: what is served here too is pointed at here,
under the same path; what is not (icons, pages for people, feeds of events) goes with the member
that names it. Addresses of others (a project's home page, its licence) stay as they are.

Reading: NuGet's documentation, "Server API"; JSON-LD, of which `@id` and `@context` are. Non-goals:
what an answer means (`dotnet_registration`, `dotnet_search`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from proxy.ecosystems import dotnet_paths as paths
from proxy.ecosystems.simple_page import origin, resolve
from proxy.errors import InvalidName, Malformed, UnknownPath
from proxy.model import DocumentTarget, ForwardTarget, Links, Target

Object = dict[str, object]
ADDRESSES: Final = ("@id", "packageContent", "registration", "parent", "catalogEntry")
"""Members that are addresses in everything that a source says of a package."""
_CONTEXT: Final = "@context"


def segments_of(url: str, base: str) -> paths.Segments | None:
    """The segments of an address on the document's own origin, below what the upstream's address
    ends with; None: it is elsewhere, has a query, or is no address of this ecosystem.

    No upstream may have a path of its own that holds the name of the mount.
    """
    found = resolve(base, url)
    if found is None:
        return None
    split, own = urlsplit(found[0]), urlsplit(base)
    site = own.path.partition(f"/{paths.MOUNT}/")[0]
    below = split.path.removeprefix(site)
    try:
        here = origin(split) == origin(own) and split.path.startswith(f"{site}/")
        inner = tuple(unquote(part, errors="strict") for part in below.split("/")[1:])
    except (ValueError, UnicodeDecodeError):
        return None
    if inner and not inner[-1]:
        inner = inner[:-1]
    plain = all(part and part not in (".", "..") and "/" not in part for part in inner)
    return inner if here and plain and not split.query and inner[:1] == (paths.MOUNT,) else None


def meant(url: str, base: str) -> Target | None:
    """What an address of the upstream leads to here; None: nothing."""
    segments = segments_of(url, base)
    if segments is None:
        return None
    try:
        return paths.target(segments)
    except (UnknownPath, InvalidName):
        return None


def pointed(url: str, base: str, links: Links) -> str | None:
    """The address here of what the upstream's address leads to; None: it is not served here."""
    target = meant(url, base)
    if target is None or not isinstance(target, DocumentTarget | ForwardTarget):
        return None
    _, hash_, fragment = url.partition("#")
    return f"{links.base}{target.path}{hash_}{fragment}"


class Pointer:
    """Points all links of one document here. `base`: the document's own address."""

    def __init__(self, base: str, links: Links) -> None:
        self._base = base
        self._links = links
        self._here = origin(urlsplit(base))

    def pointed(self, given: Mapping[str, object]) -> Object:
        """An object with its links pointing here. Raises Malformed for one beyond measure."""
        try:
            return self._object(given)
        except RecursionError as error:
            raise Malformed("The upstream's document is nested beyond measure.") from error

    def _object(self, given: Mapping[str, object]) -> Object:
        made: Object = {}
        for name, value in given.items():
            if name == _CONTEXT:
                made[name] = value if not self._names_upstream(value) else {}
            elif (found := self._member(name, value)) is not None:
                made[name] = found[0]
        return made

    def _member(self, name: str, value: object) -> tuple[object] | None:
        """A member's value, in a tuple; None: it must go."""
        match value:
            case dict():
                return (self._object(value),)
            case list():
                each = (self._member("", item) for item in value)
                return ([item[0] for item in each if item is not None],)
            case str():
                return self._text(name, value)
            case _:
                return (value,)

    def _text(self, name: str, text: str) -> tuple[object] | None:
        if name not in ADDRESSES and not self._is_upstreams(text):
            return (text,)
        address = pointed(text, self._base, self._links)
        return None if address is None else (address,)

    def _is_upstreams(self, text: str) -> bool:
        if not text[:8].lower().startswith(("http://", "https://")):
            return False
        found = resolve(self._base, text)
        return found is None or origin(urlsplit(found[0])) == self._here

    def _names_upstream(self, value: object) -> bool:
        """Of a context: it explains words, and names vocabularies by their addresses."""
        if isinstance(value, dict):
            return any(map(self._names_upstream, value.values()))
        if isinstance(value, list):
            return any(map(self._names_upstream, value))
        return isinstance(value, str) and self._is_upstreams(value)
