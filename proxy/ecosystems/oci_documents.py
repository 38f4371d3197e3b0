"""The documents of a registry: checked, and passed on as they are or with links to us.

Purpose: a manifest is never changed by a byte; but one that does not have the digest that it must
have, or that two clients could read in two ways, is not passed on at all. Lists of tags and of
referrers keep their content; links to their next pages lead here.

Reading: OCI image specification 1.1 (`manifest`, `image-index`, `descriptor`) and its advisory on
ambiguous manifests (CVE-2021-41190), OCI distribution specification 1.1 (`Link`, referrers),
RFC 8288 (Web Linking). Non-goals: following what manifests name; signatures.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qsl, urljoin, urlsplit

from proxy.ecosystems.json_objects import json_object, strict
from proxy.ecosystems.oci_names import MANIFEST, is_digest
from proxy.ecosystems.oci_paths import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    FILTERED,
    JSON,
    NO_TAGS,
    OCI_INDEX,
    OCI_MANIFEST,
    VERSION,
    spell_query,
)
from proxy.errors import DigestMismatch, Malformed
from proxy.model import Digest, Document, DocumentTarget, Links

_LISTS: Final = frozenset({OCI_INDEX, DOCKER_LIST})
_KNOWN: Final = _LISTS | {OCI_MANIFEST, DOCKER_MANIFEST}
# What a registry says that does not know, or a host that serves files.
_VAGUE: Final = frozenset({"", JSON, "application/octet-stream", "text/plain"})
_MEDIA_TYPE = re.compile(r"application/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,120}\+json")
_LINK = re.compile(r'<([^<>"\s]{1,2000})>\s*((?:;\s*[^;,"]+(?:"[^"]*")?\s*)*)')
_REL_NEXT = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^;,\s"]+))', re.IGNORECASE)
_READ: Final = {
    name.lower(): name
    for name in ("schemaVersion", "mediaType", "config", "subject", "layers", "manifests", "blobs")
}
_READ_OF_DESCRIPTORS: Final = {name.lower(): name for name in ("mediaType", "digest", "size")}
_UNREADABLE = "The upstream's answer is no list of the kind that was asked for."


def rewrite(target: DocumentTarget, document: Document, links: Links) -> Document:
    """Make the document that a client gets. Raises Malformed, DigestMismatch."""
    if target.representation == MANIFEST:
        return _manifest(target, document)
    top = json_object(document.body, strict)
    if target.representation == NO_TAGS:
        _check_tags(top)
        body = json.dumps({"name": top["name"], "tags": []}).encode()
        return replace(document, body=body, media_type=JSON, headers=(VERSION,))
    if target.representation == JSON:
        if target.path.partition("?")[0].endswith("/tags/list"):
            document = _page_of_tags(target, document, top)
        headers = (VERSION, *_next_page(target, document, links))
        return replace(document, media_type=JSON, headers=headers)
    return _referrers(target, document, top, links)


# --- manifests ---------------------------------------------------------------------------------


def _manifest(target: DocumentTarget, document: Document) -> Document:
    fields = dict(document.headers)
    digest = _checked_digest(target.digest, fields.get("docker-content-digest", ""), document.body)
    media_type = _media_type(document.media_type, json_object(document.body, strict))
    headers = (VERSION, ("Docker-Content-Digest", digest))
    return replace(document, media_type=media_type, headers=headers)


def _checked_digest(wanted: Digest | None, claimed: str, body: bytes) -> str:
    """The digest to tell a client: the one that it asked for, else the upstream's, else ours."""
    digests = [str(wanted)] if wanted is not None else []
    if claimed:
        if not is_digest(claimed):
            raise Malformed("The upstream names a digest that is none.")
        digests.append(claimed)
    for digest in digests:
        algorithm, _, value = digest.partition(":")
        if hashlib.new(algorithm, body).hexdigest() != value:
            raise DigestMismatch("The upstream sent another manifest than its digest says.")
    return digests[0] if digests else f"sha256:{hashlib.sha256(body).hexdigest()}"


def _media_type(given: str, top: Mapping[str, Any]) -> str:
    """The one media type of a manifest. Raises Malformed where it could be read in two ways."""
    _check_spelling(top, _READ)
    given, own = given.partition(";")[0].strip(), top.get("mediaType")
    if own is not None and not isinstance(own, str):
        raise Malformed("The upstream's manifest has a media type that is no text.")
    is_list, is_image = "manifests" in top, not {"layers", "config"}.isdisjoint(top)
    if is_list and is_image:
        raise Malformed("The upstream's manifest is a list and an image at the same time.")
    if given in _VAGUE:
        given = own or (OCI_INDEX if is_list else OCI_MANIFEST)
    if (own and own != given) or not _MEDIA_TYPE.fullmatch(given):
        raise Malformed("The upstream's manifest is of another media type than it says.")
    if given in _KNOWN and (top.get("schemaVersion") != 2 or (given in _LISTS) != is_list):
        raise Malformed("The upstream's manifest is not what its media type says.")
    for descriptor in _descriptors(top):
        _check_descriptor(descriptor)
    return given


