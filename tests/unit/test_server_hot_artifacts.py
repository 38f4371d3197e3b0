"""Small artifacts asked for again in the very same words: repeated, and never longer than right."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

import pytest

from proxy.access.learning import PlatformEntitlements
from proxy.cache.entry import ArtifactFacts
from proxy.cache.verdicts import to_text
from proxy.errors import Blocked
from proxy.storage.base import Record
from proxy.storage.known import LOOK
from proxy.storage.layout import body_id
from tests.engine import KIB, MIB, bodies, data_of, noise, other_noise
from tests.kept import of_digest
from tests.origin import Artifact, Origin
from tests.origin.blobs import SyntheticBlob
from tests.origin.images import PUBLIC, layers_of
from tests.origin.jars import JAVA, MavenFile
from tests.running import Running, client, process, running
from tests.unit.test_entitlements_served import platform
from tests.unit.test_server_hot import MINE, Line, line, proxied

PAGE = "/python/simple/bigblob/"


def records(proxy: Running, kind: str = "artifact") -> list[Record]:
    """What is stored of the package, as this process knows it."""
    known = [entry.record for entry in proxy.app.storage._known._records.values()]
    return [one for one in known if one.key.split("\0")[1] == "bigblob" and kind in one.key]


async def primed(origin: Origin, one: Line, size: int = 40 * KIB) -> tuple[Artifact, bytes]:
    """A wheel whose answer is being repeated, and the question."""
    artifact = noise(origin.content, size)
    question = one.question(artifact.link)
    assert (await one.warm(question)).body == data_of(artifact)
    return artifact, question


# --- what a repetition is -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2 * KIB, 64 * KIB + 1, MIB])
async def test_a_repetition_is_the_same_answer_with_its_own_id_date_and_age(
    tmp_path: Path, size: int
) -> None:
    async with proxied(tmp_path) as (origin, proxy, one):
        artifact = noise(origin.content, size)
        question = one.question(artifact.link)
        await one.ask(question)
        walked = await one.ask(question)
        repeated = await one.warm(question)
        assert (repeated.status, repeated.body) == (200, data_of(artifact))
        own = {"X-Request-Id", "Date", "Age"}
        same = [field for field in walked.headers if field[0] not in own]
        assert [field for field in repeated.headers if field[0] not in own] == same
        assert {name for name, _ in repeated.headers} == {name for name, _ in walked.headers}
        assert repeated.header("X-Request-Id") != walked.header("X-Request-Id")
        proxy.clock.advance(7)
        assert int((await one.warm(question)).header("Age") or 0) >= 7
        assert bodies(origin, artifact) == 1


async def test_a_304_is_repeated_too(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (origin, _, one):
        artifact, _ = await primed(origin, one)
        etag = f'"sha256:{artifact.blob.sha256}"'
        repeated = await one.warm(one.question(artifact.link, if_none_match=etag))
        assert (repeated.status, repeated.body, repeated.header("ETag")) == (304, b"", etag)


async def test_each_repetition_is_audited_logged_and_counted(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (origin, proxy, one):
        artifact = noise(origin.content, 2 * KIB)
        ids = [
            (await one.ask(one.question(artifact.link))).header("X-Request-Id") for _ in range(300)
        ]
        assert proxy.app.hot.repeats > 0
        assert [record["request_id"] for record in proxy.access()] == ids
        written = (proxy.folder / "cache" / "audit.jsonl").read_text().splitlines()
        audited = [json.loads(each) for each in written]
        assert [record["request_id"] for record in audited] == ids
        parts = ("decision", "principal", "purl", "path", "status", "bytes")
        assert {tuple(record[part] for part in parts) for record in audited} == {
            ("served", "loopback", "pkg:pypi/bigblob@1.0", artifact.link, 200, 2 * KIB)
        }
        digests = {record["digest"] for record in audited[1:]}
        assert digests == {f"sha256:{artifact.blob.sha256}"}
        numbers = await proxy.metrics()
        labels = '{cache="hit",ecosystem="python",status="200"}'
        assert numbers[f"cgr_proxy_requests_total{labels}"] == 299
        assert numbers['cgr_proxy_bytes_sent_total{ecosystem="python"}'] == 300 * 2 * KIB


async def test_files_of_every_ecosystem_are_repeated(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (origin, _, one):
        jar = MavenFile("j-1.0.jar", "org.example:j", "1.0", SyntheticBlob(9 * KIB), JAVA)
        origin.content.add(jar)
        blob = layers_of(origin.images.repository(PUBLIC), origin.images.tagged())[0]
        assert len((await one.warm(one.question(jar.link))).body) == 9 * KIB
        assert len((await one.warm(one.question(f"{jar.link}.sha1"))).body) == 40
        layer = await one.warm(one.question(f"/v2/{PUBLIC}/blobs/{blob}"))
        assert f"sha256:{layer.sha256}" == blob


async def test_a_part_of_what_is_in_memory_is_the_very_part(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (origin, _, one):
        artifact, _ = await primed(origin, one, 100 * KIB)
        answer = await one.ask(one.question(artifact.link, range="bytes=70000-80000"))
        assert (answer.status, answer.body) == (206, data_of(artifact)[70000:80001])
        assert answer.header("Content-Range") == f"bytes 70000-80000/{100 * KIB}"
        assert (await one.ask(one.question(artifact.link, range="bytes=-5"))).status == 206


async def test_a_body_that_is_in_memory_but_gone_from_disk_is_fetched_anew_after_a_second(
    tmp_path: Path,
) -> None:
    async with proxied(tmp_path) as (origin, proxy, one):
        artifact, question = await primed(origin, one)
        of_digest(proxy.folder / "cache", artifact.blob.sha256).file.unlink()
        proxy.clock.advance(2)
        loop = asyncio.get_running_loop()
        until = loop.time() + 10
        while bodies(origin, artifact) == 1 and loop.time() < until:
            answer = await one.ask(question)
            assert answer.body == data_of(artifact)
        assert bodies(origin, artifact) == 2


# --- what it never outlives -----------------------------------------------------------------------


async def test_a_client_that_is_removed_is_refused_on_its_next_question(tmp_path: Path) -> None:
    async with proxied(tmp_path, clients=[client("mine", "python")]) as (origin, proxy, one):
        question = one.question(noise(origin.content, KIB).link, authorization=MINE)
        await one.warm(question)
        await proxy.reconfigure(origin, {"clients": [client("another", "python")]})
        assert (await one.is_walked(question)).status == 401


@pytest.mark.parametrize("what", ["withdrawn", "unknown"])
async def test_an_entitlement_that_is_withdrawn_or_unknown_is_refused_on_the_next_question(
    tmp_path: Path, what: str
) -> None:
    async with (
        Origin() as origin,
        running(tmp_path, origin, platform(origin)) as proxy,
        line(proxy) as one,
    ):
        proxy.keep_secret(*origin.platform.issued)
        _, question = await primed(origin, one)
        if what == "withdrawn":
            origin.platform.withdraw(origin.pair)
            assert isinstance(proxy.app.entitlements, PlatformEntitlements)
            await proxy.app.entitlements.refresh()
        else:
            proxy.steady.advance(86400 * 365)
        assert (await one.is_walked(question)).status == (403 if what == "withdrawn" else 503)


@pytest.mark.parametrize("kind", ["python", "java", "oci"])
async def test_its_right_is_asked_for_anew_after_the_ttl(tmp_path: Path, kind: str) -> None:
    async with proxied(tmp_path) as (origin, proxy, one):
        jar = MavenFile("j-1.0.jar", "org.example:j", "1.0", SyntheticBlob(9 * KIB), JAVA)
        origin.content.add(jar)
        blob = layers_of(origin.images.repository(PUBLIC), origin.images.tagged())[0]
        paths = {
            "python": noise(origin.content, KIB).link,
            "java": jar.link,
            "oci": f"/v2/{PUBLIC}/blobs/{blob}",
        }
        question = one.question(paths[kind])
        await one.warm(question)
        origin.reset()
        proxy.clock.advance(301)
        assert (await one.is_walked(question)).status == 200
        assert origin.count(None, "") > 0


async def test_what_is_blocked_is_refused_after_the_ttl_and_stays_refused(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (origin, proxy, one):
        _, question = await primed(origin, one)
        origin.block("bigblob", "1.0")
        proxy.clock.advance(301)
        for _ in range(3):
            assert (await one.is_walked(question)).status == 403


async def test_a_verdict_that_is_noted_with_the_entry_counts_at_once(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (origin, proxy, one):
        artifact, question = await primed(origin, one)
        (record,) = records(proxy)
        facts = ArtifactFacts.of_record(record)
        assert facts is not None
        origin.block("bigblob", "1.0")
        verdict = to_text(Blocked("It is malware."))
        proxy.app.storage.update(record, facts._replace(withheld=verdict).fields())
        assert (await one.is_walked(question)).status == 403
        assert bodies(origin, artifact) == 1


async def test_what_the_store_loses_is_fetched_anew(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (origin, proxy, one):
        artifact, question = await primed(origin, one)
        (record,) = records(proxy)
        proxy.app.storage.evict(record.key, body_id(record), with_body=True)
        assert (await one.is_walked(question)).cache == "cgr-proxy; fwd=miss; stored"
        await one.warm(question)
        proxy.app.storage.remove(record.key)
        assert (await one.is_walked(question)).cache == "cgr-proxy; fwd=miss; stored"
        assert bodies(origin, artifact) == 3


async def test_what_another_process_removes_is_fetched_anew(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (origin, proxy, one):
        artifact, question = await primed(origin, one)
        (record,) = records(proxy)
        os.unlink(proxy.app.storage._known._records[record.key].path)  # noqa: PTH108  # a text
        since = time.monotonic()
        while time.monotonic() - since < LOOK:
            pass
        assert (await one.is_walked(question)).cache == "cgr-proxy; fwd=miss; stored"
        assert bodies(origin, artifact) == 2


async def test_a_listing_that_names_another_digest_counts_at_once(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (origin, proxy, one):
        artifact, question = await primed(origin, one)
        new = other_noise(origin, artifact)
        (page,) = records(proxy, "document")
        proxy.app.storage.remove(page.key)
        async with line(proxy) as other:
            assert (await other.ask(other.question(PAGE))).status == 200
        assert (await one.is_walked(question)).sha256 == new.blob.sha256


async def test_a_listing_that_is_doubted_is_asked_for_first(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (origin, proxy, one):
        artifact, question = await primed(origin, one)
        proxy.clock.advance(60)
        await one.warm(question)
        (page,) = records(proxy, "document")
        proxy.app.documents._doubted.remember(page.key, page.sha256, proxy.clock(), 300)
        origin.reset()
        await one.is_walked(question)
        assert origin.count("GET", PAGE, "origin") == 1
        assert bodies(origin, artifact) == 0


async def test_after_an_unclean_stop_nothing_is_repeated_before_it_is_hashed(
    tmp_path: Path,
) -> None:
    async with Origin() as origin:
        artifact = noise(origin.content, 4 * KIB)
        with process(tmp_path, origin) as killed:
            assert (await asyncio.to_thread(killed.get, artifact.link)).status == 200
            killed.kill()
        of_digest(tmp_path / "cache", artifact.blob.sha256).write(bytes(4 * KIB))
        async with running(tmp_path, origin) as proxy, line(proxy) as one:
            question = one.question(artifact.link)
            healed = await one.is_walked(question)
            assert (healed.sha256, bodies(origin, artifact)) == (artifact.blob.sha256, 2)
            assert (await one.warm(question)).sha256 == artifact.blob.sha256


# --- what is never one ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "fields"),
    [
        (b"GET", {"Range": "bytes=5-9"}),
        (b"GET", {"Range": "bytes=x"}),
        (b"GET", {"If-Range": '"x"'}),
        (b"GET", {"Range": "bytes=5-9", "If-Range": '"x"'}),
        (b"GET", {"If-Match": '"x"'}),
        (b"GET", {"Connection": "close"}),
        (b"HEAD", {}),
    ],
)
async def test_what_is_no_plain_hit_is_not_kept(
    tmp_path: Path, first: bytes, fields: dict[str, str]
) -> None:
    async with proxied(tmp_path) as (origin, proxy, one):
        artifact, question = await primed(origin, one)
        # What was kept before goes by itself, in its time.
        proxy.app.hot._drop((question, "127.0.0.1"))
        kept = len(proxy.app.hot)
        asked = one.question(artifact.link, **fields).replace(b"GET", first, 1)
        for _ in range(3):
            async with line(proxy) as other:
                other.writer.write(asked)
                await other.reader.readuntil(b"\r\n\r\n")
        assert len(proxy.app.hot) <= kept


async def test_a_large_one_is_walked_each_time(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (origin, proxy, one):
        artifact = noise(origin.content, MIB + 1)
        for _ in range(20):
            assert (await one.is_walked(one.question(artifact.link))).status == 200
        assert len(proxy.app.hot) == 0


async def test_a_stale_answer_is_walked_each_time(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (origin, proxy, one):
        _, question = await primed(origin, one)
        await origin.close_listener()
        proxy.clock.advance(301)
        for _ in range(20):
            assert "stale-if-error" in ((await one.is_walked(question)).cache or "")
