"""What an index offers besides plain wheels, and what resolvers write down, by real pip and uv.

Purpose: hashes, remediated and CUDA builds, source distributions, lock files, and an upstream that
speaks one form of the index only. Neighbours: see `test_python`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.clients.machine import PROGRAMS, Machine
from tests.origin import Content, OriginThread, Settings
from tests.running import Process, process

pytestmark = pytest.mark.client

IDNA = "idna-3.20-py3-none-any.whl"
programs = pytest.mark.parametrize("program", PROGRAMS)


@dataclass(frozen=True, slots=True)
class Site:
    """A proxy with real packages behind it, for all tests of this file."""

    origin: OriginThread
    proxy: Process

    def index(self, name: str = "python") -> str:
        """The address of one of the proxy's indexes."""
        return f"{self.proxy.url}/{name}/simple/"

    def names_origin(self, text: str) -> bool:
        """Tell whether a text holds an address of the upstream."""
        upstreams = (self.origin.url, self.origin.store_url)
        return any(urlsplit(url).netloc in text for url in upstreams)


@pytest.fixture(scope="module")
def site(content: Content, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with (
        OriginThread(content=content) as origin,
        process(tmp_path_factory.mktemp("proxy"), origin) as proxy,
    ):
        yield Site(origin, proxy)
        assert origin.violations == []


# --- hashes ------------------------------------------------------------------------------------


@programs
@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_required_hashes_decide(program: str, right: bool, machine: Machine, site: Site) -> None:
    digest = site.origin.origin.content.find(IDNA).blob.sha256 if right else "0" * 64
    pinned = machine.folder / "requirements.txt"
    pinned.write_text(f"idna==3.20 --hash=sha256:{digest}\n")

    done = machine.install(program, site.index(), "--require-hashes", "-r", str(pinned))

    if right:
        assert done.code == 0, done.output
    else:
        assert done.code != 0
        assert digest in done.output
        assert site.origin.origin.content.find(IDNA).blob.sha256 in done.output


# --- builds ------------------------------------------------------------------------------------


@programs
def test_a_remediated_build_wins_over_the_plain_one(
    program: str, machine: Machine, site: Site
) -> None:
    # Both are the proxy's own: the remediated index alone is not complete in dependencies.
    second = "--index" if program == "uv" else "--extra-index-url"

    done = machine.install(
        program, site.index(), second, site.index("python-remediated"), "requests"
    )

    assert done.code == 0, done.output
    assert machine.version("requests") == "2.32.3+cgr.1"
    assert machine.version("idna") == "3.20"


@programs
def test_a_cuda_index_gives_its_own_build(program: str, machine: Machine, site: Site) -> None:
    done = machine.install(program, site.index("cu126"), "itsdangerous")

    assert done.code == 0, done.output
    assert machine.version("itsdangerous") == "2.2.0+cu126"


@programs
def test_a_source_distribution_builds_with_a_backend_from_the_same_index(
    program: str, machine: Machine, site: Site
) -> None:
    done = machine.install(program, site.index(), "--no-binary", "idna", "idna")

    assert done.code == 0, done.output
    assert (
        machine.ask("import idna; print(idna.encode('b\\u00fccher').decode())") == "xn--bcher-kva"
    )
    assert site.origin.count("GET", "/flit_core-", "origin") == 1


# --- forms of the upstream's index -------------------------------------------------------------


@programs
@pytest.mark.parametrize(
    "settings",
    [
        Settings(json_index=False, sizes=False, upload_time=False),
        Settings(json_index=True),
        Settings(json_index=True, core_metadata=True, gzip=True),
    ],
    ids=["HTML only", "JSON", "JSON with core metadata"],
)
def test_any_form_of_the_upstreams_index_is_good_for_any_client(
    program: str, settings: Settings, machine: Machine, tmp_path: Path
) -> None:
    with OriginThread(settings) as origin, process(tmp_path, origin) as proxy:
        done = machine.install(program, f"{proxy.url}/python/simple/", "alpha")

        assert done.code == 0, done.output
        assert origin.violations == []
    # 0.9 is yanked; beta-pkg is what alpha requires.
    assert machine.version("alpha") == "1.0"
    assert machine.version("beta-pkg") == "2.0"


# --- what is written down ----------------------------------------------------------------------


def test_compiled_requirements_pin_hashes_and_name_the_proxy_alone(
    machine: Machine, site: Site
) -> None:
    (machine.folder / "wanted.in").write_text("flask\nrequests\n")
    out = machine.folder / "pinned.txt"

    done = machine.uv(
        "pip",
        "compile",
        "--generate-hashes",
        "--emit-index-url",
        "--default-index",
        site.index(),
        "--python",
        machine.python,
        "-o",
        str(out),
        "wanted.in",
    )

    assert done.code == 0, done.output
    text = out.read_text()
    assert f"--index-url {site.index()}\n" in text
    assert f"--hash=sha256:{site.origin.origin.content.find(IDNA).blob.sha256}" in text
    assert not site.names_origin(text)
    installed = machine.install("uv", site.index(), "--require-hashes", "-r", str(out))
    assert installed.code == 0, installed.output


def test_a_lock_file_names_the_proxy_alone_and_can_be_installed(
    machine: Machine, site: Site
) -> None:
    (machine.folder / "pyproject.toml").write_text(
        '[project]\nname = "thing"\nversion = "1"\nrequires-python = ">=3.11"\n'
        'dependencies = ["flask", "requests"]\n'
    )
    index = ("--default-index", site.index())

    locked = machine.uv("lock", *index, "--python", sys.executable)
    synced = machine.uv("sync", "--locked", *index, "--python", sys.executable)

    assert locked.code == 0, locked.output
    assert synced.code == 0, synced.output
    text = (machine.folder / "uv.lock").read_text()
    assert f'{{ url = "{site.proxy.url}/files/' in text
    assert f'{{ url = "{site.proxy.url}/python-upstream/' in text
    assert not site.names_origin(text)
