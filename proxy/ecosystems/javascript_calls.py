"""What npm clients ask besides packages and tarballs: everything below `/-/`. Pure.

    -/ping                                       answered here
    -/whoami                                     the name of the proxy's client
    -/package/<package>/dist-tags                made of the packument
    -/npm/v1/keys                                what signatures are verified with
    -/npm/v1/attestations/<package>@<version>    who built it and how
    -/npm/v1/sbom/spdx/<package>@<version>       what is in it
    -/v1/search?text=...                         passed on
    -/npm/v1/security/advisories/bulk            passed on (POST), as are audits and audits/quick

Passed on is what this proxy understands: the parameters of a search, the packages of an audit, of
which a client that is limited to some may only ask about these. Statements are documents, passed
on byte for byte.

Reading: npm's registry API and `npm-audit-report`. Non-goals: logging in, publishing: the proxy is
read-only, and its client tokens are made by its operator.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import urlencode

from proxy.ecosystems import javascript_names as names
from proxy.ecosystems.base import refuse_post
from proxy.ecosystems.packument import FULL
from proxy.errors import BadRequest, MethodNotAllowed, UnknownPath
from proxy.model import (
    DocumentTarget,
    ForwardTarget,
    RequestLine,
    StaticTarget,
    Target,
    encode_path,
)

MAX_AUDIT: Final = 4 << 20
"""Bytes of a lock file in an audit: one of 10 000 packages has about 2 MiB."""
_SECURITY: Final = ("-", "npm", "v1", "security")
_BULK: Final = (*_SECURITY, "advisories", "bulk")
_AUDITS: Final = (_BULK, (*_SECURITY, "audits"), (*_SECURITY, "audits", "quick"))
_SEARCH: Final = ("text", "size", "from", "quality", "popularity", "maintenance")
_STATEMENTS: Final = (("attestations",), ("sbom", "spdx"))
# Of the body of an audit, beside what names packages.
_PLAIN: Final = ("version", "integrity", "dev", "optional", "peer", "bundled")

_Object = dict[str, object]
May = Callable[[str, str], bool]


def call(line: RequestLine, segments: tuple[str, ...]) -> Target:
    """Say what a call is about; `segments` below the mount, the first is `-`.

    Raises UnknownPath, MethodNotAllowed.
    """
    if segments in _AUDITS:
        return _audit(line, segments)
    refuse_post(
        line,
        "Nothing can be published or logged in to here: the proxy is read-only. Put a client token"
        " of this proxy, which its operator makes, into .npmrc.",
    )
    match segments:
        case ("-", "ping"):
            return StaticTarget(names.MOUNT, body=b"{}", media_type=FULL)
        case ("-", "whoami"):
            return StaticTarget(names.MOUNT, media_type=FULL, names_client="username")
        case ("-", "v1", "search"):
            return _search(line)
        case ("-", "npm", "v1", "keys"):
            path = encode_path((names.MOUNT, *segments))
            return DocumentTarget(path, names.MOUNT, accept=FULL, representation=FULL, neutral=True)
        case ("-", "npm", "v1", *rest) if (found := _statement(rest)) is not None:
            return found
        case _:
            raise UnknownPath("This is no call that the npm registry here answers.")


def sift(target: ForwardTarget, body: bytes, may: May) -> bytes:
    """Make the body of an audit that the upstream gets. Raises BadRequest. See `Sifting`."""
    try:
        top = json.loads(body)
        if not isinstance(top, dict):
            raise BadRequest("The body of an audit is a JSON object.")
        bulk = target.path == encode_path((names.MOUNT, *_BULK))
        made = _sift_bulk(top, may) if bulk else _sift_tree(top, may)
        return json.dumps(made, separators=(",", ":"), allow_nan=False).encode("ascii")
    except (ValueError, RecursionError) as error:
        raise BadRequest("The body of an audit is no JSON that can be passed on.") from error


# --- classify --------------------------------------------------------------------------------


def _audit(line: RequestLine, segments: tuple[str, ...]) -> ForwardTarget:
    if line.method != "POST":
        raise MethodNotAllowed("An audit is asked with POST.", allow="POST")
    path = encode_path((names.MOUNT, *segments))
    return ForwardTarget(path, names.MOUNT, "POST", MAX_AUDIT, accept=FULL, sifted=True)


def _search(line: RequestLine) -> ForwardTarget:
    """A search shows what there is: nothing for a client that is limited to some packages."""
    known = [(name, value) for name, value in line.query if name in _SEARCH]
    query = f"?{urlencode(known)}" if known else ""
    return ForwardTarget(encode_path((names.MOUNT, "-", "v1", "search")) + query, names.MOUNT)


def _statement(segments: Sequence[str]) -> DocumentTarget | None:
    for kind in _STATEMENTS:
        if tuple(segments[: len(kind)]) != kind:
            continue
        found = names.split_spec(segments[len(kind) :])
        if found is not None:
            path = names.statement_path("/".join(kind), *found)
            return DocumentTarget(path, names.MOUNT, *found, accept=FULL, representation=FULL)
    return None


# --- audits ----------------------------------------------------------------------------------


def _sift_bulk(top: Mapping[str, object], may: May) -> _Object:
    """`{"name": ["1.0.0", ...]}`."""
    made: _Object = {}
    for package, versions in top.items():
        if not isinstance(versions, list) or not all(isinstance(item, str) for item in versions):
            raise BadRequest("An audit names the versions of each package as a list of texts.")
        if names.is_package(package) and (
            kept := [item for item in versions if may(package, item)]
        ):
            made[package] = kept
    return made


def _sift_tree(top: Mapping[str, object], may: May) -> _Object:
    """What npm made of a lock file before there were bulk audits; yarn 1 and pnpm do still."""
    made = {key: value for key, value in top.items() if key in ("name", "version")}
    metadata = top.get("metadata")
    if isinstance(metadata, dict):
        made["metadata"] = {k: v for k, v in metadata.items() if isinstance(v, str)}
    for key in ("install", "remove"):
        listed = top.get(key)
        if isinstance(listed, list):
            made[key] = [item for item in listed if isinstance(item, str) and _may(item, may)]
    return {**made, **_sift_node(top, may)}


def _may(item: str, may: May) -> bool:
    """Of `name` or `name@range`."""
    package = item[: item.index("@", 1)] if "@" in item[1:] else item
    return names.is_package(package) and may(package, "")


def _sift_node(node: Mapping[str, object], may: May) -> _Object:
    made: _Object = {}
    requires, dependencies = node.get("requires"), node.get("dependencies")
    if isinstance(requires, dict):
        made["requires"] = {
            package: wanted
            for package, wanted in requires.items()
            if isinstance(wanted, str) and names.is_package(package) and may(package, "")
        }
    elif isinstance(requires, bool):
        made["requires"] = requires
    if not isinstance(dependencies, dict):
        return made
    kept: _Object = {}
    for package, below in dependencies.items():
        if not isinstance(below, dict):
            raise BadRequest("An audit names each dependency as a JSON object.")
        version = below.get("version")
        if not (isinstance(version, str) and names.is_package(package) and may(package, version)):
            continue
        plain = {k: below[k] for k in _PLAIN if isinstance(below.get(k), str | bool)}
        kept[package] = {**plain, **_sift_node(below, may)}
    return {**made, "dependencies": kept}
