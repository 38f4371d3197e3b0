"""The packument: all that a registry says about one package. Pure.

Purpose: read it, point its links at this proxy, and make the forms in which clients want it: whole,
abbreviated, one version of it, its dist-tags. All are made of the one document that the upstream is
asked for, the whole one: so they cannot contradict each other, and what the abbreviated form leaves
out (`time` it keeps: release ages are judged by it) never has to be guessed.

A version is left out, and the tags that name it, when its tarball lies where this proxy would not
fetch it, or when it promises a digest that nobody could check. Everything else stays as it is:
`integrity`, `shasum`, `signatures` and `sboms` are the upstream's.

Reading: npm's registry API, `docs/responses/package-metadata.md` (the fields of the abbreviated
form); Subresource Integrity. Non-goals: what a version depends on.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final
from urllib.parse import unquote, urlsplit

from proxy.ecosystems import javascript_names as names
from proxy.ecosystems.json_objects import json_object, standard
from proxy.ecosystems.simple_page import allowed, resolve
from proxy.errors import InvalidDigest, Malformed, NotFound, NotListed
from proxy.model import ArtifactTarget, Digest, Document, Links, Source

FULL: Final = "application/json"
ABBREVIATED: Final = "application/vnd.npm.install-v1+json"
TAGS: Final = "dist-tags"

_Object = dict[str, object]
_STRENGTH: Final = ("sha512", "sha384", "sha256", "sha1", "md5")
# All that an installation looks at: the documented fields, both spellings of the bundled ones.
_KEPT: Final = (
    *("name", "version", "deprecated", "dist", "bin", "directories", "engines", "os", "cpu"),
    *("libc", "dependencies", "devDependencies", "optionalDependencies", "peerDependencies"),
    *("peerDependenciesMeta", "dependenciesMeta", "acceptDependencies", "bundleDependencies"),
    *("bundledDependencies", "hasInstallScript", "_hasShrinkwrap", "funding"),
)
_TOLD: Final = ("tarball", "integrity", "shasum")
_INSTALLING: Final = ("preinstall", "install", "postinstall")


@final
@dataclass(frozen=True, slots=True)
class Tarballs:
    """Implements `Table`: what a packument at the URL `base` says of its versions' tarballs."""

    base: str
    dists: Mapping[str, Mapping[str, object]]

    def find(self, target: ArtifactTarget) -> Source:
        """Find a version's tarball. Raises NotListed."""
        dist = self.dists.get(target.version) if target.version else None
        url = None if dist is None else _address(dist, self.base)
        if dist is None or url is None:
            raise NotListed(target.filename)
        try:
            digest = digest_of(dist)
        except InvalidDigest as error:
            raise NotListed(target.filename) from error
        return Source(url, target.package, target.version, digest)


def tabulate(package: str, listing: Document) -> Tarballs:
    """Read what a packument says of its tarballs. Raises Malformed."""
    return _tarballs(_versions(_read(package, listing.body)), listing.url)


def rewrite(
    package: str, part: str, media_type: str, document: Document, links: Links
) -> tuple[bytes, Tarballs]:
    """Make the form of a packument that a client gets; also: what `tabulate` makes of it.

    `part`: "", a version or a tag, or `TAGS` behind a slash. Raises Malformed, NotFound.
    """
    top = _read(package, document.body)
    versions = _versions(top)
    made = _form(top, _proxied(package, versions, document.url, links), part, media_type)
    return _write(made), _tarballs(versions, document.url)


def _form(
    top: Mapping[str, object], versions: Mapping[str, _Object], part: str, media_type: str
) -> object:
    tags = {tag: version for tag, version in _tags(top).items() if version in versions}
    if part == f"/{TAGS}":
        return tags
    if part:
        found = versions.get(part) or versions.get(tags.get(part, ""))
        if found is None:
            raise NotFound(f"The upstream has no version or tag {part} of {top['name']}.")
        return found
    if media_type == ABBREVIATED:
        return _abbreviated(top, tags, versions)
    return {**top, TAGS: tags, "versions": versions}


def digest_of(dist: object) -> Digest | None:
    """What a tarball is verified with: the strongest of `integrity`, else `shasum`.

    None: nothing is promised. Raises InvalidDigest for a promise that nobody could check.
    """
    if not isinstance(dist, Mapping):
        return None
    integrity, shasum = dist.get("integrity"), dist.get("shasum")
    if integrity:
        return _strongest(integrity)
    if not shasum:
        return None
    if not isinstance(shasum, str):
        raise InvalidDigest("The shasum is no text.")
    return Digest.of("sha1", shasum)


# --- reading ---------------------------------------------------------------------------------


def _read(package: str, body: bytes) -> _Object:
    top = json_object(body, standard)  # of duplicate keys the last one is passed on
    if top.get("name") != package:
        raise Malformed("The upstream's packument is another package's.")
    return top


def _versions(top: Mapping[str, object]) -> dict[str, object]:
    """The versions; none where a package has been unpublished."""
    versions = top.get("versions", {})
    if not isinstance(versions, dict):
        raise _wrong("versions")
    return versions


