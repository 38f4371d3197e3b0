"""OpenVEX documents: open to every client, and asked for without a pull token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxy.ecosystems.base import Ecosystem
from proxy.ecosystems.openvex import OpenVex
from proxy.errors import Malformed, MethodNotAllowed, NotFound, NotListed, UnknownPath
from proxy.model import PUBLIC, ArtifactTarget, Document, Links
from proxy.server.canonical import canonicalise
from tests.origin import Origin
from tests.running import basic, client, running, token

VEX = OpenVex()
ALL = "/openvex/v1/all.json"
ONE = "/openvex/v1/pypi/alpha.openvex.json"


def test_it_is_an_ecosystem_with_one_public_mount() -> None:
    ecosystem: Ecosystem = VEX
    assert [(mount.prefix, mount.scope) for mount in ecosystem.mounts] == [(("openvex",), PUBLIC)]
    assert ecosystem.upstream == "libraries"


@pytest.mark.parametrize(("path", "package"), [(ALL, ""), (ONE, "alpha")])
def test_a_document_is_the_upstreams_path(path: str, package: str) -> None:
    target = VEX.classify(canonicalise("GET", path, host=None))
    assert (target.path, target.scope, target.package) == (path, PUBLIC, package)


@pytest.mark.parametrize(
    "path",
    [
        *("/openvex", "/openvex/", "/openvex/v1/", "/openvex/v2/all.json", "/openvex/v1/all.json/"),
        *("/openvex/v1/pypi/", "/openvex/v1/pypi/.openvex.json", "/openvex/v1/npm/a.openvex.json"),
        *("/openvex/v1/pypi/a/b.openvex.json", "/openvex/v1/pypi/-a.openvex.json"),
        *("/openvex/v1/pypi/alpha.json", "/openvex/v1/pypi/a%20b.openvex.json"),
    ],
)
def test_any_other_path_is_unknown(path: str) -> None:
    with pytest.raises(UnknownPath):
        VEX.classify(canonicalise("GET", path, host=None))


def test_nothing_can_be_uploaded_and_no_artifact_is_listed() -> None:
    with pytest.raises(MethodNotAllowed):
        VEX.classify(canonicalise("POST", ALL, host=None))
    with pytest.raises(NotListed):
        VEX.locate(ArtifactTarget("/x", PUBLIC, "", "x"), Document(b"{}", "", ""))


def test_a_statement_is_passed_on_byte_for_byte_or_not_at_all() -> None:
    target = VEX.classify(canonicalise("GET", ALL, host=None))
    body = b'{ "statements" : [] }\n'
    made = VEX.rewrite(target, Document(body, "text/plain", ALL), Links())
    assert (made.body, made.media_type) == (body, "application/json")
    for broken in (body[:-3], b"[]", b"<html>", b"", b"[" * 100_000):
        with pytest.raises(Malformed):
            VEX.rewrite(target, Document(broken, "application/json", ALL), Links())
    error = VEX.render_error(NotFound("It is not there."), "r1")
    assert json.loads(error.body)["detail"] == "It is not there."


async def test_every_client_gets_them_whatever_it_may_use_otherwise(tmp_path: Path) -> None:
    tables = {
        "clients": [
            client("java-farm", "java"),
            {**client("python-farm", "python"), "packages": ["pkg:pypi/beta"]},
        ],
        "entitlements": {"source": "static", "ecosystems": ["java"]},
    }
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        for name in ("java-farm", "python-farm"):
            for path in (ALL, ONE):
                answer = await proxy.get(path, authorization=basic(token(name)))
                assert answer.status == 200
                assert answer.header("Content-Type") == "application/json"
                assert answer.json()["@id"].endswith(path)
        assert (await proxy.get(ALL)).status == 401
        assert (await proxy.get(ALL, authorization=basic("cgrp_" + "x" * 43))).status == 401
        # The right to these documents is no right to anything else.
        page = "/python/simple/alpha/"
        assert (await proxy.get(page, authorization=basic(token("java-farm")))).status == 403
        assert (await proxy.get(page, authorization=basic(token("python-farm")))).status == 403
        assert origin.count("GET", "/openvex/") == 2
        assert origin.violations == []


async def test_a_cached_one_survives_the_upstream(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        first = await proxy.get(ONE)
        proxy.clock.advance(301)
        await origin.close_listener()
        again = await proxy.get(ONE)
        assert (again.status, again.body) == (200, first.body)
        assert "detail=stale-if-error" in (again.cache or "")
        assert (await proxy.get("/openvex/v1/pypi/other.openvex.json")).status == 503


async def test_one_that_does_not_exist_is_404_in_words_for_a_person(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        answer = await proxy.get("/openvex/v1/pypi/other.openvex.json")
        assert answer.status == 404
        assert answer.header("Content-Type") == "application/problem+json"
