"""From a file of an index page to the path it has here, and back. Pure.

Purpose: every link that `proxied` makes is one that `python_paths` understands and `Offers` find
in the same page. A link gets the form by name whenever its own path would not lead back to the
page it stands on. Links to files are relative: one ready body serves every client, whatever name
it calls this proxy by. Links to provenance are absolute, as PEP 740 wants them.

What is not served is not announced: provenance on another path or host, a signature that is none.
What is served is announced: core metadata of a wheel whose upstream has none, made of the wheel.

Reading: PEP 503, 658, 714, 740. Non-goals: which hosts may be asked when it comes to that: who
connects has the same rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Self, final
from urllib.parse import unquote, urlsplit

from proxy.ecosystems import distribution, python_paths
from proxy.ecosystems.python_paths import BY_NAME, FILE_MOUNTS, FILES, METADATA, SIGNATURE
from proxy.ecosystems.simple_page import (
    File,
    ProjectPage,
    allowed,
    origin,
    resolve,
    site,
    strongest,
)
from proxy.errors import Malformed, NotAcceptable, NotListed
from proxy.model import ArtifactTarget, Links, Source, Whole, encode_path

_LONGEST_LINK = 1000
_PATHS_BY_NAME = f"/{FILES}/{BY_NAME}/"

Paths = tuple[str | None, ...]


def own_paths(page: ProjectPage, base: str) -> Paths:
    """For each file of a page at the URL `base`: the upstream's own path of it, where that leads
    back to the same page; None: it has only the one by name."""
    return tuple(_own_path(file, page, base) for file in page.files)


def proxied(page: ProjectPage, own: Paths, index: str, base: str, links: Links) -> ProjectPage:
    """Point every link at this proxy; leave out what it would not fetch or does not serve. `own`:
    the page's `own_paths`.

    Raises Malformed when no file would be left.
    """
    files: dict[str, File | None] = {}
    for file, path_there in zip(page.files, own, strict=True):
        path = path_there or encode_path((FILES, BY_NAME, index, page.name, file.filename))
        if path in files:
            continue  # the first of two files under one name wins, here as in `Offers`
        may = allowed(file.url, base, links.hosts)
        files[path] = _proxied_file(file, path, base, links) if may else None
    kept = tuple(file for file in files.values() if file is not None)
    if files and not kept:
        raise Malformed(
            "All files of the upstream's index page are on hosts that this proxy may not ask."
        )
    return replace(page, files=kept)


class Offer(NamedTuple):
    """What is kept of a file for the day when somebody asks for it."""

    url: str
    hashes: Mapping[str, str]
    size: int | None
    core_metadata: bool | Mapping[str, str] | None
    signed: bool


@final
@dataclass(frozen=True, slots=True)
class Offers:
    """Implements `Table`: the files of a page by the paths under which this proxy offers them, and
    by their names: a lock file that holds a path by name stays good when the upstream moves its
    files. The first of two files under one path, or of one name, wins."""

    project: str
    by_path: Mapping[str, Offer]
    by_name: Mapping[str, Offer]

    @classmethod
    def of(cls, page: ProjectPage, own: Paths) -> Self:
        """Tabulate a page. `own`: its `own_paths`."""
        by_path: dict[str, Offer] = {}
        nameless: dict[str, Offer] = {}
        by_name: dict[str, Offer] = {}
        for file, path in zip(page.files, own, strict=True):
            offer = Offer(file.url, file.hashes, file.size, file.core_metadata, bool(file.gpg_sig))
            if path is None:
                nameless.setdefault(file.filename, offer)
            else:
                by_path.setdefault(path, offer)
            by_name.setdefault(file.filename, offer)
        return cls(page.name, by_path, {**by_name, **nameless})

    def find(self, target: ArtifactTarget) -> Source:
        """Find what the page offers under the target's path. Raises NotListed."""
        # No companion lies at a path that a page lists, nor does a path by name.
        offer = self.by_path.get(target.path)
        if offer is not None:
            return self._source(target, target.filename, offer)
        filename, companion = python_paths.split_companion(target.filename)
        path = target.path.removesuffix(companion)
        by_name = path.startswith(_PATHS_BY_NAME)
        offer = self.by_name.get(filename) if by_name else self.by_path.get(path)
        if offer is None:
            raise NotListed(filename)
        source = self._source(target, filename, offer)
        return _companion(source, path, offer, target.filename) if companion else source

    def _source(self, target: ArtifactTarget, filename: str, offer: Offer) -> Source:
        project, version = self.project, target.version
        if target.package != project:
            version = distribution.version_within(filename, project)
        return Source(offer.url, project, version, strongest(offer.hashes), offer.size)


def _companion(file: Source, path: str, offer: Offer, filename: str) -> Source:
    """The companion of that name. `path`: of its file. Raises NotListed."""
    whole = Whole(path, file.digest, file.size)
    source = Source(file.location, file.package, file.version, whole=whole)
    if filename.endswith(SIGNATURE):
        if offer.signed:
            return source._replace(location=_beside(offer.url, SIGNATURE))
    elif offer.core_metadata:
        hashes = {} if offer.core_metadata is True else offer.core_metadata
        return source._replace(location=_beside(offer.url, METADATA), digest=strongest(hashes))
    elif _is_wheel(filename.removesuffix(METADATA)):
        return source._replace(extracted=True)
    raise NotListed(filename)


def _proxied_file(file: File, path: str, base: str, links: Links) -> File:
    return replace(
        file,
        url=f"../../..{path}",
        core_metadata=file.core_metadata or (links.extracts and _is_wheel(file.filename)) or None,
        provenance=_provenance(file.provenance, base, links),
    )


def _is_wheel(filename: str) -> bool:
    return filename.lower().endswith(".whl")


def _provenance(href: str | None, base: str, links: Links) -> str | None:
    """The link to a file's provenance here, if it is on a path that is served."""
    link = None if href is None else resolve(base, href)
    segments = None if link is None else _own_segments(link[0], base)
    if segments is None:
        return None
    try:
        served = python_paths.integrity(segments) is not None
    except NotAcceptable:
        return None
    return links.base + encode_path(segments) if served else None


def _beside(url: str, ending: str) -> str:
    path, mark, query = url.partition("?")
    return path + ending + mark + query


def _own_path(file: File, page: ProjectPage, base: str) -> str | None:
    own = _own_segments(file.url, base)
    if (
        own is not None
        and 3 <= len(own) <= 50  # mount, folder, file; well below any limit
        and own[0] in FILE_MOUNTS
        and own[1] != BY_NAME
        and own[-1] == file.filename
        and python_paths.project_of(own[-2], file.filename) == page.name
    ):
        return encode_path(own)
    return None


def _own_segments(url: str, base: str) -> tuple[str, ...] | None:
    """Give the decoded segments of a URL on the document's own origin, if a client could send them
    as they are; else None."""
    if (here := site(base)) and url.startswith(here):
        path, _, query = url[len(here) - 1 :].partition("#")[0].partition("?")
    else:
        split = urlsplit(url)
        if origin(split) != origin(urlsplit(base)):
            return None
        path, query = split.path, split.query
    if query or len(url) > _LONGEST_LINK:
        return None
    try:
        path = unquote(path, errors="strict") if "%" in path else path
    except UnicodeDecodeError:
        return None
    if not (path.isascii() and path.isprintable()) or "%" in path or "\\" in path:
        return None
    segments = tuple(path.split("/"))[1:]
    return None if {"", ".", ".."} & set(segments) else segments
