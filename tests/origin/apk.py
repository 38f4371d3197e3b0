"""The apk host: repositories of an organisation, behind basic auth.

Purpose: `/<organisation>/<arch>/APKINDEX.tar.gz` and packages, these by redirect to the object
store with all of its traps; the signing key, and where it is. Whoever asks without the pull token,
or for another organisation, is refused.

Reading: the vendor's documentation as far as it goes; apko's key discovery. Non-goals: bearer
tokens, what is in a package (see `apks`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

from tests.origin import apks
from tests.origin.answers import redirected
from tests.origin.apks import KEY, ORGANISATION, ApkFile
from tests.origin.blobs import Blob, BytesBlob
from tests.origin.content import Content
from tests.origin.credentials import Credentials
from tests.origin.journal import Journal, Received
from tests.origin.settings import Settings
from tests.origin.store import Store, serve_blob
from tests.origin.wire import Header, Request, Response

PUBLIC = "chainguard"
_TEXT = "text/plain; charset=utf-8"


@dataclass(slots=True)
class ApkSettings:
    """Behaviour of the apk host, changeable while it runs.

    `discovery`: where the keys are can be asked; `jwks`: in place of the address that is told ("":
    the true one). `signed`: the index is. `index_redirect`: it comes from the object store, too.
    `index_bytes`: in place of the true ones. `public`: nobody has to show a pull token, nor may.
    """

    discovery: bool = True
    jwks: str = ""
    signed: bool = True
    index_redirect: bool = False
    index_bytes: bytes | None = None
    public: bool = False


@dataclass(slots=True)
class ApkHost:
    """Answers every request of the apk host."""

    settings: Settings
    content: Content
    credentials: Credentials
    store: Store
    journal: Journal
    base: Callable[[], str]
    store_base: Callable[[], str]
    behaviour: ApkSettings = field(default_factory=ApkSettings)

    async def answer(self, request: Request, received: Received) -> Response:
        """Answer one request, noting every broken rule."""
        path = unquote(request.target.partition("?")[0])
        if request.header("cookie") is not None:
            self.journal.violation(received, "a cookie")
        if request.method != "GET":
            self.journal.violation(received, request.method)
            return Response(405, (("Allow", "GET"),))
        if self.behaviour.public:
            if request.header("authorization") is not None:
                self.journal.violation(received, "a credential where none belongs")
            return self._serve(request, received, path, path.removeprefix(f"/{ORGANISATION}/"))
        verdict = self.credentials.judge(request.header("authorization"))
        if verdict == "unknown":
            self.journal.violation(received, "a credential that was never issued here")
        if verdict != "good":
            self.journal.counters[f"credentials_{verdict}"] += 1
            return _plain(401, "unauthenticated", ("WWW-Authenticate", 'Basic realm="apk"'))
        organisation, _, rest = path.removeprefix("/").partition("/")
        if organisation not in (ORGANISATION, PUBLIC):
            return _plain(403, "no such organisation, or none of yours")
        path = f"/{ORGANISATION}/{rest}"  # the public one has the same
        return self._serve(request, received, path, rest)

    def index(self, repository: str = apks.REPOSITORY) -> bytes:
        """The index of a repository at this moment."""
        if self.behaviour.index_bytes is not None:
            return self.behaviour.index_bytes
        held = [item for item in self.content if item.index == repository]
        packages = [item for item in held if isinstance(item, ApkFile)]
        return apks.index(packages, signed=self.behaviour.signed)

    def _serve(self, request: Request, received: Received, path: str, rest: str) -> Response:
        if rest == KEY:
            return Response.of(200, "application/x-pem-file", apks.public_key())
        if rest == "apk-configuration" and self.behaviour.discovery:
            told = self.behaviour.jwks or f"{self.base()}/{ORGANISATION}/jwks"
            return Response.of(200, "application/json", json.dumps({"jwks_uri": told}).encode())
        if rest == "jwks":
            return Response.of(200, "application/json", json.dumps(apks.jwks()).encode())
        if path == f"/{apks.REPOSITORY}/APKINDEX.tar.gz":
            return self._index(request)
        artifact = self.content.at(path)
        if not isinstance(artifact, ApkFile):
            return _plain(404, "not found")
        if request.all("accept-encoding") != "identity":
            self.journal.violation(received, "Accept-Encoding of an artifact is not identity")
        if artifact.project in self.content.blocked_packages:
            return _plain(409, "MALWARE_DETECTED")
        if (artifact.project, artifact.version) in self.content.blocked_versions:
            return _plain(403, "MALWARE_DETECTED")
        if self.settings.direct:
            return serve_blob(request, artifact.blob, self.settings.store_media_type)
        return self._redirect(artifact.blob, artifact.filename)

    def _index(self, request: Request) -> Response:
        body = self.index()
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers: list[Header] = [("ETag", etag)] if self.settings.etag else []
        if self.settings.etag and etag in request.all("if-none-match"):
            return Response(304, tuple(headers))
        if self.behaviour.index_redirect:
            return self._redirect(BytesBlob(body), "APKINDEX.tar.gz")
        return Response.of(200, "application/octet-stream", body, *headers)

    def _redirect(self, blob: Blob, filename: str) -> Response:
        return redirected(self.store_base() + self.store.presign(blob, filename))


def _plain(status: int, text: str, *headers: Header) -> Response:
    return Response.of(status, _TEXT, f"{text}\n".encode(), *headers)
