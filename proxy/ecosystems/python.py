"""Python packages: simple indexes under five prefixes, files under two.

Purpose: implements `Ecosystem` for pip, uv, poetry, pdm and everybody else who speaks the simple
repository API. Paths are the upstream's own, so that moving here changes the host only.

    /python/simple/<project>/               index page, HTML or JSON as the client accepts
    /files/<...>/<project>/<file>           artifact, or its .metadata companion
    /python-upstream/<...>/<file>           artifact that comes through the vendor's fallback
    /files/by-name/<index>/<project>/<file> the same for what lies on any other path or host

An artifact's path says nothing about its digest, nor with certainty its project: the index pages
that may list it do (`listed_in`). A link gets the last form whenever its own path would not lead
back to the page it stands on; so every link that `rewrite` makes is one that `classify` accepts
and `locate` finds in the same page. Links are relative: one ready body serves every client,
whatever name it calls this proxy by.

Reading: the simple repository API specification, PEP 503, 658, 691, 714. Non-goals: provenance
and signatures (`/python/integrity`, `.asc`): what is not served is not announced either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote, urlsplit

from proxy.ecosystems import distribution, simple_index
from proxy.ecosystems.base import package_url, problem
from proxy.ecosystems.simple_page import File, ProjectPage, allowed, origin, strongest
from proxy.errors import (
    InvalidName,
    Malformed,
    MethodNotAllowed,
    NotListed,
    ProxyError,
    UnknownPath,
)
from proxy.model import (
    ArtifactTarget,
    Document,
    DocumentTarget,
    ErrorBody,
    HostRules,
    Links,
    Mount,
    RequestLine,
    Source,
    StaticTarget,
    Target,
    encode_path,
)

_SCOPE: Final = "python"
_REMEDIATED: Final = "python-remediated"
_FILES: Final = "files"
_BY_NAME: Final = "by-name"
_FILE_MOUNTS: Final = (_FILES, "python-upstream")
# The order in which the indexes are asked for a file whose name prefers none.
_INDEXES: Final = {
    "python": _SCOPE,
    _REMEDIATED: _REMEDIATED,
    "cu126": _SCOPE,
    "cu128": _SCOPE,
    "cu129": _SCOPE,
}
_ACCEPT: Final = f"{simple_index.JSON}, {simple_index.HTML};q=0.2, {simple_index.TEXT_HTML};q=0.1"
_LONGEST_LINK: Final = 1000


@dataclass(frozen=True, slots=True)
class Python:
    """The Python ecosystem. No state: every instance is the same."""

    name: str = "python"
    upstream: str = "libraries"

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """Five indexes and two prefixes of files."""
        indexes = tuple(Mount((prefix,), scope) for prefix, scope in _INDEXES.items())
        return (*indexes, *(Mount((prefix,), _SCOPE) for prefix in _FILE_MOUNTS))

    def purl(self, package: str, version: str = "") -> str:
        """Spell a project (normalised) as package URL."""
        return package_url("pypi", package, version)

    def classify(self, line: RequestLine) -> Target:
        """Say what a request line asks for.

        Raises UnknownPath, InvalidName, NotAcceptable, MethodNotAllowed (nothing is uploaded).
        """
        if line.method == "POST":
            raise MethodNotAllowed("Packages are only read here; nothing can be uploaded.")
        match line.segments:
            case (index,) | (index, "simple") if index in _INDEXES:
                return _front(line, index)
            case (index, "simple", name) if index in _INDEXES:
                return _project(line, index, name)
            case _ if not line.slash and (target := _artifact(line.segments)) is not None:
                return target
            case _:
                raise UnknownPath("This is no path of a Python index.")

    def locate(self, target: ArtifactTarget, listing: Document) -> Source:
        """Find an artifact in an index page. The host of what is found is not checked here: who
        connects asks the same rules. Raises NotListed, Malformed."""
        page = simple_index.parse(listing, target.package)
        companion = target.filename.endswith(distribution.METADATA)
        filename = target.filename.removesuffix(distribution.METADATA)
        file = _find(target.path.removesuffix(distribution.METADATA), filename, page, listing.url)
        return _companion(file, page) if companion else _source(file, page)

    def rewrite(self, target: DocumentTarget, document: Document, links: Links) -> Document:
        """Make the page that a client gets. Raises Malformed."""
        if target.package:
            page = simple_index.parse(document, target.package)
            index = target.path.split("/")[1]
            page = _proxied(page, index, document.url, links.hosts)
            body = simple_index.render(page, target.representation)
        else:
            root = simple_index.parse_root(document)
            body = simple_index.render_root(root, target.representation)
        return Document(body, target.representation, document.url)

    def render_error(self, error: ProxyError, request_id: str) -> ErrorBody:
        """Word a failure as problem details: uv prints title and detail."""
        return problem(error, request_id)


# --- classify --------------------------------------------------------------------------------


def _front(line: RequestLine, index: str) -> Target:
    if len(line.segments) == 1:
        return _redirect(line, "simple/" if line.slash else f"{index}/simple/", (index, "simple"))
    if not line.slash:
        return _redirect(line, "simple/", (index, "simple"))
    return _page(index, "", simple_index.negotiate(line.accept))


def _project(line: RequestLine, index: str, name: str) -> Target:
    if not distribution.is_project_name(name):
        raise InvalidName("This can be the name of no Python project.")
    normal = distribution.normalise(name)
    if normal == name and line.slash:
        return _page(index, normal, simple_index.negotiate(line.accept))
    relative = f"../{normal}/" if line.slash else f"{normal}/"
    return _redirect(line, relative, (index, "simple", normal))


def _redirect(line: RequestLine, relative: str, segments: tuple[str, ...]) -> StaticTarget:
    """Point to the normal spelling, never by a host name. (PEP 503: names; 301 may be kept.)

    Relative, so that a front which adds a prefix does not break it; but an encoded slash does not
    separate for the client, so then the path is given whole.
    """
    location = encode_path(segments, slash=True) if line.escaped else relative
    package = segments[2] if len(segments) > 2 else ""  # index, simple, project
    return StaticTarget(
        scope=_INDEXES[segments[0]], status=301, headers=(("Location", location),), package=package
    )


def _page(index: str, package: str, representation: str) -> DocumentTarget:
    segments = (index, "simple", package) if package else (index, "simple")
    return DocumentTarget(
        path=encode_path(segments, slash=True),
        scope=_INDEXES[index],
        package=package,
        accept=_ACCEPT,
        representation=representation,
        vary=("Accept",),
    )


def _artifact(segments: Sequence[str]) -> ArtifactTarget | None:
    """Understand the path of a file or of its companion; None: it is none of ours."""
    if len(segments) < 3 or segments[0] not in _FILE_MOUNTS:  # mount, folder, file
        return None
    filename = segments[-1].removesuffix(distribution.METADATA)
    if not distribution.is_distribution(filename):
        return None
    indexes: tuple[str, ...]
    if tuple(segments[:2]) == (_FILES, _BY_NAME):
        if len(segments) != 5 or segments[2] not in _INDEXES:  # as in the picture
            return None
        package, indexes = segments[3], (segments[2],)
        if distribution.normalise(package) != package:
            return None
        version = distribution.version_within(filename, package)
    else:
        package = _project_of(segments[-2], filename)
        version = distribution.version_within(filename, package)
        indexes = _likely_indexes(version)
    if not version:
        return None
    listed_in = tuple(_page(index, package, simple_index.JSON) for index in indexes)
    return ArtifactTarget(
        path=encode_path(tuple(segments)),
        scope=listed_in[0].scope,
        package=package,
        filename=segments[-1],
        version=version,
        listed_in=listed_in,
    )


def _project_of(folder: str, filename: str) -> str:
    """Tell the project: the folder's name if the file is one of it, else a guess, else ""."""
    if distribution.is_project_name(folder):
        project = distribution.normalise(folder)
        if distribution.belongs(filename, project):
            return project
    return distribution.guess(filename)


