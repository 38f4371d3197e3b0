"""What the parts of the libraries host answer alike: refusals, redirects, documents.

Purpose: one wording of each. A redirect's own body is an HTML page (the trap that poisons naive
caches); a document has a validator. Non-goals: what only one part does (Python's pages are coded,
vary, and have weak validators too).
"""

from __future__ import annotations

import hashlib
import html
import json

from tests.origin.content import Artifact, Content
from tests.origin.settings import Settings
from tests.origin.wire import Header, Request, Response

HTML_TYPE = "text/html; charset=utf-8"


def refusal(status: int, reason: str, message: str) -> Response:
    """A refusal with a machine-readable reason."""
    body = json.dumps({"code": status, "reason": reason, "message": message}).encode()
    return Response.of(status, "application/json", body)


def not_found() -> Response:
    """404 as the vendor words it: absent and held back look the same."""
    return refusal(404, "NOT_FOUND", "not found")


def package_blocked(project: str) -> Response:
    """409: nothing of a project is to be had."""
    return refusal(409, "MALWARE_DETECTED", f"every version of {project} is blocked")


def blocked(content: Content, artifact: Artifact) -> Response | None:
    """The refusal of what is blocked, or of a version that is; None: it may be had."""
    if artifact.project in content.blocked_packages:
        return package_blocked(artifact.project)
    version = (artifact.project, artifact.version)
    if version in content.blocked_versions:
        return refusal(403, "MALWARE_DETECTED", f"{' '.join(version)} is blocked")
    return None


def redirected(location: str) -> Response:
    """A redirect to a presigned address, with a page as its body."""
    page = f'<a href="{html.escape(location)}">Found</a>.\n\n'.encode()
    return Response.of(302, HTML_TYPE, page, ("Location", location))


def with_validator(request: Request, settings: Settings, media_type: str, body: bytes) -> Response:
    """A document with its validator; 304 for who has it."""
    headers: list[Header] = []
    if settings.cache_control:
        headers.append(("Cache-Control", settings.cache_control))
    if settings.etag:
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers.append(("ETag", etag))
        if etag in request.all("if-none-match"):
            return Response(304, tuple(headers))
    return Response.of(200, media_type, body, *headers)
