"""OpenVEX: which vulnerability is fixed, or never was one, in which build of the vendor.

Purpose: two documents that scanners read, whatever ecosystem they look at; the upstream shows them
to everybody, so they have the scope PUBLIC: any client that may come in gets them, and no pull
token is asked for.

    /openvex/v1/all.json                       all statements
    /openvex/v1/pypi/<project>.openvex.json    those about one project

They are statements of the vendor and passed on byte for byte, if they are JSON objects at all.

Reading: the OpenVEX specification; the purl types (`pypi` is one). Non-goals: understanding them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from proxy.ecosystems.base import package_url, problem, refuse_post
from proxy.ecosystems.json_objects import json_object
from proxy.errors import NotListed, ProxyError, UnknownPath
from proxy.model import (
    PUBLIC,
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

_JSON: Final = "application/json"
_ENDING: Final = ".openvex.json"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,200}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class OpenVex:
    """The VEX documents. No state: every instance is the same."""

    name: str = "openvex"
    upstream: str = "libraries"

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """One."""
        return (Mount(("openvex",), PUBLIC),)

    def purl(self, package: str, version: str = "") -> str:
        """Spell a project as package URL; "" where a document is of none."""
        return package_url("pypi", package, version) if package else ""

    def classify(self, line: RequestLine) -> DocumentTarget:
        """Say what a request line asks for. Raises UnknownPath, MethodNotAllowed."""
        refuse_post(line, "VEX documents are only read here.")
        match line.segments:
            case ("openvex", "v1", "all.json") if not line.slash:
                package = ""
            case ("openvex", "v1", "pypi", name) if not line.slash and name.endswith(_ENDING):
                package = name.removesuffix(_ENDING)
                if not _NAME.fullmatch(package):
                    raise UnknownPath("This can be the name of no project.")
            case _:
                raise UnknownPath("This is no path of a VEX document.")
        path = encode_path(line.segments)
        return DocumentTarget(path, PUBLIC, package, accept=_JSON, representation=_JSON)

    def locate(self, target: ArtifactTarget, listing: Document) -> Source:  # noqa: ARG002  # there are none
        """Raise NotListed: no artifact is listed here."""
        raise NotListed(target.filename)

    def rewrite(self, target: DocumentTarget, document: Document, links: Links) -> Document:  # noqa: ARG002  # it holds no links to us
        """Pass the document on as it is. Raises Malformed for what is no JSON object."""
        json_object(document.body)
        return Document(document.body, target.representation, document.url)

    def render_error(self, error: ProxyError, request_id: str) -> ErrorBody:
        """Word a failure as problem details."""
        return problem(error, request_id)
