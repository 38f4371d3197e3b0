"""apk packages: the repositories of an organisation, for apk, apko, melange and their kin.

Purpose: implements `Ecosystem` for apk repositories. Paths are the upstream's own below `/apk`, so
that moving here changes what stands before the organisation only:

    /apk/<organisation>/<arch>/APKINDEX.tar.gz           document
    /apk/<organisation>/<arch>/<name>-<version>.apk      artifact, listed in that index
    /apk/<organisation>/<key>.rsa.pub                    document: a signing key
    /apk/<organisation>/apk-configuration                document: where the signing keys are
    /apk/<organisation>/<...jwks...>                     document: the signing keys

Further repositories, public ones say, have an alias in the place of an organisation:

    /apk/<alias>/<arch>/...                              <its address>/<arch>/...

An index is passed on byte for byte, so that the signature in it holds; it vouches for a package by
its control segment, and that for the rest (`apk_package`). Indexes and keys say of no package what
it holds: a client that is limited to packages may read them, or it could install nothing.

Reading: apk-tools' `apk-repositories(5)`, apko's key discovery. Non-goals: merging repositories,
checking signatures, `APKINDEX.adb`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from proxy.ecosystems import apk_index, apk_setup
from proxy.ecosystems.apk_index import INDEX, Offers
from proxy.ecosystems.apk_package import Package
from proxy.ecosystems.base import one_line, package_url, refuse_post
from proxy.ecosystems.json_objects import json_object
from proxy.ecosystems.setups import Setup
from proxy.errors import Malformed, NotFound, ProxyError, UnknownPath
from proxy.model import (
    ArtifactTarget,
    Document,
    DocumentTarget,
    ErrorBody,
    Links,
    Mount,
    RequestLine,
    Source,
    encode_path,
)

MOUNT: Final = "apk"
_NAMESPACE: Final = "chainguard"  # of package URLs, as scanners spell packages of the vendor
_GZIP: Final = "application/gzip"
_JSON: Final = "application/json"
_TEXT: Final = "text/plain; charset=utf-8"
_DISCOVERY: Final = "apk-configuration"
_ORGANISATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ARCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_PACKAGE = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._+-]{0,199})-([0-9][A-Za-z0-9._~]{0,99}-r[0-9]+)")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._+-]{0,199}\.rsa\.pub")
_KEYS = re.compile(r"[A-Za-z0-9._-]{0,40}jwks[A-Za-z0-9._-]{0,40}")
_PEM = re.compile(
    rb"\s*-----BEGIN (RSA )?PUBLIC KEY-----[A-Za-z0-9+/=\s]+-----END (RSA )?PUBLIC KEY-----\s*"
)


@dataclass(frozen=True, slots=True)
class Apk:
    """The apk ecosystem. No state: two of the same further repositories are the same."""

    name: str = "apk"
    upstream: str = "apk"
    further: frozenset[str] = frozenset()

    def knowing(self, home: str, further: Mapping[str, str]) -> Apk:  # noqa: ARG002
        """The same in front of these repositories: see `proxy.ecosystems.base.Federated`."""
        return Apk(further=frozenset(further))

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """One, for all organisations."""
        return (Mount((MOUNT,), MOUNT),)

    @property
    def setups(self) -> tuple[Setup, ...]:
        """See `Introducing`."""
        return apk_setup.SETUPS

    def purl(self, package: str, version: str = "") -> str:
        """Spell a package as package URL; "" where a document is of none."""
        if not package:
            return ""
        name = package if "/" in package else f"{_NAMESPACE}/{package}"
        return package_url("apk", name, version)

    def classify(self, line: RequestLine) -> DocumentTarget | ArtifactTarget:
        """Say what a request line asks for. Raises UnknownPath, MethodNotAllowed."""
        refuse_post(line, "Packages are only read here; nothing can be uploaded.")
        found = None if line.slash else _understand(line.segments[1:], self.further)
        if found is None:
            raise UnknownPath("This is no index, package or key of an apk repository.")
        return found

    def locate(self, target: ArtifactTarget, listing: Document) -> Source:
        """Find a package in an index. Raises NotListed, Malformed."""
        return self.catalogue(listing).find(target)

    def catalogue(self, listing: Document) -> Offers:
        """See `Cataloguing`. Raises Malformed."""
        return Offers.of(listing)

    def verifier(self, seal: str, size: int | None) -> Package:
        """See `Sealing`."""
        return Package(seal, size)

    def rewrite(self, target: DocumentTarget, document: Document, links: Links) -> Document:
        """Make the document that a client gets. Raises Malformed, NotFound."""
        body, name = document.body, target.path.rpartition("/")[2]
        if name == INDEX:
            apk_index.check(document)
        elif name == _DISCOVERY:
            body = _discovery(target, document, links, self.further)
        elif _KEYS.fullmatch(name):
            if not isinstance(json_object(body).get("keys"), list):
                raise Malformed("The upstream's set of signing keys is none.")
        elif not _PEM.fullmatch(body):
            raise Malformed("The upstream's signing key is none.")
        return Document(body, target.representation, document.url)

    def probe(self) -> Generator[str, Document, str]:
        """See `Probing`: the smallest package of the repository that is open to everybody."""
        index = yield "/apk/chainguard/x86_64/APKINDEX.tar.gz"
        name = self.catalogue(index).smallest()
        if not name:
            raise Malformed("The upstream's package index lists nothing.")
        return f"/apk/chainguard/x86_64/{name}"

    def render_error(self, error: ProxyError, request_id: str) -> ErrorBody:
        """Word a failure in one line."""
        return one_line(error, request_id)


# --- paths ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Repository:
    """Where a path leads: to an organisation's, or to a further one by its alias."""

    folder: tuple[str, ...]
    alias: str = ""

    def document(
        self, *names: str, media_type: str, based: bool = False, verbatim: bool = False
    ) -> DocumentTarget:
        """A document of it."""
        return DocumentTarget(
            path=encode_path((*self.folder, *names)),
            scope=MOUNT,
            representation=media_type,
            neutral=True,
            based=based,
            verbatim=verbatim,
            upstream=self.alias,
        )


