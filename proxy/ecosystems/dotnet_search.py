"""Answers to searches of a NuGet source: what the client may have of them, pointed here. Pure.

Purpose: a search answers with packages and their versions, a completion with identifiers, or with
the versions of one package. What a client may not have is taken out and not counted.

Reading: NuGet's documentation, "Search" and "Autocomplete". Non-goals: searching.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from proxy.ecosystems.dotnet_links import Object, Pointer
from proxy.ecosystems.dotnet_registration import write
from proxy.ecosystems.dotnet_versions import identifier, normalise
from proxy.ecosystems.json_objects import json_object, standard
from proxy.errors import Malformed
from proxy.model import Document, ForwardTarget, Links

May = Callable[[str, str], bool]
_DATA: Final = "data"
_TOTAL: Final = "totalHits"


def answer(target: ForwardTarget, document: Document, links: Links, may: May) -> bytes:
    """Make the answer that a client gets. Raises Malformed."""
    top = json_object(document.body, standard)
    data = top.get(_DATA)
    if not isinstance(data, list):
        raise Malformed("The upstream's answer to a search holds no results.")
    pointer = Pointer(document.url, links)
    made = [_result(target.package, item, pointer, may) for item in data]
    kept = [item for item in made if item is not None]
    head = pointer.pointed({name: value for name, value in top.items() if name != _DATA})
    total = head.get(_TOTAL)
    if isinstance(total, int):
        head[_TOTAL] = max(len(kept), total - (len(data) - len(kept)))
    return write({**head, _DATA: kept})


def _result(package: str, item: object, pointer: Pointer, may: May) -> object:
    """One result; None: it is not for this client. Raises Malformed."""
    match item:
        case str() if package:
            version = normalise(item)
            return item if version is not None and may(package, version) else None
        case str():
            name = identifier(item)
            return item if name is not None and may(name, "") else None
        case dict():
            return _package(item, pointer, may)
        case _:
            raise Malformed("The upstream's answer to a search holds a result that is none.")


def _package(item: Mapping[str, Any], pointer: Pointer, may: May) -> Object | None:
    name = identifier(str(item.get("id")))
    if name is None or not may(name, ""):
        return None
    versions = item.get("versions", [])
    if not isinstance(versions, list) or not all(isinstance(one, dict) for one in versions):
        raise Malformed("The upstream's answer to a search holds a package of wrong versions.")

    def allowed(version: object) -> bool:
        known = normalise(str(version))
        return known is not None and may(name, known)

    kept = [pointer.pointed(one) for one in versions if allowed(one.get("version"))]
    newest = item.get("version")
    if not allowed(newest):
        if not kept:
            return None
        newest = kept[-1].get("version")  # they are told from the lowest up
    made = pointer.pointed({k: v for k, v in item.items() if k != "versions"})
    return {**made, "version": newest, "versions": kept}
