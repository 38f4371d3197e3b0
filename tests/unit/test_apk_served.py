"""apk repositories through the proxy: what is listed, whole and right, and nothing else."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine import KIB, MIB, Got, fetch, stream
from tests.origin import Artifact, Origin
from tests.origin.apks import KEY, REPOSITORY, ApkFile, package, public_key, segments
from tests.origin.blobs import BytesBlob
from tests.running import basic, client, running, token

TTL = 301
INDEX = f"/apk/{REPOSITORY}/APKINDEX.tar.gz"
ALPHA = "alpha-apk-1.0-r0.apk"
SIZES = [40 * KIB, MIB]


def noise(seed: int, size: int) -> bytes:
    return hashlib.shake_128(f"{seed}".encode()).digest(size)


def big(origin: Origin, size: int = 40 * KIB, seed: int = 0) -> ApkFile:
    """A package that does not compress; another seed replaces it by another build."""
    file = package("big", "1.0-r0", {"usr/share/big": noise(seed, size)})
    origin.content.add(file)
    return file


def bodies(origin: Origin, file: Artifact) -> int:
    return origin.count("GET", re.escape(file.filename), "store")


def wrong(file: ApkFile, seed: int = 5) -> ApkFile:
    """The same package with data that its control segment does not vouch for; the same size."""
    assert isinstance(file.blob, BytesBlob)
    data = file.blob.data
    return replace(file, blob=BytesBlob(data[:-1000] + noise(seed, 1000)))


@pytest.mark.parametrize("redirect", [True, False])
async def test_the_index_comes_byte_for_byte_with_its_signature(
    tmp_path: Path, redirect: bool
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.apk.behaviour.index_redirect = redirect
        answer = await proxy.get(INDEX, accept_encoding="gzip, zstd")
        assert (answer.status, answer.body) == (200, origin.apk.index())
        assert answer.header("Content-Type") == "application/gzip"
        assert answer.header("Content-Encoding") is None
        again = await proxy.get(INDEX, if_none_match=answer.header("ETag") or "")
        assert (again.status, again.cache) == (304, "cgr-proxy; hit")
        head = await proxy.head(INDEX)
        assert head.header("Content-Length") == str(len(answer.body))
        proxy.clock.advance(TTL)
        stale = await proxy.get(INDEX)
        assert stale.body == answer.body
        assert origin.violations == []


@pytest.mark.parametrize("direct", [True, False])
async def test_packages_are_served_cold_and_cached_and_with_the_upstream_away(
    tmp_path: Path, direct: bool
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.settings.direct = direct
        files = [item for item in origin.content if isinstance(item, ApkFile)]
        assert len(files) == 4
        for file in files:
            got = await fetch(proxy, file.link)
            assert (got.status, got.sha256) == (200, file.blob.sha256)
            assert got.cache == "cgr-proxy; fwd=miss; stored"
        await origin.close_listener()
        proxy.clock.advance(TTL)
        assert (await proxy.get(INDEX)).status == 200
        for file in files:
            assert (await fetch(proxy, file.link)).sha256 == file.blob.sha256
        assert origin.violations == []


@pytest.mark.parametrize("size", SIZES)
async def test_a_package_that_is_not_the_listed_one_is_never_whole_nor_kept(
    tmp_path: Path, size: int
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = big(origin, size)
        origin.content.add(wrong(file))
        first = await fetch(proxy, file.link)
        assert (first.status, first.complete) == ((502, True) if size < MIB else (200, False))
        proxy.clock.advance(2)
        assert not [path for path in proxy.stored() if b"big-1.0" in path.read_bytes()]
        origin.content.add(file)
        proxy.clock.advance(TTL)
        assert (await fetch(proxy, file.link)).sha256 == file.blob.sha256


@pytest.mark.parametrize("part", ["signature", "control", "data"])
async def test_wrong_bytes_in_any_segment_are_asked_for_once_more(
    tmp_path: Path, part: str
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        made = segments("big", "1.0-r0", {"usr/share/big": noise(0, 9000)})
        file = replace(package("big", "1.0-r0"), blob=BytesBlob(made.whole), checksum=made.checksum)
        origin.content.add(file)
        at = {"signature": 60, "control": len(made.signature) + 60, "data": len(made.whole) - 99}
        bad = origin.fault("store", r"big-1\.0", flip_at=at[part])
        got = await fetch(proxy, file.link)
        assert (got.status, got.sha256) == (200, file.blob.sha256)
        assert (bad.hits, bodies(origin, file)) == (1, 2)


async def test_a_broken_transfer_goes_on_where_it_was(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = big(origin, 3 * MIB)
        origin.fault("store", r"big-1\.0", cut_at=2 * MIB)
        got = await fetch(proxy, file.link)
        assert (got.status, got.complete, got.sha256) == (200, True, file.blob.sha256)
        ranges = [item.header("range") for item in origin.log if item.server == "store"]
        assert ranges[0] is None
        assert (ranges[1] or "").startswith("bytes=")


async def test_the_last_bytes_wait_for_the_verdict(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = big(origin, MIB)
        origin.content.add(wrong(file))
        client = await (await stream(proxy, file.link)).head()
        got = await client.rest()
        assert not got.complete
        assert len(got.body) <= file.blob.size - 64 * KIB


async def test_another_build_of_the_same_name_is_fetched_anew(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        old = big(origin)
        assert (await fetch(proxy, old.link)).sha256 == old.blob.sha256
        new = big(origin, seed=1)
        assert (await fetch(proxy, old.link)).sha256 == old.blob.sha256
        proxy.clock.advance(TTL)
        assert (await fetch(proxy, new.link)).sha256 == new.blob.sha256
        assert bodies(origin, new) == 2


async def test_what_is_not_listed_any_more_is_withheld(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = origin.content.find(ALPHA)
        assert (await fetch(proxy, file.link)).status == 200
        origin.content.drop(ALPHA)
        proxy.clock.advance(TTL)
        gone = await proxy.get(file.link)
        assert (gone.status, gone.header("Content-Type")) == (404, "text/plain; charset=utf-8")
        assert gone.body.count(b"\n") == 1


async def test_what_the_upstream_blocks_is_withheld_with_its_reason(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = origin.content.find(ALPHA)
        assert (await fetch(proxy, file.link)).status == 200
        origin.block("alpha-apk", "1.0-r0")
        proxy.clock.advance(TTL)
        refused = await proxy.get(file.link)
        assert refused.status == 403
        assert b"MALWARE_DETECTED" in refused.body


async def test_an_index_that_is_not_whole_is_502_and_the_old_one_is_served(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        whole = origin.apk.index()
        origin.apk.behaviour.index_bytes = whole[:-9]
        assert (await proxy.get(INDEX)).status == 502
        origin.apk.behaviour.index_bytes = None
        proxy.clock.advance(TTL)
        assert (await proxy.get(INDEX)).body == whole
        origin.apk.behaviour.index_bytes = b"<html>sign in</html>"
        proxy.clock.advance(TTL)
        answer = await proxy.get(INDEX)
        assert (answer.status, answer.body) == (200, whole)
        assert "upstream-malformed" in (answer.cache or "")


async def test_keys_are_served_and_found(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        assert (await proxy.get(f"/apk/example/{KEY}")).body == public_key()
        found = await proxy.get("/apk/example/apk-configuration", host="localhost:8080")
        address = found.json()["jwks_uri"]
        assert address == "http://localhost:8080/apk/example/jwks"
        keys = await proxy.get("/apk/example/jwks")
        assert keys.json()["keys"][0]["kid"] == KEY.removesuffix(".rsa.pub")
        origin.apk.behaviour.jwks = "https://elsewhere.example/jwks"
        proxy.clock.advance(TTL)
        assert (await proxy.get("/apk/example/apk-configuration")).status == 404
        assert origin.violations == []


async def test_a_client_sends_its_token_as_apk_does_and_the_pull_token_goes_upstream(
    tmp_path: Path,
) -> None:
    tables = {"clients": [client("farm", "apk"), client("other", "python")]}
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        link = origin.content.find(ALPHA).link
        for path in (INDEX, link, f"/apk/example/{KEY}"):
            nobody = await proxy.get(path)
            other = await proxy.get(path, authorization=basic(token("other")))
            farm = await proxy.get(path, authorization=basic(token("farm"), "apk"))
            assert (nobody.status, other.status, farm.status) == (401, 403, 200)
        assert origin.violations == []


async def test_a_client_that_is_limited_reads_the_index_and_gets_its_packages(
    tmp_path: Path,
) -> None:
    limited = {**client("farm", "apk"), "packages": ["pkg:apk/chainguard/alpha-apk"]}
    async with Origin() as origin, running(tmp_path, origin, {"clients": [limited]}) as proxy:
        who = basic(token("farm"))
        statuses = {
            name: (await proxy.get(path, authorization=who)).status
            for name, path in {
                "index": INDEX,
                "key": f"/apk/example/{KEY}",
                "alpha": origin.content.find(ALPHA).link,
                "beta": origin.content.find("beta-apk-2.0_rc1-r0.apk").link,
            }.items()
        }
        assert statuses == {"index": 200, "key": 200, "alpha": 200, "beta": 403}


async def test_another_organisation_is_refused_in_the_upstreams_words(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        answer = await proxy.get("/apk/other/x86_64/APKINDEX.tar.gz")
        assert answer.status == 403
        assert b"\n" not in answer.body[:-1]


async def test_a_head_of_a_cold_package_is_answered_from_the_index(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = origin.content.find(ALPHA)
        head = await proxy.head(file.link)
        assert (head.status, head.header("Content-Length")) == (200, str(file.blob.size))
        assert bodies(origin, file) == 0


async def test_many_clients_cost_the_upstream_one_transfer(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = big(origin, MIB)
        held = origin.fault("store", r"big-1\.0", stall_at=100)
        streams = [await stream(proxy, file.link) for _ in range(5)]
        await held.reached()
        held.release()
        answers: list[Got] = [await (await one.head()).rest() for one in streams]
        assert {got.sha256 for got in answers} == {file.blob.sha256}
        assert bodies(origin, file) == 1


async def test_a_restart_finds_what_was_verified(tmp_path: Path) -> None:
    async with Origin() as origin:
        link = origin.content.find(ALPHA).link
        async with running(tmp_path, origin) as proxy:
            await fetch(proxy, link)
        async with running(tmp_path, origin) as again:
            assert (await fetch(again, link)).cache == "cgr-proxy; hit"


async def test_packages_of_a_large_index_are_served(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        small = origin.content.find(ALPHA)
        assert isinstance(small, ApkFile)
        for number in range(6000):
            version = f"{number}.{noise(number, 16).hex()}"
            origin.content.add(
                replace(small, filename=f"many-1.{version}-r0.apk", project="many", version=version)
            )
        assert len(origin.apk.index()) > 96 * KIB
        files = [origin.content.find(name) for name in (ALPHA, "alpha-apk-1.1-r2.apk")]
        answers = [await fetch(proxy, file.link) for file in files]
        assert [got.sha256 for got in answers] == [file.blob.sha256 for file in files]
