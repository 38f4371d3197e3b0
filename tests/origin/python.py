"""The Python part of the libraries host: simple indexes and files.

Purpose: `/<index>/simple/...` for the vendor's five indexes, in HTML and JSON, with absolute links
to `/files/...` and `/python-upstream/...`, which answer with a redirect to the object store whose
own body is an HTML page (the trap that poisons naive caches).

Reading: PEP 503, 592, 629, 658/714, 691, 700, 708, 740, 792. Non-goals: authentication and
entitlement (see `libraries`, which asks `scope_of` first); true signatures.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from packaging.utils import canonicalize_name

from tests.origin.answers import HTML_TYPE, blocked, not_found, package_blocked, redirected
from tests.origin.blobs import Blob, BytesBlob
from tests.origin.content import INDEXES, REMEDIATED, Artifact, Content
from tests.origin.settings import Settings
from tests.origin.store import Store, serve_blob
from tests.origin.wire import Header, Request, Response

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
PROVENANCE_TYPE = "application/vnd.pypi.integrity.v1+json"
_WEIGHT = re.compile(r"[01](\.\d{0,3})?")
_FILE_PREFIXES = ("/files/", "/python-upstream/")

Fill = Callable[[str], Awaitable[None]]


@dataclass(slots=True)
class PythonPart:
    """Answers for the Python paths. `fill`: called for a project that is not held, may add it."""

    settings: Settings
    content: Content
    store: Store
    base: Callable[[], str]
    store_base: Callable[[], str]
    fill: Fill | None = None

    def scope_of(self, path: str) -> str | None:
        """The entitlement that a decoded path needs; None: not this part's path."""
        index = path.split("/")[1] if path.count("/") else ""
        if index in INDEXES:
            return REMEDIATED if index == REMEDIATED else "python"
        if path.startswith(_FILE_PREFIXES):
            artifact = self.content.at(path.removesuffix(".metadata")) or self.content.at(path)
            return REMEDIATED if artifact and artifact.index == REMEDIATED else "python"
        return None

    async def answer(self, request: Request, path: str) -> Response:
        """Answer a request whose decoded path belongs to this part."""
        if path.startswith(_FILE_PREFIXES):
            return self._file(request, path)
        index, *rest = path.split("/")[1:]
        if index == "python" and rest[:1] == ["integrity"]:
            return self._provenance(request, rest[1:])
        if rest in ([], [""]):
            return _moved(302, f"/{index}/simple/")
        if rest[0] != "simple" or len(rest) > 3 or rest[2:] not in ([], [""]):
            return not_found()
        name = canonicalize_name(rest[1]) if rest[1:] not in ([], [""]) else ""
        normal = f"/{index}/simple/{name}/" if name else f"/{index}/simple/"
        if path != normal:
            return _moved(301, normal)
        return await self._page(request, index, name) if name else self._root(request, index)

    def _root(self, request: Request, index: str) -> Response:
        names = self.content.projects(index)
        names += [f"made-up-project-number-{n:07}" for n in range(self.settings.more_projects)]
        if self._speaks_json(request):
            document = {"meta": self._meta(), "projects": [{"name": name} for name in names]}
            return self._document(request, JSON_TYPE, json.dumps(document).encode())
        anchors = [f'<a href="/{index}/simple/{name}/">{name}</a>' for name in names]
        return self._document(request, HTML_TYPE, self._html("Simple index", anchors))

    async def _page(self, request: Request, index: str, project: str) -> Response:
        if project in self.content.blocked_packages:
            return package_blocked(project)
        artifacts = self.content.page(index, project)
        if not artifacts and self.fill is not None and index == "python":
            await self.fill(project)
            artifacts = self.content.page(index, project)
        if not artifacts:
            return not_found()
        if self._speaks_json(request):
            body = json.dumps(self._json_page(project, artifacts)).encode()
            return self._document(request, JSON_TYPE, body)
        anchors = [self._anchor(artifact) for artifact in artifacts]
        return self._document(request, HTML_TYPE, self._html(f"Links for {project}", anchors))

    def _file(self, request: Request, path: str) -> Response:
        artifact, blob = self.content.at(path), None
        if artifact is not None:
            blob = artifact.blob
        elif path.endswith(".metadata") and self.settings.core_metadata:
            artifact = self.content.at(path.removesuffix(".metadata"))
            blob = _metadata_blob(artifact) if artifact else None
        elif path.endswith(".asc") and self.settings.gpg_sig:
            artifact = self.content.at(path.removesuffix(".asc"))
            blob = BytesBlob(f"signature of {path}\n".encode())
        if artifact is None or blob is None:
            return not_found()
        if (refused := blocked(self.content, artifact)) is not None:
            return refused
        if self.settings.direct:
            return serve_blob(request, blob, self.settings.store_media_type)
        return redirected(self.store_base() + self.store.presign(blob, path.rsplit("/", 1)[1]))

    def _provenance(self, request: Request, rest: list[str]) -> Response:
        """`<project>/<version>/<file>/provenance`, or `bundle.json` in place of the last."""
        if len(rest) != 4 or not self.settings.provenance:
            return not_found()
        project, version, filename, kind = rest
        found = any(
            (a.project, a.version, a.filename) == (canonicalize_name(project), version, filename)
            for a in self.content
        )
        if not found or kind not in ("provenance", "bundle.json"):
            return not_found()
        publisher = {"kind": "GitHub", "environment": "chainguard"}
        bundle = {"publisher": publisher, "attestations": [{"version": 1, "of": filename}]}
        document = {"version": 1, "attestation_bundles": [bundle]}
        media_type = PROVENANCE_TYPE if kind == "provenance" else "application/json"
        return self._document(request, media_type, json.dumps(document, indent=1).encode())

    # --- pages -----------------------------------------------------------------------------------

    def _speaks_json(self, request: Request) -> bool:
        return self.settings.json_index and quality(request.all("accept"), JSON_TYPE) > max(
            quality(request.all("accept"), "text/html"), 0.0
        )

    def _meta(self) -> dict[str, str]:
        return {"api-version": self.settings.api_version if self.settings.sizes else "1.0"}

    def _json_page(self, project: str, artifacts: list[Artifact]) -> dict[str, Any]:
        page: dict[str, Any] = {
            "meta": self._meta(),
            "name": project,
            "files": [self._json_file(artifact) for artifact in artifacts],
        }
        if page["meta"] != {"api-version": "1.0"}:
            page["versions"] = sorted({artifact.version for artifact in artifacts})
        settings = self.settings
        if settings.status:
            reason = {"reason": settings.status_reason} if settings.status_reason else {}
            page["project-status"] = {"status": settings.status, **reason}
        if settings.tracks:
            page["meta"]["tracks"] = list(settings.tracks)
        if settings.alternate_locations:
            page["alternate-locations"] = list(settings.alternate_locations)
        if settings.private_keys:
            page["_last-serial"] = page["meta"]["_last-serial"] = 42
        return page

    def _json_file(self, artifact: Artifact) -> dict[str, Any]:
        settings = self.settings
        hashes = {"sha256": artifact.blob.sha256} if settings.hashes else {}
        entry: dict[str, Any] = {
            "filename": artifact.filename,
            "url": self.base() + artifact.link,
            "hashes": hashes,
        }
        if settings.requires_python and artifact.requires_python:
            entry["requires-python"] = artifact.requires_python
        if settings.yanked and artifact.yanked is not None:
            entry["yanked"] = artifact.yanked or True
        if settings.sizes:
            entry["size"] = artifact.blob.size
        if settings.upload_time:
            entry["upload-time"] = artifact.uploaded
        metadata = _metadata_blob(artifact) if settings.core_metadata else None
        if metadata is not None:
            announced = {"sha256": metadata.sha256} if settings.metadata_hash else True
            entry["core-metadata"] = announced
            if settings.old_names:
                entry["dist-info-metadata"] = entry["data-dist-info-metadata"] = announced
        if settings.provenance:
            entry["provenance"] = self._provenance_link(artifact)
        if settings.gpg_sig:
            entry["gpg-sig"] = True
        if settings.private_keys:
            entry["_private"] = {"of": artifact.filename}
        return entry

    def _provenance_link(self, artifact: Artifact) -> str:
        path = f"/python/integrity/{artifact.project}/{artifact.version}/{artifact.filename}"
        return f"{self.base()}{quote(path)}/provenance"

    def _anchor(self, artifact: Artifact) -> str:
        settings = self.settings
        href = self.base() + artifact.link
        if settings.hashes:
            href += f"#sha256={artifact.blob.sha256}"
        attributes = {"href": href}
        if settings.requires_python and artifact.requires_python:
            attributes["data-requires-python"] = artifact.requires_python
        if settings.yanked and artifact.yanked is not None:
            attributes["data-yanked"] = artifact.yanked
        metadata = _metadata_blob(artifact) if settings.core_metadata else None
        if metadata is not None:
            announced = f"sha256={metadata.sha256}" if settings.metadata_hash else "true"
            attributes["data-core-metadata"] = announced
            attributes["data-dist-info-metadata"] = announced
        if settings.provenance:
            attributes["data-provenance"] = self._provenance_link(artifact)
        if settings.gpg_sig:
            attributes["data-gpg-sig"] = "true"
        text = " ".join(f'{name}="{html.escape(value)}"' for name, value in attributes.items())
        return f"<a {text}>{html.escape(artifact.filename)}</a><br/>"

    def _html(self, title: str, anchors: list[str]) -> bytes:
        settings = self.settings
        metas = [("repository-version", self._meta()["api-version"])]
        metas += [("project-status", settings.status)] if settings.status else []
        metas += (
            [("project-status-reason", settings.status_reason)] if settings.status_reason else []
        )
        metas += [("tracks", url) for url in settings.tracks]
        metas += [("alternate-locations", url) for url in settings.alternate_locations]
        lines = [
            "<!DOCTYPE html>\n<html>\n<head>",
            *(f'<meta name="pypi:{name}" content="{html.escape(text)}">' for name, text in metas),
            f"<title>{title}</title>\n</head>\n<body>\n<h1>{title}</h1>",
            *anchors,
            "</body>\n</html>\n",
        ]
        return "\n".join(lines).encode()

    def _document(self, request: Request, media_type: str, body: bytes) -> Response:
        settings = self.settings
        headers: list[Header] = [("Vary", "Accept")] if settings.json_index else []
        if settings.cache_control:
            headers.append(("Cache-Control", settings.cache_control))
        if settings.etag:
            etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            etag = f"W/{etag}" if settings.weak_etag else etag
            headers.append(("ETag", etag))
            known = [tag.strip() for tag in request.all("if-none-match").split(",")]
            if etag in known or "*" in known:
                return Response(304, tuple(headers))
        if settings.gzip and quality(request.all("accept-encoding"), "gzip") > 0:
            headers.append(("Content-Encoding", "gzip"))
            body = gzip.compress(body, mtime=0)
        return Response.of(200, media_type, body, *headers)


def decoded_path(target: str) -> str:
    """The path of a raw target, decoded once. Invalid UTF-8 becomes what matches nothing."""
    return unquote(target.partition("?")[0], errors="replace")


def quality(accept: str, media_type: str) -> float:
    """The weight an Accept field gives to exactly this type; 0 where it is not named."""
    for item in accept.split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        if name.lower() == media_type:
            weights = [part[2:] for part in parameters if part.startswith("q=")]
            return float(weights[0]) if weights and _WEIGHT.fullmatch(weights[0]) else 1.0
    return 0.0


def _moved(status: int, location: str) -> Response:
    page = f'<a href="{location}">Moved</a>.\n\n'.encode()
    return Response.of(status, HTML_TYPE, page, ("Location", location))


def _metadata_blob(artifact: Artifact) -> Blob | None:
    return BytesBlob(artifact.metadata) if artifact.metadata is not None else None
