"""The registry host: a look-alike of the vendor's, which is asked with bearer tokens.

Purpose: `/v2/` answers 401 with a challenge, `/token` gives a token for what the pull token (or
nobody) may have, manifests come from the host itself, blobs by redirect to the object store with
all of its traps, tags move. The pull token belongs to `/token` only; whoever sends it elsewhere has
broken a rule, and so has who sends a token that was not given for the repository.

Reading: OCI distribution specification 1.1, the distribution project's token specification.
Non-goals: pushing; the catalogue of all repositories, which the vendor does not show.
"""

from __future__ import annotations

import html
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote

from tests.origin.credentials import Credentials
from tests.origin.images import OCI_INDEX, Images, Repository, digest_of
from tests.origin.journal import Journal, Received
from tests.origin.settings import Settings
from tests.origin.store import Store, serve_blob
from tests.origin.wire import Header, Request, Response

VERSION = ("Docker-Distribution-Api-Version", "registry/2.0")
_PATH = re.compile(
    r"/v2/(?P<name>.+)/(?:(?P<kind>manifests|blobs|referrers|_chainguard/history)/(?P<what>[^/]+)"
    r"|(?P<list>tags/list))"
)


@dataclass(slots=True)
class RegistrySettings:
    """Behaviour of the registry, changeable while it runs.

    `open`: no token is asked for. `basic`: the credential itself is asked for, as many others do.
    `token_lifetime` in seconds, `told_lifetime`: what the answer says (None: the same, 0: nothing).
    `access_token`: the token's other name. `realm`, `scope`: in the challenge, in place of the true
    ones ("": those). `anonymous`: tokens without a credential. `etag` on manifests.
    `content_digest`: the header is sent. `referrers`: the API is there; `filters`: it knows
    `artifactType`. `page`: entries of one page (0: all). `direct`: blobs come from the host itself.
    """

    open: bool = False
    basic: bool = False
    token_lifetime: float = 300.0
    told_lifetime: float | None = None
    access_token: bool = False
    realm: str = ""
    scope: str = ""
    anonymous: bool = True
    etag: bool = False
    content_digest: bool = True
    referrers: bool = True
    filters: bool = True
    page: int = 0
    direct: bool = False


@dataclass(frozen=True, slots=True)
class _Token:
    """What a token was given for, and until when (the origin's clock)."""

    repositories: frozenset[str]
    end: float


