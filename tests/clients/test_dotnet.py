"""Real packages, installed through the proxy by a real nuget.

Purpose: one journey of fresh machines: cold, warm, and with the origin gone; the tests look at the
evidence one question at a time. Then what goes wrong, and who may.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.clients.journey import Journey, end, travel
from tests.clients.machine import Done
from tests.clients.nuget_machine import NugetMachine, program
from tests.origin import Content, Origin, OriginThread
from tests.origin.assemblies import NEEDS, PREFIX, VERSION, real_packages
from tests.origin.blobs import BytesBlob
from tests.origin.dotnet import CATALOGUE
from tests.origin.nupkgs import ALPHA, BETA, FLAT, Nupkg, add_tiny, archive
from tests.running import Process, client, process, token

pytestmark = pytest.mark.client

TOP_PACKAGE = f"{PREFIX}System.ServiceModel"
APART = ("System.Net.Http", "System.Numerics")
TREE = {PREFIX + name for name in NEEDS if name not in APART}
NugetMachines = Callable[..., NugetMachine]


@pytest.fixture(scope="module")
def dotnet_content(client_tools: Path) -> Content:
    """Real packages, and the made-up ones, which came by the vendor's fallback in part."""
    made = Content(real_packages(program(client_tools)))
    add_tiny(made)
    return made


@pytest.fixture
def machines(client_tools: Path, tmp_path: Path) -> NugetMachines:
    """Call it with a proxy's URL, and a token, for a machine of this test."""
    return lambda url, secret="": NugetMachine.new(tmp_path / "nuget", url, client_tools, secret)


@pytest.fixture
def origin(dotnet_content: Content) -> Iterator[OriginThread]:
    with OriginThread(content=dotnet_content) as running:
        yield running


@pytest.fixture
def farm(origin: OriginThread, tmp_path: Path) -> Iterator[Process]:
    with process(tmp_path / "proxy", origin) as running:
        yield running


# --- an installation ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def journey(
    dotnet_content: Content, client_tools: Path, tmp_path_factory: pytest.TempPathFactory
) -> Journey[NugetMachine]:
    def build(folder: Path, url: str) -> tuple[NugetMachine, Done]:
        machine = NugetMachine.new(folder, url, client_tools)
        done = machine.install(TOP_PACKAGE, "-Version", VERSION)
        return machine, done if done.code else machine.install(ALPHA, "-Version", "1.1.0")

    return travel(tmp_path_factory.mktemp("dotnet"), dotnet_content, build)


def test_every_installation_succeeds(journey: Journey[NugetMachine]) -> None:
    for name, leg in journey.legs.items():
        assert leg.done.code == 0, f"{name}: {leg.done.output}"


def test_what_is_installed_is_what_the_origin_has_byte_for_byte(
    journey: Journey[NugetMachine], dotnet_content: Content
) -> None:
    held = {one.filename: one.blob.sha256 for one in dotnet_content if isinstance(one, Nupkg)}
    wanted = {f"{name}.{VERSION}.nupkg".lower() for name in TREE}
    wanted |= {"alpha.net.1.1.0.nupkg", "beta.net.2.0.0.5.nupkg"}
    for leg in journey.legs.values():
        installed = leg.machine.installed()
        assert set(installed) == wanted
        assert installed == {name: held[name] for name in wanted}
        assert leg.machine.unpacked(f"{TOP_PACKAGE}.{VERSION}.nupkg")


def test_cold_everything_is_asked_for_once_and_never_by_head(
    journey: Journey[NugetMachine],
) -> None:
    upstream = journey.legs["cold"].upstream
    asked = Counter(one.target for one in upstream if one.server == "origin")
    assert set(asked.values()) == {1}
    assert {one.method for one in upstream} == {"GET"}
    # The digest of each was asked for, though no client asks for it.
    assert len([path for path in asked if path.startswith(CATALOGUE)]) == len(TREE) + 2
    assert journey.violations == ()


@pytest.mark.parametrize("name", ["warm", "cut-off"])
def test_warm_nothing_reaches_the_upstream(journey: Journey[NugetMachine], name: str) -> None:
    assert journey.legs[name].upstream == ()


def test_nuget_is_told_of_no_upstream_and_of_no_failure(journey: Journey[NugetMachine]) -> None:
    assert {line["status"] for line in journey.access} == {200}
    for leg in journey.legs.values():
        for host in (*journey.hosts, "X-Amz-"):
            assert host not in leg.done.output
            assert all(host.encode() not in text for text in leg.machine.texts())


def test_no_client_holds_the_pull_token(
    farm: Process, origin: OriginThread, machines: NugetMachines
) -> None:
    machine = machines(farm.url)
    done = machine.restore({TOP_PACKAGE: VERSION, BETA: "2.0.0.5"})
    assert done.code == 0, done.output
    assert len(machine.installed()) == 2
    for secret in (origin.username, origin.password):
        assert secret not in done.output
        assert all(secret.encode() not in text for text in machine.texts())


