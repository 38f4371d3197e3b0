"""Container images, charts and whatever else is kept in registries: the pull side, read-only.

Purpose: the OCI distribution specification 1.1 below `/v2/`. A tag is a document that moves, a
manifest by digest one that never changes; both are passed on byte for byte. Blobs are artifacts
whose digest the request itself names. The right to either is that to its repository, as the
upstream has it, whoever else's the same bytes are.

Reading: OCI distribution specification 1.1; Docker's registry API v2 (the version field, codes of
errors that come with a 5xx). Departure: the package URL of an image has the repository's whole name
(`pkg:oci/chainguard/static@latest`), since rights are per repository and a prefix must be able to
name one. Non-goals: pushing, the catalogue (the vendor shows none), tokens (the upstream room's).
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Final

from proxy.ecosystems import oci_documents, oci_paths, oci_setup
from proxy.ecosystems.base import package_url
from proxy.ecosystems.json_objects import json_object
from proxy.ecosystems.oci_names import BLOB, MANIFEST, PARAMETER, REPOSITORY
from proxy.ecosystems.oci_paths import JSON, SCOPE, VERSION, Registries
from proxy.ecosystems.setups import Setup
from proxy.errors import (
    AccessError,
    BadRequest,
    Blocked,
    DigestMismatch,
    InvalidDigest,
    InvalidName,
    Malformed,
    NotFound,
    NotListed,
    ProxyError,
    RateLimited,
    RequestError,
    Unauthenticated,
    UnknownPath,
)
from proxy.model import (
    ArtifactTarget,
    Document,
    DocumentTarget,
    ErrorBody,
    Links,
    Mount,
    RequestLine,
    Source,
    Target,
)

_UNKNOWN: Final[Mapping[str, str]] = {
    MANIFEST: "MANIFEST_UNKNOWN",
    BLOB: "BLOB_UNKNOWN",
    REPOSITORY: "NAME_UNKNOWN",
}


@dataclass(frozen=True, slots=True)
class Oci:
    """The ecosystem. No state: two of the same registries are the same."""

    name: str = "oci"
    upstream: str = "registry"
    registries: Registries = field(default_factory=Registries)

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """One, where every client looks for it."""
        return (Mount(("v2",), SCOPE),)

    def knowing(self, home: str, further: Mapping[str, str]) -> Oci:
        """The same in front of these registries: see `proxy.ecosystems.base.Federated`."""
        return Oci(registries=Registries(("cgr.dev", home), dict(further)))

    @property
    def setups(self) -> tuple[Setup, ...]:
        """See `Introducing`."""
        return oci_setup.SETUPS

    def purl(self, package: str, version: str = "") -> str:
        """Spell a repository, and a tag or digest in it, as package URL."""
        return package_url("oci", package, version)

    def classify(self, line: RequestLine) -> Target:
        """Say what a request line asks for. Raises what the specification has a code for."""
        return oci_paths.classify(line, self.registries)

    def locate(self, target: ArtifactTarget, listing: Document) -> Source:  # noqa: ARG002  # the request names the digest
        """Raise NotListed: blobs are asked for by digest, no document lists them."""
        raise NotListed(target.filename)

    def rewrite(self, target: DocumentTarget, document: Document, links: Links) -> Document:
        """Check a document, and have links to further pages lead here. Raises Malformed,
        DigestMismatch."""
        return oci_documents.rewrite(target, document, links)

    def probe(self) -> Generator[str, Document, str]:
        """See `Probing`: the configuration of a public image, by its index and one manifest."""
        top = json_object((yield "/v2/chainguard/static/manifests/latest").body)
        if (manifests := top.get("manifests")) is not None:
            digest = _digest_in(manifests[0] if isinstance(manifests, list) and manifests else None)
            top = json_object((yield f"/v2/chainguard/static/manifests/{digest}").body)
        return f"/v2/chainguard/static/blobs/{_digest_in(top.get('config'))}"

    def render_error(self, error: ProxyError, request_id: str) -> ErrorBody:
        """Word a failure as the specification has it."""
        fields = {
            "code": _code(error),
            "message": f"{error.reason}: {error.detail}",
            "detail": {"request_id": request_id},
        }
        body = json.dumps({"errors": [fields]}).encode("ascii")
        return ErrorBody(JSON, body, (VERSION,))


def _code(error: ProxyError) -> str:  # noqa: PLR0911  # one for each row of the specification's table
    match error:
        case Unauthenticated():
            return "UNAUTHORIZED"
        case NotFound() | UnknownPath():
            return _UNKNOWN.get(error.kind, "UNSUPPORTED")
        case InvalidDigest() | DigestMismatch():
            return "DIGEST_INVALID"
        case InvalidName():
            return "NAME_INVALID"
        case BadRequest() if error.kind != PARAMETER:
            return "NAME_INVALID"  # a path that could not even be taken apart
        case RequestError():
            return "UNSUPPORTED"
        case RateLimited():
            return "TOOMANYREQUESTS"
        case AccessError() | Blocked() if error.status in {403, 409}:
            return "DENIED"
        case Malformed():
            return "MANIFEST_INVALID" if error.kind == MANIFEST else "UNAVAILABLE"
        case _:
            # The specification has codes for what a client did wrong; Docker's API has these two.
            return "UNAVAILABLE" if error.status > 500 else "UNKNOWN"


def _digest_in(descriptor: object) -> str:
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    if not isinstance(digest, str):
        raise Malformed("The upstream's manifest names no digest.")
    return digest