@dataclass(slots=True)
class Registry:
    """Answers every request of the registry host. `tokens` that were given, by value."""

    settings: Settings
    images: Images
    credentials: Credentials
    store: Store
    journal: Journal
    base: Callable[[], str]
    store_base: Callable[[], str]
    behaviour: RegistrySettings = field(default_factory=RegistrySettings)
    tokens: dict[str, _Token] = field(default_factory=dict)

    async def answer(self, request: Request, received: Received) -> Response:
        """Answer one request, noting every broken rule."""
        path, _, query = request.target.partition("?")
        if request.header("cookie") is not None:
            self.journal.violation(received, "a cookie")
        if request.method not in ("GET", "HEAD"):
            return Response(405, (("Allow", "GET, HEAD"),))
        if path == "/token":
            return self._give(request, received, query)
        if self._shows_pull_token(request):
            self.journal.violation(received, "the pull token outside of the token endpoint")
        found = _PATH.fullmatch(path)
        name = found.group("name") if found else ""
        if (refusal := self._refuse(request, received, name)) is not None:
            return refusal
        if path == "/v2/":
            return Response.of(200, "application/json", b"{}", VERSION)
        repository = self.images.find(name) if found else None
        if found is None or repository is None:
            return error(404, "NAME_UNKNOWN", "repository name not known to registry")
        if found.group("list"):
            return self._tags(repository, query)
        what = found.group("what")
        match found.group("kind"):
            case "manifests":
                return self._manifest(request, repository, what)
            case "blobs":
                return self._blob(request, repository, what)
            case "referrers":
                return self._referrers(repository, what, query)
            case _:
                return self._history(repository, what, query)

    def retire_tokens(self) -> None:
        """Refuse every token that was given so far."""
        self.tokens.clear()

    # --- tokens ----------------------------------------------------------------------------------

    def _give(self, request: Request, received: Received, query: str) -> Response:
        authorization = request.header("authorization")
        verdict = self.credentials.judge(authorization)
        if verdict == "unknown":
            self.journal.violation(received, "a credential that was never issued here")
        if verdict in ("unknown", "retired") or not (verdict == "good" or self.behaviour.anonymous):
            self.journal.counters[f"credentials_{verdict}"] += 1
            return error(401, "UNAUTHORIZED", "the credential is not valid")
        scopes = [value for name, value in parse_qsl(query) if name == "scope"]
        allowed = set()
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            if kind != "repository" or actions != "pull":
                self.journal.violation(received, f"a token for {scope}")
            repository = self.images.find(name)
            if verdict == "good" or repository is None or not repository.private:
                allowed.add(name)
        value = secrets.token_urlsafe(48)
        lifetime = self.behaviour.token_lifetime
        self.tokens[value] = _Token(frozenset(allowed), self.settings.clock() + lifetime)
        told = self.behaviour.told_lifetime
        data: dict[str, Any] = {"access_token" if self.behaviour.access_token else "token": value}
        if told != 0:
            data["expires_in"] = lifetime if told is None else told
        self.journal.counters["tokens"] += 1
        return Response.of(200, "application/json", json.dumps(data).encode())

    def _shows_pull_token(self, request: Request) -> bool:
        authorization = request.header("authorization")
        if authorization is None or authorization.partition(" ")[2] in self.tokens:
            return False
        if self.behaviour.basic:
            return False
        return self.credentials.judge(authorization) in ("good", "retired")

    def _refuse(self, request: Request, received: Received, name: str) -> Response | None:
        if self.behaviour.open:
            return None
        if self.behaviour.basic:
            if self.credentials.judge(request.header("authorization")) == "good":
                return None
            self.journal.counters["credentials_missing"] += 1
            return error(
                401,
                "UNAUTHORIZED",
                "authentication required",
                ("WWW-Authenticate", 'Basic realm="Registry, Bearer realm=x"'),
            )
        value = (request.header("authorization") or "").partition(" ")[2]
        token = self.tokens.get(value)
        if token is not None and name and name not in token.repositories:
            if self.images.find(name) is None or not self.images.repository(name).private:
                self.journal.violation(received, "a token of another repository")
            token = None
        if token is not None and self.settings.clock() >= token.end:
            self.journal.counters["tokens_ended"] += 1
            token = None
        if token is not None:
            return None
        realm = self.behaviour.realm or f"{self.base()}/token"
        challenge = f'Bearer realm="{realm}",service="registry.example"'
        scope = self.behaviour.scope or (f"repository:{name}:pull" if name else "")
        if scope:
            challenge += f',scope="{scope}"'
        return error(
            401, "UNAUTHORIZED", "authentication required", ("WWW-Authenticate", challenge)
        )

    # --- content ---------------------------------------------------------------------------------

    def _manifest(self, request: Request, repository: Repository, reference: str) -> Response:
        digest = reference if ":" in reference else repository.tags.get(reference, "")
        manifest = repository.manifests.get(digest)
        if manifest is None:
            return error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        accepted = request.all("accept")
        if accepted and manifest.media_type not in accepted and "*/*" not in accepted:
            return error(404, "MANIFEST_UNKNOWN", "the Accept header does not name its type")
        headers: list[Header] = [VERSION]
        if self.behaviour.content_digest:
            headers.append(("Docker-Content-Digest", digest))
        if self.behaviour.etag:
            headers.append(("ETag", f'"{digest}"'))
            if request.all("if-none-match") == f'"{digest}"':
                return Response(304, tuple(headers))
        return Response.of(200, manifest.media_type, manifest.body, *headers)

    def _blob(self, request: Request, repository: Repository, digest: str) -> Response:
        blob = repository.blobs.get(digest)
        if blob is None:
            return error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        if self.behaviour.direct:
            extra = (VERSION, ("Docker-Content-Digest", digest))
            return serve_blob(request, blob, "application/octet-stream", extra)
        location = self.store_base() + self.store.presign(blob, "data")
        page = f'<a href="{html.escape(location)}">Temporary Redirect</a>.\n\n'.encode()
        return Response.of(307, "text/html; charset=utf-8", page, ("Location", location), VERSION)

    def _tags(self, repository: Repository, query: str) -> Response:
        asked = dict(parse_qsl(query))
        tags = [tag for tag in sorted(repository.tags) if tag > asked.get("last", "")]
        most = int(asked["n"]) if "n" in asked else self.behaviour.page
        headers: list[Header] = [VERSION]
        if "n" in asked and most == 0:
            tags = []
        elif most and len(tags) > most:
            tags = tags[:most]
            target = f"/v2/{repository.name}/tags/list?last={quote(tags[-1])}&n={most}"
            headers.append(("Link", f'<{target}>; rel="next"'))
        body = json.dumps({"name": repository.name, "tags": tags}).encode()
        return Response.of(200, "application/json", body, *headers)

    def _referrers(self, repository: Repository, digest: str, query: str) -> Response:
        if not self.behaviour.referrers:
            return error(404, "UNSUPPORTED", "no such route")
        asked = dict(parse_qsl(query))
        found = repository.referrers(digest)
        headers: list[Header] = [VERSION]
        if "artifactType" in asked and self.behaviour.filters:
            found = [item for item in found if item["artifactType"] == asked["artifactType"]]
            headers.append(("OCI-Filters-Applied", "artifactType"))
        start = int(asked.get("page", "0"))
        size = self.behaviour.page or len(found) or 1
        if start + size < len(found):
            kept = [pair for pair in parse_qsl(query) if pair[0] != "page"]
            more = "&".join(f"{name}={quote(value, safe='')}" for name, value in kept)
            base = f"{self.base()}/v2/{repository.name}/referrers/{digest}"
            target = f"{base}?page={start + size}{'&' if more else ''}{more}"
            headers.append(("Link", f'<{target}>; rel="next"'))
        index = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": found[start : start + size],
        }
        return Response.of(200, OCI_INDEX, json.dumps(index).encode(), *headers)

    def _history(self, repository: Repository, tag: str, query: str) -> Response:
        if tag not in repository.history:
            return error(404, "MANIFEST_UNKNOWN", "no such tag")
        asked = dict(parse_qsl(query))
        entries = [
            entry
            for entry in repository.history[tag]
            if asked.get("start", "") <= entry["updateTimestamp"] < asked.get("end", "9")
        ]
        return Response.of(200, "application/json", json.dumps({"history": entries}).encode())


def error(status: int, code: str, message: str, *headers: Header) -> Response:
    """A refusal in the specification's words."""
    body = json.dumps({"errors": [{"code": code, "message": message, "detail": None}]}).encode()
    return Response.of(status, "application/json", body, VERSION, *headers)


__all__ = ["Registry", "RegistrySettings", "digest_of", "error"]
