"""What `cgr-proxy setup` says to container tools, and the README, is done to the letter, and works.

Purpose: its commands are run as they stand, its files written where it says, in a network in which
`proxy.example` is this proxy. Only where a tool keeps its things is said besides.
Neighbours: `readme` (finds the blocks), `test_containers_artifacts` (cosign).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.clients.engines import Ctr, Docker, Tool, podman_storage
from tests.clients.namespace import Namespace
from tests.clients.readme import command
from tests.origin import Origin
from tests.printed import printed
from tests.running import client, running

pytestmark = pytest.mark.client

HOST = "proxy.example"
URL = f"https://{HOST}"


@pytest.fixture(scope="module")
def space(short: Path) -> Iterator[Namespace]:
    folder = short / "readme"
    folder.mkdir()
    with Namespace(folder) as space:
        space.name(HOST)
        yield space


@pytest.fixture(scope="module")
def farm(short: Path, space: Namespace) -> Authority:
    return Authority("readme", short / "readme")


@asynccontextmanager
async def proxy(space: Namespace, farm: Authority, folder: Path) -> AsyncIterator[Origin]:
    """A proxy that is `proxy.example`, and what is behind it."""
    here = [client("here", "oci", networks=[space.network])]
    pair = farm.server(space.address, name=HOST)
    tables = {
        "clients": here,
        "server": {
            "listen": f"{space.address}:443",
            "tls_certificate": str(pair.certificate),
            "tls_key": str(pair.key),
        },
    }
    async with Origin() as origin, running(folder, origin, tables):
        yield origin
        assert origin.violations == []


async def test_docker_pulls_as_the_readme_says(
    short: Path, space: Namespace, farm: Authority, tmp_path: Path
) -> None:
    docker = Docker(short / "readme" / "docker", space.inside, SSL_CERT_FILE=str(farm.file))
    try:
        async with proxy(space, farm, tmp_path) as origin:
            line = printed("docker", URL)[0].replace(
                "\ndocker ", f"\ndocker -H {docker.engine.address} "
            )
            done = await asyncio.to_thread(docker.run, "sh", "-c", line)
            assert done.code == 0, done.output
            assert origin.images.tagged().digest in done.output
    finally:
        docker.engine.stop()


async def test_containerd_pulls_as_the_readme_says(
    short: Path, space: Namespace, farm: Authority, tmp_path: Path
) -> None:
    trust = {"SSL_CERT_FILE": str(farm.file)}
    ctr = Ctr(short / "readme" / "ctr", space.inside, None, **trust)
    kept = tmp_path / "certs.d"
    (kept / "cgr.dev").mkdir(parents=True)
    (kept / "cgr.dev" / "hosts.toml").write_text(printed("containerd", URL)[0])
    try:
        async with proxy(space, farm, tmp_path) as origin:
            line = printed("containerd", URL)[1].replace("/etc/containerd/certs.d", str(kept))
            line = line.replace("ctr images pull", "ctr images pull --snapshotter native")
            where = {"CONTAINERD_ADDRESS": ctr.engine.socket}
            tool = Tool(short / "readme" / "ctr-tool", space.inside, **trust, **where)
            done = await asyncio.to_thread(tool.run, "sh", "-c", line)
            assert done.code == 0, done.output
            assert f"index-{origin.images.tagged().digest}" in done.output
    finally:
        ctr.engine.stop()


async def test_podman_pulls_as_the_readme_says(
    short: Path, space: Namespace, farm: Authority, tmp_path: Path
) -> None:
    kept = short / "readme" / "podman"
    storage, registries = tmp_path / "storage.conf", tmp_path / "cgr.conf"
    storage.write_text(podman_storage(kept))
    registries.write_text(printed("podman", URL)[0])
    variables = {
        "SSL_CERT_FILE": str(farm.file),
        "CONTAINERS_STORAGE_CONF": str(storage),
        "CONTAINERS_REGISTRIES_CONF": str(registries),
    }
    podman = Tool(kept, space.inside, **variables)
    async with proxy(space, farm, tmp_path / "proxy") as origin:
        done = await asyncio.to_thread(podman.run, "sh", "-c", printed("podman", URL)[1])
        assert done.code == 0, done.output
        listed = podman.run("podman", "images", "--digests")
        assert origin.images.tagged().digest in listed.output


@pytest.mark.parametrize("program", ["skopeo", pytest.param("helm", marks=pytest.mark.extra)])
async def test_others_pull_as_the_readme_says(  # noqa: PLR0917
    program: str,
    short: Path,
    client_tools: Path,
    space: Namespace,
    farm: Authority,
    tmp_path: Path,
) -> None:
    tool = Tool(short / "readme" / program, space.inside, SSL_CERT_FILE=str(farm.file))
    programs = client_tools / "containers" / "usr" / "bin"
    async with proxy(space, farm, tmp_path):
        line = command(program) if program == "skopeo" else printed(program, URL)[0]
        line = line.replace("ORGANISATION", "acme.example").replace("CHART", "demo")
        done = await asyncio.to_thread(tool.run, "sh", "-c", f"PATH={programs}:$PATH\n{line}")
        assert done.code == 0, done.output
        written = {path.name for path in tool.folder.iterdir()} - {"home"}
        assert written == {"static" if program == "skopeo" else "demo-0.1.0.tgz"}
