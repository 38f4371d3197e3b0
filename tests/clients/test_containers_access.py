"""Who may pull, and what those who may not are told, by real container tools.

Purpose: a client token given as each tool takes it, tokens that are wrong or for something else,
credentials that belong to somebody else, and an image that the proxy itself may not have. Each
refusal is in words that a person sees. Neighbours: `test_containers`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.clients.engines import Engine, Engines, Login, Pulled
from tests.clients.machine import Done
from tests.origin import Origin
from tests.origin.images import PRIVATE, PUBLIC
from tests.running import Running, client, running, token

pytestmark = pytest.mark.client

CLIENTS = [client("farm", "oci"), client("other", "python")]
GOOD: Login = ("anybody", token("farm"))
WRONG: Login = ("anybody", "cgrp_" + "x" * 43)
NOT_FOR_IMAGES: Login = ("anybody", token("other"))


async def pull(engine: Engine, proxy: Running, login: Login | None, name: str = PUBLIC) -> Pulled:
    """Pull through the proxy."""
    where = urlsplit(proxy.url).netloc
    return await asyncio.to_thread(engine.pull, where, f"{name}:latest", login)


def says(done: Pulled | Done, *words: str) -> bool:
    """Whether a tool said one of these; prints what it did say."""
    print(done.output)
    return any(word.lower() in done.output.lower() for word in words)


async def test_an_image_is_pulled_with_the_proxys_token(engine: Engine, tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin, {"clients": CLIENTS}) as proxy:
        proxy.keep_secret(token("farm"))

        pulled = await pull(engine, proxy, GOOD)

        assert pulled.code == 0, pulled.output
        assert pulled.digest == origin.images.tagged().digest
        assert origin.violations == []


@pytest.mark.parametrize("login", [WRONG, None], ids=["wrong", "none"])
async def test_an_image_is_not_pulled_without_the_right_token(
    login: Login | None, engine: Engine, tmp_path: Path
) -> None:
    async with Origin() as origin, running(tmp_path, origin, {"clients": CLIENTS}) as proxy:
        pulled = await pull(engine, proxy, login)

        assert pulled.code != 0
        assert says(
            pulled, "unauthorized", "401 Client token required", "no basic auth credentials"
        )
        assert origin.log == []


async def test_a_client_that_may_have_no_images_is_told_so(engine: Engine, tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin, {"clients": CLIENTS}) as proxy:
        pulled = await pull(engine, proxy, NOT_FOR_IMAGES)

        assert pulled.code != 0
        # docker fails when it logs in, and shows the status only.
        assert says(pulled, "client not allowed", "403 forbidden")
        assert origin.log == []


@pytest.mark.parametrize("name", ["skopeo", "podman", "docker"])  # the others do not ask
async def test_logging_in_says_at_once_whether_the_token_is_right(
    name: str, engines: Engines, tmp_path: Path
) -> None:
    engine = engines[name]
    async with Origin() as origin, running(tmp_path, origin, {"clients": CLIENTS}) as proxy:
        where = urlsplit(proxy.url).netloc
        good = await asyncio.to_thread(engine.login, where, GOOD)
        wrong = await asyncio.to_thread(engine.login, where, WRONG)

        assert good.code == 0, good.output
        assert "Login Succeeded" in good.output
        assert wrong.code != 0
        assert says(wrong, "401", "unauthorized", "invalid username/password")


async def test_credentials_for_another_registry_do_no_harm_in_a_known_network(
    engine: Engine, tmp_path: Path
) -> None:
    here = [client("here", "oci", networks=["127.0.0.0/8"])]
    async with Origin() as origin, running(tmp_path, origin, {"clients": here}) as proxy:
        pulled = await pull(engine, proxy, ("somebody", "somebody-elses-password"))

        assert pulled.code == 0, pulled.output
        assert pulled.digest == origin.images.tagged().digest
        assert origin.violations == []


@pytest.mark.parametrize("cached", [False, True], ids=["uncached", "cached"])
async def test_an_image_that_the_proxy_may_not_have_is_refused_though_its_bytes_are_here(
    cached: bool, engine: Engine, tmp_path: Path
) -> None:
    async with Origin() as origin, running(tmp_path, origin, credentials={}) as proxy:
        public, private = origin.images.repository(PUBLIC), origin.images.repository(PRIVATE)
        # The very same image, in a repository that nobody without a pull token may see.
        private.blobs.update(public.blobs)
        private.manifests.update(public.manifests)
        private.tags.update(public.tags)
        if cached:
            assert (await pull(engine, proxy, None)).code == 0

        refused = await pull(engine, proxy, None, PRIVATE)

        assert refused.code != 0
        assert says(refused, "denied", "403 blocked by upstream")