def _descriptors(top: Mapping[str, Any]) -> Iterator[object]:
    for name in ("config", "subject"):
        if top.get(name) is not None:
            yield top[name]
    for name in ("layers", "manifests", "blobs"):
        found = top.get(name)
        if found is None:
            continue
        if not isinstance(found, list):
            raise Malformed("The upstream's manifest has no list where one belongs.")
        yield from found


def _check_descriptor(descriptor: object) -> None:
    """Raise Malformed for one that leads nowhere: clients build addresses and paths of it."""
    if not isinstance(descriptor, dict):
        raise Malformed("The upstream's manifest names something that is no descriptor.")
    _check_spelling(descriptor, _READ_OF_DESCRIPTORS)
    digest, size = descriptor.get("digest"), descriptor.get("size")
    if not isinstance(digest, str) or not is_digest(digest):
        raise Malformed("The upstream's manifest names a digest that is none.")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise Malformed("The upstream's manifest names a size that is none.")


# --- lists -------------------------------------------------------------------------------------


def _check_tags(top: Mapping[str, Any]) -> None:
    tags = top.get("tags")
    if not isinstance(top.get("name"), str) or not (
        # Half a character can be written into no link.
        tags is None
        or (
            isinstance(tags, list)
            and all(isinstance(tag, str) and tag.isprintable() for tag in tags)
        )
    ):
        raise Malformed(_UNREADABLE)


def _page_of_tags(target: DocumentTarget, document: Document, top: Mapping[str, Any]) -> Document:
    """The list as it is; cut to the page that was asked for where the upstream knows no pages (the
    CNCF's registry before version 3), with the link to the next one."""
    _check_tags(top)
    asked = dict(parse_qsl(urlsplit(target.path).query))
    tags: list[str] = top.get("tags") or []
    most = int(asked.get("n", len(tags)))
    if len(tags) <= most:
        return document
    rest = [tag for tag in sorted(tags) if tag > asked.get("last", "")]
    body = json.dumps({"name": top["name"], "tags": rest[:most]}).encode()
    if len(rest) <= most:
        return replace(document, body=body, headers=())
    query = spell_query([("last", rest[most - 1]), ("n", str(most))])
    link = f'<{target.path.partition("?")[0]}{query}>; rel="next"'
    return replace(document, body=body, headers=(("link", link),))


def _referrers(
    target: DocumentTarget, document: Document, top: Mapping[str, Any], links: Links
) -> Document:
    found = top.get("manifests")
    if top.get("schemaVersion") != 2 or not isinstance(found, list):
        raise Malformed(_UNREADABLE)
    for descriptor in found:
        _check_descriptor(descriptor)
    headers = [VERSION, *_next_page(target, document, links)]
    body, wanted = document.body, target.representation.partition(";")[2]
    if wanted:
        headers.append(FILTERED)
        applied = dict(document.headers).get("oci-filters-applied", "")
        if FILTERED[1] not in [name.strip() for name in applied.split(",")]:
            kept = [item for item in found if item.get("artifactType") == wanted]
            body = json.dumps({**top, "manifests": kept}).encode()
    return replace(document, body=body, media_type=OCI_INDEX, headers=tuple(headers))


def _next_page(
    target: DocumentTarget, document: Document, links: Links
) -> tuple[tuple[str, str], ...]:
    """The link to the next page, on us; nothing where there is none. Raises Malformed where it
    leads out of the list: a client that follows it would miss the rest without noticing."""
    value = dict(document.headers).get("link", "")
    address = next((uri for uri, rest in _LINK.findall(value) if _is_next(rest)), None)
    if address is None:
        return ()
    if not (address.isascii() and address.isprintable()):
        raise Malformed("The upstream's next page has an address that is none.")
    try:
        there, here = urlsplit(urljoin(document.url, address)), urlsplit(document.url)
    except ValueError as error:
        raise Malformed("The upstream's next page has an address that is none.") from error
    own = target.path.partition("?")[0]
    if (there.scheme, there.netloc, there.path) != (here.scheme, here.netloc, own):
        raise Malformed("The upstream's next page is a page of something else.")
    pairs = sorted(parse_qsl(there.query, keep_blank_values=True))
    if target.upstream:
        own = own.replace("/v2/", f"/v2/{target.upstream}/", 1)
    query = spell_query([pair for pair in pairs if pair[0] != "ns"])
    return (("Link", f'<{links.base}{own}{query}>; rel="next"'),)


def _is_next(parameters: str) -> bool:
    found = _REL_NEXT.search(parameters)
    return found is not None and "next" in (found.group(1) or found.group(2)).lower().split()


def _check_spelling(members: Mapping[str, Any], known: Mapping[str, str]) -> None:
    """Raise Malformed for a name in other capitals: readers in Go take it for the one they know,
    others for none. `known`: right spellings by their small letters."""
    if any(known.get(name.lower(), name) != name for name in members):
        raise Malformed("The upstream's document spells a member's name in wrong capitals.")
