"""The checks of the OCI distribution specification's conformance suite for a registry that is only
pulled from, put in words of our own: pulling, content discovery, and the form of errors.

Each runs cold and again on a warm cache; the suite's names are kept in the names of the tests.
Reading: the suite's `01_pull_test.go` and `03_discovery_test.go` (version 1.1).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.origin import Origin
from tests.origin.images import OCI_INDEX, OCI_MANIFEST, PUBLIC, SPDX, Manifest, layers_of
from tests.running import Answer, Running, request_bytes, running

DUMMY = f"sha256:{hashlib.sha256(b'hello world').hexdigest()}"
NOT_THERE = ".INVALID_MANIFEST_NAME"
# The table of error codes in the specification.
CODES = {
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
}


class Suite:
    """A proxy in front of the test origin, and what the suite would have pushed there."""

    def __init__(self, proxy: Running, origin: Origin) -> None:
        self.proxy = proxy
        repository = origin.images.repository(PUBLIC)
        self.index = origin.images.tagged()
        self.platforms: list[Manifest] = [
            repository.manifests[entry["digest"]]
            for entry in json.loads(self.index.body)["manifests"]
        ]
        self.blob = layers_of(repository, self.index)[0]
        self.blob_size = repository.blobs[self.blob].size
        self.tags = sorted(repository.tags)

    async def ask(self, method: str, what: str, **fields: str) -> Answer:
        """The answer, which a warm cache gives in the same words."""
        target = f"/v2/{PUBLIC}/{what}"
        cold = await self.proxy.request(method, target, **fields)
        warm = await self.proxy.request(method, target, **fields)
        assert (cold.status, cold.reason) == (warm.status, warm.reason)
        assert cold.header("Content-Type") == warm.header("Content-Type")
        assert cold.header("Content-Length") == warm.header("Content-Length")
        if cold.status == 200:
            assert cold.body == warm.body
        return warm


@pytest.fixture
async def suite(tmp_path: Path) -> AsyncIterator[Suite]:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        yield Suite(proxy, origin)
        assert origin.violations == []


def code(answer: Answer) -> str:
    (error,) = answer.json()["errors"]
    assert set(error) == {"code", "message", "detail"}
    found: str = error["code"]
    assert found in CODES
    return found


# --- pulling blobs -------------------------------------------------------------------------------


async def test_head_request_to_a_nonexistent_blob_is_404(suite: Suite) -> None:
    answer = await suite.ask("HEAD", f"blobs/{DUMMY}")
    assert (answer.status, answer.body) == (404, b"")


async def test_head_request_to_an_existing_blob_is_200(suite: Suite) -> None:
    answer = await suite.ask("HEAD", f"blobs/{suite.blob}")
    assert answer.status == 200
    assert answer.header("Docker-Content-Digest") == suite.blob
    assert answer.header("Content-Length") == str(suite.blob_size)


async def test_get_nonexistent_blob_is_404(suite: Suite) -> None:
    answer = await suite.ask("GET", f"blobs/{DUMMY}")
    assert (answer.status, code(answer)) == (404, "BLOB_UNKNOWN")


async def test_get_request_to_an_existing_blob_is_200(suite: Suite) -> None:
    answer = await suite.ask("GET", f"blobs/{suite.blob}")
    assert answer.status == 200
    assert f"sha256:{answer.sha256}" == suite.blob
    assert answer.header("Docker-Content-Digest") == suite.blob


async def test_get_request_to_a_part_of_a_blob_is_206(suite: Suite) -> None:
    answer = await suite.ask("GET", f"blobs/{suite.blob}", range="bytes=1-3")
    assert (answer.status, len(answer.body)) == (206, 3)
    assert answer.header("Content-Range") == f"bytes 1-3/{suite.blob_size}"


# --- pulling manifests ---------------------------------------------------------------------------


@pytest.mark.parametrize("reference", [NOT_THERE, "not-there", DUMMY])
@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_request_to_a_nonexistent_manifest_is_404(
    suite: Suite, method: str, reference: str
) -> None:
    answer = await suite.ask(method, f"manifests/{reference}")
    assert answer.status == 404
    assert not answer.body or code(answer) == "MANIFEST_UNKNOWN"


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_request_to_a_manifest_by_digest_is_200(
    suite: Suite, method: str, number: int
) -> None:
    manifest = suite.platforms[number]
    answer = await suite.ask(method, f"manifests/{manifest.digest}", accept=OCI_MANIFEST)
    assert answer.status == 200
    assert answer.header("Docker-Content-Digest") == manifest.digest
    assert answer.header("Content-Type") == OCI_MANIFEST
    assert answer.header("Content-Length") == str(len(manifest.body))
    assert answer.body == (manifest.body if method == "GET" else b"")


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_request_to_a_manifest_by_tag_is_200(suite: Suite, method: str) -> None:
    answer = await suite.ask(method, "manifests/latest", accept=OCI_INDEX)
    assert answer.status == 200
    assert answer.header("Docker-Content-Digest") == suite.index.digest
    assert answer.header("Content-Type") == OCI_INDEX
    assert answer.header("Content-Length") == str(len(suite.index.body))
    assert answer.body == (suite.index.body if method == "GET" else b"")


async def test_a_400_has_an_error_of_the_specification(suite: Suite) -> None:
    # The suite sends a body along, which is not read.
    body = b"{nonsense"
    host = suite.proxy.url.removeprefix("http://")
    fields = {"Content-Type": OCI_MANIFEST, "Content-Length": str(len(body))}
    target = f"/v2/{PUBLIC}/manifests/sha256:totallywrong"
    raw = await suite.proxy.send(request_bytes("GET", target, host, fields) + body)
    head, _, content = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    (error,) = json.loads(content)["errors"]
    assert error["code"] == "DIGEST_INVALID"


# --- content discovery ---------------------------------------------------------------------------


def tags_of(answer: Answer) -> list[str]:
    assert answer.status == 200
    found: dict[str, Any] = answer.json()
    assert found["name"] == PUBLIC
    tags: list[str] = found["tags"]
    return tags


async def test_get_request_to_list_tags_is_200(suite: Suite) -> None:
    assert tags_of(await suite.ask("GET", "tags/list")) == suite.tags


@pytest.mark.parametrize("n", [0, 1, 3, 100])
async def test_the_number_of_tags_is_limited_by_n(suite: Suite, n: int) -> None:
    answer = await suite.ask("GET", f"tags/list?n={n}")
    assert tags_of(answer) == suite.tags[:n]
    assert (answer.header("Link") is not None) is (0 < n < len(suite.tags))


async def test_the_first_tag_is_set_by_last(suite: Suite) -> None:
    answer = await suite.ask("GET", f"tags/list?n=2&last={suite.tags[1]}")
    assert tags_of(answer) == suite.tags[2:4]


async def test_all_tags_come_by_following_links(suite: Suite) -> None:
    found, target = [], "tags/list?n=2"
    for _ in range(len(suite.tags)):
        answer = await suite.ask("GET", target)
        found += tags_of(answer)
        link = answer.header("Link")
        if link is None:
            break
        assert link.startswith(f"<{suite.proxy.url}/v2/{PUBLIC}/")
        assert link.endswith('>; rel="next"')
        target = link[1 : link.index(">")].removeprefix(f"{suite.proxy.url}/v2/{PUBLIC}/")
    assert found == suite.tags


async def test_tags_of_a_nonexistent_repository_are_404(suite: Suite) -> None:
    answer = await suite.proxy.get("/v2/no/such/repository/tags/list")
    assert (answer.status, code(answer)) == (404, "NAME_UNKNOWN")


async def test_referrers_of_a_nonexistent_digest_are_an_empty_index(suite: Suite) -> None:
    answer = await suite.ask("GET", f"referrers/{DUMMY}")
    assert (answer.status, answer.header("Content-Type")) == (200, OCI_INDEX)
    assert answer.json()["manifests"] == []


async def test_referrers_of_an_existing_digest_are_listed(suite: Suite) -> None:
    answer = await suite.ask("GET", f"referrers/{suite.index.digest}")
    assert (answer.status, answer.header("Content-Type")) == (200, OCI_INDEX)
    assert len(answer.json()["manifests"]) == 2
    assert answer.header("OCI-Filters-Applied") is None


async def test_referrers_are_filtered_by_type(suite: Suite) -> None:
    answer = await suite.ask("GET", f"referrers/{suite.index.digest}?artifactType={SPDX}")
    assert (answer.status, answer.header("Content-Type")) == (200, OCI_INDEX)
    assert [entry["artifactType"] for entry in answer.json()["manifests"]] == [SPDX]
    assert answer.header("OCI-Filters-Applied") == "artifactType"


@pytest.mark.parametrize(
    "path",
    [
        f"/v2/../../x/blobs/{DUMMY}",
        f"/v2/%2e%2e%2fx/blobs/{DUMMY}",
        "/v2/a//b/manifests/latest",
        "/v2/A/b/manifests/latest",
        "/v2/a%00b/manifests/latest",
        f"/v2/{'a' * 256}/manifests/latest",
    ],
)
async def test_a_name_that_is_none_is_400_in_the_specifications_words(
    suite: Suite, path: str
) -> None:
    answer = await suite.proxy.get(path)
    assert (answer.status, code(answer)) == (400, "NAME_INVALID")


# --- what nobody may do --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "what"),
    [
        ("POST", "blobs/uploads/"),
        ("POST", f"blobs/uploads/?mount={DUMMY}&from=a"),
        ("PATCH", "blobs/uploads/1"),
        ("PUT", f"blobs/uploads/1?digest={DUMMY}"),
        ("PUT", "manifests/latest"),
        ("DELETE", "manifests/latest"),
        ("DELETE", f"blobs/{DUMMY}"),
    ],
)
async def test_pushing_is_405_before_the_body_is_read(suite: Suite, method: str, what: str) -> None:
    host = suite.proxy.url.removeprefix("http://")
    fields = {"Content-Length": str(5 << 30)}
    # Not a byte of the body is sent: whoever waited for it would wait for ever.
    raw = await suite.proxy.send(request_bytes(method, f"/v2/{PUBLIC}/{what}", host, fields))
    head, _, content = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nAllow:" in head
    (error,) = json.loads(content)["errors"]
    assert error["code"] == "UNSUPPORTED"


async def test_the_root_is_200_and_names_the_version(suite: Suite) -> None:
    for path in ("/v2/", "/v2"):
        answer = await suite.proxy.get(path)
        assert (answer.status, answer.json()) == (200, {})
        assert answer.header("Docker-Distribution-Api-Version") == "registry/2.0"
