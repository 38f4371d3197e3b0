"""A real registry as upstream: the CNCF distribution server, with tokens that it verifies.

Purpose: challenges, tokens, manifests and lists that none of us wrote. It is the vendor's place
(`[upstream] registry`) or a further registry beside it (`[[registries]]`), found by its alias or
by the name that containerd sends. Neighbours: `test_containers`, `distribution`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.clients.distribution import PRIVATE, Distribution
from tests.clients.engines import Ctr, Engine, Engines, Skopeo
from tests.clients.images import image, written
from tests.origin import Origin
from tests.origin.images import PUBLIC
from tests.running import Running, running

pytestmark = pytest.mark.client


@pytest.fixture(scope="module")
def upstream(short: Path) -> Iterator[Distribution]:
    """The registry, with one image that anybody may have and one for the pull token."""
    with Distribution(short / "distribution") as upstream:
        skopeo = Skopeo(short / "distribution" / "skopeo")
        for name in (PUBLIC, PRIVATE):
            folder = short / "distribution" / name.replace("/", "-")
            written(folder, image())
            skopeo.push(folder, f"{upstream.host}/{name}:latest", upstream.pusher)
        yield upstream


DIGEST = image()[1].digest


async def pull(engine: Engine, proxy: Running, image: str) -> str:
    """Pull through the proxy; the image's digest."""
    where = urlsplit(proxy.url).netloc
    pulled = await asyncio.to_thread(engine.pull, where, image)
    assert pulled.code == 0, pulled.output
    return pulled.digest


@pytest.mark.parametrize("name", [PUBLIC, PRIVATE])
async def test_its_images_are_pulled_by_tag_and_digest_and_while_it_is_down(
    name: str, engine: Engine, upstream: Distribution, tmp_path: Path
) -> None:
    async with running(tmp_path, upstream) as proxy:
        cold = await pull(engine, proxy, f"{name}:latest")
        by_digest = await pull(engine, proxy, f"{name}@{DIGEST}")
        await asyncio.to_thread(upstream.stop)
        try:
            proxy.clock.advance(7200)
            down = await pull(engine, proxy, f"{name}:latest")
        finally:
            await asyncio.to_thread(upstream.start)

        assert {cold, by_digest, down} == {DIGEST}


async def test_one_token_serves_a_whole_pull(
    engines: Engines, upstream: Distribution, tmp_path: Path
) -> None:
    async with running(tmp_path, upstream) as proxy:
        upstream.tokens.given.clear()

        await pull(engines["skopeo"], proxy, f"{PRIVATE}:latest")

        assert upstream.tokens.given == [upstream.username]


async def test_without_a_pull_token_public_images_are_pulled_and_private_ones_are_not(
    engines: Engines, upstream: Distribution, tmp_path: Path
) -> None:
    async with running(tmp_path, upstream, credentials={}) as proxy:
        skopeo = engines["skopeo"]
        assert await pull(skopeo, proxy, f"{PUBLIC}:latest") == DIGEST

        where = urlsplit(proxy.url).netloc
        refused = await asyncio.to_thread(skopeo.pull, where, f"{PRIVATE}:latest")

        assert refused.code != 0
        assert "denied" in refused.output


async def test_its_tags_are_listed_page_by_page(upstream: Distribution, tmp_path: Path) -> None:
    async with running(tmp_path, upstream) as proxy:
        every = await proxy.get(f"/v2/{PUBLIC}/tags/list?n=1")
        none = await proxy.get(f"/v2/{PUBLIC}/referrers/{DIGEST}")

        assert every.json() == {"name": PUBLIC, "tags": ["latest"]}
        # It has no such list, so there is an empty one.
        assert (none.status, none.json()["manifests"]) == (200, [])


# --- beside the vendor's registry ----------------------------------------------------------------


def beside(upstream: Distribution, folder: Path) -> dict[str, object]:
    """Tables that have it as a further registry, with a pull token of its own."""
    pair = folder / "beside.pair"
    pair.write_text(f"{upstream.username}\n{upstream.password}\n")
    hosts = [urlsplit(upstream.tokens.url).netloc]
    further = {"alias": "real", "url": upstream.registry_url, "pair_file": str(pair)}
    return {"registries": [further], "upstream": {"redirect_hosts": hosts}}


@pytest.mark.parametrize("name", ["skopeo", "podman", "docker"])
async def test_a_further_registry_is_found_by_its_alias(
    name: str, engines: Engines, upstream: Distribution, tmp_path: Path
) -> None:
    async with Origin() as origin:
        tables = beside(upstream, tmp_path)
        async with running(tmp_path / "proxy", origin, tables, credentials={}) as proxy:
            proxy.keep_secret(upstream.password)

            assert await pull(engines[name], proxy, f"real/{PRIVATE}:latest") == DIGEST
            assert origin.log == []


async def test_a_further_registry_is_found_by_the_name_that_containerd_sends(
    engines: Engines, upstream: Distribution, tmp_path: Path
) -> None:
    containerd = engines["containerd"]
    assert isinstance(containerd, Ctr)
    async with Origin() as origin:
        tables = beside(upstream, tmp_path)
        async with running(tmp_path / "proxy", origin, tables, credentials={}) as proxy:
            where = urlsplit(proxy.url).netloc
            names = (upstream.host, where, f"{PRIVATE}:latest")
            pulled = await asyncio.to_thread(containerd.pull_as, *names)

            assert pulled.code == 0, pulled.output
            assert pulled.digest == DIGEST
            assert origin.log == []
