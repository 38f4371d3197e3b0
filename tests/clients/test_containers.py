"""Images of several architectures pulled by real tools: cold, again, later, without the upstream.

Purpose: what every tool needs and what it costs. Each holds no credential at all, pulls every
platform and checks every digest itself; what it takes an image's digest for is compared with the
upstream's. The proxy runs in this loop, so that its clock can be moved; tools run in threads.
Neighbours: `test_containers_access` (who may), `test_containers_names` (`cgr.dev/...` kept).
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.clients.engines import Engine, Pulled
from tests.origin import Origin, status
from tests.origin.images import DOCKER, PRIVATE, PUBLIC, layers_of
from tests.running import Running, running, secrets_of

pytestmark = pytest.mark.client

TAG_TTL, TTL = 61, 301  # seconds after which a tag, a right is not fresh any more


@pytest.fixture
def pulls(engine: Engine) -> Iterator[Engine]:
    """A tool. Whatever was pulled is thrown away afterwards where that is simple."""
    yield engine
    for path in engine.folder.glob("pulled-*"):
        shutil.rmtree(path)


async def pull(
    engine: Engine, proxy: Running, name: str = PUBLIC, reference: str = ":latest"
) -> Pulled:
    """Pull through the proxy, and fail if that fails."""
    pulled = await asyncio.to_thread(engine.pull, urlsplit(proxy.url).netloc, f"{name}{reference}")
    assert pulled.code == 0, pulled.output
    return pulled


def blobs_served(proxy: Running) -> list[str]:
    """The layers and configurations that clients have got, by digest."""
    return [
        line["path"].rpartition("/")[2]
        for line in proxy.access()
        if "/blobs/" in line["path"] and line["method"] == "GET" and line["status"] == 200
    ]


@pytest.mark.parametrize("name", [PUBLIC, DOCKER, PRIVATE])
async def test_an_image_is_pulled_by_tag_and_by_digest_without_a_credential(
    name: str, pulls: Engine, tmp_path: Path
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        index = origin.images.tagged(name)

        by_tag = await pull(pulls, proxy, name)
        by_digest = await pull(pulls, proxy, name, f"@{index.digest}")

        assert (by_tag.digest, by_digest.digest) == (index.digest, index.digest)
        blobs = layers_of(origin.images.repository(name), index)
        assert set(blobs_served(proxy)) == set(blobs)
        # Each came from the upstream once, however often it was pulled here.
        assert origin.count("GET", server="store") == len(blobs)
        assert origin.violations == []
        secrets = list(secrets_of(origin.username, origin.password))
        assert leaks(pulls, secrets, by_tag.output + by_digest.output) == []


def leaks(engine: Engine, secrets: list[bytes], output: str) -> list[str]:
    """Where a tool holds a secret of the upstream: its folder, its words."""
    found = ["output" for secret in secrets if secret in output.encode()]
    for path in engine.folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            found += [str(path) for secret in secrets if secret in data]
    return found


async def test_a_second_pull_asks_the_upstream_for_nothing(pulls: Engine, tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        await pull(pulls, proxy)
        served = len(blobs_served(proxy))
        origin.reset()

        again = await pull(pulls, proxy)

        assert again.digest == origin.images.tagged().digest
        assert len(blobs_served(proxy)) == 2 * served  # the tool had kept nothing
        assert origin.log == []


async def test_a_later_pull_makes_one_tag_revalidation_and_no_blob_request(
    pulls: Engine, tmp_path: Path
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        await pull(pulls, proxy)
        origin.reset()
        proxy.clock.advance(TAG_TTL)

        await pull(pulls, proxy)

        assert [entry.target for entry in origin.log] == [f"/v2/{PUBLIC}/manifests/latest"]


async def test_a_moved_tag_is_pulled_after_its_time(pulls: Engine, tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        before = await pull(pulls, proxy)
        moved = origin.images.repository(PUBLIC).image("newer", "latest")
        proxy.clock.advance(TAG_TTL)

        after = await pull(pulls, proxy)
        old = await pull(pulls, proxy, reference=f"@{before.digest}")

        assert (after.digest, old.digest) == (moved.digest, before.digest)


@pytest.mark.parametrize(("trouble", "later"), [("stopped", 7200), ("429", TTL), ("503", TTL)])
async def test_a_cached_image_is_pulled_while_the_upstream_is_in_trouble(
    trouble: str, later: int, pulls: Engine, tmp_path: Path
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        before = await pull(pulls, proxy)
        if trouble == "stopped":
            await origin.close_listener()
        else:
            origin.fault(times=None, **status(int(trouble), Retry_After="1"))
        proxy.clock.advance(later)

        by_tag = await pull(pulls, proxy)
        by_digest = await pull(pulls, proxy, reference=f"@{before.digest}")

        assert (by_tag.digest, by_digest.digest) == (before.digest, before.digest)


async def test_an_image_that_is_not_cached_is_refused_in_words_while_the_upstream_is_down(
    pulls: Engine, tmp_path: Path
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        await origin.close_listener()

        where = urlsplit(proxy.url).netloc
        pulled = await asyncio.to_thread(pulls.pull, where, f"{PUBLIC}:latest")

        assert pulled.code != 0
        assert "503" in pulled.output or "Upstream unavailable" in pulled.output, pulled.output
