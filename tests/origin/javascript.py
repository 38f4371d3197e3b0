"""The JavaScript part of the libraries host: packuments, tarballs, statements and calls.

Purpose: `/javascript/...` as the vendor documents it: packuments whole, whatever is accepted;
`dist.tarball` of what came by the fallback under `/javascript-upstream/`; tarballs redirect to the
object store; a blocked version is 403, a blocked package 409, both with their reason. Signatures
are made with keys of its own, which `/-/npm/v1/keys` gives.

Reading: npm's registry API; npm's "ECDSA registry signatures". Non-goals: authentication and
entitlement (see `libraries`).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.origin.answers import blocked, not_found, package_blocked, redirected, with_validator
from tests.origin.blobs import BytesBlob
from tests.origin.content import Content
from tests.origin.settings import Settings
from tests.origin.store import Store, serve_blob
from tests.origin.tarballs import INDEX, Tarball, integrity_of
from tests.origin.wire import Request, Response

JSON_TYPE = "application/json"
PREFIXES = ("/javascript/", "/javascript-upstream/")
AUDITS = "/javascript/-/npm/v1/security/"
_KEY_ID = "SHA256:test-origin"


@dataclass(slots=True)
class JavaScriptPart:
    """Answers for the JavaScript paths.

    `packuments`: real ones, by package, whose links are made to point here; of other packages they
    are made up. `advisories`: what an audit says of a package. `audits`: the bodies of all audits,
    as they came. `attested`: packages that have attestations and SBOMs.
    """

    settings: Settings
    content: Content
    store: Store
    base: Callable[[], str]
    store_base: Callable[[], str]
    packuments: dict[str, bytes] = field(default_factory=dict)
    advisories: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    audits: list[Any] = field(default_factory=list)
    attested: set[str] = field(default_factory=set)
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    _made: dict[str, bytes] = field(default_factory=dict)

    def scope_of(self, path: str) -> str | None:
        """The entitlement that a decoded path needs; None: not this part's path."""
        return "javascript" if path.startswith(PREFIXES) else None

    async def answer(self, request: Request, path: str) -> Response:
        """Answer a request whose decoded path belongs to this part."""
        if path.startswith(AUDITS):
            return self._audit(request, path)
        if path.startswith("/javascript/-/"):
            return self._call(request, path.removeprefix("/javascript/-/"))
        if "/-/" in path:
            return self._file(request, path)
        name = path.removeprefix("/javascript/")
        if path.startswith("/javascript-upstream/") or not name:
            return not_found()
        return self._packument(request, name)

    # --- packuments ------------------------------------------------------------------------------

    def _packument(self, request: Request, name: str) -> Response:
        if name in self.content.blocked_packages:
            return package_blocked(name)
        body = self._real(name) if name in self.packuments else self._made_up(name)
        return self._document(request, body) if body is not None else not_found()

    def _real(self, name: str) -> bytes:
        if name not in self._made:
            document = json.loads(self.packuments[name])
            for version, manifest in document["versions"].items():
                dist = manifest["dist"]
                dist["tarball"] = self._link(name, version)
                dist["signatures"] = [self._signature(name, version, dist.get("integrity", ""))]
            self._made[name] = json.dumps(document).encode()
        return self._made[name]

    def _link(self, name: str, version: str) -> str:
        filename = f"{name.rpartition('/')[2]}-{version}.tgz"
        fallback = f"/javascript-upstream/{name}/-/{filename}"
        path = fallback if self.content.at(fallback) else f"/javascript/{name}/-/{filename}"
        return self.base() + quote(path, safe="/@")

    def _made_up(self, name: str) -> bytes | None:
        found = [item for item in self.content.page(INDEX, name) if isinstance(item, Tarball)]
        if not found:
            return None
        versions = {one.version: {**one.manifest, "dist": self._dist(one)} for one in found}
        document = {
            "_id": name,
            "name": name,
            "description": "made up",
            "dist-tags": {"latest": found[-1].version},
            "versions": versions,
            "time": {
                "created": "2026-01-02T03:04:05.678Z",
                "modified": "2026-03-04T05:06:07.890Z",
                **{one.version: one.uploaded for one in found},
            },
            "readme": "# made up \ud83d",
        }
        return json.dumps(document).encode()

    def _dist(self, one: Tarball) -> dict[str, Any]:
        data = one.blob.data if isinstance(one.blob, BytesBlob) else b""
        integrity = integrity_of(data)
        dist: dict[str, Any] = {
            "tarball": self.base() + quote(one.path, safe="/@"),
            "integrity": integrity,
            "shasum": hashlib.sha1(data).hexdigest(),
            "unpackedSize": 123,
            "signatures": [self._signature(one.project, one.version, integrity)],
        }
        if one.project in self.attested:
            spec = f"{quote(one.project, safe='@')}@{one.version}"
            url = f"{self.base()}/javascript/-/npm/v1/attestations/{spec}"
            dist["attestations"] = {"url": url, "provenance": {"predicateType": "x"}}
            dist["sboms"] = [{"format": "spdx"}]
        return {key: value for key, value in {**dist, **one.dist}.items() if value is not None}

    def _signature(self, name: str, version: str, integrity: str) -> dict[str, str]:
        message = f"{name}@{version}:{integrity}".encode()
        signature = self.key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        return {"keyid": _KEY_ID, "sig": base64.b64encode(signature).decode()}

    # --- tarballs --------------------------------------------------------------------------------

    def _file(self, request: Request, path: str) -> Response:
        artifact = self.content.at(path)
        if artifact is None:
            return not_found()
        if (refused := blocked(self.content, artifact)) is not None:
            return refused
        if self.settings.direct:
            return serve_blob(request, artifact.blob, self.settings.store_media_type)
        return redirected(self.store_base() + self.store.presign(artifact.blob, artifact.filename))

    # --- calls -----------------------------------------------------------------------------------

    def _call(self, request: Request, call: str) -> Response:
        match call.split("/"):
            case ["npm", "v1", "keys"]:
                return self._document(request, json.dumps(self.keys()).encode())
            case ["npm", "v1", "attestations", *spec] | ["npm", "v1", "sbom", "spdx", *spec]:
                name, _, version = "/".join(spec).rpartition("@")
                if name not in self.attested:
                    return not_found()
                document = {"attestations": [], "of": f"{name}@{version}"}
                return self._document(request, json.dumps(document, indent=1).encode())
            case ["v1", "search"]:
                return self._search(request)
            case _:
                return not_found()

    def keys(self) -> Mapping[str, Any]:
        """What signatures are verified with."""
        public = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        kind = "ecdsa-sha2-nistp256"
        key = base64.b64encode(public).decode()
        return {
            "keys": [
                {"expires": None, "keyid": _KEY_ID, "keytype": kind, "scheme": kind, "key": key}
            ]
        }

    def _search(self, request: Request) -> Response:
        text = parse_qs(request.target.partition("?")[2]).get("text", [""])[0]
        names = [name for name in self.content.projects(INDEX) if text in name]
        fields = {"version": "1.0.0", "keywords": [], "maintainers": [], "links": {}}
        objects = [{"package": {"name": name, "date": "2026-01-02", **fields}} for name in names]
        answer = {"objects": objects, "total": len(objects)}
        return Response.of(200, JSON_TYPE, json.dumps(answer).encode())

    def _audit(self, request: Request, path: str) -> Response:
        if request.method != "POST":
            return not_found()
        asked = json.loads(request.body)
        self.audits.append(asked)
        if path.endswith("/advisories/bulk"):
            found: Any = {name: self.advisories[name] for name in asked if name in self.advisories}
        else:
            named = [
                (number, one)
                for number, name in enumerate(self.advisories, 1)
                if name in asked.get("dependencies", {})
                for one in self.advisories[name]
            ]
            counts = dict.fromkeys(("info", "low", "moderate", "high", "critical"), 0)
            metadata = {"vulnerabilities": {**counts, "high": len(named)}, "totalDependencies": 1}
            advisories = {str(number): one for number, one in named}
            found = {"actions": [], "advisories": advisories, "muted": [], "metadata": metadata}
        return Response.of(200, JSON_TYPE, json.dumps(found).encode())

    def _document(self, request: Request, body: bytes) -> Response:
        return with_validator(request, self.settings, JSON_TYPE, body)
