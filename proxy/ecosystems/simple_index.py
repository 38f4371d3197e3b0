"""The simple repository API: read whatever the upstream sent, write what a client understands.

Purpose: the face of the three modules behind it. `parse` looks at the bytes, not only at the media
type: upstreams send JSON as octet-stream and error pages as anything. `render` writes one of
`REPRESENTATIONS`; `negotiate` finds out which. The list of all projects has its own way
(`simple_root`).

Reading: the simple repository API specification; PEP 691 for the media types. Non-goals: links
that point at this proxy, and which hosts are allowed (`python`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from proxy.ecosystems import simple_html, simple_json
from proxy.ecosystems.negotiation import choose
from proxy.ecosystems.simple_page import ProjectPage
from proxy.errors import Malformed, NotAcceptable
from proxy.model import Document

JSON: Final = "application/vnd.pypi.simple.v1+json"
HTML: Final = "application/vnd.pypi.simple.v1+html"
TEXT_HTML: Final = "text/html"
REPRESENTATIONS: Final = (JSON, HTML, TEXT_HTML)
_ALIASES: Final = {
    "application/vnd.pypi.simple.latest+json": JSON,
    "application/vnd.pypi.simple.latest+html": HTML,
}
_FAMILY = "application/vnd.pypi.simple."
_VERSIONS = (f"{_FAMILY}v1+", f"{_FAMILY}latest+")


def negotiate(accept: Sequence[str]) -> str:
    """Choose the representation a client gets; text/html for those that do not say (PEP 691).

    Raises NotAcceptable when the client rules out all of them.
    """
    chosen = choose(accept, REPRESENTATIONS, default=TEXT_HTML, aliases=_ALIASES)
    if chosen is None:
        raise NotAcceptable("An index page exists as PEP 691 JSON, as PEP 691 HTML and as HTML.")
    return chosen


def parse(document: Document, project: str) -> ProjectPage:
    """Read the page of `project` (normalised).

    Files that must not be passed on are left out. Raises Malformed for a document that is no such
    page, and for one that names files of which none can be used: an empty page would tell clients
    that the project has no release.
    """
    if is_json(document.media_type, document.body):
        page, named = simple_json.read_page(document.body, project, document.url)
    else:
        page, named = simple_html.read_page(document.body, project, document.url)
    if named and not page.files:
        raise Malformed("The upstream's index page names files, but none that may be used.")
    return page


def render(page: ProjectPage, representation: str) -> bytes:
    """Write a page in one of `REPRESENTATIONS`."""
    if representation == JSON:
        return simple_json.write_page(page)
    return simple_html.write_page(page)


def is_json(media_type: str, body: bytes) -> bool:
    """Tell JSON from HTML by the first character, whatever the upstream calls it.

    `body`: its beginning is enough. Raises Malformed for what is neither.
    """
    declared = media_type.partition(";")[0].strip().lower()
    if declared.startswith(_FAMILY) and not declared.startswith(_VERSIONS):
        raise Malformed("The upstream's index page is of an unknown version of the API.")
    start = body[:1024].lstrip(b"\xef\xbb\xbf \t\r\n\f")[:1]
    if start not in (b"{", b"<"):
        raise Malformed("The upstream's answer is neither a JSON nor an HTML index page.")
    return start == b"{"
