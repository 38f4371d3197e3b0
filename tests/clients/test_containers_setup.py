"""What `cgr-proxy setup` says to container tools about a client's token is done, and lets them in.

Purpose: over plain http on loopback, where the proxy's only client has a token. The lines for it
are put in, and the variable is set; only where a tool keeps its things is said besides. Neighbour:
`test_containers_readme` (without tokens, by https).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.clients.engines import Ctr, Docker, Tool, podman_storage
from tests.origin import Origin
from tests.printed import printed, with_token
from tests.running import client, running, token

pytestmark = pytest.mark.client

CLIENTS = {"clients": [client("farm", "oci")]}
GIVEN = {"CGR_PROXY_TOKEN": token("farm")}


@asynccontextmanager
async def proxy(folder: Path) -> AsyncIterator[tuple[str, Origin]]:
    """Where the proxy is, and what is behind it."""
    async with Origin() as origin, running(folder, origin, CLIENTS) as made:
        made.keep_secret(token("farm"))
        yield made.url, origin
        assert origin.violations == []


async def done(tool: Tool, script: str) -> str:
    """What a script says, which ends well."""
    ended = await asyncio.to_thread(tool.run, "sh", "-euc", script)
    assert ended.code == 0, ended.output
    return ended.output


async def test_docker_logs_in_and_pulls(short: Path, tmp_path: Path) -> None:
    docker = Docker(short / "setup" / "docker")
    tool = Tool(short / "setup" / "docker-tool", (), DOCKER_HOST=docker.engine.address, **GIVEN)
    try:
        async with proxy(tmp_path) as (url, origin):
            said = await done(tool, with_token(printed("docker", url)[0], token("farm")))
            assert origin.images.tagged().digest in said
    finally:
        docker.engine.stop()


async def test_podman_logs_in_and_pulls(short: Path, tmp_path: Path) -> None:
    kept = short / "setup" / "podman"
    storage, registries = tmp_path / "storage.conf", tmp_path / "cgr.conf"
    storage.write_text(podman_storage(kept))
    where = {
        "CONTAINERS_STORAGE_CONF": str(storage),
        "CONTAINERS_REGISTRIES_CONF": str(registries),
        "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json"),
    }
    podman = Tool(kept, (), **where, **GIVEN)
    async with proxy(tmp_path / "proxy") as (url, origin):
        registry, pull = printed("podman", url)
        registries.write_text(registry)
        await done(podman, with_token(pull, token("farm")))
        listed = podman.run("podman", "images", "--digests")
        assert origin.images.tagged().digest in listed.output


async def test_containerd_has_the_token_in_its_file_and_pulls(short: Path, tmp_path: Path) -> None:
    ctr = Ctr(short / "setup" / "ctr")
    tool = Tool(short / "setup" / "ctr-tool", (), CONTAINERD_ADDRESS=ctr.engine.socket, **GIVEN)
    hosts = tmp_path / "certs.d" / "cgr.dev" / "hosts.toml"
    hosts.parent.mkdir(parents=True)
    try:
        async with proxy(tmp_path / "proxy") as (url, origin):
            settings, pull = printed("containerd", url)
            encoded = await done(tool, 'printf any:%s "$CGR_PROXY_TOKEN" | base64 -w 0')
            assert 'printf any:%s "$CGR_PROXY_TOKEN" | base64 -w 0' in settings
            settings = with_token(settings, token("farm"))
            hosts.write_text(settings.replace("WHAT_THAT_PRINTS", encoded))
            pull = pull.replace("/etc/containerd/certs.d", str(tmp_path / "certs.d"))
            pull = pull.replace("ctr images pull", "ctr images pull --snapshotter native")
            assert f"index-{origin.images.tagged().digest}" in await done(tool, pull)
    finally:
        ctr.engine.stop()


@pytest.mark.extra
async def test_helm_logs_in_and_pulls(short: Path, client_tools: Path, tmp_path: Path) -> None:
    tool = Tool(short / "setup" / "helm", (), **GIVEN)
    programs = client_tools / "containers" / "usr" / "bin"
    async with proxy(tmp_path) as (url, _):
        text = with_token(printed("helm", url)[0], token("farm"))
        text = text.replace("ORGANISATION", "acme.example").replace("CHART", "demo")
        await done(tool, f"PATH={programs}:$PATH\n{text}")
        assert (tool.folder / "demo-0.1.0.tgz").exists()
