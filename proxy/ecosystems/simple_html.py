"""The HTML form of the simple repository API (PEP 503, 592, 629, 658, 708, 714, 740, 792).

Purpose: bytes to `ProjectPage` and back; `Reader` serves the list of all projects, too. HTML is
where a proxy is cheated most easily: a connection that breaks in the middle leaves a page that
looks whole, and a login page is as much HTML as an index. So a page is believed only when it was
read to its end and closed, and when it has the marks of an index: a declared version, the
customary title, or a file.

`<base>` is ignored: the document's own URL is the base. Written pages are pure ASCII, with
everything escaped that came from outside.

Non-goals: choosing between JSON and HTML (`simple_index`), checking links (`simple_page`), the list
of all projects (`simple_root`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape
from html.parser import HTMLParser

from proxy.ecosystems.distribution import is_distribution
from proxy.ecosystems.simple_page import (
    NEWEST_MINOR,
    File,
    ProjectPage,
    checked,
    last_segment,
    resolve,
    strongest,
    visible,
)
from proxy.errors import Malformed

_VERSION = re.compile(r"1\.([0-9]{1,4})")
_TITLE = re.compile(r"\s*(?:links\s+for\s|simple\s+index|simple\s+repository)", re.IGNORECASE)
_ROOTS = frozenset({"html", "body"})
_MANY = 1000
CLOSING = "</body>\n</html>\n"

Attributes = dict[str, str]


class Reader(HTMLParser):
    """Collects what an index page says: its anchors, its metas, its headings, its end."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.anchors: list[tuple[Attributes, str]] = []
        self.metas: list[tuple[str, str]] = []
        self.headings: list[str] = []
        self.opened: set[str] = set()
        self.closed: set[str] = set()
        self._open: Attributes | None = None
        self._heading = False
        self._text: list[str] = []

    @property
    def whole(self) -> bool:
        """Whether the page was read to its end: nothing is left over, and what was opened is
        closed. (HTML allows to leave out the end of html and body; then nobody can tell.)"""
        closed = not (self.opened & _ROOTS) or bool(self.closed & _ROOTS)
        return closed and self._open is None and not self.rawdata.strip()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See HTMLParser."""
        if tag == "a":
            # An anchor ends where the next begins (HTML 13.2.6.4.7), its text is lost: no matter.
            self._flush()
            self._open = {name: value or "" for name, value in reversed(attrs)}
        elif tag == "meta":
            values = {name: value or "" for name, value in reversed(attrs)}
            self.metas.append((values.get("name", "").lower(), values.get("content", "")))
        elif tag in {"title", "h1"}:
            self._heading = True
            self._text.clear()
        self.opened.add(tag)

    def handle_endtag(self, tag: str) -> None:
        """See HTMLParser."""
        if tag == "a":
            self._flush()
        elif tag in {"title", "h1"} and self._heading:
            self.headings.append("".join(self._text))
            self._heading = False
        self.closed.add(tag)

    def handle_data(self, data: str) -> None:
        """See HTMLParser."""
        if self._open is not None or self._heading:
            self._text.append(data)

    def _flush(self) -> None:
        if self._open is not None and "href" in self._open:
            self.anchors.append((self._open, "".join(self._text).strip()))
        self._open = None
        self._text.clear()

    def take_anchors(self) -> list[tuple[Attributes, str]]:
        """The anchors that were read since the last call."""
        taken, self.anchors = self.anchors, []
        return taken

    def overgrown(self, most: int) -> bool:
        """Whether it holds more than an index page of any length makes it hold: what is read but
        not taken is over so many characters, or over a thousand elements that no index has."""
        held = len(self.rawdata) + sum(map(len, self._text))
        return held > most or max(len(self.metas), len(self.headings), len(self.opened)) > _MANY

    def content(self, name: str) -> str | None:
        """Give the first meta of that name, which wins."""
        return next((content for key, content in self.metas if key == name), None)

    def contents(self, name: str) -> tuple[str, ...]:
        """Give all metas of that name."""
        return tuple(content for key, content in self.metas if key == name)

    @property
    def minor(self) -> int:
        """The minor version of the API that the page declares. Raises Malformed."""
        match = _VERSION.fullmatch(self.content("pypi:repository-version") or "1.0")
        if match is None:
            # PEP 629: clients must stop at a major version that they do not know.
            raise Malformed("The upstream's index page is of an unknown version of the API.")
        return int(match.group(1))

    @property
    def marked(self) -> bool:
        """Whether the page says of itself that it is an index."""
        declared = self.content("pypi:repository-version") is not None
        return declared or any(_TITLE.match(heading) for heading in self.headings)


def read_page(body: bytes, project: str, base: str) -> tuple[ProjectPage, int]:
    """Read the page of `project` (normalised) at the URL `base`; also: how many files it named.

    Raises Malformed for a page that was cut, or that is none of a simple index.
    """
    reader, minor = _read(body)
    named = [raw for anchor in reader.anchors if (raw := _read_file(*anchor, base)) is not None]
    if not named and not reader.marked:
        raise Malformed("The upstream's answer is a web page, but no index page.")
    page = ProjectPage(
        name=project,
        files=tuple(file for raw in named if (file := checked(raw, project, base)) is not None),
        minor=minor,
        status=reader.content("pypi:project-status"),
        status_reason=reader.content("pypi:project-status-reason"),
        tracks=reader.contents("pypi:tracks"),
        alternate_locations=reader.contents("pypi:alternate-locations"),
    )
    return page, len(named)


def write_page(page: ProjectPage) -> bytes:
    """Write a page. It keeps the declared version: what HTML cannot say (sizes, versions), no
    version of the API asks of it."""
    metas = [
        *_maybe("pypi:project-status", page.status),
        *_maybe("pypi:project-status-reason", page.status_reason),
        *(("pypi:tracks", url) for url in page.tracks),
        *(("pypi:alternate-locations", url) for url in page.alternate_locations),
    ]
    return _write(f"Links for {page.name}", page.minor, metas, map(_anchor, page.files))


# --- reading ---------------------------------------------------------------------------------


def _read(body: bytes) -> tuple[Reader, int]:
    reader = Reader()
    try:
        # Never `close()`: it would make sense of a half-read tag, and what is left over unread
        # is how a page that was cut shows itself.
        reader.feed(body.decode("utf-8-sig"))
    except (ValueError, AssertionError) as error:  # the parser asserts on some declarations
        raise Malformed("The upstream's index page is no readable HTML.") from error
    if not reader.whole:
        raise Malformed("The upstream's index page was cut off.")
    return reader, reader.minor


def _read_file(attributes: Mapping[str, str], text: str, base: str) -> File | None:
    """Read one anchor as it stands; None: it does not even look like a distribution's."""
    href = attributes["href"]
    link = resolve(base, href)
    # The specification wants both the same; the URL's counts, as with pip and uv.
    filename = "" if link is None else last_segment(link[0])
    if not is_distribution(filename):
        filename = text
    if not is_distribution(filename):
        return None
    announced = attributes.get("data-core-metadata", attributes.get("data-dist-info-metadata"))
    yanked = attributes.get("data-yanked")
    signed = attributes.get("data-gpg-sig")
    return File(
        filename=filename,
        url=href,
        requires_python=attributes.get("data-requires-python") or None,
        yanked=False if yanked is None else yanked,
        core_metadata=_announced(announced),
        gpg_sig=None if signed is None else signed == "true",
        provenance=attributes.get("data-provenance") or None,
    )


