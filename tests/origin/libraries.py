"""The libraries host: who may ask, and which part answers.

Purpose: the order of the vendor's checks (public documents, credential, entitlement, content) and
the rules that hold for every ecosystem's paths: no HEAD, no cookie, no stranger's credential, no
coding but identity on artifacts. A further ecosystem is a further part in `parts`.

Non-goals: what a part answers (see `python`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tests.origin.answers import not_found, refusal
from tests.origin.credentials import Credentials
from tests.origin.journal import Journal, Received
from tests.origin.python import decoded_path
from tests.origin.settings import Settings
from tests.origin.wire import Request, Response

VEX_PROJECTS = ("alpha", "flask")
_ARTIFACTS = ("/files/", "/python-upstream/", "/javascript-upstream/", "/dotnet-upstream/")
_ENDINGS = (".jar", ".pom", ".module", ".mod", ".zip", ".nupkg", ".nuspec")
_POSTED = "/javascript/-/npm/v1/security/"  # the only calls with a body


class Part(Protocol):
    """One ecosystem of the host."""

    def scope_of(self, path: str) -> str | None:
        """The entitlement that a decoded path needs; None: not this part's path."""
        ...

    async def answer(self, request: Request, path: str) -> Response:
        """Answer a request whose decoded path belongs to this part."""
        ...


@dataclass(slots=True)
class Libraries:
    """Answers every request of the libraries host."""

    settings: Settings
    credentials: Credentials
    journal: Journal
    parts: Sequence[Part]

    async def answer(self, request: Request, received: Received) -> Response:
        """Answer one request, noting every broken rule."""
        path = decoded_path(request.target)
        self._inspect(request, received, path)
        if request.method not in ("GET", "HEAD") and not path.startswith(_POSTED):
            return Response(405, (("Allow", "GET, HEAD"),))
        if path.startswith("/openvex/"):
            return self._openvex(request, received, path)
        verdict = self.credentials.judge(request.header("authorization"))
        if verdict != "good":
            self.journal.counters[f"credentials_{verdict}"] += 1
            challenge = ("WWW-Authenticate", 'Basic realm="libraries"')
            body = b'{"code":401,"message":"unauthenticated"}'
            return Response.of(401, "application/json", body, challenge)
        for part in self.parts:
            scope = part.scope_of(path)
            if scope is None:
                continue
            if scope not in self.settings.entitled:
                return refusal(403, "NOT_ENTITLED", f"the organisation is not entitled to {scope}")
            if not self.credentials.covers(request.header("authorization"), scope):
                return refusal(403, "WRONG_TOKEN", f"the token is not one for {scope}")
            return await part.answer(request, path)
        return not_found()

    def _openvex(self, request: Request, received: Received, path: str) -> Response:
        """Public documents: who sends a credential there has sent it in vain."""
        if request.header("authorization") is not None:
            self.journal.violation(received, "a credential for a public document")
        name = path.removeprefix("/openvex/v1/pypi/").removesuffix(".openvex.json")
        if path != "/openvex/v1/all.json" and (name not in VEX_PROJECTS or "/" in name):
            return not_found()
        document = {
            "@context": "https://openvex.dev/ns/v0.2.0",
            "@id": f"https://libraries.cgr.dev{path}",
            "author": "test origin",
            "version": 1,
            "statements": [],
        }
        return Response.of(200, "application/json", json.dumps(document, indent=1).encode())

    def _inspect(self, request: Request, received: Received, path: str) -> None:
        if request.method == "HEAD":
            self.journal.violation(received, "HEAD")
        if request.header("cookie") is not None:
            self.journal.violation(received, "a cookie")
        if self.credentials.judge(request.header("authorization")) == "unknown":
            self.journal.violation(received, "a credential that was never issued here")
        coding = request.all("accept-encoding")
        artifact = path.startswith(_ARTIFACTS) or path.endswith(_ENDINGS)
        if artifact and coding != "identity":
            self.journal.violation(received, "Accept-Encoding of an artifact is not identity")
