"""What a path below `/v2/` asks for.

Purpose: names may have any number of parts, so paths are read from their end. Everything that is
not understood to the last character is refused; what goes upstream is built anew, never passed on.

One of several upstreams may be meant: the one that `?ns=` names (containerd sends it), else the one
whose alias is the first part of the name, else the vendor's registry. Nobody is asked in the place
of another one.

Reading: OCI distribution specification 1.1 (endpoints), containerd's `docs/hosts.md` (`ns`).
Non-goals: what upstreams answer (`oci_documents`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote

from proxy.ecosystems import oci_names
from proxy.ecosystems.oci_names import BLOB, MANIFEST, PARAMETER, REPOSITORY
from proxy.errors import BadRequest, InvalidDigest, InvalidName, MethodNotAllowed, UnknownPath
from proxy.model import (
    ArtifactTarget,
    Digest,
    DocumentTarget,
    RequestLine,
    StaticTarget,
    Target,
    encode_path,
)

SCOPE: Final = "oci"
VERSION: Final = ("Docker-Distribution-Api-Version", "registry/2.0")
MAX_MANIFEST: Final = 4 << 20  # bytes, as registries and clients have it
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
# All that there is: what a client may have of it is decided when it is here.
ACCEPT: Final = f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_LIST}, {DOCKER_MANIFEST}"
JSON: Final = "application/json"
NO_TAGS: Final = "no tags"
"""The representation of a list of tags that must be empty (`n=0`)."""

_COUNT = re.compile(r"[0-9]{1,6}")
_ARTIFACT_TYPE = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*(?:/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*)?"
)
_MOMENT = re.compile(r"[0-9A-Za-z:.+-]{1,40}")
_MAX_PARAMETER = 500
_EMPTY_INDEX: Final = json.dumps(
    {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
).encode()


@dataclass(frozen=True, slots=True)
class Place:
    """A repository of one upstream. `alias` empty: of the vendor's registry."""

    alias: str
    name: str

    @property
    def package(self) -> str:
        """How the repository is called here."""
        return f"{self.alias}/{self.name}" if self.alias else self.name

    def path(self, *parts: str) -> str:
        """A path of it, on its upstream."""
        return encode_path(("v2", *self.name.split("/"), *parts))


@dataclass(frozen=True, slots=True)
class Registries:
    """The upstreams that paths may mean: `home`, hosts of the vendor's registry; `further`, alias
    to host."""

    home: tuple[str, ...] = ("cgr.dev",)
    further: Mapping[str, str] | None = None

    def find(self, parts: Sequence[str], ns: str | None) -> Place:
        """The repository that a name means. Raises InvalidName; UnknownPath for an upstream that
        is not configured."""
        name = oci_names.repository_name("/".join(parts))
        further = self.further or {}
        if ns is not None:
            if ns in self.home:
                return self._at_home(name)
            for alias, host in further.items():
                if ns in (host, alias):
                    return Place(alias, name)
            raise _unknown("No upstream of that name (ns) is configured here.", REPOSITORY)
        first, _, rest = name.partition("/")
        if first in further and rest:
            return Place(first, rest)
        return self._at_home(name)

    def _at_home(self, name: str) -> Place:
        if self.further and name.partition("/")[0] in self.further:
            # Two repositories would have one name in rights and in logs.
            raise _unknown("Names that begin so belong to another upstream here.", REPOSITORY)
        return Place("", name)


def classify(line: RequestLine, registries: Registries) -> Target:
    """Say what a request line asks for. Raises what is wrong with it."""
    segments = line.segments[1:]
    _refuse_pushes(line, segments)
    if not segments:
        return StaticTarget(SCOPE, body=b"{}", media_type=JSON, headers=(VERSION,))
    if line.escaped:
        # No name, tag or digest needs it, and two spellings of one path are one too many.
        if ":" in segments[-1]:
            raise InvalidDigest("A digest is written as it is, without percent-encoding.")
        raise InvalidName("Names and tags are written as they are, without percent-encoding.")
    if line.slash or len(segments) < 3:
        raise _unknown("This is no path of a registry (OCI distribution specification).")
    *_, kind, what = segments
    ns = _one(line, "ns")
    if (kind, what) == ("tags", "list"):
        return _tags(registries.find(segments[:-2], ns), line)
    if kind == "manifests":
        return _manifest(registries.find(segments[:-2], ns), what)
    if kind == "blobs":
        return _blob(registries.find(segments[:-2], ns), oci_names.digest(what))
    if kind == "referrers":
        return _referrers(registries.find(segments[:-2], ns), oci_names.digest(what), line)
    if segments[-3:-1] == ("_chainguard", "history") and len(segments) > 3:
        return _history(registries.find(segments[:-3], ns), oci_names.tag(what), line)
    raise _unknown("This is no path of a registry (OCI distribution specification).")


def _refuse_pushes(line: RequestLine, segments: tuple[str, ...]) -> None:
    uploads = segments[-2:] == ("blobs", "uploads") or segments[-3:-1] == ("blobs", "uploads")
    if line.method == "POST" or uploads:
        raise MethodNotAllowed("Nothing can be pushed here: the proxy is read-only.")


