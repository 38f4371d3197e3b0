"""Images that go on being called `cgr.dev/...`: through mirrors, and by the real name over TLS.

Purpose: the set-ups that leave Dockerfiles and manifests as they are. Tools run in a network of
their own (`namespace`), in which nothing but the proxy can be reached; where it has the real name,
its certificate is of an authority that only these tools know. Neighbours: `test_containers`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.certificates import Authority
from tests.clients.engines import NAME, Ctr, Docker, Podman, Skopeo
from tests.clients.namespace import Namespace
from tests.origin import Origin
from tests.origin.images import DOCKER, PUBLIC
from tests.running import Running, client, running

pytestmark = pytest.mark.client


@dataclass(frozen=True, slots=True)
class Net:
    """A network, the authority that is known in it, and where tools are put."""

    space: Namespace
    farm: Authority
    folder: Path

    @property
    def trust(self) -> dict[str, str]:
        """Variables that have a tool trust the authority, and no other."""
        return {"SSL_CERT_FILE": str(self.farm.file)}

    @asynccontextmanager
    async def proxy(self, folder: Path, origin: Origin, *, tls: bool) -> AsyncIterator[Running]:
        """A proxy on this network's cable: with the real name's certificate on 443, or plain."""
        here = [client("here", "oci", networks=[self.space.network])]
        server: dict[str, str] = {"listen": f"{self.space.address}:{443 if tls else 0}"}
        if tls:
            pair = self.farm.server(self.space.address, name=NAME)
            server |= {"tls_certificate": str(pair.certificate), "tls_key": str(pair.key)}
        async with running(folder, origin, {"server": server, "clients": here}) as proxy:
            yield proxy


@pytest.fixture(scope="module")
def net(short: Path) -> Iterator[Net]:
    folder = short / "net"
    folder.mkdir()
    with Namespace(folder) as space:
        space.name(NAME)
        yield Net(space, Authority("farm", folder), folder)


@pytest.fixture(scope="module")
def docker(net: Net) -> Iterator[Docker]:
    docker = Docker(net.folder / "docker", net.space.inside, **net.trust)
    yield docker
    docker.engine.stop()


@pytest.fixture(scope="module", params=["1", pytest.param("2", marks=pytest.mark.extra)])
def ctr(net: Net, client_tools: Path, request: pytest.FixtureRequest) -> Iterator[Ctr]:
    newer = client_tools / "containers" / "usr" / "bin"
    programs = newer if request.param == "2" else None
    ctr = Ctr(net.folder / f"ctr{request.param}", net.space.inside, programs, **net.trust)
    yield ctr
    ctr.engine.stop()


MIRROR = """
[[registry]]
location = "cgr.dev"
[[registry.mirror]]
location = "{where}"
insecure = true
"""


@pytest.mark.parametrize("tool", [Skopeo, Podman])
async def test_a_mirror_of_registries_conf_serves_names_of_the_vendor(
    tool: type[Skopeo | Podman], net: Net, tmp_path: Path
) -> None:
    async with Origin() as origin, net.proxy(tmp_path, origin, tls=False) as proxy:
        engine = tool(net.folder / f"mirror-{tool.name}", net.space.inside, **net.trust)
        engine.registries = MIRROR.format(where=urlsplit(proxy.url).netloc)

        await pulls_both(engine, origin, NAME)


async def test_hosts_toml_serves_names_of_the_vendor(ctr: Ctr, net: Net, tmp_path: Path) -> None:
    async with Origin() as origin, net.proxy(tmp_path, origin, tls=False) as proxy:
        await pulls_both(ctr, origin, urlsplit(proxy.url).netloc)

        # containerd names the registry that it means (`?ns=`), which is for the proxy only.
        assert origin.count(pattern="ns=") == 0


async def test_containerd_finds_the_proxy_by_the_real_name(
    ctr: Ctr, net: Net, tmp_path: Path
) -> None:
    async with Origin() as origin, net.proxy(tmp_path, origin, tls=True):
        await pulls_both(ctr, origin, NAME)


async def test_docker_finds_the_proxy_by_the_real_name(
    docker: Docker, net: Net, tmp_path: Path
) -> None:
    async with Origin() as origin, net.proxy(tmp_path, origin, tls=True):
        await pulls_both(docker, origin, NAME)


@pytest.mark.parametrize("tool", [Skopeo, Podman])
async def test_others_find_the_proxy_by_the_real_name(
    tool: type[Skopeo | Podman], net: Net, tmp_path: Path
) -> None:
    async with Origin() as origin, net.proxy(tmp_path, origin, tls=True):
        engine = tool(net.folder / tool.name, net.space.inside, **net.trust)

        await pulls_both(engine, origin, NAME)


async def test_a_proxy_that_is_not_certified_is_not_pulled_from(
    docker: Docker, net: Net, tmp_path: Path
) -> None:
    stranger = Net(net.space, Authority("stranger", tmp_path), net.folder)
    async with Origin() as origin, stranger.proxy(tmp_path, origin, tls=True):
        pulled = await asyncio.to_thread(docker.pull, NAME, f"{PUBLIC}:latest")

        assert pulled.code != 0
        assert "certificate" in pulled.output
        assert origin.log == []


async def pulls_both(engine: Skopeo | Podman | Docker | Ctr, origin: Origin, where: str) -> None:
    """Pull an image of each media type by tag, and one by digest."""
    for name in (PUBLIC, DOCKER):
        index = origin.images.tagged(name)
        for reference in (":latest", f"@{index.digest}"):
            pulled = await asyncio.to_thread(engine.pull, where, f"{name}{reference}")
            assert pulled.code == 0, pulled.output
            assert pulled.digest == index.digest
    assert origin.violations == []