def _likely_indexes(version: str) -> tuple[str, ...]:
    """Order the indexes that may list a version: those that its local part names, then the rest.

    All of them: a CUDA index lists plain versions too, and a file's path does not tell its index.
    """
    local = distribution.local_parts(version)
    named = [_REMEDIATED] if "cgr" in local else []
    named += [part for part in local if part in _INDEXES and part not in named]
    return (*named, *(index for index in _INDEXES if index not in named))


# --- links -----------------------------------------------------------------------------------


def _proxied(page: ProjectPage, index: str, base: str, hosts: HostRules) -> ProjectPage:
    """Point every link at this proxy; leave out what it would not fetch or does not serve."""
    files: dict[str, File | None] = {}
    for file in page.files:
        path = _link_path(file, page, index, base)
        if path in files:
            continue  # the first of two files under one name wins, here as in `_find`
        may = allowed(file.url, base, hosts)
        files[path] = (
            replace(file, url=f"../../..{path}", gpg_sig=None, provenance=None) if may else None
        )
    kept = tuple(file for file in files.values() if file is not None)
    if files and not kept:
        raise Malformed(
            "All files of the upstream's index page are on hosts that this proxy may not ask."
        )
    return replace(page, files=kept)


def _find(path: str, filename: str, page: ProjectPage, base: str) -> File:
    """Find the file that a page offers under `path`. Raises NotListed.

    A path by name finds any file of that name: a lock file that holds one stays good when the
    upstream moves its files.
    """
    named = [file for file in page.files if file.filename == filename]
    _, mount, kind, index, *_ = *path.split("/"), ""
    by_name = (mount, kind) == (_FILES, _BY_NAME)
    offered = (file for file in named if _link_path(file, page, index, base) == path)
    found = next(offered, named[0] if named and by_name else None)
    if found is None:
        raise NotListed(filename)
    return found