def _manifest(place: Place, reference: str) -> DocumentTarget:
    if ":" in reference:
        return manifest_by_digest(place, oci_names.digest(reference))
    return _by_tag(place, oci_names.tag(reference))


def _by_tag(place: Place, tag: str) -> DocumentTarget:
    by_digest = place.path("manifests", "")
    return DocumentTarget(
        path=f"{by_digest}{tag}",
        scope=SCOPE,
        package=place.package,
        version=tag,
        accept=ACCEPT,
        representation=MANIFEST,
        vary=("Accept",),
        moving=True,
        verbatim=True,
        by_digest=by_digest,
        max_size=MAX_MANIFEST,
        upstream=place.alias,
        kind=MANIFEST,
    )


def manifest_by_digest(place: Place, digest: Digest) -> DocumentTarget:
    """The target of a manifest that is asked for by its digest."""
    return _by_tag(place, "").found_by(digest)


def _blob(place: Place, digest: Digest) -> ArtifactTarget:
    return ArtifactTarget(
        path=place.path("blobs", str(digest)),
        scope=SCOPE,
        package=place.package,
        filename=str(digest),
        version=str(digest),
        digest=digest,
        headers=(VERSION, ("Docker-Content-Digest", str(digest))),
        of_package=True,
        upstream=place.alias,
        kind=BLOB,
    )


def _tags(place: Place, line: RequestLine) -> DocumentTarget:
    count = _one(line, "n")
    if count is not None and not _COUNT.fullmatch(count):
        raise _bad("n is a number of tags.")
    empty = count is not None and int(count) == 0
    # Asking for none may mean anything to an upstream; but whether there is a list, it must say.
    query = "?n=1" if empty else _query(line)
    return DocumentTarget(
        path=place.path("tags", "list") + query,
        scope=SCOPE,
        package=place.package,
        accept=JSON,
        representation=NO_TAGS if empty else JSON,
        moving=True,
        based=True,
        upstream=place.alias,
        kind=REPOSITORY,
    )


def _referrers(place: Place, digest: Digest, line: RequestLine) -> DocumentTarget:
    wanted = (_one(line, "artifactType") or "").replace(" ", "+")  # it came as it is in a query
    if wanted and not _ARTIFACT_TYPE.fullmatch(wanted):
        raise _bad("artifactType is a media type.")
    # A registry without this API keeps the same list under a tag that is made of the digest.
    tag = replace(
        _by_tag(place, f"{digest.algorithm}-{digest.hex}"[:128]),
        representation=f"{OCI_INDEX};{wanted}",
        verbatim=False,
        vary=(),
        by_digest="",
        otherwise=StaticTarget(
            SCOPE,
            body=_EMPTY_INDEX,
            media_type=OCI_INDEX,
            headers=(VERSION, *((FILTERED,) if wanted else ())),
            package=place.package,
            kind=MANIFEST,
        ),
    )
    return replace(
        tag,
        path=place.path("referrers", str(digest)) + _query(line),
        version=str(digest),
        accept=OCI_INDEX,
        based=True,
        otherwise=tag,
    )


FILTERED: Final = ("OCI-Filters-Applied", "artifactType")


def _history(place: Place, tag: str, line: RequestLine) -> DocumentTarget:
    pairs = []
    for name in ("start", "end"):
        value = _one(line, name)
        if value is None:
            continue
        value = value.replace(" ", "+")  # of a zone; it came as it is in a query
        if not _MOMENT.fullmatch(value):
            raise _bad(f"{name} is a moment (RFC 3339).")
        pairs.append((name, value))
    return DocumentTarget(
        path=place.path("_chainguard", "history", tag) + spell_query(pairs),
        scope=SCOPE,
        package=place.package,
        version=tag,
        accept=JSON,
        representation=JSON,
        moving=True,
        upstream=place.alias,
        kind=MANIFEST,
    )


def _query(line: RequestLine) -> str:
    """All parameters of a list, in one order: how an upstream names its next page is its own."""
    for name, value in line.query:
        if len(name) + len(value) > _MAX_PARAMETER or not (name + value).isascii():
            raise _bad("A parameter is too long, or not plain text.")
    pairs = [
        (name, value.replace(" ", "+") if name == "artifactType" else value)
        for name, value in line.query
        if name != "ns"
    ]
    return spell_query(sorted(pairs))


def spell_query(pairs: Sequence[tuple[str, str]]) -> str:
    """A query in the one spelling that goes upstream and into keys; empty where there is none."""
    parts = (f"{quote(name, safe='')}={quote(value, safe=':')}" for name, value in pairs)
    joined = "&".join(parts)
    return f"?{joined}" if joined else ""


def _one(line: RequestLine, name: str) -> str | None:
    values = [value for key, value in line.query if key == name]
    if len(values) > 1:
        raise _bad(f"{name} is given twice.")
    return values[0] if values else None


def _bad(detail: str) -> BadRequest:
    error = BadRequest(detail)
    error.kind = PARAMETER
    return error


def _unknown(detail: str, kind: str = "") -> UnknownPath:
    error = UnknownPath(detail)
    error.kind = kind
    return error
