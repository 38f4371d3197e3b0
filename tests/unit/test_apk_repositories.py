"""Further apk repositories beside the organisation's own: which is asked, with whose credential."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.engine import fetch
from tests.origin import Artifact, Origin
from tests.origin.apks import ARCH, KEY, ORGANISATION, package, public_key
from tests.running import Running, basic, client, running, token

HERE = "/apk/os"


class Two(NamedTuple):
    """The vendor's packages, a public repository, and a proxy in front of both."""

    vendor: Origin
    public: Origin
    proxy: Running


@asynccontextmanager
async def two(
    folder: Path, keys: dict[str, Any] | None = None, tables: dict[str, Any] | None = None
) -> AsyncIterator[Two]:
    """Both running. `keys`: of the section, besides ecosystem and upstream."""
    async with Origin() as vendor, Origin() as public:
        public.apk.behaviour.public = not keys
        public.content.add(package("only-there", "2.0-r1", {"usr/share/there": b"from elsewhere"}))
        upstream = f"{public.apk_url}/{ORGANISATION}"
        section = {"ecosystem": "apk", "upstream": upstream, **(keys or {})}
        hosts = [urlsplit(one.store_url).netloc for one in (vendor, public)]
        given = {"repositories": {"os": section}, "upstream": {"redirect_hosts": hosts}}
        async with running(folder, vendor, given | (tables or {})) as proxy:
            proxy.keep_secret(public.password)
            yield Two(vendor, public, proxy)
        assert vendor.violations == []
        assert public.violations == []


def there(public: Origin) -> Artifact:
    return public.content.find("only-there-2.0-r1.apk")


async def test_a_public_repository_is_asked_as_nobody_and_kept(tmp_path: Path) -> None:
    async with two(tmp_path) as (vendor, public, proxy):
        index = await proxy.get(f"{HERE}/{ARCH}/APKINDEX.tar.gz")
        assert index.body == public.apk.index()
        assert (await proxy.get(f"{HERE}/{KEY}")).body == public_key()
        file = there(public)
        got = await fetch(proxy, f"{HERE}/{ARCH}/{file.filename}")
        assert (got.sha256, got.cache) == (file.blob.sha256, "cgr-proxy; fwd=miss; stored")
        await public.close_listener()
        again = await fetch(proxy, f"{HERE}/{ARCH}/{file.filename}")
        assert (again.sha256, again.cache) == (file.blob.sha256, "cgr-proxy; hit")
        assert vendor.count("GET", r".*only-there.*") == 0


async def test_one_with_a_pull_token_gets_its_own_and_never_the_vendors(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    async with two(tmp_path, {"pair_file": str(folder / "pair")}) as (vendor, public, proxy):
        pair = f"{public.username}\n{public.password}\n"
        (folder / "pair").write_text(pair, encoding="utf-8")
        await proxy.app.credentials.load()
        file = there(public)
        got = await fetch(proxy, f"{HERE}/{ARCH}/{file.filename}")
        assert got.sha256 == file.blob.sha256
        assert (await proxy.get(f"/apk/{ORGANISATION}/{ARCH}/APKINDEX.tar.gz")).status == 200
        assert vendor.password != public.password


async def test_the_same_file_name_of_two_repositories_is_two_packages(tmp_path: Path) -> None:
    async with two(tmp_path) as (vendor, public, proxy):
        for origin, seed in ((vendor, b"ours"), (public, b"theirs")):
            origin.content.add(package("same", "1.0-r0", {"usr/share/same": seed}))
        for origin, prefix in ((vendor, f"/apk/{ORGANISATION}"), (public, HERE)):
            wanted = origin.content.find("same-1.0-r0.apk")
            got = await fetch(proxy, f"{prefix}/{ARCH}/same-1.0-r0.apk")
            assert got.sha256 == wanted.blob.sha256


async def test_where_the_keys_are_is_told_below_its_name(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, _public, proxy):
        told = json.loads((await proxy.get(f"{HERE}/apk-configuration")).body)["jwks_uri"]
        assert told == f"{proxy.url}{HERE}/jwks"
        assert (await proxy.get(f"{HERE}/jwks")).status == 200


@pytest.mark.parametrize(
    ("package_url", "status"), [("pkg:apk/os/", 200), ("pkg:apk/chainguard/", 403)]
)
async def test_its_packages_are_called_by_its_name_in_a_clients_limits(
    tmp_path: Path, package_url: str, status: int
) -> None:
    limited = client("limited", "apk") | {"packages": [package_url]}
    async with two(tmp_path, tables={"clients": [limited]}) as (_, public, proxy):
        path = f"{HERE}/{ARCH}/{there(public).filename}"
        got = await proxy.get(path, authorization=basic(token("limited")))
        assert got.status == status


async def test_a_name_that_is_not_configured_is_the_vendors_organisation(tmp_path: Path) -> None:
    async with two(tmp_path) as (vendor, public, proxy):
        before = len(public.journal.log)
        answer = await proxy.get(f"/apk/elsewhere/{ARCH}/APKINDEX.tar.gz")
        assert answer.status == 403
        assert vendor.count("GET", "/elsewhere/.*") == 1
        assert len(public.journal.log) == before
