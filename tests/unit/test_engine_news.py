"""What the upstream's odd answers may and may not change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from proxy.cache.decisions import Refusals
from proxy.errors import NotFound
from tests.engine import KIB, noise, other_noise
from tests.origin import Origin, status
from tests.running import running

PAGE = "/python/simple/bigblob/"
JSON = "application/vnd.pypi.simple.v1+json"


async def test_a_304_with_another_etag_confirms_nothing(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        before = await proxy.get("/python/simple/alpha/")
        origin.content.drop(origin.content.page("python", "alpha")[0].filename)
        origin.fault("origin", "simple/alpha/", times=1, **status(304, b"", ETag='"another"'))
        proxy.clock.advance(301)
        after = await proxy.get("/python/simple/alpha/")
        assert (before.status, after.status) == (200, 200)
        assert after.body.count(b"<a ") == before.body.count(b"<a ") - 1


async def test_a_wrong_digest_has_the_page_asked_again_before_its_time(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)
        assert (await proxy.get(PAGE)).status == 200
        new = other_noise(origin, artifact)
        proxy.clock.advance(60)
        assert (await proxy.get(artifact.link)).status == 502
        proxy.clock.advance(2)
        got = await proxy.get(artifact.link)
        assert (got.status, got.sha256) == (200, new.blob.sha256)


async def test_a_refusal_at_an_address_that_is_no_longer_listed_is_no_news(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)

        def page(query: str) -> dict[str, Any]:
            file = {
                "filename": artifact.filename,
                "url": f"{origin.url}{artifact.link}{query}",
                "hashes": {"sha256": artifact.blob.sha256},
                "size": artifact.blob.size,
            }
            body = {"meta": {"api-version": "1.1"}, "name": "bigblob", "versions": ["1.0"]}
            text = json.dumps({**body, "files": [file]}).encode()
            return status(200, text, Content_Type=JSON)

        by_name = f"/files/by-name/python/bigblob/{artifact.filename}"
        origin.fault("origin", "/simple/bigblob/", times=1, **page("?v=1"))
        assert (await proxy.get(by_name)).status == 200
        origin.fault("origin", "v=1", times=None, **status(404))
        origin.fault("origin", "/simple/bigblob/", times=1, delay=2.0, **page("?v=2"))
        proxy.clock.advance(301)
        await proxy.get(by_name)  # the page is slow: the old address is asked, and refuses
        await proxy.get(PAGE)  # waits for the page that names the new one
        got = await proxy.get(by_name)
        assert (got.status, got.sha256) == (200, artifact.blob.sha256)


async def test_one_silent_index_page_costs_one_question_for_a_cold_file(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = noise(origin.content, 40 * KIB)
        origin.fault("origin", "/simple/bigblob/", times=None, **status(500))
        assert (await proxy.get(artifact.link)).status == 503
        assert origin.count("GET", "/simple/bigblob/", "origin") == 3
        assert (await proxy.get("/python/simple/alpha/")).status == 200


def test_a_remembered_refusal_holds_nothing_of_the_request_it_was_raised_in() -> None:
    refusals = Refusals()
    try:
        raise NotFound("It is not there.", gone=True)  # noqa: TRY301  # raised is what it must be
    except NotFound as error:
        refusals.remember("key", error, 0.0, 30.0)
    found, again = refusals.find("key", 1.0), refusals.find("key", 1.0)
    assert isinstance(found, NotFound)
    assert (found.status, found.detail, found.__traceback__) == (410, "It is not there.", None)
    assert found is not again
