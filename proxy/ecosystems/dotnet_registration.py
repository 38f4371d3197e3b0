"""What a NuGet source says of one package: versions, registration, catalogue entry. Pure.

Purpose: read these documents, point their links here, and find in them where a package is and what
it must be. A registration is an index of pages of leaves, one for each version; a page stands in
the index or by itself. The digest of a package (`packageHash`) stands in its leaf where an upstream
puts it there, else in its entry of the catalogue, which the leaf names.

A version is left out when its package lies where this proxy would not fetch it, or when it promises
a digest that nobody could check. What lists one package must not speak of another.

Reading: NuGet's documentation, "Package metadata", "Package base address", "Catalog".
Non-goals: the service index (`dotnet_service`), dependencies.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final

from proxy.ecosystems import dotnet_paths as paths
from proxy.ecosystems.dotnet_links import Object, Pointer, meant, segments_of
from proxy.ecosystems.dotnet_versions import identifier, key, normalise
from proxy.ecosystems.json_objects import json_object, standard
from proxy.ecosystems.simple_page import allowed, resolve
from proxy.errors import InvalidDigest, Malformed, NotListed
from proxy.model import (
    HEX_LENGTHS,
    ArtifactTarget,
    Digest,
    Document,
    DocumentTarget,
    Further,
    HostRules,
    Links,
    Source,
)

CONTENT: Final = "packageContent"
ENTRY: Final = "catalogEntry"
HASH: Final = "packageHash"
VERSIONS: Final = "versions"
ITEMS: Final = "items"
_ALGORITHMS: Final = {"SHA512": "sha512", "SHA384": "sha384", "SHA256": "sha256"}


def rewrite(target: DocumentTarget, document: Document, links: Links) -> bytes:
    """Make the form of a package's document that a client gets. Raises Malformed."""
    top = json_object(document.body, standard)
    made: object
    if VERSIONS in top and ITEMS not in top:
        made = {VERSIONS: _versions(top)}
    elif ITEMS in top:
        made = _Registration(target.package, document, links).index(top)
    elif ENTRY in top:
        made = _Registration(target.package, document, links).leaf(top, target.version)
        if made is None:
            raise Malformed("The upstream's leaf is of a package that may not be used.")
    else:
        _check_entry(top, target.package, target.version)
        made = Pointer(document.url, links).pointed(top)
    return write(made)


def write(value: object) -> bytes:
    """Write a document down. Raises Malformed."""
    # In ASCII: a description may have been cut in the middle of a character, and stays so.
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")
    except (ValueError, RecursionError) as error:  # a number beyond measure (1e999), among others
        raise Malformed("The upstream's document cannot be written down again.") from error


# --- reading ---------------------------------------------------------------------------------


def locate(target: ArtifactTarget, top: Mapping[str, Any], listing: Document) -> Source | Further:
    """Find an artifact in a package's document, which has been read: `top`. `target.path`: where it
    is if nothing else is said.

    Raises NotListed, Malformed.
    """
    if VERSIONS in top and ITEMS not in top:
        if target.version not in {normalise(version) for version in _versions(top)}:
            raise NotListed(target.filename)
        return Source(target.path, target.package, target.version)
    if ITEMS in top:
        return _in_registration(target, top, listing)
    if ENTRY in top:
        return _in_leaf(target, top, listing)
    _check_entry(top, target.package, target.version)
    return _source(target, target.path, top)


def _in_registration(
    target: ArtifactTarget, top: Mapping[str, Any], listing: Document
) -> Source | Further:
    wanted = key(target.version)
    for page in _objects(top, ITEMS):
        if ENTRY in page:  # the document is a page itself
            page = {ITEMS: [page]}  # noqa: PLW2901  # seen like one that stands in an index
        if ITEMS not in page:
            lowest, highest = (normalise(str(page.get(name))) for name in ("lower", "upper"))
            if lowest and highest and key(lowest) <= wanted <= key(highest):
                return Further(_page(target.package, page, listing.url), target)
            continue
        for leaf in _objects(page, ITEMS):
            if _version_of(leaf) == target.version:
                return _of_leaf(target, leaf, listing)
    raise NotListed(target.filename)


def _of_leaf(
    target: ArtifactTarget, leaf: Mapping[str, Any], listing: Document
) -> Source | Further:
    entry = _entry_of(leaf)
    _check_entry(entry, target.package, target.version)
    given = leaf.get(CONTENT) or entry.get(CONTENT)
    found = _place(given, listing.url)
    if given is not None and found is None:
        raise NotListed(target.filename)
    location = found or target.path
    if HASH in entry:
        return _source(target, location, entry)
    return _described(target._replace(path=location), entry.get("@id"), listing.url)


def _place(url: object, base: str) -> str | None:
    """The address of a package, made absolute; None: nothing that may be one. What is called like a
    manifest is judged as one (`Dotnet.judge`), so no package may be."""
    found = resolve(base, url) if isinstance(url, str) else None
    return None if found is None or found[0].endswith(paths.NUSPEC) else found[0]


def _described(target: ArtifactTarget, url: object, base: str) -> Source | Further:
    """Go on to the catalogue's entry of a package, or to what else may have its digest."""
    unproven = Source(target.path, target.package, target.version)
    segments = segments_of(url, base) if isinstance(url, str) else None
    if segments is None:
        return unproven  # nothing that could be asked says more
    found = paths.entry(segments, target.package, target.version) or meant(str(url), base)
    own = (target.package, target.version)
    if not isinstance(found, DocumentTarget) or (found.package, found.version) != own:
        return unproven
    return Further(found, target, otherwise=unproven)


