"""Images through the whole proxy: what a pull costs, what holds while the upstream does not answer,
and who may have the bytes that are here."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from proxy.ecosystems.oci_paths import MAX_MANIFEST
from tests.engine import fetch, stream, until
from tests.origin import Origin, status
from tests.origin.images import (
    CHART,
    DOCKER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    PRIVATE,
    PUBLIC,
    SIGNATURE,
    SPDX,
    Manifest,
    Repository,
    digest_of,
    dump,
    layers_of,
)
from tests.running import (
    Answer,
    Running,
    basic,
    client,
    running,
    token,
)

MIB = 1 << 20
ALL = f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_LIST}, {DOCKER_MANIFEST}"
TAG_TTL, TTL = 61, 301  # seconds after which a tag, a document is not fresh any more


async def pull(proxy: Running, name: str = PUBLIC, reference: str = "latest") -> list[Answer]:
    """What docker does: HEAD and GET of the tag, then everything by digest."""
    head = await proxy.head(f"/v2/{name}/manifests/{reference}", accept=ALL)
    found = [head]
    if head.status != 200:
        return found
    top = await _by_digest(proxy, name, "manifests", head.header("Docker-Content-Digest") or "")
    found.append(top)
    for entry in top.json()["manifests"]:
        manifest = await _by_digest(proxy, name, "manifests", entry["digest"])
        found.append(manifest)
        parts = (manifest.json()["config"], *manifest.json()["layers"])
        found += [await _by_digest(proxy, name, "blobs", part["digest"]) for part in parts]
    return found


async def _by_digest(proxy: Running, name: str, kind: str, digest: str) -> Answer:
    answer = await proxy.get(f"/v2/{name}/{kind}/{digest}", accept=ALL)
    assert answer.status == 200, answer.body
    assert f"sha256:{answer.sha256}" == digest
    return answer


def asked(origin: Origin) -> list[str]:
    """What the registry was asked, tokens left out."""
    return [
        entry.target.partition("?")[0]
        for entry in origin.log
        if entry.server == "registry" and not entry.target.startswith("/token")
    ]


def tag_of(name: str = PUBLIC, tag: str = "latest") -> str:
    return f"/v2/{name}/manifests/{tag}"


# --- what a pull costs ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", [PUBLIC, DOCKER, PRIVATE])
async def test_a_cold_pull_asks_for_each_thing_once(name: str, tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        await pull(proxy, name)
        repository, index = origin.images.repository(name), origin.images.tagged(name)
        platforms = [entry["digest"] for entry in json.loads(index.body)["manifests"]]
        expected = [tag_of(name)] * 2  # with the challenge
        expected += [f"/v2/{name}/manifests/{digest}" for digest in platforms]
        expected += [f"/v2/{name}/blobs/{digest}" for digest in layers_of(repository, index)]
        assert sorted(asked(origin)) == sorted(expected)
        assert origin.count("GET", "^/token") == 1
        assert origin.count("HEAD") == 0
        assert origin.violations == []


async def test_a_second_pull_asks_nobody(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        await pull(proxy)
        origin.reset()
        again = await pull(proxy)
        assert origin.log == []
        assert {answer.cache for answer in again} == {"cgr-proxy; hit"}


@pytest.mark.parametrize("etag", [False, True])
async def test_a_later_pull_makes_one_tag_revalidation_and_no_blob_request(
    etag: bool, tmp_path: Path
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.registry.behaviour.etag = etag
        await pull(proxy)
        origin.reset()
        for _ in range(10):
            proxy.clock.advance(TAG_TTL)
            await pull(proxy)
        manifests = [path for path in asked(origin) if path != tag_of()]
        assert asked(origin).count(tag_of()) == 10
        # In ten minutes, each platform's manifest was looked at twice.
        assert len(manifests) <= 4
        assert not any("/blobs/" in path for path in asked(origin))
        assert origin.count(server="store") == 0


async def test_a_tag_is_revalidated_by_its_digest(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.registry.behaviour.etag = True
        await proxy.get(tag_of())
        proxy.clock.advance(TAG_TTL)
        answer = await proxy.get(tag_of())
        assert answer.cache == "cgr-proxy; fwd=stale; fwd-status=304"
        asked_with = origin.log[-1].header("if-none-match")
        assert asked_with == f'"{origin.images.tagged().digest}"'


async def test_a_restarted_proxy_serves_what_it_has(tmp_path: Path) -> None:
    async with Origin() as origin:
        async with running(tmp_path, origin) as proxy:
            await pull(proxy)
        origin.reset()
        async with running(tmp_path, origin) as proxy:
            again = await pull(proxy)
            assert {answer.cache for answer in again} == {"cgr-proxy; hit"}
        assert origin.log == []


async def test_a_moved_tag_is_seen_after_its_time(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        before = await proxy.get(tag_of())
        moved = origin.images.repository(PUBLIC).image("newer", "latest")
        assert (await proxy.get(tag_of())).body == before.body
        proxy.clock.advance(TAG_TTL)
        after = await proxy.get(tag_of())
        assert after.body == moved.body
        assert after.header("Docker-Content-Digest") == moved.digest
        old = await proxy.get(f"/v2/{PUBLIC}/manifests/sha256:{before.sha256}")
        assert old.body == before.body


async def test_many_who_ask_for_a_cold_tag_ask_once(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        await proxy.get(tag_of(tag="1.0"))  # the token is here
        origin.reset()
        held = origin.fault("registry", "/manifests/", hold=True)
        running_ = [asyncio.create_task(proxy.get(tag_of())) for _ in range(20)]
        await held.reached()
        held.release()
        answers = await asyncio.gather(*running_)
        assert {answer.body for answer in answers} == {origin.images.tagged().body}
        assert asked(origin) == [tag_of()]


# --- while the upstream does not answer ----------------------------------------------------------


@pytest.mark.parametrize("trouble", ["down", "429", "503", "401", "page", "rubbish"])
@pytest.mark.parametrize("later", [0, TAG_TTL, TTL, 7200])
async def test_a_cached_image_pulls_while_the_upstream_is_in_trouble(
    trouble: str, later: int, tmp_path: Path
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        await pull(proxy)
        match trouble:
            case "down":
                await origin.close_listener()
            case "page":
                origin.fault(times=None, **status(403, b"<html>portal", Content_Type="text/html"))
            case "rubbish":
                origin.fault(times=None, **status(200, b"<html>portal", Content_Type="text/html"))
            case _:
                origin.fault(times=None, **status(int(trouble), Retry_After="1"))
        proxy.clock.advance(later)
        again = await pull(proxy)
        assert len(again) == 8
        assert {answer.status for answer in again} == {200}


async def test_a_digest_is_served_however_long_the_upstream_is_away(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        digest = origin.images.tagged().digest
        await pull(proxy)
        await origin.close_listener()
        proxy.clock.advance(90 * 86400)
        by_digest = await proxy.get(f"/v2/{PUBLIC}/manifests/{digest}")
        by_tag = await proxy.get(tag_of())
        assert (by_digest.status, by_tag.status) == (200, 503)
        assert by_tag.json()["errors"][0]["code"] == "UNAVAILABLE"


async def test_what_is_not_cached_says_why_it_cannot_be_had(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.fault("registry", times=None, **status(429, Retry_After="7"))
        answer = await proxy.get(tag_of())
        assert (answer.status, answer.header("Retry-After")) == (429, "7")
        assert answer.json()["errors"][0]["code"] == "TOOMANYREQUESTS"


async def test_a_frozen_registry_serves_what_it_has(tmp_path: Path) -> None:
    async with Origin() as origin:
        async with running(tmp_path, origin) as proxy:
            await pull(proxy)
        origin.reset()
        async with running(tmp_path, origin, {"upstream": {"frozen": ["oci"]}}) as proxy:
            proxy.clock.advance(7200)
            assert {answer.status for answer in await pull(proxy)} == {200}
            assert (await proxy.get(tag_of(tag="1.0"))).status == 504
        assert origin.log == []


# --- who may have the bytes that are here --------------------------------------------------------


async def test_a_blob_of_one_repository_is_not_given_out_through_another(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin, credentials={}) as proxy:
        index = origin.images.tagged()
        (blob, *_) = layers_of(origin.images.repository(PUBLIC), index)
        through_private = f"/v2/{PRIVATE}/blobs/{blob}"
        elsewhere = f"/v2/{DOCKER}/blobs/{blob}"
        manifest = f"/v2/{DOCKER}/manifests/{index.digest}"
        cold = [(await proxy.get(path)).status for path in (through_private, elsewhere, manifest)]
        await pull(proxy)
        proxy.clock.advance(31)  # what was refused is asked again
        warm = [(await proxy.get(path)).status for path in (through_private, elsewhere, manifest)]
        assert cold == warm == [403, 404, 404]


async def test_bytes_that_are_here_do_not_come_again_from_another_repository(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        await pull(proxy)
        public, private = origin.images.repository(PUBLIC), origin.images.repository(PRIVATE)
        blob = layers_of(public, origin.images.tagged())[0]
        private.blobs[blob] = public.blobs[blob]
        origin.reset()
        path = f"/v2/{PRIVATE}/blobs/{blob}"
        first, second = await proxy.get(path), await proxy.get(path)
        assert [first.cache, second.cache] == ["cgr-proxy; fwd=miss; stored", "cgr-proxy; hit"]
        assert f"sha256:{first.sha256}" == f"sha256:{second.sha256}" == blob
        assert origin.count("GET", "/blobs/", "registry") == 2  # with the challenge
        assert origin.count(server="store") == 0


async def test_bytes_that_are_here_are_not_given_out_while_nobody_can_be_asked(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        await pull(proxy)
        blob = layers_of(origin.images.repository(PUBLIC), origin.images.tagged())[0]
        await origin.close_listener("registry")
        assert (await proxy.get(f"/v2/{PRIVATE}/blobs/{blob}")).status == 503
        assert (await proxy.get(f"/v2/{PUBLIC}/blobs/{blob}")).status == 200


async def test_a_repository_that_is_taken_away_is_withheld_layer_by_layer(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin, credentials={}) as proxy:
        index = origin.images.tagged()
        blobs = layers_of(origin.images.repository(PUBLIC), index)
        await pull(proxy)
        origin.images.repository(PUBLIC).private = True
        origin.registry.retire_tokens()
        proxy.clock.advance(TTL)
        paths = [tag_of(), f"/v2/{PUBLIC}/manifests/{index.digest}"]
        paths += [f"/v2/{PUBLIC}/blobs/{blob}" for blob in blobs]
        for path in paths:
            answer = await proxy.get(path)
            assert (path, answer.status) == (path, 403)
            assert answer.json()["errors"][0]["code"] == "DENIED"


async def test_a_refusal_of_the_tag_puts_its_layers_in_question_at_once(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin, credentials={}) as proxy:
        blob = layers_of(origin.images.repository(PUBLIC), origin.images.tagged())[0]
        await pull(proxy)
        proxy.clock.advance(TTL)
        await proxy.get(tag_of())  # the repository is shown: its layers may be served on
        proxy.clock.advance(TAG_TTL)
        origin.images.repository(PUBLIC).private = True
        origin.registry.retire_tokens()
        assert (await proxy.get(tag_of())).status == 403
        assert (await proxy.get(f"/v2/{PUBLIC}/blobs/{blob}")).status == 403


async def test_a_manifest_that_is_taken_away_goes_after_its_time(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        await pull(proxy)
        repository, index = origin.images.repository(PUBLIC), origin.images.tagged()
        gone = json.loads(index.body)["manifests"][0]["digest"]
        del repository.manifests[gone]
        path = f"/v2/{PUBLIC}/manifests/{gone}"
        assert (await proxy.get(path)).status == 200
        proxy.clock.advance(TTL)
        await proxy.get(tag_of())
        answer = await proxy.get(path)
        assert (answer.status, answer.json()["errors"][0]["code"]) == (404, "MANIFEST_UNKNOWN")


# --- who asks ------------------------------------------------------------------------------------


async def test_a_login_with_the_proxys_token_is_good_and_another_is_not(tmp_path: Path) -> None:
    tables = {"clients": [client("farm", "oci")]}
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        good = await proxy.get("/v2/", authorization=basic(token("farm"), "anybody"))
        bad = await proxy.get("/v2/", authorization=basic("x"))
        none = await proxy.get("/v2/")
        assert (good.status, bad.status, none.status) == (200, 401, 401)
        assert none.header("WWW-Authenticate") == 'Basic realm="cgr-proxy"'
        assert none.header("Docker-Distribution-Api-Version") == "registry/2.0"
        assert none.json()["errors"][0]["code"] == "UNAUTHORIZED"


async def test_credentials_for_other_registries_do_no_harm_in_a_known_network(
    tmp_path: Path,
) -> None:
    tables = {"clients": [client("farm", "oci", networks=["127.0.0.0/8"])]}
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        key = basic('{"type": "service_account",\n "key": "somebody-elses"}', "_json_key")
        for value in (basic("somebody-elses"), "Bearer somebody-elses", "Negotiate abc", key):
            answer = await proxy.get(tag_of(), authorization=value)
            assert answer.status == 200
        sent = {entry.header("authorization") for entry in origin.log}
        assert not any("somebody" in (value or "") for value in sent)


async def test_a_client_of_one_repository_gets_that_one_only(tmp_path: Path) -> None:
    stanza = {**client("farm", "oci"), "packages": [f"pkg:oci/{PUBLIC}"]}
    async with Origin() as origin, running(tmp_path, origin, {"clients": [stanza]}) as proxy:
        who = {"authorization": basic(token("farm"))}
        blob = layers_of(origin.images.repository(PUBLIC), origin.images.tagged())[0]
        assert (await proxy.get("/v2/", **who)).status == 200
        assert (await proxy.get(tag_of(), **who)).status == 200
        assert (await proxy.get(f"/v2/{PUBLIC}/blobs/{blob}", **who)).status == 200
        for path in (tag_of(DOCKER), f"/v2/{DOCKER}/tags/list", f"/v2/{DOCKER}/blobs/{blob}"):
            answer = await proxy.get(path, **who)
            assert (answer.status, answer.json()["errors"][0]["code"]) == (403, "DENIED")


async def test_who_pulled_an_image_is_in_the_audit_log(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        digest = origin.images.tagged().digest
        await proxy.head(tag_of())
        await proxy.get(tag_of())
        await proxy.get(f"/v2/{PUBLIC}/manifests/{digest}")
        proxy.log_bytes()
        lines = (tmp_path / "cache" / "audit.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        assert [record["purl"] for record in records] == [
            f"pkg:oci/{PUBLIC}@latest",
            f"pkg:oci/{PUBLIC}@{digest}",
        ]
        assert {record["digest"] for record in records} == {digest}


async def test_each_of_many_pulls_in_the_same_words_is_in_the_audit_log(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        await proxy.get(tag_of())
        asking = await stream(proxy, tag_of())
        told: list[str] = []
        # What is only some milliseconds old is walked through the rooms.
        async with asyncio.timeout(20):
            while proxy.app.hot.repeats < 2:
                got = await (await asking.head()).rest(keep=True)
                told.append(got.headers["x-request-id"])
                await asking.send(tag_of())
        asking.close()
        proxy.log_bytes()
        lines = (tmp_path / "cache" / "audit.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        assert [record["request_id"] for record in records][1 : len(told) + 1] == told
        assert {record["digest"] for record in records} == {origin.images.tagged().digest}


# --- what a client accepts -----------------------------------------------------------------------


async def test_accept_lines_count_together_and_what_is_not_accepted_is_not_given(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        lines = b"".join(
            f"Accept: {kind}\r\n".encode() for kind in ("text/x", DOCKER_LIST, OCI_INDEX)
        )
        host = proxy.url.removeprefix("http://").encode()
        raw = await proxy.send(
            b"GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n"
            % (tag_of().encode(), host, lines)
        )
        assert raw.startswith(b"HTTP/1.1 200 ")
        table = {
            OCI_INDEX: 200,
            f"{DOCKER_LIST}, {OCI_INDEX};q=0.1": 200,
            "application/*": 200,
            "*/*": 200,
            DOCKER_LIST: 404,
            f"{OCI_INDEX};q=0": 404,
        }
        answers = {accept: await proxy.get(tag_of(), accept=accept) for accept in table}
        assert {accept: answer.status for accept, answer in answers.items()} == table
        refused = answers[DOCKER_LIST].json()["errors"][0]
        assert refused["code"] == "MANIFEST_UNKNOWN"
        assert OCI_INDEX in refused["message"]
        # One entry for all of them: what the upstream has.
        assert asked(origin) == [tag_of()] * 2


async def test_a_manifest_is_not_packed_on_the_way(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        repository = origin.images.repository(PUBLIC)
        many = [{"mediaType": OCI_MANIFEST, "digest": digest_of(b""), "size": n} for n in range(99)]
        body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": many}
        repository.add(Manifest(OCI_INDEX, dump(body)), "many")
        answer = await proxy.get(tag_of(tag="many"), accept_encoding="gzip")
        assert answer.header("Content-Encoding") is None
        assert answer.body == dump(body)
        assert answer.header("Vary") == "Accept"


# --- what is not passed on -----------------------------------------------------------------------


@pytest.mark.parametrize("by", ["latest", "digest"])
async def test_a_manifest_with_other_bytes_is_refused_and_not_kept(by: str, tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        index = origin.images.tagged()
        reference = index.digest if by == "digest" else by
        other = origin.images.repository(PUBLIC).image("wrong", "elsewhere").body
        await proxy.get(tag_of(tag="1.0"))
        before = proxy.stored()
        origin.fault(
            "registry",
            "/manifests/",
            times=None,
            **status(200, other, Content_Type=OCI_INDEX, Docker_Content_Digest=index.digest),
        )
        answer = await proxy.get(tag_of(tag=reference))
        assert answer.status == 502
        assert answer.json()["errors"][0]["code"] == "DIGEST_INVALID"
        assert proxy.stored() == before


async def test_a_blob_with_other_bytes_is_refused_and_not_kept(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        blob = layers_of(origin.images.repository(PUBLIC), origin.images.tagged())[0]
        origin.fault("store", times=None, flip_at=3)
        answer = await proxy.get(f"/v2/{PUBLIC}/blobs/{blob}")
        assert (answer.status, answer.json()["errors"][0]["code"]) == (502, "DIGEST_INVALID")
        assert proxy.stored() == []


async def test_a_manifest_over_its_limit_is_refused(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        padding = {"note": "x" * MAX_MANIFEST}
        body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "annotations": padding}
        origin.images.repository(PUBLIC).add(Manifest(OCI_INDEX, dump(body)), "fat")
        answer = await proxy.get(tag_of(tag="fat"))
        assert (answer.status, answer.json()["errors"][0]["code"]) == (502, "MANIFEST_INVALID")


# --- charts, signatures, referrers ---------------------------------------------------------------


async def test_a_chart_and_a_signature_are_artifacts_like_any_other(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        chart = await proxy.get(tag_of(CHART, "0.1.0"), accept=OCI_MANIFEST)
        assert chart.body == origin.images.tagged(CHART, "0.1.0").body
        signed = origin.images.tagged().digest.replace(":", "-")
        signature = await proxy.get(tag_of(tag=f"{signed}.sig"), accept=OCI_MANIFEST)
        assert signature.status == 200
        for name, manifest in ((CHART, chart), (PUBLIC, signature)):
            for part in manifest.json()["layers"]:
                await _by_digest(proxy, name, "blobs", part["digest"])


@pytest.mark.parametrize("filters", [True, False])
async def test_referrers_are_filtered_whoever_does_it(filters: bool, tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.registry.behaviour.filters = filters
        path = f"/v2/{PUBLIC}/referrers/{origin.images.tagged().digest}"
        answer = await proxy.get(f"{path}?artifactType={SIGNATURE}")
        assert [entry["artifactType"] for entry in answer.json()["manifests"]] == [SIGNATURE]
        assert answer.header("OCI-Filters-Applied") == "artifactType"
        assert len((await proxy.get(path)).json()["manifests"]) == 2


async def test_referrers_come_in_pages(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.registry.behaviour.page = 1
        target = f"/v2/{PUBLIC}/referrers/{origin.images.tagged().digest}"
        found: list[str] = []
        for _ in range(5):
            answer = await proxy.get(target)
            found += [entry["artifactType"] for entry in answer.json()["manifests"]]
            link = answer.header("Link")
            if link is None:
                break
            assert link.startswith(f"<{proxy.url}/v2/")
            target = link[1 : link.index(">")].removeprefix(proxy.url)
        assert sorted(found) == sorted([SPDX, SIGNATURE])
        assert origin.violations == []


async def test_without_the_upstreams_list_the_one_under_the_tag_is_given(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.registry.behaviour.referrers = False
        repository, index = origin.images.repository(PUBLIC), origin.images.tagged()
        path = f"/v2/{PUBLIC}/referrers/{index.digest}"
        empty = await proxy.get(path)
        assert (empty.status, empty.json()["manifests"]) == (200, [])
        assert empty.header("Content-Type") == OCI_INDEX
        found = repository.referrers(index.digest)
        body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}
        repository.add(Manifest(OCI_INDEX, dump(body)), index.digest.replace(":", "-"))
        proxy.clock.advance(31)
        full = await proxy.get(path)
        assert full.json()["manifests"] == found
        some = await proxy.get(f"{path}?artifactType={SPDX}")
        assert [entry["artifactType"] for entry in some.json()["manifests"]] == [SPDX]
        assert some.header("OCI-Filters-Applied") == "artifactType"


async def test_referrers_of_what_nobody_may_see_are_not_an_empty_list(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin, credentials={}) as proxy:
        digest = origin.images.tagged(PRIVATE).digest
        assert (await proxy.get(f"/v2/{PRIVATE}/referrers/{digest}")).status == 403


# --- layers --------------------------------------------------------------------------------------


async def test_a_herd_on_a_cold_layer_costs_one_body_though_the_first_hangs_up(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        layer = origin.images.big_layer(8 * MIB)
        path = f"/v2/{PUBLIC}/blobs/{layer}"
        slow = origin.fault("store", stall_at=2 * MIB)
        first = await stream(proxy, path)
        await first.head()
        assert len(await first.exactly(MIB)) == MIB  # bytes flow before the end is here
        others = [asyncio.create_task(fetch(proxy, path)) for _ in range(15)]
        await slow.reached()
        await until(lambda: len(origin.log) >= 4)
        first.hang_up()
        slow.release()
        found = await asyncio.gather(*others)
        assert {f"sha256:{got.sha256}" for got in found} == {layer}
        assert origin.count("GET", server="store") == 1


async def test_a_cut_layer_is_resumed(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        layer = origin.images.big_layer(4 * MIB)
        origin.fault("store", cut_at=3 * MIB)
        got = await fetch(proxy, f"/v2/{PUBLIC}/blobs/{layer}")
        assert f"sha256:{got.sha256}" == layer
        assert origin.log[-1].header("range") == f"bytes={3 * MIB}-"
        assert origin.violations == []


async def test_a_layer_that_a_client_has_in_part_is_gone_on_with(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        layer = origin.images.big_layer(MIB)
        path = f"/v2/{PUBLIC}/blobs/{layer}"
        whole = await proxy.get(path)
        rest = await proxy.get(path, range=f"bytes={MIB - 10}-", if_range=f'"{layer}"')
        other = await proxy.get(path, range=f"bytes={MIB - 10}-", if_range='"sha256:other"')
        assert (rest.status, rest.body) == (206, whole.body[-10:])
        assert (other.status, other.body) == (200, whole.body)


async def test_a_head_of_a_cold_layer_says_its_size(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        layer = origin.images.big_layer(2 * MIB)
        answer = await proxy.head(f"/v2/{PUBLIC}/blobs/{layer}")
        assert (answer.status, answer.header("Content-Length")) == (200, str(2 * MIB))
        assert answer.header("Docker-Content-Digest") == layer
        assert origin.count("HEAD") == 0


def test_the_look_alike_has_what_the_tests_speak_of() -> None:
    repository = Repository("x")
    index = repository.image("text", "latest")
    assert len(layers_of(repository, index)) == 4
    assert repository.image("text", "latest").digest == index.digest
