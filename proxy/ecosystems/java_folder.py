"""Folder pages of a Maven repository. Pure.

Purpose: upstream's page is read for its links only; what is served is a page of our own with those
that stay in the folder and that we understand, relative, so that each of them works. Whatever else
stands on it (scripts, links to elsewhere, sizes) stays behind.

Reading: the HTML standard's `a` and `base`. Non-goals: being pretty; what a path means
(`java_paths`, which the caller asks about each link).
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Final
from urllib.parse import quote, unquote, urljoin, urlsplit

from proxy.errors import Malformed
from proxy.model import Document

MAX_LINKS: Final = 100_000
_PLAIN = re.compile(
    r"[ -$&-.0-\[\]-~]{1,1000}"
)  # what a path here may hold: no %, slash, backslash
_SAFE: Final = "!$'()*+,=@"  # a colon would make a scheme of what stands before it


def names(document: Document) -> list[str]:
    """What a folder page lists, decoded, in order; folders with a slash at the end.

    Raises Malformed for what is no page.
    """
    if "html" not in document.media_type.lower():
        raise Malformed("The upstream answered a folder with something that is no page.")
    parser = _Links()
    try:
        parser.feed(document.body.decode("utf-8", "replace"))
        parser.close()
    except AssertionError as error:  # of the parser: markup that it cannot make sense of
        raise Malformed("The upstream's folder page is no valid HTML.") from error
    base = urlsplit(document.url)
    found = (_child(base.path, base.netloc, document.url, link) for link in parser.found)
    return list(dict.fromkeys(name for name in found if name))


def page(folder: str, listed: list[str], known: Callable[[str], bool], *, root: bool) -> bytes:
    """A page of the names that are `known`. `folder`: its decoded path, for the title.

    Raises Malformed when there are none: then it was no folder page, whatever it was.
    """
    kept = [name for name in listed if known(name)]
    if not kept:
        raise Malformed("The upstream's page for this folder lists no file and no folder.")
    title = html.escape(f"Index of {folder}")
    links = [] if root else ['<a href="../">../</a>']
    links += [f'<a href="{_href(name)}">{html.escape(name)}</a>' for name in kept]
    lines = "<br>\n".join(links)
    text = (
        f'<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>{title}</title></head>\n'
        f"<body><h1>{title}</h1>\n{lines}\n</body></html>\n"
    )
    return text.encode("utf-8", "replace")


def _href(name: str) -> str:
    slash = "/" if name.endswith("/") else ""
    return quote(name.removesuffix("/"), safe=_SAFE) + slash


def _child(folder: str, host: str, url: str, link: str) -> str:
    """The name of what a link leads to, if it lies in the folder itself; else ""."""
    try:
        parts = urlsplit(urljoin(url, link.strip()))
    except ValueError:
        return ""
    if parts.netloc != host or not parts.path.startswith(folder):
        return ""
    name = parts.path.removeprefix(folder)
    plain = unquote(name.removesuffix("/"), errors="replace")
    if not _PLAIN.fullmatch(plain) or plain in {".", ".."}:
        return ""
    return plain + ("/" if name.endswith("/") else "")


class _Links(HTMLParser):
    """Gathers the targets of links. A `base` is left alone: it could lead anywhere."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a link. Raises Malformed when there are more than anybody lists."""
        target = dict(attrs).get("href") if tag == "a" else None
        if target:
            self.found.append(target)
        if len(self.found) > MAX_LINKS:
            raise Malformed("The upstream's folder page has more links than a folder can have.")
