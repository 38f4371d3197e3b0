"""From a file of an index page to the path it has here, and back. Pure.

Purpose: every link that `proxied` makes is one that `python_paths` understands and `locate` finds
in the same page. A link gets the form by name whenever its own path would not lead back to the
page it stands on. Links to files are relative: one ready body serves every client, whatever name
it calls this proxy by. Links to provenance are absolute, as PEP 740 wants them.

What is not served is not announced: provenance on another path or host, a signature that is none.
What is served is announced: core metadata of a wheel whose upstream has none, made of the wheel.

Reading: PEP 503, 658, 714, 740. Non-goals: which hosts may be asked when it comes to that: who
connects has the same rules.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import unquote, urlsplit

from proxy.ecosystems import distribution, python_paths
from proxy.ecosystems.python_paths import BY_NAME, FILE_MOUNTS, FILES, METADATA, SIGNATURE
from proxy.ecosystems.simple_page import (
    File,
    ProjectPage,
    allowed,
    origin,
    resolve,
    strongest,
)
from proxy.errors import Malformed, NotAcceptable, NotListed
from proxy.model import ArtifactTarget, Links, Source, Whole, encode_path

_LONGEST_LINK = 1000


def proxied(page: ProjectPage, index: str, base: str, links: Links) -> ProjectPage:
    """Point every link at this proxy; leave out what it would not fetch or does not serve.

    Raises Malformed when no file would be left.
    """
    files: dict[str, File | None] = {}
    for file in page.files:
        path = _link_path(file, page, index, base)
        if path in files:
            continue  # the first of two files under one name wins, here as in `_find`
        may = allowed(file.url, base, links.hosts)
        files[path] = _proxied_file(file, path, base, links) if may else None
    kept = tuple(file for file in files.values() if file is not None)
    if files and not kept:
        raise Malformed(
            "All files of the upstream's index page are on hosts that this proxy may not ask."
        )
    return replace(page, files=kept)


def locate(target: ArtifactTarget, page: ProjectPage, base: str) -> Source:
    """Find what a page offers under the target's path. Raises NotListed."""
    filename, companion = python_paths.split_companion(target.filename)
    path = target.path.removesuffix(companion)
    file = _find(path, filename, page, base)
    version = distribution.version_within(filename, page.name)
    if not companion:
        return Source(file.url, page.name, version, file.digest, file.size)
    source = Source(file.url, page.name, version, whole=Whole(path, file.digest, file.size))
    if companion == SIGNATURE and file.gpg_sig:
        return replace(source, location=_beside(file.url, SIGNATURE))
    if companion == METADATA and file.core_metadata:
        hashes = {} if file.core_metadata is True else file.core_metadata
        return replace(source, location=_beside(file.url, METADATA), digest=strongest(hashes))
    if companion == METADATA and _is_wheel(filename):
        return replace(source, extracted=True)
    raise NotListed(target.filename)


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


def _find(path: str, filename: str, page: ProjectPage, base: str) -> File:
    """Find the file that a page offers under `path`. Raises NotListed.

    A path by name finds any file of that name: a lock file that holds one stays good when the
    upstream moves its files.
    """
    named = [file for file in page.files if file.filename == filename]
    _, mount, kind, index, *_ = *path.split("/"), ""
    by_name = (mount, kind) == (FILES, BY_NAME)
    offered = (file for file in named if _link_path(file, page, index, base) == path)
    found = next(offered, named[0] if named and by_name else None)
    if found is None:
        raise NotListed(filename)
    return found


def _link_path(file: File, page: ProjectPage, index: str, base: str) -> str:
    """Give the path under which this proxy offers a file: the upstream's own where that leads back
    to the same page, else the one by name."""
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
    return encode_path((FILES, BY_NAME, index, page.name, file.filename))


def _own_segments(url: str, base: str) -> tuple[str, ...] | None:
    """Give the decoded segments of a URL on the document's own origin, if a client could send them
    as they are; else None."""
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
    return None if {"", ".", ".."} & set(segments) else segments
