"""The registry of the test origin: its traps bite, seen through a raw socket.

Purpose: a look-alike that forgives would make every proxy look good. Non-goals: the proxy.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from tests.origin import Origin
from tests.origin.images import DOCKER, OCI_INDEX, PRIVATE, PUBLIC, SPDX, Images, digest_of
from tests.origin.raw import IDENTITY, ask, basic

TAG = f"/v2/{PUBLIC}/manifests/latest"


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as running:
        yield running


async def token(origin: Origin, name: str, *, anonymous: bool = False) -> str:
    who = {} if anonymous else basic(origin)
    target = f"/token?service=registry.example&scope=repository:{name}:pull"
    answer = await ask(origin.registry_url, target, who)
    assert answer.status == 200
    found: str = json.loads(answer.body)["token"]
    return found


def bearing(value: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {value}", **IDENTITY}


async def test_without_a_token_it_is_401_with_a_challenge(origin: Origin) -> None:
    challenge = ""
    for path in ("/v2/", TAG):
        answer = await ask(origin.registry_url, path)
        assert answer.status == 401
        challenge = answer.header("WWW-Authenticate") or ""
        assert challenge.startswith(f'Bearer realm="{origin.registry_url}/token"')
    assert f'scope="repository:{PUBLIC}:pull"' in challenge


async def test_a_token_opens_its_own_repository_only(origin: Origin) -> None:
    value = await token(origin, PUBLIC)
    good = await ask(origin.registry_url, TAG, bearing(value))
    other = await ask(origin.registry_url, f"/v2/{DOCKER}/manifests/latest", bearing(value))
    assert (good.status, other.status) == (200, 401)
    assert digest_of(good.body) == good.header("Docker-Content-Digest")
    assert "another repository" in origin.violations[0]


async def test_an_anonymous_token_does_not_open_a_private_repository(origin: Origin) -> None:
    private = f"/v2/{PRIVATE}/manifests/latest"
    nobody = await token(origin, PRIVATE, anonymous=True)
    somebody = await token(origin, PRIVATE)
    refused = await ask(origin.registry_url, private, bearing(nobody))
    served = await ask(origin.registry_url, private, bearing(somebody))
    assert (refused.status, served.status) == (401, 200)


async def test_the_pull_token_belongs_to_the_token_endpoint(origin: Origin) -> None:
    await ask(origin.registry_url, TAG, basic(origin))
    assert "the pull token outside of the token endpoint" in origin.violations[0]


async def test_a_retired_pull_token_gets_no_token(origin: Origin) -> None:
    origin.credentials.retire(origin.pair)
    answer = await ask(origin.registry_url, "/token", basic(origin))
    assert answer.status == 401


async def test_a_token_ends(origin: Origin) -> None:
    value = await token(origin, PUBLIC)
    now = origin.settings.clock()
    origin.settings.clock = lambda: now + 301
    answer = await ask(origin.registry_url, TAG, bearing(value))
    assert answer.status == 401
    assert origin.journal.counters["tokens_ended"] == 1


async def test_more_than_pulling_is_a_broken_rule(origin: Origin) -> None:
    target = f"/token?scope=repository:{PUBLIC}:pull,push"
    await ask(origin.registry_url, target, basic(origin))
    assert "pull,push" in origin.violations[0]


async def test_a_blob_lies_in_the_object_store_which_takes_no_token(origin: Origin) -> None:
    digest, blob = next(iter(origin.images.repository(PUBLIC).blobs.items()))
    value = await token(origin, PUBLIC)
    path = f"/v2/{PUBLIC}/blobs/{digest}"
    answer = await ask(origin.registry_url, path, bearing(value))
    assert answer.status == 307
    assert answer.body.startswith(b"<a href=")
    location = answer.header("Location") or ""
    assert location.startswith(origin.store_url)
    target = location.removeprefix(origin.store_url)
    both = await ask(origin.store_url, target, bearing(value))
    alone = await ask(origin.store_url, target, IDENTITY)
    assert (both.status, alone.status, len(alone.body)) == (400, 200, blob.size)


async def test_a_type_that_is_not_accepted_is_404(origin: Origin) -> None:
    value = await token(origin, PUBLIC)
    answer = await ask(origin.registry_url, TAG, {**bearing(value), "Accept": "application/json"})
    assert answer.status == 404


async def test_tags_and_referrers_come_in_pages(origin: Origin) -> None:
    value = await token(origin, PUBLIC)
    digest = origin.images.tagged().digest
    origin.registry.behaviour.page = 1
    for target in (f"/v2/{PUBLIC}/tags/list?n=2", f"/v2/{PUBLIC}/referrers/{digest}"):
        answer = await ask(origin.registry_url, target, bearing(value))
        assert answer.status == 200
        assert 'rel="next"' in (answer.header("Link") or "")


async def test_referrers_are_filtered_or_not_and_it_says_so(origin: Origin) -> None:
    value = await token(origin, PUBLIC)
    target = f"/v2/{PUBLIC}/referrers/{origin.images.tagged().digest}?artifactType={SPDX}"
    target = target.replace("+", "%2B")
    for filters, count in ((True, 1), (False, 2)):
        origin.registry.behaviour.filters = filters
        answer = await ask(origin.registry_url, target, bearing(value))
        assert answer.header("Content-Type") == OCI_INDEX
        assert len(json.loads(answer.body)["manifests"]) == count
        assert (answer.header("OCI-Filters-Applied") is not None) is filters


def test_the_same_images_are_made_every_time() -> None:
    first, second = Images.tiny(), Images.tiny()
    for repository in first:
        other = second.find(repository.name)
        assert other is not None
        assert repository.manifests == other.manifests
        assert list(repository.blobs) == list(other.blobs)


def test_a_tag_moves_and_its_history_stays() -> None:
    repository = Images.tiny().repository(PUBLIC)
    before = repository.tags["latest"]
    after = repository.image("newer", "latest").digest
    assert repository.tags["latest"] == after
    assert [entry["digest"] for entry in repository.history["latest"]] == [before, after]
