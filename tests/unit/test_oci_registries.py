"""Further registries behind one proxy: which of them is asked, and with whose credential."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.origin import Origin
from tests.origin.images import PRIVATE, PUBLIC, layers_of
from tests.running import Running, running

TAG = "manifests/latest"


class Two(NamedTuple):
    """The vendor's registry, another one of other content, and a proxy in front of both."""

    vendor: Origin
    other: Origin
    proxy: Running

    @property
    def host(self) -> str:
        return urlsplit(self.other.registry_url).netloc


def _pair(folder: Path, origin: Origin) -> Path:
    folder.mkdir(exist_ok=True)
    pair = folder / "other.pair"
    pair.write_text(f"{origin.username}\n{origin.password}\n", encoding="utf-8")
    return pair


@asynccontextmanager
async def two(folder: Path, **credential: Any) -> AsyncIterator[Two]:
    """Both running. `credential`: keys of the stanza; none given: the other's own pull token."""
    async with Origin() as vendor, Origin() as other:
        other.images.repository(PUBLIC).image("from elsewhere", "latest")
        other.images.repository(PRIVATE).image("private elsewhere", "latest")
        pair = _pair(folder, other)
        stanza = {"alias": "other", "url": other.registry_url}
        stanza |= credential.pop("keys", {"pair_file": str(pair)})
        hosts = [urlsplit(one.store_url).netloc for one in (vendor, other)]
        tables = {"registries": [stanza], "upstream": {"redirect_hosts": hosts}}
        async with running(folder, vendor, tables) as proxy:
            proxy.keep_secret(other.password)
            yield Two(vendor, other, proxy)
        assert vendor.violations == []
        assert other.violations == []


@pytest.mark.parametrize("how", ["alias", "ns of its host", "ns of its alias"])
async def test_another_registry_is_asked_by_alias_and_by_ns(how: str, tmp_path: Path) -> None:
    async with two(tmp_path) as (vendor, other, proxy):
        prefix = f"/v2/other/{PRIVATE}" if how == "alias" else f"/v2/{PRIVATE}"
        ns = urlsplit(other.registry_url).netloc if how == "ns of its host" else "other"
        query = "" if how == "alias" else f"?ns={ns}"
        answer = await proxy.get(f"{prefix}/{TAG}{query}")
        index = other.images.tagged(PRIVATE)
        assert answer.body == index.body
        for digest in layers_of(other.images.repository(PRIVATE), index):
            blob = await proxy.get(f"{prefix}/blobs/{digest}{query}")
            assert f"sha256:{blob.sha256}" == digest
        assert vendor.log == []


async def test_the_same_name_is_another_image_in_each_registry(tmp_path: Path) -> None:
    async with two(tmp_path) as (vendor, other, proxy):
        for _ in range(2):
            ours = await proxy.get(f"/v2/{PUBLIC}/{TAG}?ns=cgr.dev")
            theirs = await proxy.get(f"/v2/{PUBLIC}/{TAG}?ns=other")
            assert ours.body == vendor.images.tagged().body
            assert theirs.body == other.images.tagged().body
            assert ours.body != theirs.body


async def test_a_registry_that_is_down_is_not_replaced_by_another(tmp_path: Path) -> None:
    async with two(tmp_path) as (vendor, other, proxy):
        await other.close_listener("registry")
        answer = await proxy.get(f"/v2/{PUBLIC}/{TAG}?ns=other")
        assert answer.status == 503
        unknown = await proxy.get(f"/v2/{PUBLIC}/{TAG}?ns=unknown.example")
        assert unknown.status == 404
        assert unknown.json()["errors"][0]["code"] == "NAME_UNKNOWN"
        assert vendor.log == []
        assert (await proxy.get(f"/v2/{PUBLIC}/{TAG}")).status == 200


async def test_layers_are_kept_once_and_the_right_is_each_registrys_own(tmp_path: Path) -> None:
    async with two(tmp_path) as (vendor, other, proxy):
        index = vendor.images.tagged()
        digest = layers_of(vendor.images.repository(PUBLIC), index)[0]
        await proxy.get(f"/v2/{PUBLIC}/blobs/{digest}")
        refused = await proxy.get(f"/v2/{PRIVATE}/blobs/{digest}?ns=other")
        shared = await proxy.get(f"/v2/{PUBLIC}/blobs/{digest}?ns=other")
        assert (refused.status, shared.status) == (404, 200)
        assert other.count(server="store") == 0


async def test_a_registry_without_a_credential_is_not_shown_the_vendors(tmp_path: Path) -> None:
    async with two(tmp_path, keys={}) as (_, other, proxy):
        assert (await proxy.get(f"/v2/other/{PUBLIC}/{TAG}")).status == 200
        assert (await proxy.get(f"/v2/other/{PRIVATE}/{TAG}")).status == 403
        sent = [entry.header("authorization") or "" for entry in other.log]
        assert not any(value.startswith("Basic") for value in sent)


async def test_a_registry_that_wants_the_credential_itself_gets_its_own(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, other, proxy):
        other.registry.behaviour.basic = True
        for name in (PUBLIC, PRIVATE):
            answer = await proxy.get(f"/v2/other/{name}/{TAG}")
            assert answer.body == other.images.tagged(name).body
        blob = layers_of(other.images.repository(PUBLIC), other.images.tagged())[0]
        assert (await proxy.get(f"/v2/other/{PUBLIC}/blobs/{blob}")).status == 200
        assert other.journal.counters["credentials_missing"] == 1


async def test_the_vendors_registry_does_not_get_the_pull_token_itself(tmp_path: Path) -> None:
    async with two(tmp_path) as (vendor, _, proxy):
        vendor.registry.behaviour.basic = True
        answer = await proxy.get(f"/v2/{PUBLIC}/{TAG}")
        assert answer.status == 503
        assert {entry.header("authorization") for entry in vendor.log} == {None}


async def test_a_docker_config_gives_the_hosts_own_credential_only(tmp_path: Path) -> None:
    """What is saved for cgr.dev is the vendor's, whoever else is configured."""
    config = tmp_path / "config.json"
    auth = base64.b64encode(b"vendor-user:vendor-password-canary").decode()
    config.write_text(json.dumps({"auths": {"cgr.dev": {"auth": auth}}}), encoding="utf-8")
    async with two(tmp_path / "run", keys={"docker_config": str(config)}) as (_, other, proxy):
        answer = await proxy.get(f"/v2/other/{PUBLIC}/{TAG}")
        assert answer.status == 503
        assert "credential" in answer.reason
        assert other.log == []


async def test_the_next_page_leads_to_the_same_registry(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, other, proxy):
        target, found = f"/v2/{PUBLIC}/tags/list?n=2&ns=other", []
        for _ in range(9):
            answer = await proxy.get(target)
            found += answer.json()["tags"]
            link = answer.header("Link")
            if link is None:
                break
            assert link.startswith(f"<{proxy.url}/v2/other/{PUBLIC}/tags/list?")
            target = link[1 : link.index(">")].removeprefix(proxy.url)
        assert found == sorted(other.images.repository(PUBLIC).tags)
