"""The probes of all ecosystems: paths that are understood, and nothing but Malformed of rubbish."""

from __future__ import annotations

import json

import pytest

from proxy.ecosystems import ECOSYSTEMS
from proxy.ecosystems.base import Ecosystem, Probing
from proxy.errors import Malformed
from proxy.model import Document, DocumentTarget
from proxy.server.canonical import canonicalise

PROBED = [item for item in ECOSYSTEMS if isinstance(item, Probing)]
RUBBISH = [
    *(
        b"",
        b"{}",
        b"[]",
        b"null",
        b"<!DOCTYPE html><html>Sign in</html>",
        b"\xff\xfe\x00",
        b"[" * 5000,
    ),
    json.dumps({"versions": {}, "dist-tags": {"latest": "1.0.0"}, "name": "ms"}).encode(),
    json.dumps({"versions": {"1.0.0": {}}, "dist-tags": {}, "name": "ms"}).encode(),
    json.dumps({"manifests": []}).encode(),
    json.dumps({"manifests": [{"digest": 1}]}).encode(),
    json.dumps({"config": {"digest": None}}).encode(),
    json.dumps({"meta": {"api-version": "1.0"}, "name": "six", "files": []}).encode(),
]

ecosystems = pytest.mark.parametrize("ecosystem", PROBED, ids=lambda item: item.name)


@ecosystems
def test_a_probe_begins_with_a_document_that_clients_may_ask_for(ecosystem: Ecosystem) -> None:
    assert isinstance(ecosystem, Probing)
    path = next(ecosystem.probe())
    target = ecosystem.classify(canonicalise("GET", path, host=None))
    assert isinstance(target, DocumentTarget)


@ecosystems
@pytest.mark.parametrize("body", RUBBISH)
@pytest.mark.parametrize("media_type", ["application/json", "text/html"])
def test_rubbish_is_malformed(ecosystem: Ecosystem, body: bytes, media_type: str) -> None:
    assert isinstance(ecosystem, Probing)
    probe = ecosystem.probe()
    url = f"https://upstream.example{next(probe)}"
    with pytest.raises(Malformed):
        probe.send(Document(body, media_type, url))