def _understand(
    segments: tuple[str, ...], further: frozenset[str]
) -> DocumentTarget | ArtifactTarget | None:
    """The target of a path below the mount; None: it has none."""
    if not segments or not _ORGANISATION.fullmatch(segments[0]):
        return None
    first, *names = segments
    place = _Repository((), first) if first in further else _Repository((first,))
    if len(names) == 1:
        return _about_keys(place, names[0])
    if len(names) == 2 and _ARCH.fullmatch(names[0]):
        return _of_arch(place, *names)
    return None


def _about_keys(place: _Repository, name: str) -> DocumentTarget | None:
    if name == _DISCOVERY:
        return place.document(name, media_type=_JSON, based=True)
    if _KEY.fullmatch(name):
        return place.document(name, media_type=_TEXT)
    return place.document(name, media_type=_JSON) if _KEYS.fullmatch(name) else None


def _of_arch(place: _Repository, arch: str, name: str) -> DocumentTarget | ArtifactTarget | None:
    index = place.document(arch, INDEX, media_type=_GZIP, verbatim=True)
    if name == INDEX:
        return index
    found = _PACKAGE.fullmatch(name.removesuffix(".apk")) if name.endswith(".apk") else None
    if found is None:
        return None
    return ArtifactTarget(
        path=encode_path((*place.folder, arch, name)),
        scope=MOUNT,
        package=f"{place.alias}/{found[1]}" if place.alias else found[1],
        filename=name,
        version=found[2],
        listed_in=(index,),
        upstream=place.alias,
    )


# --- documents -----------------------------------------------------------------------------------


def _discovery(
    target: DocumentTarget, document: Document, links: Links, further: frozenset[str]
) -> bytes:
    """Where the signing keys are: here. Raises Malformed; NotFound where they are at an address
    that is not served here (a client then goes on with the keys that it was given)."""
    top = json_object(document.body)
    try:
        parts = urlsplit(str(top.get("jwks_uri", "")))
    except ValueError as error:
        raise Malformed("The upstream's address of its signing keys is none.") from error
    asked = urlsplit(document.url)
    base = asked.path.removesuffix(target.path)  # what the address of the upstream ends with
    below = parts.path.startswith(f"{base}/") and parts.netloc == asked.netloc and not parts.query
    names = [unquote(name) for name in parts.path.removeprefix(base).split("/")[1:]]
    segments = (target.upstream, *names) if target.upstream else tuple(names)
    if not below or _understand(segments, further) is None:
        raise NotFound("The upstream keeps its signing keys at an address that is not served here.")
    address = f"{links.base}/{MOUNT}{encode_path(segments)}"
    return json.dumps({**top, "jwks_uri": address}).encode("ascii")
