"""The test origin's NuGet source: what a client without a proxy would see."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.origin import Origin
from tests.origin.dotnet import HIVES, SEMVER_HIVE
from tests.origin.nupkgs import ALPHA, FLAT
from tests.running import basic


async def ask(origin: Origin, path: str) -> tuple[aiohttp.ClientResponse, bytes]:
    """An answer as it came, with the pull token."""
    login = {"Authorization": basic(origin.password, origin.username)}
    url = path if path.startswith("http") else origin.url + path
    async with (
        aiohttp.ClientSession(auto_decompress=False, headers=login) as session,
        session.get(url, allow_redirects=False) as response,
    ):
        return response, await response.read()


async def told(origin: Origin, path: str) -> Any:
    """A document."""
    response, body = await ask(origin, path)
    assert response.status == 200, path
    packed = response.headers.get("Content-Encoding") == "gzip"
    return json.loads(gzip.decompress(body) if packed else body)


async def test_the_service_index_leads_to_packages_and_to_much_else() -> None:
    async with Origin() as origin:
        resources = (await told(origin, "/dotnet/v3/index.json"))["resources"]
        kinds = {one["@type"].partition("/")[0]: one["@id"] for one in resources}
        assert {"PackageBaseAddress", "RegistrationsBaseUrl", "PackagePublish"} <= set(kinds)
        versions = await told(origin, f"{kinds['PackageBaseAddress']}alpha.net/index.json")
        assert versions == {"versions": ["1.0.0-cgr.1", "1.0.0", "1.1.0"]}
        page = (await told(origin, kinds["VulnerabilityInfo"]))[0]["@id"]
        assert "alpha.net" in await told(origin, page)


@pytest.mark.parametrize("hive", HIVES)
async def test_registrations_lead_to_packages_whose_digest_the_catalogue_has(hive: str) -> None:
    async with Origin() as origin:
        response, _ = await ask(origin, f"{hive}/alpha.net/index.json")
        assert ("Content-Encoding" in response.headers) is (hive != HIVES[0])
        (page,) = (await told(origin, f"{hive}/alpha.net/index.json"))["items"]
        leaf = page["items"][-1]
        (need,) = leaf["catalogEntry"]["dependencyGroups"][0]["dependencies"]
        entry = await told(origin, leaf["catalogEntry"]["@id"])
        response, _ = await ask(origin, leaf["packageContent"])
        assert response.status == 302
        async with (
            aiohttp.ClientSession(skip_auto_headers=("Accept-Encoding",)) as session,
            session.get(URL(response.headers["Location"], encoded=True)) as sent,
        ):
            body = await sent.read()
        assert base64.b64decode(entry["packageHash"]) == hashlib.sha512(body).digest()
        assert (await told(origin, leaf["@id"]))["catalogEntry"] == entry["@id"]
        assert (await told(origin, need["registration"]))["count"] == 1


async def test_pages_may_stand_apart_and_packages_under_another_prefix() -> None:
    async with Origin() as origin:
        origin.settings.dotnet_pages = True
        (page,) = (await told(origin, f"{SEMVER_HIVE}/beta.net/index.json"))["items"]
        (leaf,) = (await told(origin, page["@id"]))["items"]
        assert leaf["packageContent"].startswith(f"{origin.url}/dotnet-upstream/")


async def test_what_is_searched_for_is_found_and_what_is_blocked_is_refused() -> None:
    async with Origin() as origin:
        assert (await told(origin, "/dotnet/query?q=alpha"))["data"][0]["id"] == ALPHA
        assert (await told(origin, "/dotnet/autocomplete?id=alpha.net"))["totalHits"] == 3
        origin.block(ALPHA)
        assert (await ask(origin, f"{FLAT}/alpha.net/index.json"))[0].status == 409
        assert (await ask(origin, f"{FLAT}/nobody.net/index.json"))[0].status == 404
