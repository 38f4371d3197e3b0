"""Python packages: simple indexes under five prefixes, files under two.

Purpose: implements `Ecosystem` for pip, uv, poetry, pdm and everybody else who speaks the simple
repository API. Paths are the upstream's own, so that moving here changes the host only; what each
means says `python_paths`.

An artifact's path says nothing about its digest, nor with certainty its project: the index pages
that may list it do (`listed_in`); `python_links` has the way back. Besides, it is `Streaming` (the
list of all projects is too large to be held) and `Extracting` (core metadata, where the upstream
has none, is made of the wheel).

Reading: the simple repository API specification, PEP 503, 658, 691, 714, 740.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass

from proxy.ecosystems import (
    distribution,
    python_links,
    python_paths,
    python_setup,
    simple_index,
    simple_json,
    wheel,
)
from proxy.ecosystems.base import Span, package_url, problem, refuse_post, to_folder
from proxy.ecosystems.python_paths import FILE_MOUNTS, INDEXES, SCOPE
from proxy.ecosystems.setups import Setup
from proxy.ecosystems.simple_root import RootStream
from proxy.errors import InvalidName, Malformed, ProxyError, UnknownPath
from proxy.model import (
    ArtifactTarget,
    Document,
    DocumentTarget,
    ErrorBody,
    Links,
    Mount,
    RequestLine,
    Source,
    StaticTarget,
    Target,
)


@dataclass(frozen=True, slots=True)
class Python:
    """The Python ecosystem. No state: every instance is the same."""

    name: str = "python"
    upstream: str = "libraries"

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """Five indexes and two prefixes of files."""
        indexes = tuple(Mount((prefix,), scope) for prefix, scope in INDEXES.items())
        return (*indexes, *(Mount((prefix,), SCOPE) for prefix in FILE_MOUNTS))

    @property
    def setups(self) -> tuple[Setup, ...]:
        """See `Introducing`."""
        return python_setup.SETUPS

    def purl(self, package: str, version: str = "") -> str:
        """Spell a project (normalised) as package URL."""
        return package_url("pypi", package, version)

    def classify(self, line: RequestLine) -> Target:
        """Say what a request line asks for.

        Raises UnknownPath, InvalidName, NotAcceptable, MethodNotAllowed (nothing is uploaded).
        """
        refuse_post(line, "Packages are only read here; nothing can be uploaded.")
        match line.segments:
            case (index,) | (index, "simple") if index in INDEXES:
                return _front(line, index)
            case (index, "simple", name) if index in INDEXES:
                return _project(line, index, name)
            case segments if not line.slash:
                target = python_paths.artifact(segments)
                if (found := target or python_paths.integrity(segments, line.accept)) is not None:
                    return found
            case _:
                pass
        raise UnknownPath("This is no path of a Python index.")

    def locate(self, target: ArtifactTarget, listing: Document) -> Source:
        """Find an artifact in an index page. The host of what is found is not checked here: who
        connects asks the same rules. Raises NotListed, Malformed."""
        return self.tabulate(target.package, listing).find(target)

    def tabulate(self, package: str, listing: Document) -> python_links.Offers:
        """See `Tabulating`: all files of an index page, by their paths here. Raises Malformed."""
        page = simple_index.parse(listing, package)
        return python_links.Offers.of(page, python_links.own_paths(page, listing.url))

    def rewrite(self, target: DocumentTarget, document: Document, links: Links) -> Document:
        """Make the document that a client gets. Raises Malformed."""
        return self.rewrite_tabulated(target, document, links)[0]

    def rewrite_tabulated(
        self, target: DocumentTarget, document: Document, links: Links
    ) -> tuple[Document, python_links.Offers | None]:
        """See `Tabulating`. Raises Malformed."""
        index, kind, *_ = target.path.strip("/").split("/")
        offers = None
        if kind == "integrity":
            # A signed statement: passed on byte for byte, or not at all.
            simple_json.load(document.body)
            body = document.body
        elif target.bulk:
            stream = self.stream(target, document.media_type)
            body = stream.feed(document.body) + stream.finish()
        else:
            page = simple_index.parse(document, target.package)
            own = python_links.own_paths(page, document.url)
            offers = python_links.Offers.of(page, own)
            page = python_links.proxied(page, own, index, document.url, links)
            body = simple_index.render(page, target.representation)
        return Document(body, target.representation, document.url), offers

    def stream(self, target: DocumentTarget, media_type: str) -> RootStream:
        """See `Streaming`: the list of all projects."""
        return RootStream(target.representation, media_type)

    def extract(self, source: Source, size: int, budget: int) -> Generator[Span, bytes, bytes]:
        """See `Extracting`: the core metadata of a wheel."""
        return wheel.extract(source.package, size, budget)

    def probe(self) -> Generator[str, Document, str]:
        """See `Probing`: the newest wheel of a project that is a single module."""
        page = yield "/python/simple/six/"
        listed = self.rewrite(python_paths.page("python", "six", simple_index.JSON), page, Links())
        names = [file["url"].partition("#")[0] for file in json.loads(listed.body)["files"]]
        wheels = [name for name in names if name.endswith(".whl")]
        if not wheels:
            raise Malformed("The upstream's page of six lists no wheel.")
        return f"/{wheels[-1].lstrip('./')}"

    def render_error(self, error: ProxyError, request_id: str) -> ErrorBody:
        """Word a failure as problem details: uv prints title and detail."""
        return problem(error, request_id)


# --- classify --------------------------------------------------------------------------------


def _front(line: RequestLine, index: str) -> Target:
    if len(line.segments) == 1:
        return _redirect(line, "simple/" if line.slash else f"{index}/simple/", (index, "simple"))
    if not line.slash:
        return _redirect(line, "simple/", (index, "simple"))
    return python_paths.page(index, "", simple_index.negotiate(line.accept))


def _project(line: RequestLine, index: str, name: str) -> Target:
    if not distribution.is_project_name(name):
        raise InvalidName("This can be the name of no Python project.")
    normal = distribution.normalise(name)
    if normal == name and line.slash:
        return python_paths.page(index, normal, simple_index.negotiate(line.accept))
    relative = f"../{normal}/" if line.slash else f"{normal}/"
    return _redirect(line, relative, (index, "simple", normal))


def _redirect(line: RequestLine, relative: str, segments: tuple[str, ...]) -> StaticTarget:
    """To the normal spelling of a name (PEP 503)."""
    package = segments[2] if len(segments) > 2 else ""  # index, simple, project
    return to_folder(line, segments, relative, scope=INDEXES[segments[0]], package=package)