def _tags(top: Mapping[str, object]) -> dict[str, str]:
    tags = top.get(TAGS, {})
    if not isinstance(tags, dict) or not all(isinstance(item, str) for item in tags.values()):
        raise _wrong(TAGS)
    return tags


def _tarballs(versions: Mapping[str, object], base: str) -> Tarballs:
    dists = {
        version: {name: dist[name] for name in _TOLD if name in dist}
        for version, manifest in versions.items()
        if isinstance(manifest, dict) and isinstance(dist := manifest.get("dist"), dict)
    }
    return Tarballs(base, dists)


def _tarball(manifest: Mapping[str, object], base: str) -> str | None:
    """The absolute address of a version's tarball; None: there is none that could be used."""
    dist = manifest.get("dist")
    return _address(dist, base) if isinstance(dist, dict) else None


def _address(dist: Mapping[str, object], base: str) -> str | None:
    link = dist.get("tarball")
    found = resolve(base, link) if isinstance(link, str) else None
    return found[0] if found is not None else None


def _strongest(integrity: object) -> Digest:
    """The first of the strongest hashes of an integrity (SRI: one that matches is enough)."""
    if not isinstance(integrity, str):
        raise InvalidDigest("The integrity is no text.")
    found: dict[str, str] = {}
    for item in integrity.split():
        algorithm, _, value = item.partition("-")
        found.setdefault(algorithm, value.partition("?")[0])
    algorithm = next((name for name in _STRENGTH if name in found), "")
    if not algorithm:
        raise InvalidDigest("The integrity names no hash that is known.")
    try:
        raw = base64.b64decode(found[algorithm], validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidDigest("The integrity is not base64.") from error
    return Digest.of(algorithm, raw.hex())


# --- rewriting -------------------------------------------------------------------------------


def _proxied(
    package: str, versions: Mapping[str, object], base: str, links: Links
) -> dict[str, _Object]:
    """Every version that this proxy serves, its links pointing here. Raises Malformed when there
    were some and none is left."""
    kept = {}
    for version, manifest in versions.items():
        if not isinstance(manifest, dict):
            raise _wrong("versions")
        dist = _dist(package, version, manifest, base, links)
        if dist is not None:
            kept[version] = {**manifest, "dist": dist}
    if versions and not kept:
        raise Malformed("No version of the upstream's packument has a tarball that may be used.")
    return kept


def _dist(package: str, version: str, manifest: _Object, base: str, links: Links) -> _Object | None:
    url = _tarball(manifest, base)
    if url is None or not names.is_version(version) or not allowed(url, base, links.hosts):
        return None
    dist = manifest["dist"]
    try:
        digest_of(dist)
    except InvalidDigest:
        return None
    if not isinstance(dist, dict):
        return None
    made = {**dist, "tarball": links.base + names.tarball_path(package, version)}
    if "attestations" in made:
        attestations = _attestations(made.pop("attestations"), package, version, links)
        made |= {"attestations": attestations} if attestations is not None else {}
    return made


def _attestations(given: object, package: str, version: str, links: Links) -> _Object | None:
    """Point to the same attestations here; None: they are not where they are served from.

    Clients take the path of this address only, and ask the registry that they are set to.
    """
    url = given.get("url") if isinstance(given, dict) else None
    if not isinstance(given, dict) or not isinstance(url, str):
        return None
    try:
        path = unquote(urlsplit(url).path)
    except ValueError:
        return None
    if not path.endswith(f"/-/npm/v1/attestations/{package}@{version}"):
        return None
    return {**given, "url": links.base + names.statement_path("attestations", package, version)}


def _abbreviated(
    top: Mapping[str, object], tags: Mapping[str, str], versions: Mapping[str, _Object]
) -> _Object:
    """The form for installing. Whether a version runs a script when it is installed is told by
    its scripts, which are left out."""
    time = top.get("time")
    modified = top.get("modified") or (time.get("modified") if isinstance(time, dict) else None)
    made: _Object = {"name": top["name"]}
    if isinstance(modified, str):
        made["modified"] = modified
    made[TAGS] = tags
    made["versions"] = {version: _shortened(item) for version, item in versions.items()}
    if isinstance(time, dict):
        made["time"] = time
    return made


def _shortened(manifest: Mapping[str, object]) -> _Object:
    short = {key: manifest[key] for key in _KEPT if key in manifest}
    scripts = manifest.get("scripts")
    runs = isinstance(scripts, dict) and any(scripts.get(name) for name in _INSTALLING)
    if "hasInstallScript" not in short and (runs or manifest.get("gypfile") is True):
        short["hasInstallScript"] = True
    return short


def _write(value: object) -> bytes:
    # In ASCII: a readme may have been cut in the middle of a character, and stays so.
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")
    except (ValueError, RecursionError) as error:  # a number beyond measure (1e999), among others
        raise Malformed("The upstream's packument cannot be written down again.") from error


def _wrong(key: str) -> Malformed:
    return Malformed(f"The upstream's packument has a wrong value for {key}.")
