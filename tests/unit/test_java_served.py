"""Maven repositories through the proxy: a file and its sidecars are one, or there is neither."""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.cache import artifacts, checksums
from tests.engine import KIB, MIB, Got, fetch, quick, stream
from tests.failing import failing
from tests.origin import Artifact, Origin, Settings, empty, html_page, status, wrong_bytes
from tests.origin.blobs import BytesBlob, SyntheticBlob
from tests.origin.jars import JAVA, MavenFile
from tests.running import Running, running

TTL = 301
METADATA = "/java/org/example/demo/maven-metadata.xml"
ENDINGS = ("md5", "sha1", "sha256", "sha512")
SIZES = [40 * KIB, MIB]


def noise(origin: Origin, size: int = 40 * KIB, seed: int = 0) -> MavenFile:
    """A jar of `size` bytes; another seed replaces it by others."""
    blob = SyntheticBlob(size, seed)
    file = MavenFile("big-1.0.jar", "org.example:big", "1.0", blob, JAVA)
    origin.content.add(file)
    return file


def data_of(file: Artifact) -> bytes:
    blob = file.blob
    return b"".join(blob.pieces()) if isinstance(blob, SyntheticBlob) else blob.data  # type: ignore[attr-defined]


def digest_of(file: Artifact, ending: str) -> str:
    return hashlib.new(ending, data_of(file)).hexdigest()


async def pair(proxy: Running, file: Artifact) -> tuple[Got, dict[str, str]]:
    """A client's way: the file, then every sidecar."""
    got = await fetch(proxy, file.link)
    sidecars = {}
    for ending in ENDINGS:
        sidecar = await fetch(proxy, f"{file.link}.{ending}")
        assert sidecar.status == 200
        sidecars[ending] = sidecar.body.decode()
    return got, sidecars


def of(body: bytes) -> dict[str, str]:
    return {ending: hashlib.new(ending, body).hexdigest() for ending in ENDINGS}


def bodies(origin: Origin) -> int:
    return origin.count("GET", r"/big-1\.0\.jar\?", "store")


def entry(proxy: Running) -> str:
    """The metadata of the one stored entry."""
    (path,) = proxy.stored()
    return path.read_text("utf-8")