def test_the_newest_version_and_one_with_a_word_are_found(
    farm: Process, machines: NugetMachines
) -> None:
    machine = machines(farm.url)
    done = machine.run("search", "deep", "-PreRelease")
    assert "Deep.Net | 3.0.0" in done.output, done.output
    assert machine.install("deep.net").code == 0
    assert machine.install("Deep.Net", "-Version", "0.9.0-RC.10").code == 0
    assert set(machine.installed()) == {"deep.net.3.0.0.0.nupkg", "deep.net.0.9.0-rc.10.nupkg"}


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_package_with_a_wrong_digest_is_not_installed(
    farm: Process, origin: OriginThread, machines: NugetMachines
) -> None:
    path = f"{FLAT}/alpha.net/1.0.0/alpha.net.1.0.0.nupkg"
    for seen in ("/dotnet/v3/registration5-gz-semver2/alpha.net/index.json",
                 f"{CATALOGUE}/alpha.net.1.0.0.json"):  # fmt: skip
        assert farm.get(seen).status == 200  # so the digest is that of the right one
    wrong = BytesBlob(archive(ALPHA, "1.0.0", files={"lib/evil.dll": b"MZ"}))

    def swap(upstream: Origin) -> None:
        held = upstream.content.at(path)
        assert held is not None
        upstream.content.add(replace(held, blob=wrong))

    origin.call(swap)
    machine = machines(farm.url)
    done = machine.install(ALPHA, "-Version", "1.0.0", "-NoCache")
    assert done.code != 0
    assert "502 (Upstream sent wrong bytes)" in done.output
    assert machine.installed() == {}


def test_what_is_blocked_is_said_to_be_and_why(
    farm: Process, origin: OriginThread, machines: NugetMachines
) -> None:
    origin.call(lambda upstream: upstream.block(ALPHA))
    done = machines(farm.url).install(ALPHA)
    assert done.code != 0
    assert "409 (Blocked by upstream)" in done.output
    assert "MALWARE_DETECTED" in done.output  # of a field that nuget prints


def test_without_the_entitlement_nothing_is_installed(
    origin: OriginThread, machines: NugetMachines, tmp_path: Path
) -> None:
    tables = {"entitlements": {"source": "static", "ecosystems": ["python"]}}
    with process(tmp_path / "proxy", origin, tables) as proxy:
        done = machines(proxy.url).install(ALPHA)
    assert done.code != 0
    assert "403 (Organisation not entitled)" in done.output
    assert origin.log == []


def test_what_is_missing_is_no_failure_and_a_silent_upstream_is_one(
    farm: Process, origin: OriginThread, machines: NugetMachines
) -> None:
    machine = machines(farm.url)
    assert "Unable to find package 'Nobody.Net'" in machine.install("Nobody.Net").output
    origin.close_listener()
    done = machine.install(BETA)
    assert done.code != 0
    assert "503 (Upstream unavailable)" in done.output


def test_nothing_can_be_published(farm: Process, machines: NugetMachines) -> None:
    machine = machines(farm.url)
    assert machine.install(ALPHA, "-Version", "1.0.0").code == 0
    done = machine.run("push", "packages/Alpha.Net.1.0.0/Alpha.Net.1.0.0.nupkg", "-Source", "cgr")
    assert done.code != 0
    assert "does not support updating packages" in done.output


# --- who may --------------------------------------------------------------------------------------


def test_the_token_of_the_readmes_configuration_lets_nuget_in(
    origin: OriginThread, machines: NugetMachines, tmp_path: Path
) -> None:
    tables = {"clients": [client("builder", "dotnet")]}
    with process(tmp_path / "proxy", origin, tables) as proxy:
        proxy.keep_secret(token("builder"))
        machine = machines(proxy.url, token("builder"))
        done = machine.install(ALPHA, "-Version", "1.1.0")
        assert done.code == 0, done.output
        assert len(machine.installed()) == 2
        end(proxy)
        assert {line["principal"] for line in proxy.access() if line["status"] == 200} == {
            "builder"
        }


@pytest.mark.parametrize(
    ("who", "words"),
    [("nobody", "401 (Client token required)"), ("snake", "403 (Client not allowed)")],
)
def test_who_may_not_is_told_why(
    origin: OriginThread, machines: NugetMachines, tmp_path: Path, who: str, words: str
) -> None:
    tables = {"clients": [client("builder", "dotnet"), client("snake", "python")]}
    with process(tmp_path / "proxy", origin, tables) as proxy:
        proxy.keep_secret(token("snake"))
        done = machines(proxy.url, token(who)).install(ALPHA)
    assert done.code != 0
    assert words in done.output
    assert origin.log == []
