"""npm packages through a running proxy: one entry, verified, withheld, in npm's words."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.origin import Origin, status
from tests.origin.blobs import BytesBlob
from tests.origin.tarballs import tarball
from tests.running import Answer, Running, answers, basic, client, running, token

SHORT = "application/vnd.npm.install-v1+json"
ALPHA = "/javascript/alpha-js"
TARBALL = "/javascript/alpha-js/-/alpha-js-1.0.0.tgz"
SCOPED = "/javascript/@scope/beta-js"
BULK = "/javascript/-/npm/v1/security/advisories/bulk"


async def post(proxy: Running, target: str, body: bytes, **fields: str) -> Answer:
    """POST a body on a connection of its own."""
    names = {"Host": "localhost", "Connection": "close", "Content-Length": str(len(body)), **fields}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in names.items())
    raw = await proxy.send(f"POST {target} HTTP/1.1\r\n{head}\r\n".encode() + body)
    return answers(raw, ["POST"])[0]


def error_of(answer: Answer) -> str:
    """What npm prints."""
    text: str = answer.json()["error"]
    return text


# --- packuments --------------------------------------------------------------------------------


async def test_every_form_and_spelling_is_one_question_to_the_upstream(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        for target in (SCOPED, "/javascript/@scope%2fbeta-js", "/javascript/%40scope%2Fbeta-js"):
            for accept in ("application/json", SHORT, "*/*"):
                answer = await proxy.get(target, accept=accept)
                assert answer.status == 200
                assert answer.header("Content-Type") == (
                    SHORT if accept == SHORT else "application/json"
                )
                assert answer.header("Vary") == "Accept, Accept-Encoding"
        for part in ("2.0.0", "latest"):
            assert (await proxy.get(f"{SCOPED}/{part}")).json()["version"] == "2.0.0"
        tags = await proxy.get("/javascript/-/package/@scope%2fbeta-js/dist-tags")
        assert tags.json() == {"latest": "2.0.0"}
        assert [one.target for one in origin.log] == ["/javascript/@scope%2fbeta-js"]
        assert len(proxy.stored()) == 1
        assert origin.violations == []


async def test_each_form_has_an_etag_of_its_own_and_is_confirmed_with_it(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        tags = []
        for accept in ("application/json", SHORT):
            first = await proxy.get(ALPHA, accept=accept)
            tag = first.header("ETag")
            assert tag is not None
            again = await proxy.get(ALPHA, accept=accept, if_none_match=tag)
            assert (again.status, again.body) == (304, b"")
            tags.append(tag)
        assert tags[0] != tags[1]


async def test_links_are_made_of_what_the_client_calls_the_proxy(tmp_path: Path) -> None:
    tables = {"clients": [client("net", "javascript", networks=["127.0.0.0/8"])]}
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        for host in ("packages.farm.example:81", "other.farm.example"):
            found = (await proxy.get(ALPHA, host=host)).json()
            link = found["versions"]["1.0.0"]["dist"]["tarball"]
            assert link == f"http://{host}{TARBALL}"
        assert origin.count("GET", "alpha-js") == 1


async def test_a_tag_that_is_missing_is_404_and_says_nothing_about_the_package(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        missing = await proxy.get(f"{ALPHA}/beta")
        assert (missing.status, "no version or tag beta" in error_of(missing)) == (404, True)
        assert (await proxy.get(ALPHA)).status == 200
        assert (await proxy.get(f"{ALPHA}/0.9.0")).json()["deprecated"] == "too old"
        assert origin.count("GET", "alpha-js") == 1


def vast(name: str, megabytes: int) -> bytes:
    """A whole packument of so many MB."""
    readme = "x" * 4000
    versions = {
        f"1.0.{number}": {
            "name": name,
            "version": f"1.0.{number}",
            "readme": readme,
            "dist": {"tarball": "x", "shasum": hashlib.sha1(str(number).encode()).hexdigest()},
        }
        for number in range(megabytes * 245)
    }
    top = {"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": versions}
    return json.dumps(top).encode()


async def test_a_packument_of_40_mb_is_made_once_and_does_not_hold_up_others(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.javascript.packuments["vast"] = vast("vast", 40)
        await proxy.get(ALPHA)
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(
            proxy.get("/javascript/vast", accept=SHORT, accept_encoding="gzip")
        )
        waits = []
        while not task.done():
            started = loop.time()
            assert (await proxy.get(ALPHA)).status == 200
            waits.append(loop.time() - started)
        found = await task
        assert found.header("Content-Encoding") == "gzip"
        assert len(json.loads(gzip.decompress(found.body))["versions"]) == 40 * 245
        assert len(found.body) < 2 << 20
        again = await proxy.get("/javascript/vast", accept=SHORT, accept_encoding="gzip")
        assert (again.cache, again.body) == ("cgr-proxy; hit", found.body)
        assert origin.count("GET", "/vast") == 1
        # The median: the origin makes its 40 MB in this loop, too.
        assert sorted(waits)[len(waits) // 2] < 0.5


# --- tarballs ----------------------------------------------------------------------------------


async def test_a_tarball_is_verified_and_asked_for_once(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        wanted = origin.content.find("alpha-js-1.0.0.tgz").blob.sha256
        for target in (TARBALL, f"/javascript{TARBALL}", "/javascript-upstream" + TARBALL[11:]):
            answer = await proxy.get(target, accept=SHORT)
            assert (answer.status, answer.sha256) == (200, wanted)
            assert answer.header("ETag") == f'"sha256:{wanted}"'
        assert origin.count("GET", r"\.tgz", "store") == 1
        assert origin.count("GET", r"\.tgz", "origin") == 1
        assert origin.count("HEAD") == 0
        assert origin.violations == []


async def test_what_lies_under_the_fallback_is_fetched_from_there(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        answer = await proxy.get("/javascript/fallback-js/-/fallback-js-3.1.0.tgz")
        assert answer.sha256 == origin.content.find("fallback-js-3.1.0.tgz").blob.sha256
        assert origin.count("GET", "^/javascript-upstream/fallback-js/", "origin") == 1


@pytest.mark.parametrize("size", [1 << 10, 1 << 20])
async def test_wrong_bytes_are_never_whole_and_never_kept(size: int, tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        noise = tarball("noise", "1.0.0")
        right = BytesBlob(hashlib.shake_128(b"x").digest(size))
        wrong = BytesBlob(hashlib.shake_128(b"y").digest(size))
        origin.content.add(replace(noise, blob=right))
        await proxy.get("/javascript/noise")
        origin.content.add(replace(noise, blob=wrong))
        target = b"/javascript/noise/-/noise-1.0.0.tgz"
        answer = await proxy.send(
            b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        found = answers(answer)[0]
        assert found.status == 502 or not found.complete
        assert len(proxy.stored()) == 1  # the packument


@pytest.mark.parametrize(
    ("dist", "kept"),
    [({"integrity": None}, True), ({"integrity": None, "shasum": "0" * 40}, False)],
)
async def test_without_integrity_the_shasum_counts(
    dist: dict[str, Any], kept: bool, tmp_path: Path
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.content.add(replace(tarball("old", "1.0.0"), dist=dist))
        answer = await proxy.get("/javascript/old/-/old-1.0.0.tgz")
        assert answer.status == (200 if kept else 502)


async def test_a_version_that_its_packument_does_not_list_is_not_served(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        assert (await proxy.get(TARBALL)).status == 200
        stranger = await proxy.get("/javascript/alpha-js/-/alpha-js-7.0.0.tgz")
        assert stranger.status == 404
        origin.content.drop("alpha-js-1.0.0.tgz")
        proxy.clock.advance(301)
        assert (await proxy.get(TARBALL)).status == 404


# --- blocked -----------------------------------------------------------------------------------


async def test_a_blocked_version_is_withheld_with_its_reason_cached_or_not(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        assert (await proxy.get(TARBALL)).status == 200
        origin.block("alpha-js", "1.0.0")
        origin.block("alpha-js", "0.9.0")
        proxy.clock.advance(301)
        for target in (TARBALL, TARBALL.replace("1.0.0", "0.9.0")):
            answer = await proxy.get(target)
            assert (answer.status, answer.reason) == (403, "Blocked by upstream")
            assert "MALWARE_DETECTED: alpha-js " in error_of(answer)


async def test_a_blocked_package_is_409_with_its_reason_cached_or_not(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        for target in (ALPHA, TARBALL):
            assert (await proxy.get(target)).status == 200
        origin.block("alpha-js")
        proxy.clock.advance(301)
        for target in (ALPHA, TARBALL, f"{ALPHA}/latest"):
            answer = await proxy.get(target)
            assert (answer.status, answer.reason) == (409, "Blocked by upstream")
            assert "MALWARE_DETECTED: every version of alpha-js is blocked" in error_of(answer)


# --- calls -------------------------------------------------------------------------------------


async def test_calls_that_need_no_upstream(tmp_path: Path) -> None:
    tables = {"clients": [client("farm-a", "javascript")]}
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        who = {"authorization": f"Bearer {token('farm-a')}"}
        assert (await proxy.get("/javascript/-/ping", **who)).json() == {}
        assert (await proxy.get("/javascript/-/whoami", **who)).json() == {"username": "farm-a"}
        assert (await proxy.get("/javascript/-/whoami")).status == 401
        assert origin.log == []


async def test_statements_are_passed_on_as_they_are(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.javascript.attested.add("@scope/beta-js")
        dist = (await proxy.get(SCOPED)).json()["versions"]["2.0.0"]["dist"]
        link = dist["attestations"]["url"].removeprefix("http://").partition("/")[2]
        for target in (
            f"/{link}",
            f"/javascript/{link}",
            "/javascript/-/npm/v1/sbom/spdx/@scope%2fbeta-js@2.0.0",
        ):
            answer = await proxy.get(target)
            assert (answer.status, answer.json()["of"]) == (200, "@scope/beta-js@2.0.0")
            assert b"\n " in answer.body
        keys = await proxy.get("/javascript/-/npm/v1/keys")
        assert keys.json()["keys"][0]["keyid"] == dist["signatures"][0]["keyid"]


async def test_a_search_is_asked_anew_each_time(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        for _ in range(2):
            answer = await proxy.get("/javascript/-/v1/search?text=beta&size=20&x=y")
            assert [one["package"]["name"] for one in answer.json()["objects"]] == [
                "@scope/beta-js"
            ]
            assert answer.cache == "cgr-proxy; fwd=bypass"
            assert answer.header("Cache-Control") == "no-store"
        assert [one.target for one in origin.log] == [
            "/javascript/-/v1/search?text=beta&size=20"
        ] * 2
        head = await proxy.head("/javascript/-/v1/search?text=beta")
        assert (head.status, head.body) == (200, b"")
        assert proxy.stored() == []


async def test_an_audit_is_passed_on_packed_or_not(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.javascript.advisories["alpha-js"] = [{"id": 7}]
        body = json.dumps({"alpha-js": ["1.0.0"], "other": ["1.0.0"]}).encode()
        plain = await post(proxy, BULK, body)
        packed = await post(proxy, BULK, gzip.compress(body), Content_Encoding="gzip")
        assert plain.json() == packed.json() == {"alpha-js": [{"id": 7}]}
        assert origin.javascript.audits == [json.loads(body)] * 2
        assert {one.header("Content-Encoding") for one in origin.log} == {None}


async def test_an_audit_names_only_what_the_client_may_have(tmp_path: Path) -> None:
    limited = {**client("few", "javascript"), "packages": ["pkg:npm/alpha-js"]}
    async with Origin() as origin, running(tmp_path, origin, {"clients": [limited]}) as proxy:
        who = {"Authorization": basic(token("few"))}
        body = json.dumps({"alpha-js": ["1.0.0"], "secret": ["1.0.0"]}).encode()
        assert (await post(proxy, BULK, body, **who)).status == 200
        assert origin.javascript.audits == [{"alpha-js": ["1.0.0"]}]
        small = {"authorization": basic(token("few"))}
        assert (await proxy.get("/javascript/-/npm/v1/keys", **small)).status == 200
        assert (await proxy.get("/javascript/-/v1/search?text=a", **small)).status == 403


async def test_an_audit_with_a_bad_body_costs_the_upstream_nothing(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        bomb = gzip.compress(b"[" + b" " * (5 << 20) + b"]")
        for body, fields, wanted in (
            (b"[]", {}, 400),
            (b"", {}, 400),
            (b"{}", {"Content_Encoding": "br"}, 415),
            (bomb, {"Content_Encoding": "gzip"}, 413),
        ):
            answer = await post(proxy, BULK, body, **fields)
            assert (answer.status, answer.header("Content-Type")) == (wanted, "application/json")
        assert (await proxy.get(BULK)).header("Allow") == "POST"
        assert origin.log == []


async def test_a_stranger_is_refused_before_its_body_is_read(tmp_path: Path) -> None:
    tables = {"clients": [client("farm", "javascript"), client("other", "java")]}
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        assert (await post(proxy, BULK, b"{}")).status == 401
        who = {"Authorization": basic(token("other"))}
        assert (await post(proxy, BULK, b"{}", **who)).status == 403
        assert origin.log == []


@pytest.mark.parametrize(("upstream", "wanted"), [(404, 404), (405, 404), (501, 404), (500, 503)])
async def test_an_audit_that_the_upstream_does_not_answer_says_so(
    upstream: int, wanted: int, tmp_path: Path
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.fault("origin", "/security/", **status(upstream))
        assert (await post(proxy, BULK, b"{}")).status == wanted
        assert (await proxy.get(ALPHA)).status == 200


async def test_publishing_and_logging_in_are_refused_in_words(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        for method, target in (
            ("PUT", ALPHA),
            ("PUT", "/javascript/-/user/org.couchdb.user:me"),
            ("DELETE", f"{ALPHA}/-rev/1"),
            ("POST", "/javascript/-/v1/login"),
            ("POST", ALPHA),
        ):
            answer = await proxy.request(method, target)
            assert (answer.status, answer.reason) == (405, "Method not allowed")
            assert "read-only" in error_of(answer)
            assert answer.header("Allow") == "GET, HEAD"
        assert origin.log == []
