"""The contract of an ecosystem: a name, its mounts and four pure functions.

Purpose: everything that is special about one package protocol stands in one file that
implements `Ecosystem`; nothing outside `proxy/ecosystems/` knows any protocol. Adding one is a
new file and one item in the tuple of `proxy.ecosystems`.

Reading: simple-repository's `model.py` (a protocol as plain values). Non-goals: fetching,
caching, deciding about access: those rooms call these functions, never the other way round.
"""

from __future__ import annotations

import json
from typing import Protocol
from urllib.parse import quote

from proxy.errors import ProxyError
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


class Ecosystem(Protocol):
    """One package protocol. Implementations MUST be pure: no clock, no I/O, no state."""

    @property
    def name(self) -> str:
        """Cache namespace, entitlement, configuration section and metric label in one."""
        ...

    @property
    def upstream(self) -> str:
        """The key of `[upstream]` that this ecosystem lives behind: libraries, registry or apk."""
        ...

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """Every prefix of the URL space that belongs to it, with the entitlement scope of each."""
        ...

    def purl(self, package: str, version: str = "") -> str:
        """Spell a package of this ecosystem as package URL, with `package_url`."""
        ...

    def classify(self, line: RequestLine) -> Target:
        """Say what a request line asks for.

        MUST raise UnknownPath (or InvalidName, InvalidDigest, NotAcceptable) rather than guess.
        """
        ...

    def locate(self, target: ArtifactTarget, listing: Document) -> Source:
        """Find an artifact in a document that may list it.

        MUST raise NotListed when it does not, Malformed when the document cannot be understood.
        """
        ...

    def rewrite(self, target: DocumentTarget, document: Document, links: Links) -> Document:
        """Make the document that a client gets, in `target.representation`.

        Every artifact URL in it points at this proxy, and `classify` MUST accept every such link.
        MUST raise Malformed rather than pass on what it did not understand.
        """
        ...

    def render_error(self, error: ProxyError, request_id: str) -> ErrorBody:
        """Word a failure the way this ecosystem's clients show it to people."""
        ...


def package_url(kind: str, name: str, version: str = "") -> str:
    """A package URL (purl specification): `kind` is its type, `name` the namespace and the name,
    separated by slashes. Everything is percent-encoded that has a meaning in one."""
    behind = f"@{quote(version, safe=':')}" if version else ""
    return f"pkg:{kind}/{quote(name, safe='/:')}{behind}"


def problem(error: ProxyError, request_id: str) -> ErrorBody:
    """RFC 9457 problem details: what uv and newer Maven print."""
    fields = {
        "type": "about:blank",
        "title": error.reason,
        "status": error.status,
        "detail": error.detail,
        "request_id": request_id,
    }
    return ErrorBody("application/problem+json", json.dumps(fields).encode("ascii"))


def one_line(error: ProxyError, request_id: str) -> ErrorBody:
    """One line of text: for clients that print the body as it is."""
    text = f"{error.reason}: {error.detail} (request {request_id})\n"
    return ErrorBody("text/plain; charset=utf-8", text.encode("ascii", "backslashreplace"))
