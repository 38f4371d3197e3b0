"""What else is kept in registries: signatures that are verified, charts, documents about images.

Purpose: cosign signs and helm pushes, straight to a real registry; then each finds it through the
proxy, with no credential, again while the registry is down; oras does so with an artifact. Both of
cosign's kinds of signature are here: a tag made of the digest, and an artifact that refers to the
image (OCI 1.1). Neighbours: `distribution` (the registry), `test_containers_distribution`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.clients.distribution import PRIVATE, Distribution
from tests.clients.engines import Skopeo, Tool
from tests.clients.images import image, written
from tests.clients.machine import Done
from tests.clients.readme import command
from tests.origin import Origin
from tests.origin.images import PUBLIC
from tests.running import running

pytestmark = [pytest.mark.client, pytest.mark.extra]

DIGEST = image()[1].digest
CHART = "acme.example/iamguarded-charts"
SPDX = "application/spdx+json"
BUNDLE, TAG = (), ("--new-bundle-format=false",)


@dataclass(frozen=True, slots=True)
class Bench:
    """A registry with things in it, and the programs that put them there."""

    upstream: Distribution
    programs: Path
    folder: Path
    numbers: Iterator[int] = field(default_factory=count)

    def tool(self, name: str) -> Callable[..., Awaitable[Done]]:
        """A program with an empty home, so without any login."""
        home = Tool(self.folder / f"{name}-{next(self.numbers)}", COSIGN_PASSWORD="")

        async def run(*arguments: str) -> Done:
            done = await asyncio.to_thread(home.run, str(self.programs / name), *arguments)
            print(done.output)
            return done

        return run


@pytest.fixture(scope="module")
def filled(short: Path, client_tools: Path) -> Iterator[Bench]:
    folder = short / "artifacts"
    folder.mkdir()
    with Distribution(folder / "distribution") as upstream:
        programs = client_tools / "containers" / "usr" / "bin"
        written(folder / "image", image())
        target = f"{upstream.host}/{PRIVATE}"
        Skopeo(folder / "skopeo").push(folder / "image", f"{target}:latest", upstream.pusher)
        maker = Tool(folder / "maker", COSIGN_PASSWORD="")
        fill(maker, programs, upstream, f"{target}@{DIGEST}")
        yield Bench(upstream, programs, folder)


def fill(maker: Tool, programs: Path, upstream: Distribution, image: str) -> None:
    """Sign the image twice, push a chart."""

    def run(name: str, *arguments: str, given: str = "") -> None:
        done = maker.run(str(programs / name), *arguments, given=given)
        assert done.code == 0, done.output

    user, password = upstream.pusher
    who = ("--username", user, "--password-stdin")
    run("crane", "auth", "login", *who, upstream.host, given=password)
    run("cosign", "generate-key-pair")
    for kind in (BUNDLE, TAG):
        quiet = ("--use-signing-config=false", "--tlog-upload=false", "--yes")
        run("cosign", "sign", "--key=cosign.key", *kind, *quiet, "--allow-http-registry", image)
    run("helm", "create", "demo")
    run("helm", "package", "demo")
    run("helm", "registry", "login", "--plain-http", *who, upstream.host, given=password)
    run("helm", "push", "--plain-http", "demo-0.1.0.tgz", f"oci://{upstream.host}/{CHART}")


async def twice(bench: Bench, folder: Path, once: Callable[[str], Awaitable[None]]) -> None:
    """Do it with the registry up and nothing cached, and again two hours after it went down."""
    async with running(folder / "proxy", bench.upstream) as proxy:
        where = urlsplit(proxy.url).netloc
        await once(where)
        await asyncio.to_thread(bench.upstream.stop)
        try:
            proxy.clock.advance(7200)
            await once(where)
        finally:
            await asyncio.to_thread(bench.upstream.start)


@pytest.mark.parametrize("kind", [BUNDLE, TAG], ids=["referrer", "tag"])
async def test_cosign_verifies_an_image(
    kind: tuple[str, ...], filled: Bench, tmp_path: Path
) -> None:
    key = filled.folder / "maker" / "cosign.pub"

    async def verify(where: str) -> None:
        cosign = filled.tool("cosign")
        how = ("--key", str(key), *kind, "--insecure-ignore-tlog", "--allow-http-registry")
        for reference in (":latest", f"@{DIGEST}"):
            done = await cosign("verify", *how, f"{where}/{PRIVATE}{reference}")
            assert done.code == 0
            assert DIGEST in done.output

    await twice(filled, tmp_path, verify)


async def test_cosign_verifies_as_the_readme_says(filled: Bench, tmp_path: Path) -> None:
    repository = PRIVATE.partition("/")
    async with running(tmp_path, filled.upstream) as proxy:
        line = command("cosign").replace("proxy.example", urlsplit(proxy.url).netloc)
        line = line.replace("ORGANISATION", repository[0]).replace("IMAGE", repository[2])
        line = line.replace("cosign.pub", str(filled.folder / "maker" / "cosign.pub"))
        done = await filled.tool("cosign")(*line.split()[1:], "--allow-http-registry")
        assert done.code == 0
        assert DIGEST in done.output


async def test_cosign_does_not_verify_with_another_key(filled: Bench, tmp_path: Path) -> None:
    cosign = filled.tool("cosign")
    await cosign("generate-key-pair", "--output-key-prefix", "other")
    async with running(tmp_path / "proxy", filled.upstream) as proxy:
        how = ("--key", "other.pub", "--insecure-ignore-tlog", "--allow-http-registry")
        image = f"{urlsplit(proxy.url).netloc}/{PRIVATE}:latest"
        assert (await cosign("verify", *how, image)).code != 0


async def test_helm_pulls_a_chart(filled: Bench, tmp_path: Path) -> None:
    pushed = (filled.folder / "maker" / "demo-0.1.0.tgz").read_bytes()

    async def pull(where: str) -> None:
        helm = filled.tool("helm")
        chart = f"oci://{where}/{CHART}/demo"
        for version in ("0.1.0", "0.1.x"):  # the second one needs the list of tags
            target = tmp_path / where.replace(":", "-") / version
            options = ("--plain-http", "--version", version, "--destination", str(target))
            target.mkdir(parents=True, exist_ok=True)
            done = await helm("pull", *options, chart)
            assert done.code == 0
            pulled = (target / "demo-0.1.0.tgz").read_bytes()
            assert hashlib.sha256(pulled).digest() == hashlib.sha256(pushed).digest()

    await twice(filled, tmp_path, pull)


async def test_helm_makes_manifests_of_a_chart_in_the_registry(
    filled: Bench, tmp_path: Path
) -> None:
    async with running(tmp_path / "proxy", filled.upstream) as proxy:
        helm = filled.tool("helm")
        chart = f"oci://{urlsplit(proxy.url).netloc}/{CHART}/demo"
        done = await helm("template", "--plain-http", "--version", "0.1.0", "mine", chart)
        assert done.code == 0
        assert "name: mine-demo" in done.output


async def test_oras_finds_what_refers_to_an_image(
    short: Path, client_tools: Path, tmp_path: Path
) -> None:
    oras = Tool(short / "oras")
    program = str(client_tools / "containers" / "usr" / "bin" / "oras")

    async def ask(*arguments: str) -> str:
        done = await asyncio.to_thread(oras.run, program, *arguments)
        assert done.code == 0, done.output
        return done.output.strip()

    # Of the test origin: no other registry here keeps lists of referrers itself.
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        name = f"{urlsplit(proxy.url).netloc}/{PUBLIC}"
        for _ in range(2):
            form = ("--format", "go-template={{range .referrers}}{{.digest}}{{end}}")
            sbom = ("--artifact-type", SPDX)
            digest = await ask("discover", "--plain-http", *sbom, *form, f"{name}:latest")
            manifest = await ask("manifest", "fetch", "--plain-http", f"{name}@{digest}")
            (layer,) = json.loads(manifest)["layers"]
            blob = ("fetch", "--plain-http", "--output=-", f"{name}@{layer['digest']}")
            assert await ask("blob", *blob) == '{"spdxVersion": "SPDX-2.3"}'
            await origin.close_listener()
            proxy.clock.advance(7200)
        assert origin.violations == []
