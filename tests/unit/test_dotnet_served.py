"""NuGet packages through the proxy: verified with the catalogue's digest, or judged; never else."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engine import KIB, Got, fetch
from tests.origin import Origin, Settings, html_page, status
from tests.origin.blobs import BytesBlob, SyntheticBlob
from tests.origin.dotnet import CATALOGUE, HIVES, SEMVER_HIVE
from tests.origin.nupkgs import ALPHA, BETA, FLAT, Nupkg, archive, nupkg
from tests.running import Running, basic, client, running, token
from tests.unit.test_server_hot import proxied
from tests.unit.upstream_room import Raw, answer

TTL = 301
INDEX = "/dotnet/v3/index.json"
PACKAGE = f"{FLAT}/alpha.net/1.0.0/alpha.net.1.0.0.nupkg"
MANIFEST = f"{FLAT}/alpha.net/1.0.0/alpha.net.nuspec"
FALLBACK = f"{FLAT}/beta.net/2.0.0.5/beta.net.2.0.0.5.nupkg"
DOCUMENTS = (
    INDEX,
    f"{SEMVER_HIVE}/alpha.net/index.json",
    f"{SEMVER_HIVE}/alpha.net/1.0.0.json",
    f"{FLAT}/alpha.net/index.json",
    f"{CATALOGUE}/alpha.net.1.0.0.json",
    "/dotnet/v3/vulnerabilities/index.json",
)
HASHES = ("catalog", "registration", "")


def content_of(origin: Origin, path: str) -> bytes:
    held = origin.content.at(path) or origin.content.find(path.rpartition("/")[2])
    data: bytes = held.blob.data  # type: ignore[attr-defined]
    return data


def told(got: Got) -> Any:
    assert got.status == 200
    return json.loads(got.body)


def addresses(value: object) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from addresses(item)
    elif isinstance(value, str) and "://" in value:
        yield value


def entries(proxy: Running, data: bytes) -> bool:
    """Whether some bytes are stored."""
    wanted = hashlib.sha256(data).hexdigest()
    return any(path.name == wanted for path in proxy.stored())


# --- served ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("hashes", HASHES)
@pytest.mark.parametrize("direct", [True, False])
async def test_a_package_is_fetched_once_and_then_served_from_the_cache(
    tmp_path: Path, hashes: str, *, direct: bool
) -> None:
    settings = Settings(direct=direct, dotnet_hashes=hashes)
    async with Origin(settings) as origin, running(tmp_path, origin) as proxy:
        for expected in ("cgr-proxy; fwd=miss; stored", "cgr-proxy; hit"):
            for path in (PACKAGE, FALLBACK, MANIFEST):
                got = await fetch(proxy, path)
                assert (got.status, got.cache) == (200, expected)
                assert got.body == content_of(origin, path)
                assert got.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert origin.count("GET", r"\.nupkg", "origin") == 2
        assert origin.count("GET", r"\.nuspec", "origin") == 1
        assert origin.violations == []


async def test_every_spelling_of_a_version_is_the_same_package(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        await fetch(proxy, PACKAGE)
        for path in (
            f"{FLAT}/Alpha.Net/1.0/alpha.net.1.0.nupkg",
            PACKAGE.replace("1.0.0", "1.0.0.0"),
        ):
            assert (await fetch(proxy, path)).cache == "cgr-proxy; hit"
        assert origin.count("GET", r"\.nupkg", "origin") == 1


@pytest.mark.parametrize("pages", [True, False])
async def test_all_links_lead_here_and_on_to_the_packages(tmp_path: Path, *, pages: bool) -> None:
    settings = Settings(dotnet_pages=pages)
    async with Origin(settings) as origin, running(tmp_path, origin) as proxy:
        named = told(await fetch(proxy, INDEX))["resources"]
        kinds = {one["@type"].partition("/")[0] for one in named}
        assert kinds == {
            *("PackageBaseAddress", "RegistrationsBaseUrl", "VulnerabilityInfo"),
            *("SearchQueryService", "SearchAutocompleteService"),
        }
        shown: list[Any] = [named]
        for hive in HIVES:
            index = told(await fetch(proxy, f"{hive}/beta.net/index.json"))
            (page,) = index["items"]
            if pages:
                path = page["@id"].removeprefix("http://localhost")
                page = told(await fetch(proxy, path))
            shown += [index, page]
            (leaf,) = page["items"]
            assert leaf["packageContent"] == f"http://localhost{FALLBACK}"
        own = [one for one in addresses(shown) if not one.startswith("https://project.example/")]
        assert len(own) > 20
        assert all(one.startswith("http://localhost/dotnet/") for one in own)
        got = await fetch(proxy, FALLBACK)
        assert got.body == content_of(origin, FALLBACK)
        assert origin.violations == []


async def test_documents_and_packages_outlive_the_upstream(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        paths = (*DOCUMENTS, PACKAGE, FALLBACK, MANIFEST)
        before = {path: (await fetch(proxy, path)).body for path in paths}
        await origin.close_listener()
        proxy.clock.advance(TTL)
        for path in paths:
            got = await fetch(proxy, path)
            assert (got.status, got.body) == (200, before[path]), path
            assert "stale-if-error" in got.cache
        assert (await fetch(proxy, PACKAGE.replace("1.0.0", "1.1.0"))).status == 503


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_a_document_is_asked_for_again_when_its_time_is_over(
    tmp_path: Path, path: str
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        first = await fetch(proxy, path)
        assert (await fetch(proxy, path)).cache == "cgr-proxy; hit"
        proxy.clock.advance(TTL)
        again = await fetch(proxy, path)
        assert (again.cache, again.body) == ("cgr-proxy; fwd=stale; fwd-status=304", first.body)
        assert origin.password.encode() not in first.body


async def test_a_page_in_place_of_a_document_is_not_passed_on(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.fault("origin", "", **html_page(), times=None)
        for path in (*DOCUMENTS, "/dotnet/query?q=a"):
            assert (await fetch(proxy, path)).status == 502, path
        assert proxy.stored() == []


async def test_an_upstream_may_lie_below_a_path(tmp_path: Path) -> None:
    data = archive(ALPHA, "1.0.0")
    held: dict[str, bytes] = {"/mirror/of/dotnet/flat/alpha.net/1.0.0/alpha.net.1.0.0.nupkg": data}

    def answered(target: str) -> bytes:
        body = held.get(target.partition("?")[0])
        return answer(404) if body is None else answer(200, body)

    async with Origin() as origin, Raw(answered) as mirror:
        site = f"{mirror.url}/mirror/of"
        places = {"PackageBaseAddress/3.0.0": "flat", "RegistrationsBaseUrl/3.6.0": "hive"}
        places |= {"SearchQueryService": "query", "RegistrationsBaseUrl": "../basement/hive"}
        named = [{"@type": kind, "@id": f"{site}/dotnet/{at}"} for kind, at in places.items()]
        hashed = base64.b64encode(hashlib.sha512(data).digest()).decode()
        page = f"{site}/dotnet/hive/alpha.net/index.json#page/1.0.0/1.0.0"
        entry = {"id": ALPHA, "version": "1.0.0", "packageHash": hashed}
        content = f"{site}/dotnet/flat/alpha.net/1.0.0/alpha.net.1.0.0.nupkg"
        leaf = {"@id": page, "catalogEntry": entry, "packageContent": content}
        found = {"id": ALPHA, "version": "1.0.0", "registration": page, "versions": []}
        for path, value in {
            "v3/index.json": {"version": "3.0.0", "resources": named},
            "hive/alpha.net/index.json": {"count": 1, "items": [{"@id": page, "items": [leaf]}]},
            "query": {"totalHits": 1, "data": [found]},
        }.items():
            held[f"/mirror/of/dotnet/{path}"] = json.dumps(value).encode()
        async with running(tmp_path, origin, {"upstream": {"libraries": site}}) as proxy:
            resources = told(await fetch(proxy, INDEX))["resources"]
            (shown,) = told(await fetch(proxy, "/dotnet/hive/alpha.net/index.json"))["items"]
            (searched,) = told(await fetch(proxy, "/dotnet/query"))["data"]
            got = await fetch(proxy, "/dotnet/flat/alpha.net/1.0.0/alpha.net.1.0.0.nupkg")
        here = "http://localhost/dotnet"
        assert [one["@id"] for one in resources] == [
            f"{here}/flat/",
            f"{here}/hive/",
            f"{here}/query",
        ]
        content = shown["items"][0]["packageContent"]
        assert content == f"{here}/flat/alpha.net/1.0.0/alpha.net.1.0.0.nupkg"
        assert searched["registration"].startswith(f"{here}/hive/")
        assert got.body == data


# --- wrong ----------------------------------------------------------------------------------------


def swapped(origin: Origin, path: str, data: bytes) -> None:
    """Have the object store send other bytes than the catalogue has the digest of: the same
    version is listed as it was, its file has been replaced."""
    held = origin.content.at(path)
    assert held is not None
    origin.content.add(replace(held, blob=BytesBlob(data)))


@pytest.mark.parametrize("hashes", ["catalog", "registration"])
async def test_a_package_with_another_digest_than_promised_is_refused(
    tmp_path: Path, hashes: str
) -> None:
    settings = Settings(dotnet_hashes=hashes)
    async with Origin(settings) as origin, running(tmp_path, origin) as proxy:
        await fetch(proxy, f"{SEMVER_HIVE}/alpha.net/index.json")
        if hashes == "catalog":
            await fetch(proxy, f"{CATALOGUE}/alpha.net.1.0.0.json")
        wrong = archive(ALPHA, "1.0.0", files={"more": b"x"})
        swapped(origin, PACKAGE, wrong)
        got = await fetch(proxy, PACKAGE)
        assert (got.status, json.loads(got.body)["title"]) == (502, "Upstream sent wrong bytes")
        assert "wrong bytes" in got.headers["x-nuget-warning"]
        assert not entries(proxy, wrong)
        # The listings were asked again before their time: by now they name the new bytes.
        proxy.clock.advance(31)
        assert (await fetch(proxy, PACKAGE)).body == wrong


async def test_a_large_package_with_another_digest_is_broken_off(tmp_path: Path) -> None:
    big = {"noise": b"".join(SyntheticBlob(600 * KIB, 1).pieces())}
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        held = origin.content.add(nupkg("Big.Net", "1.0.0", files=big))
        await fetch(proxy, f"{CATALOGUE}/big.net.1.0.0.json")
        data = bytearray(archive("Big.Net", "1.0.0", files=big))
        data[len(data) // 2] ^= 1
        swapped(origin, held.path, bytes(data))
        got = await fetch(proxy, held.path)
        assert not got.complete
        assert got.ended == "rst"


@pytest.mark.parametrize(
    "data",
    [archive(ALPHA, "1.0.0")[:-40], archive(BETA, "1.0.0"), archive(ALPHA, "1.0.1"), b"<html>"],
    ids=["cut", "another package", "another version", "a page"],
)
async def test_without_a_digest_a_package_is_judged_by_what_it_is(
    tmp_path: Path, data: bytes
) -> None:
    settings = Settings(dotnet_hashes="")
    async with Origin(settings) as origin, running(tmp_path, origin) as proxy:
        swapped(origin, PACKAGE, data)
        assert (await fetch(proxy, PACKAGE)).status == 502
        assert not entries(proxy, data)


async def test_a_digest_that_cannot_be_asked_for_is_not_done_without(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.fault("origin", CATALOGUE, times=None, **status(500))
        assert (await fetch(proxy, PACKAGE)).status == 503
        assert origin.count("GET", r"\.nupkg", "origin") == 0


# --- rights ---------------------------------------------------------------------------------------


async def test_a_version_that_is_no_longer_registered_is_withheld(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        await fetch(proxy, PACKAGE)
        origin.content.drop("alpha.net.1.0.0.nupkg")
        assert (await fetch(proxy, PACKAGE)).cache == "cgr-proxy; hit"
        proxy.clock.advance(TTL)
        assert (await fetch(proxy, PACKAGE)).status == 404


async def test_what_the_upstream_blocks_is_withheld_with_its_reason(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        await fetch(proxy, PACKAGE)
        origin.block(ALPHA, "1.0.0")
        proxy.clock.advance(TTL)
        got = await fetch(proxy, PACKAGE)
        assert got.status == 403
        assert "MALWARE_DETECTED" in got.headers["x-nuget-warning"]
        origin.block(ALPHA)
        proxy.clock.advance(TTL)
        assert (await fetch(proxy, f"{SEMVER_HIVE}/alpha.net/index.json")).status == 409


async def test_without_registrations_the_list_of_versions_gives_the_right(tmp_path: Path) -> None:
    settings = Settings(dotnet_registrations=False)
    async with Origin(settings) as origin, running(tmp_path, origin) as proxy:
        assert (await fetch(proxy, PACKAGE)).body == content_of(origin, PACKAGE)
        missing = PACKAGE.replace("1.0.0", "7.0.0")
        assert (await fetch(proxy, missing)).status == 404
        assert origin.count("GET", "7.0.0", "origin") == 0


async def test_a_folder_that_the_source_does_not_name_is_never_asked(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        for folder in ("/dotnet/v3/other", "/dotnet/v2"):
            assert (await fetch(proxy, PACKAGE.replace(FLAT, folder))).status == 404
        assert origin.count("GET", r"\.nupkg") == 0


async def test_a_version_is_listed_anew_with_other_bytes(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        await fetch(proxy, PACKAGE)
        rebuilt = archive(ALPHA, "1.0.0", files={"lib/rebuilt.txt": b"by the vendor"})
        swapped(origin, PACKAGE, rebuilt)
        assert (await fetch(proxy, PACKAGE)).body != rebuilt
        proxy.clock.advance(TTL)
        assert (await fetch(proxy, PACKAGE)).body == rebuilt


async def test_a_repetition_stands_on_every_document_on_the_way(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (origin, proxy, one):
        question = one.question(PACKAGE)
        await one.ask(question)
        origin.reset()
        assert (await one.warm(question)).body == content_of(origin, PACKAGE)
        assert origin.log == []
        # Of the three documents the second is asked for again, and has changed.
        proxy.clock.advance(TTL - 1)
        await one.ask(one.question(INDEX))
        await one.ask(one.question(DOCUMENTS[4]))
        origin.content.drop("alpha.net.1.0.0.nupkg")
        proxy.clock.advance(2)
        assert (await one.ask(question)).status == 404


# --- searches -------------------------------------------------------------------------------------


async def test_a_search_is_asked_anew_each_time_and_leads_here(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        for _ in range(2):
            got = await fetch(proxy, "/dotnet/query?q=alpha&secret=1")
            (found,) = told(got)["data"]
            assert found["registration"].startswith("http://localhost/dotnet/")
            assert (got.cache, got.headers["cache-control"]) == (
                "cgr-proxy; fwd=bypass",
                "no-store",
            )
        targets = [one.target for one in origin.log]
        assert targets == ["/dotnet/query?q=alpha"] * 2
        assert told(await fetch(proxy, "/dotnet/autocomplete?q=net"))["totalHits"] == 3


async def test_a_client_that_is_limited_to_packages_finds_these_only(tmp_path: Path) -> None:
    limited = {**client("limited", "dotnet"), "packages": ["pkg:nuget/Alpha.Net@1.0.0"]}
    login = basic(token("limited"))
    async with Origin() as origin, running(tmp_path, origin, {"clients": [limited]}) as proxy:

        async def ask(path: str) -> Got:
            return await fetch(proxy, path, authorization=login)

        (found,) = told(await ask("/dotnet/query"))["data"]
        assert (found["id"], found["version"]) == (ALPHA, "1.0.0")
        assert [one["version"] for one in found["versions"]] == ["1.0.0"]
        assert told(await ask("/dotnet/autocomplete"))["data"] == ["alpha.net"]
        assert told(await ask("/dotnet/autocomplete?id=Alpha.Net"))["data"] == ["1.0.0"]
        for path in (INDEX, PACKAGE, DOCUMENTS[1], DOCUMENTS[3], DOCUMENTS[5]):
            assert (await ask(path)).status == 200, path
        for path in (
            FALLBACK,
            PACKAGE.replace("1.0.0", "1.1.0"),
            "/dotnet/autocomplete?id=beta.net",
        ):
            assert (await ask(path)).status == 403, path


async def test_the_digest_is_that_of_the_catalogue(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        entry = told(await fetch(proxy, DOCUMENTS[4]))
        digest = hashlib.sha512((await fetch(proxy, PACKAGE)).body).digest()
        assert base64.b64decode(entry["packageHash"]) == digest
        assert isinstance(origin.content.at(PACKAGE), Nupkg)