def _source(file: File, page: ProjectPage) -> Source:
    version = distribution.version_within(file.filename, page.name)
    return Source(file.url, page.name, version, file.digest, file.size)


def _companion(file: File, page: ProjectPage) -> Source:
    """Give the source of a file's core metadata, if the page announces it (PEP 658)."""
    if not file.core_metadata:
        raise NotListed(file.filename + distribution.METADATA)
    url, mark, query = file.url.partition("?")
    hashes = {} if file.core_metadata is True else file.core_metadata
    version = distribution.version_within(file.filename, page.name)
    location = url + distribution.METADATA + mark + query
    return Source(location, page.name, version, strongest(hashes))


def _link_path(file: File, page: ProjectPage, index: str, base: str) -> str:
    """Give the path under which this proxy offers a file: the upstream's own where that leads back
    to the same page, else the one by name."""
    own = _own_path(file.url, base)
    if (
        own is not None
        and own[1] != _BY_NAME
        and own[-1] == file.filename
        and _project_of(own[-2], file.filename) == page.name
    ):
        return encode_path(own)
    return encode_path((_FILES, _BY_NAME, index, page.name, file.filename))


def _own_path(url: str, base: str) -> tuple[str, ...] | None:
    """Give the decoded segments of a URL on the document's own origin below one of the mounts of
    files, if a client could send them as they are; else None."""
    split = urlsplit(url)
    if origin(split) != origin(urlsplit(base)) or split.query or len(url) > _LONGEST_LINK:
        return None
    try:
        path = unquote(split.path, errors="strict")
    except UnicodeDecodeError:
        return None
    if not (path.isascii() and path.isprintable()) or "%" in path or "\\" in path:
        return None
    segments = tuple(path.split("/"))[1:]
    fits = 3 <= len(segments) <= 50  # mount, folder, file; well below any limit
    if not fits or segments[0] not in _FILE_MOUNTS or {"", ".", ".."} & set(segments):
        return None
    return segments