def _in_leaf(
    target: ArtifactTarget, leaf: Mapping[str, Any], listing: Document
) -> Source | Further:
    """Read a leaf that stands by itself: where the package is was known before."""
    entry = leaf[ENTRY]
    if isinstance(entry, dict):
        _check_entry(entry, target.package, target.version)
        return _source(target, target.path, entry)
    return _described(target, entry, listing.url)


def _page(package: str, page: Mapping[str, Any], base: str) -> DocumentTarget:
    found = meant(str(page.get("@id")), base)
    if not isinstance(found, DocumentTarget) or found.package != package or found.version:
        raise Malformed("The upstream's registration has a page that is not fetched from there.")
    return found


def _source(target: ArtifactTarget, location: str, entry: Mapping[str, Any]) -> Source:
    """Raises NotListed for a digest that nobody could check."""
    size = entry.get("packageSize")
    try:
        digest = digest_of(entry)
    except InvalidDigest as error:
        raise NotListed(target.filename) from error
    known = isinstance(size, int) and not isinstance(size, bool) and size > 0
    return Source(
        location, target.package, target.version, digest, size if known and digest else None
    )


def digest_of(entry: Mapping[str, Any]) -> Digest | None:
    """What a package is verified with; None: nothing is promised. Raises InvalidDigest."""
    given, name = entry.get(HASH), entry.get("packageHashAlgorithm", "SHA512")
    if given is None:
        return None
    algorithm = _ALGORITHMS.get(str(name).upper().replace("-", ""))
    if not isinstance(given, str) or algorithm is None:
        raise InvalidDigest("The hash is no text, or of no known algorithm.")
    if len(given) == HEX_LENGTHS[algorithm]:
        return Digest.of(algorithm, given)
    try:
        raw = base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidDigest("The hash is not base64.") from error
    return Digest.of(algorithm, raw.hex())


def _objects(top: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = top.get(name)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise Malformed(f"The upstream's registration has a wrong value for {name}.")
    return found


def _versions(top: Mapping[str, Any]) -> list[str]:
    versions = top[VERSIONS]
    known = isinstance(versions, list) and all(
        isinstance(item, str) and normalise(item) for item in versions
    )
    if not known:
        raise Malformed("The upstream's list of versions is none.")
    return list(versions)


def _entry_of(leaf: Mapping[str, Any]) -> dict[str, Any]:
    entry = leaf.get(ENTRY)
    if not isinstance(entry, dict):
        raise Malformed("The upstream's registration has a leaf that says nothing of a package.")
    return entry


def _version_of(leaf: Mapping[str, Any]) -> str | None:
    return normalise(str(_entry_of(leaf).get("version")))


def _check_entry(entry: Mapping[str, Any], package: str, version: str) -> None:
    """Raises Malformed for an entry of another package, or of another version if one is given."""
    if identifier(str(entry.get("id"))) != package:
        raise Malformed("The upstream's document is that of another package.")
    if version and normalise(str(entry.get("version"))) != version:
        raise Malformed("The upstream's document is that of another version.")


# --- rewriting -------------------------------------------------------------------------------


class _Registration:
    """Rewrites what is registered of one package."""

    def __init__(self, package: str, document: Document, links: Links) -> None:
        self._package = package
        self._base = document.url
        self._links = links
        self._pointer = Pointer(document.url, links)

    def index(self, top: Mapping[str, Any]) -> Object:
        """An index, or a page: both have items. Raises Malformed when none that it had is left."""
        made = self._filled(top)
        if not made["count"] and _objects(top, ITEMS):
            raise Malformed("No version in the upstream's registration has a usable package.")
        return made

    def _filled(self, top: Mapping[str, Any]) -> Object:
        given = _objects(top, ITEMS)
        made = [self.leaf(item) if ENTRY in item else self._page(item) for item in given]
        kept = [item for item in made if item is not None]
        head = self._pointer.pointed({k: v for k, v in top.items() if k != ITEMS})
        return {**head, "count": len(kept), ITEMS: kept}

    def leaf(self, leaf: Mapping[str, Any], version: str = "") -> Object | None:
        """One version; None: its package may not be used. Raises Malformed."""
        entry = leaf[ENTRY]
        described = entry if isinstance(entry, dict) else {}
        if isinstance(entry, dict):
            _check_entry(entry, self._package, version)
        version = version or _version_of(leaf) or ""
        given = leaf.get(CONTENT) or described.get(CONTENT)
        if not version or not (given is None or self._is_usable(given)):
            return None
        try:
            digest_of(described)
        except InvalidDigest:
            return None
        made = self._pointer.pointed(leaf)
        address = self._links.base + self._content(given, version)
        for place in (made, made.get(ENTRY)):
            if isinstance(place, dict) and given is not None:
                place[CONTENT] = address
        return made

    def _page(self, page: Mapping[str, Any]) -> Object | None:
        if ITEMS not in page:
            _page(self._package, page, self._base)
            return self._pointer.pointed(page)
        made = self._filled(page)
        return made if made["count"] else None

    def _is_usable(self, url: object) -> bool:
        found = _place(url, self._base)
        rules: HostRules = self._links.hosts
        return found is not None and allowed(found, self._base, rules)

    def _content(self, url: object, version: str) -> str:
        """The path of a package here: the upstream's, if it is one of this version."""
        found = meant(url, self._base) if isinstance(url, str) else None
        if (
            isinstance(found, ArtifactTarget)
            and (found.package, found.version) == (self._package, version)
            and found.filename.endswith(paths.NUPKG)
        ):
            return found.path
        return paths.artifact_path(paths.PACKAGES, self._package, version, paths.NUPKG)
