"""The abbreviated form of real packuments: field by field, nothing is lost that npm documents.

Purpose: more than thirty packages as they are, among them types, one that runs a script when it is
installed, one with a binary for each platform and one of those binaries. Neighbours:
`test_javascript`, where real programs install by it.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.ecosystems.javascript import JavaScript
from proxy.ecosystems.packument import ABBREVIATED, FULL
from proxy.model import Document, DocumentTarget, HostRules, Links, RequestLine
from tests.origin.tarballs import RealNpm

pytestmark = pytest.mark.client

NAMED = (
    *("@types/node", "vite", "esbuild", "@esbuild/linux-x64", "@esbuild/win32-arm64", "fsevents"),
    *("express", "debug", "ms", "qs", "send", "mime-types", "mime-db", "accepts", "body-parser"),
    *("undici-types", "postcss", "nanoid", "picocolors", "picomatch", "tinyglobby", "has-symbols"),
    *("es-errors", "function-bind", "get-intrinsic", "side-channel", "once", "wrappy", "vary"),
    *("bytes", "cookie", "depd", "etag", "fresh"),
)
# npm's own list: docs/responses/package-metadata.md.
DOCUMENTED = (
    *("name", "version", "deprecated", "dependencies", "optionalDependencies"),
    *("devDependencies", "bundleDependencies", "peerDependencies", "peerDependenciesMeta"),
    *("acceptDependencies", "bin", "directories", "dist", "engines", "cpu", "os", "libc"),
    *("funding", "_hasShrinkwrap"),
)


def form(raw: bytes, package: str, media_type: str) -> Any:
    """What a client gets that asks for one form."""
    segments = ("javascript", *package.split("/"))
    target = JavaScript().classify(RequestLine("GET", segments, accept=(media_type,)))
    assert isinstance(target, DocumentTarget)
    base = next(iter(json.loads(raw)["versions"].values()))["dist"]["tarball"]
    links = Links("https://proxy.example", HostRules(("*",)))
    return json.loads(JavaScript().rewrite(target, Document(raw, FULL, base), links).body)


@pytest.mark.parametrize("package", NAMED)
def test_nothing_of_a_real_package_is_lost(package: str, npm_content: RealNpm) -> None:
    raw = npm_content.packuments[package]
    origin = json.loads(raw)
    full, short = (form(raw, package, media_type) for media_type in (FULL, ABBREVIATED))

    assert set(full) == set(origin)
    assert full["dist-tags"] == short["dist-tags"] == origin["dist-tags"]
    assert short.get("time") == origin.get("time")
    assert list(full["versions"]) == list(short["versions"]) == list(origin["versions"])
    for number, manifest in origin["versions"].items():
        whole, brief = full["versions"][number], short["versions"][number]
        for field in DOCUMENTED:
            assert brief.get(field) == whole.get(field)
        for one in (manifest, whole):
            one["dist"].pop("tarball")
            one["dist"].pop("attestations", None)
        assert whole == manifest
        runs = {"preinstall", "install", "postinstall"} & set(manifest.get("scripts") or ())
        assert bool(brief.get("hasInstallScript")) >= bool(runs)


def test_the_packages_have_what_they_are_named_for(npm_content: RealNpm) -> None:
    def newest(package: str) -> Any:
        short = form(npm_content.packuments[package], package, ABBREVIATED)
        return short["versions"][short["dist-tags"]["latest"]]

    assert newest("esbuild")["hasInstallScript"] is True
    assert len(newest("esbuild")["optionalDependencies"]) > 20
    binary = newest("@esbuild/linux-x64")
    assert (binary["os"], binary["cpu"]) == (["linux"], ["x64"])
    assert newest("fsevents")["os"] == ["darwin"]
    assert newest("vite")["peerDependenciesMeta"]
    assert newest("express")["dependencies"]
    assert len(NAMED) >= 30