# --- one generation -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
async def test_sidecars_are_told_from_the_stored_file_whatever_the_upstream_has(
    tmp_path: Path, size: int
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = noise(origin, size)
        got, sidecars = await pair(proxy, file)
        assert (got.status, got.complete, got.sha256) == (200, True, file.blob.sha256)
        assert sidecars == of(data_of(file))
        asked = sorted(
            entry.target.partition("?")[0] for entry in origin.log if entry.server == "origin"
        )
        assert asked == [file.link, f"{file.link}.sha1", f"{file.link}.sha256"]
        again = await fetch(proxy, file.link)
        fields = {name: value for name, value in again.headers.items() if "checksum" in name}
        assert fields == {f"x-checksum-{ending}": sidecars[ending] for ending in ("sha1", "sha256")}
        assert origin.violations == []


async def test_the_upstreams_checksums_are_asked_for_beside_the_body_and_awaited_for_its_end(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = noise(origin, MIB)
        body = origin.fault("store", r"/big-1\.0\.jar\?", stall_at=100)
        sidecar = origin.fault("store", r"\.sha1\?", hold=True)
        client = await (await stream(proxy, file.link)).head()
        await body.reached()
        await sidecar.reached()
        body.release()
        first = await client.exactly(MIB - 64 * KIB)
        more = asyncio.create_task(client.reader.read(1))
        done, _ = await asyncio.wait({more}, timeout=0.2)
        assert not done
        sidecar.release()
        last = await more + (await client.exactly(64 * KIB - 1))
        client.close()
        assert first + last == data_of(file)


async def test_an_upstream_without_checksums_is_noted_with_the_entry(tmp_path: Path) -> None:
    settings = Settings(java_checksums=())
    async with Origin(settings) as origin, running(tmp_path, origin) as proxy:
        file = noise(origin)
        got, sidecars = await pair(proxy, file)
        assert (got.status, sidecars) == (200, of(got.body))
        assert re.search(r'"compared": ?"none"', entry(proxy))
        settings.java_checksums = ("sha1",)
        noise(origin, seed=7)
        proxy.clock.advance(TTL)
        assert (await fetch(proxy, file.link)).body == data_of(origin.content.find(file.filename))


async def test_what_was_compared_is_noted_with_the_entry(tmp_path: Path) -> None:
    settings = Settings(java_checksums=("sha1", "sha256"))
    async with Origin(settings) as origin, running(tmp_path, origin) as proxy:
        file = noise(origin)
        await fetch(proxy, file.link)
        assert f"{file.link}.sha256 {file.link}.sha1" in entry(proxy)


@pytest.mark.parametrize("direct", [True, False])
async def test_a_sidecar_asked_for_first_costs_no_file_and_the_file_is_compared_with_it(
    tmp_path: Path, direct: bool
) -> None:
    async with Origin(Settings(direct=direct)) as origin, running(tmp_path, origin) as proxy:
        file = noise(origin)
        sidecar = await fetch(proxy, f"{file.link}.sha1")
        assert (sidecar.status, sidecar.body.decode()) == (200, digest_of(file, "sha1"))
        assert sidecar.headers["content-type"] == "text/plain; charset=utf-8"
        assert (bodies(origin), proxy.stored()) == (0, [])
        got = await fetch(proxy, file.link)
        assert got.sha256 == file.blob.sha256
        assert origin.count("GET", rf"^{re.escape(file.link)}\.sha1$") == 1


async def test_a_sidecar_that_the_upstream_lacks_is_made_of_the_file(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = noise(origin, MIB)
        sidecar = await fetch(proxy, f"{file.link}.sha512")
        assert (sidecar.status, sidecar.body.decode()) == (200, digest_of(file, "sha512"))
        assert (await fetch(proxy, file.link)).cache == "cgr-proxy; hit"
        assert bodies(origin) == 1


async def test_a_sidecar_that_is_made_of_the_stored_file_is_made_once(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = noise(origin, MIB)
        await fetch(proxy, file.link)
        for _ in range(2):
            sidecar = await fetch(proxy, f"{file.link}.md5")
            assert (sidecar.status, sidecar.cache) == (200, "cgr-proxy; hit")
            assert sidecar.body.decode() == digest_of(file, "md5")
        with quick(checksums, COMPUTED=0.0):
            failing(proxy).fail("read")
            broken = await fetch(proxy, f"{file.link}.sha512")
            assert broken.status == 503


async def test_a_sidecar_asked_for_while_its_file_is_on_its_way_is_of_that_file(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = noise(origin, MIB)
        body = origin.fault("store", r"/big-1\.0\.jar\?", stall_at=MIB - 1)
        client = await (await stream(proxy, file.link)).head()
        await body.reached()
        sidecar = asyncio.create_task(fetch(proxy, f"{file.link}.sha1"))
        done, _ = await asyncio.wait({sidecar}, timeout=0.2)
        assert not done
        body.release()
        got = await client.rest()
        assert (await sidecar).body.decode() == hashlib.sha1(got.body).hexdigest()


# --- wrong files, wrong checksums -----------------------------------------------------------------


def judge(got: Got, size: int) -> None:
    """Small: a clean refusal. Large: it may have begun, and is broken off visibly."""
    if got.status == 200:
        assert size > 256 * KIB
        assert (got.complete, got.ended) == (False, "rst")
        assert len(got.body) <= size - 64 * KIB
    else:
        assert got.status in (502, 503)


WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "a corrupt jar": (r"/big-1\.0\.jar\?", wrong_bytes()),
    "a cut jar": (r"/big-1\.0\.jar\?", {"framing": "close", "cut_at": 9000, "cut": "fin"}),
    "a page in place of the jar": (r"/big-1\.0\.jar\?", html_page()),
    "a checksum of another file": (r"\.sha1\?", status(200, b"0" * 40)),
    "a cut checksum": (r"\.sha1\?", status(200, b"0" * 20)),
    "an empty checksum": (r"\.sha1\?", empty()),
    "a page in place of the checksum": (r"\.sha1\?", html_page()),
    "an endless checksum": (r"\.sha1\?", status(200, b"0" * 10_000)),
    "no answer for the checksum": (r"\.sha1$", status(503)),
    "a broken checksum file": (r"\.sha1\?", {"cut_at": 10}),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("what", list(WRONG))
async def test_a_wrong_file_or_a_wrong_checksum_is_never_completed_and_never_stored(
    tmp_path: Path, what: str, size: int
) -> None:
    path, fault = WRONG[what]
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = noise(origin, size)
        handle = origin.fault(None, path, **fault, times=None)
        judge(await fetch(proxy, file.link), size)
        assert handle.hits >= 1
        assert proxy.stored() == []
        handle.clear()
        proxy.clock.advance(61)
        got, sidecars = await pair(proxy, file)
        assert (got.status, got.complete, got.body) == (200, True, data_of(file))
        assert sidecars == of(got.body)


async def test_the_strongest_checksum_counts_besides_the_other(tmp_path: Path) -> None:
    settings = Settings(java_checksums=("sha1", "sha256"))
    async with Origin(settings) as origin, running(tmp_path, origin) as proxy:
        file = noise(origin)
        origin.fault("store", r"\.sha256\?", **status(200, b"0" * 64), times=None)
        assert (await fetch(proxy, file.link)).status == 502
        assert proxy.stored() == []


async def test_a_checksum_in_a_long_form_is_understood(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = noise(origin)
        long = f"{digest_of(file, 'sha1').upper()}  {file.filename}\n".encode()
        origin.fault("store", r"\.sha1\?", **status(200, long), times=None)
        assert (await fetch(proxy, file.link)).sha256 == file.blob.sha256


async def test_a_broken_transfer_is_resumed_once_the_checksum_is_known(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = noise(origin, MIB)
        origin.fault("store", r"/big-1\.0\.jar\?", cut_at=700 * KIB)
        got = await fetch(proxy, file.link)
        assert (got.complete, got.sha256) == (True, file.blob.sha256)
        assert [one.header("range") for one in origin.log if one.server == "store"][-1] is not None


# --- replaced upstream ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_replaced_between_file_and_sidecar_stays_one_with_its_sidecar(
    tmp_path: Path, size: int
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        old = noise(origin, size)
        got = await fetch(proxy, old.link)
        new = noise(origin, size, seed=5)
        proxy.clock.advance(TTL)  # the right to it would have to be looked at again, just now
        sidecar = await fetch(proxy, f"{old.link}.sha1")
        assert sidecar.body.decode() == hashlib.sha1(got.body).hexdigest()
        assert got.body == data_of(old)
        got, sidecars = await pair(proxy, new)
        assert (got.body, sidecars) == (data_of(new), of(data_of(new)))
        assert bodies(origin) == 2


async def test_after_a_minute_a_sidecar_is_of_the_new_file(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        old = noise(origin)
        await fetch(proxy, old.link)
        new = noise(origin, seed=5)
        proxy.clock.advance(TTL + 60)
        sidecar = await fetch(proxy, f"{old.link}.sha1")
        assert sidecar.body.decode() == digest_of(new, "sha1")
        assert (await fetch(proxy, new.link)).body == data_of(new)


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_replaced_while_it_is_fetched_is_never_paired_with_the_others_checksum(
    tmp_path: Path, size: int
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        old = noise(origin, size)
        new = noise(origin, size, seed=5)
        origin.content.add(old)
        other = status(200, digest_of(new, "sha1").encode())
        held = origin.fault("store", r"\.sha1\?", hold=True, **other)
        asking = asyncio.create_task(fetch(proxy, old.link))
        await held.reached()
        origin.content.add(new)
        held.release()
        got = await asking
        if got.status != 200 or not got.complete:
            judge(got, size)
            proxy.clock.advance(2)
        got, sidecars = await pair(proxy, new)
        assert (got.body, sidecars) == (data_of(new), of(data_of(new)))


async def test_a_replaced_file_is_fetched_past_caches_and_the_old_one_is_not_served_meanwhile(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        old = noise(origin)
        await fetch(proxy, old.link)
        new = noise(origin, seed=5)
        gone = origin.fault("store", r"/big-1\.0\.jar\?", **status(503), times=None)
        proxy.clock.advance(TTL)
        assert (await fetch(proxy, old.link)).status == 503
        gone.clear()
        proxy.clock.advance(2)
        origin.reset()
        assert (await fetch(proxy, old.link)).body == data_of(new)
        asked = [one for one in origin.log if one.target == old.link]
        assert [one.header("cache-control") for one in asked] == ["no-cache"]


async def test_a_file_that_is_what_its_checksum_says_is_looked_at_again_and_kept(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = noise(origin)
        await fetch(proxy, file.link)
        origin.reset()
        for _ in range(3):
            proxy.clock.advance(TTL)
            for _ in range(2):
                got = await fetch(proxy, file.link)
                assert (got.cache, got.body) == ("cgr-proxy; hit", data_of(file))
        assert bodies(origin) == 0
        assert origin.count("GET", rf"^{re.escape(file.link)}$") == 3
        assert origin.count("GET", r"\.sha1$") == 3


# --- absence, silence, refusal --------------------------------------------------------------------


@pytest.mark.parametrize("code", [401, 500, 503])
async def test_an_outage_is_never_an_absence(tmp_path: Path, code: int) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = noise(origin)
        origin.fault("origin", times=None, **status(code))
        for path in (file.link, f"{file.link}.sha1", f"{file.link}.sha512", METADATA, "/java/"):
            answer = await proxy.get(path)
            assert answer.status == 503, path
            assert answer.header("Retry-After") is not None
            assert answer.reason != "Not found"


async def test_absence_is_404_of_file_and_sidecar_and_remembered_briefly(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = noise(origin)
        origin.content.drop(file.filename)
        for path in (file.link, f"{file.link}.sha1", f"{file.link}.sha512"):
            assert (await proxy.get(path)).status == 404
        asked = origin.count("GET", rf"^{re.escape(file.link)}$")
        assert (await proxy.get(file.link)).status == 404
        assert origin.count("GET", rf"^{re.escape(file.link)}$") == asked
        origin.content.add(file)
        proxy.clock.advance(61)
        assert (await fetch(proxy, file.link)).sha256 == file.blob.sha256


async def test_what_the_upstream_blocks_is_withheld_with_its_sidecars(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = noise(origin)
        await fetch(proxy, file.link)
        origin.block("org.example:big", "1.0")
        proxy.clock.advance(TTL)
        for path in (file.link, *(f"{file.link}.{ending}" for ending in ENDINGS)):
            answer = await proxy.get(path)
            assert (answer.status, answer.reason) == (403, "Blocked by upstream")
            assert b"MALWARE_DETECTED" in answer.body
        origin.block("org.example:big")
        proxy.clock.advance(31)
        assert (await proxy.get(file.link)).status == 409
        origin.unblock("org.example:big")
        origin.unblock("org.example:big", "1.0")
        proxy.clock.advance(31)
        assert (await fetch(proxy, file.link)).cache == "cgr-proxy; hit"


@pytest.mark.parametrize("where", [r"\.jar$", r"\.sha1$", ""])
async def test_silence_withholds_nothing_that_is_stored(tmp_path: Path, where: str) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = noise(origin)
        await fetch(proxy, file.link)
        origin.fault("origin", where, times=None, **status(503))
        proxy.clock.advance(TTL)
        with quick(artifacts, FOREGROUND=20):  # the answer is about the failure, not its slowness
            got, sidecars = await pair(proxy, file)
        assert (got.status, got.body, sidecars) == (200, data_of(file), of(data_of(file)))
        assert "stale-if-error" in got.cache


async def test_a_page_in_place_of_the_checksum_withholds_nothing_that_is_stored(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = noise(origin)
        await fetch(proxy, file.link)
        origin.fault("store", r"\.sha1\?", times=None, **html_page())
        proxy.clock.advance(TTL)
        got = await fetch(proxy, file.link)
        assert (got.status, got.body) == (200, data_of(file))
        assert "upstream-malformed" in got.cache


async def test_a_checksum_that_the_upstream_has_no_more_withholds_nothing(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = noise(origin)
        await fetch(proxy, file.link)
        origin.settings.java_checksums = ()
        proxy.clock.advance(TTL)
        assert (await fetch(proxy, file.link)).cache == "cgr-proxy; hit"


# --- heads, companions, repositories --------------------------------------------------------------


async def test_a_cold_head_brings_the_file_that_the_get_after_it_needs(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = noise(origin)
        head = await proxy.head(file.link)
        assert (head.status, head.header("Content-Length")) == (200, str(file.blob.size))
        assert head.header("X-Checksum-Sha1") == digest_of(file, "sha1")
        assert (await fetch(proxy, file.link)).body == data_of(file)
        sidecar = await proxy.head(f"{file.link}.sha1")
        assert (sidecar.status, sidecar.header("Content-Length")) == (200, "40")
        assert bodies(origin) == 1
        assert origin.violations == []


@pytest.mark.parametrize(
    ("ending", "media_type"),
    [
        (".pom", "application/xml"),
        (".jar", "application/java-archive"),
        (".module", "application/vnd.org.gradle.module+json"),
        ("-sources.jar", "application/java-archive"),
        (".jar.asc", "application/pgp-signature"),
        (".spdx.json", "application/json"),
        (".slsa-attestation.json", "application/json"),
    ],
)
async def test_everything_beside_a_jar_is_served(
    tmp_path: Path, ending: str, media_type: str
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = origin.content.find(f"demo-1.0{ending}")
        got, sidecars = await pair(proxy, file)
        assert (got.body, got.headers["content-type"]) == (data_of(file), media_type)
        assert sidecars == of(got.body)


async def test_a_signature_is_never_older_than_what_it_signs(tmp_path: Path) -> None:
    async with (
        Origin(Settings(java_checksums=("sha1",))) as origin,
        running(tmp_path, origin) as proxy,
    ):
        jar = noise(origin)
        signature = replace(jar, filename=f"{jar.filename}.asc", blob=BytesBlob(b"of the old one"))
        origin.content.add(signature)
        for _ in range(2):  # whichever came first, it settles
            await fetch(proxy, jar.link)
            assert (await fetch(proxy, signature.link)).body == b"of the old one"
        assert (await fetch(proxy, signature.link)).cache == "cgr-proxy; hit"
        proxy.clock.advance(TTL - 100)
        assert (await fetch(proxy, f"{signature.link}.sha1")).status == 200
        noise(origin, seed=5)
        origin.content.add(replace(signature, blob=BytesBlob(b"of the new one")))
        proxy.clock.advance(101)
        await fetch(proxy, jar.link)
        got = await fetch(proxy, signature.link)
        assert got.body == b"of the new one"
        told = await fetch(proxy, f"{signature.link}.sha256")
        assert told.body.decode() == got.sha256


async def test_remediated_builds_are_in_a_repository_of_their_own(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = origin.content.find("demo-1.0-0.cgr.1.jar")
        assert file.link.startswith("/java-remediated/")
        assert (await fetch(proxy, file.link)).body == data_of(file)
        assert (await fetch(proxy, file.link.replace("-remediated", "", 1))).status == 404
        lists = await proxy.get(METADATA.replace("/java/", "/java-remediated/"))
        assert b"<version>1.0-0.cgr.1</version>" in lists.body


async def test_the_remediated_repository_needs_its_own_entitlement(tmp_path: Path) -> None:
    tables = {"entitlements": {"source": "static", "ecosystems": ["java"]}}
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        origin.settings.entitled = frozenset({"java"})
        file = origin.content.find("demo-1.0-0.cgr.1.jar")
        for path in (file.link, f"{file.link}.sha1", f"{file.link}.sha512"):
            assert (await proxy.get(path)).status == 403


# --- documents ------------------------------------------------------------------------------------


async def test_metadata_and_its_sidecars_are_of_one_generation_over_the_end_of_its_ttl(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        first = await proxy.get(METADATA)
        origin.content.add(replace(origin.content.find("demo-2.0.jar"), version="3.0"))
        proxy.clock.advance(TTL)
        sidecar = await proxy.get(f"{METADATA}.sha1")
        assert sidecar.body.decode() == hashlib.sha1(first.body).hexdigest()
        assert first.header("X-Checksum-Sha1") == sidecar.body.decode()
        second = await proxy.get(METADATA)
        assert b"<version>3.0</version>" in second.body
        for ending in ENDINGS:
            sidecar = await proxy.get(f"{METADATA}.{ending}")
            assert sidecar.body.decode() == hashlib.new(ending, second.body).hexdigest()
        assert origin.count("GET", "maven-metadata") == 2


async def test_metadata_that_is_cut_is_502_and_its_sidecar_too(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.fault("origin", "maven-metadata", times=None, **status(200, b"<metadata>"))
        assert (await proxy.get(METADATA)).status == 502
        assert (await proxy.get(f"{METADATA}.sha1")).status == 502
        assert proxy.stored() == []


async def test_the_catalogue_and_the_index_are_answered_as_the_repository_does(
    tmp_path: Path,
) -> None:
    index = "/java/.index/nexus-maven-repository-index"
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        catalog = await proxy.get("/java/archetype-catalog.xml")
        assert (catalog.status, b"<archetype-catalog>" in catalog.body) == (200, True)
        sidecar = await proxy.get("/java/archetype-catalog.xml.sha1")
        assert sidecar.body.decode() == hashlib.sha1(catalog.body).hexdigest()
        for name in (f"{index}.properties", f"{index}.gz", f"{index}.gz.sha1", f"{index}.7.gz"):
            assert (await proxy.get(name)).status == 404
        snapshot = "/java/org/example/demo/3-SNAPSHOT"
        for name in ("maven-metadata.xml", "demo-3-SNAPSHOT.jar", "demo-3-20260301.070809-1.pom"):
            assert (await proxy.get(f"{snapshot}/{name}")).status == 404
        origin.settings.java_catalog = False
        proxy.clock.advance(TTL)
        assert (await proxy.get("/java/archetype-catalog.xml")).status == 404


async def test_every_link_of_the_folder_pages_works_down_to_the_files(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        left, files = ["/java/"], set()
        while left:
            folder = left.pop()
            answer = await proxy.get(folder)
            assert answer.status == 200
            assert answer.header("Content-Type") == "text/html; charset=utf-8"
            assert answer.header("Content-Security-Policy") == "default-src 'none'"
            assert b"script" not in answer.body
            for href in re.findall(rb'<a href="([^"]*)"', answer.body):
                name = href.decode()
                if name.endswith("/") and name != "../":
                    left.append(folder + name)
                elif name != "../":
                    files.add(folder + name)
        assert files == {item.link for item in origin.content if item.index == JAVA}
        for path in sorted(files)[:3]:
            assert (await proxy.get(path)).status == 200


async def test_a_file_replaced_by_a_shorter_one_is_whole(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        file = noise(origin, MIB)
        await fetch(proxy, file.link)
        short = replace(file, blob=BytesBlob(b"short"))
        origin.content.add(short)
        proxy.clock.advance(TTL)
        got, sidecars = await pair(proxy, short)
        assert (got.body, sidecars) == (b"short", of(b"short"))
