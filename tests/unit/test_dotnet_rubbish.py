"""NuGet documents of which a part is something else: refused, or passed on without other links."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.ecosystems.dotnet import Dotnet
from proxy.errors import Malformed, NotListed
from proxy.model import ArtifactTarget, Document, DocumentTarget, ForwardTarget, Target
from proxy.server.canonical import canonicalise
from tests.unit.test_dotnet import (
    FLAT,
    HIVE,
    HOME,
    INDEX,
    LINKS,
    PACKAGE,
    SERVED,
    all_ours,
    entry,
    index,
    leaf,
    result,
)

NET = Dotnet()
ODD: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(
        [
            HOME,
            f"{HOME}/",
            f"{HOME}/dotnet/x",
            f"{HOME}:443{PACKAGE}",
            f"{HOME}//dotnet{PACKAGE}",
            f"https://user:secret@registry.example{PACKAGE}",
            "http://[::1",
            "//registry.example/x",
            "1.0.0",
            "99999999999999999999.0",
        ]
    ),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below),
    max_leaves=6,
)
DOCUMENTS: dict[str, Any] = {
    INDEX: {"version": "3.0.0", "resources": SERVED},
    "/dotnet/v3/vulnerabilities/index.json": [
        {"@name": "base", "@id": f"{HOME}/dotnet/v3/vulnerabilities/1/v.json"}
    ],
    f"{FLAT}/alpha.net/index.json": {"versions": ["1.0.0", "1.2.0"]},
    f"{HIVE}/alpha.net/index.json": index(leaf("1.0.0"), leaf(packageHash="AAAA")),
    f"{HIVE}/alpha.net/page/1.0.0/2.0.0.json": {"items": [leaf()]},
    f"{HIVE}/alpha.net/1.2.0.json": leaf(),
    "/dotnet/v3/c0/alpha.net.1.2.0.json": entry(packageHash="AAAA", packageSize=7),
    "/dotnet/query": {"totalHits": 2, "data": [result("Alpha", "1.0.0", "2.0.0"), "Beta"]},
    "/dotnet/autocomplete?id=alpha.net": {"totalHits": 2, "data": ["1.0.0", "2.0.0"]},
}


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a document: what it is in, and under which name or number."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(items):
        yield value, key
        if isinstance(item, dict | list):
            yield from places(item)


def target_of(path: str) -> Target:
    return NET.classify(canonicalise("GET", path, host="localhost"))


def read(path: str, body: bytes) -> Any:
    """What a client gets of a document."""
    target, held = target_of(path), Document(body, "application/json", HOME + path)
    if isinstance(target, ForwardTarget):
        return json.loads(NET.answer(target, held, LINKS, lambda _name, _version: True).body)
    assert isinstance(target, DocumentTarget)
    return json.loads(NET.rewrite(target, held, LINKS).body)


@pytest.mark.parametrize("path", DOCUMENTS)
@settings(max_examples=150, deadline=None)
@given(odd=ODD, choose=st.randoms(use_true_random=False))
def test_whatever_stands_in_a_document_no_link_of_it_leads_elsewhere(
    path: str, odd: Any, choose: Any
) -> None:
    value = json.loads(json.dumps(DOCUMENTS[path]))
    parent, key = choose.choice(list(places(value)))
    parent[key] = odd
    body = json.dumps(value).encode()
    with suppress(Malformed):
        all_ours(read(path, body))
    wanted = target_of(PACKAGE)
    assert isinstance(wanted, ArtifactTarget)
    if "?" in path or path.endswith("query") or "vulnerabilities" in path:
        return
    with suppress(Malformed, NotListed):
        NET.locate(wanted, Document(body, "application/json", HOME + path))


def test_the_documents_are_well_as_they_stand() -> None:
    found = [all_ours(read(path, json.dumps(value).encode())) for path, value in DOCUMENTS.items()]
    assert found == [len(SERVED), 1, 0, 7, 5, 5, 1, 4, 0]