def _announced(value: str | None) -> bool | Mapping[str, str] | None:
    if value is None:
        return None
    algorithm, equals, digest = value.partition("=")
    return {algorithm.lower(): digest} if equals else value == "true"


# --- writing ---------------------------------------------------------------------------------


def _write(
    title: str, minor: int, metas: Iterable[tuple[str, str]], anchors: Iterable[str]
) -> bytes:
    head = version_meta(minor) + "".join(
        f'<meta name="{name}" content="{_attribute(content)}">\n' for name, content in metas
    )
    body = "".join(f"{anchor}<br>\n" for anchor in anchors)
    page = f"{opening(title, head)}{body}{CLOSING}"
    return page.encode("ascii", "xmlcharrefreplace")


def opening(title: str, head: str) -> str:
    """Everything before the first anchor. `head`: elements that stand in the head."""
    return (
        f"<!DOCTYPE html>\n<html>\n<head>\n{head}<title>{escape(title)}</title>\n</head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n"
    )


def version_meta(minor: int) -> str:
    """The element that declares the version of the API (PEP 629)."""
    return f'<meta name="pypi:repository-version" content="1.{min(minor, NEWEST_MINOR)}">\n'


def _anchor(file: File) -> str:
    digest = file.digest
    fragment = "" if digest is None else f"#{digest.algorithm}={digest.hex}"
    attributes = [("href", file.url + fragment)]
    if file.requires_python is not None:
        attributes.append(("data-requires-python", file.requires_python))
    if file.yanked is not False:
        attributes.append(("data-yanked", "" if file.yanked is True else file.yanked))
    announced = _announcement(file.core_metadata)
    if announced is not None:
        # Both names: clients from before PEP 714 know the second only.
        attributes.append(("data-core-metadata", announced))
        attributes.append(("data-dist-info-metadata", announced))
    if file.gpg_sig is not None:
        attributes.append(("data-gpg-sig", "true" if file.gpg_sig else "false"))
    if file.provenance is not None:
        attributes.append(("data-provenance", file.provenance))
    written = " ".join(f'{name}="{_attribute(value)}"' for name, value in attributes)
    return f"<a {written}>{escape(file.filename)}</a>"


def _announcement(value: bool | Mapping[str, str] | None) -> str | None:  # noqa: FBT001  # the field's own type
    if not isinstance(value, Mapping):
        return "true" if value else None
    digest = strongest(value)
    return "true" if digest is None else f"{digest.algorithm}={digest.hex}"


def _attribute(value: str) -> str:
    return escape(visible(value))


def _maybe(name: str, content: str | None) -> tuple[tuple[str, str], ...]:
    return () if content is None else ((name, content),)
