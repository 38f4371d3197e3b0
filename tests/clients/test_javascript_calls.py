"""What npm clients do besides installing, and what those are told who may not.

Purpose: tokens where each program keeps them, refusals in words that a person sees, audits,
signatures, lock files that were made against the upstream, corepack, and what only some platforms
want. Neighbours: `test_javascript`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.clients.node import PROGRAMS, NodeMachine, NodeMachines
from tests.origin import OriginThread
from tests.origin.tarballs import RealNpm, tarball
from tests.running import Process, client, process, token

pytestmark = pytest.mark.client

programs = pytest.mark.parametrize("program", PROGRAMS, indirect=True)
npms = pytest.mark.parametrize("program", ["npm-8", "npm-11"], indirect=True)
ADVISORY: dict[str, Any] = {
    "id": 7,
    "url": "https://advisories.example/7",
    "title": "reads what it should not",
    "severity": "high",
    "vulnerable_versions": "<2",
    "patched_versions": ">=2",
    "module_name": "alpha-js",
    "overview": "x",
    "recommendation": "upgrade",
    "references": "",
    "access": "public",
    "cves": [],
    "cwe": "CWE-1",
    "findings": [{"version": "1.0.0", "paths": ["alpha-js"]}],
    "cvss": {"score": 7.5, "vectorString": ""},
}


@dataclass(frozen=True, slots=True)
class Site:
    """A proxy of one client, `builder`, and what stands behind it."""

    origin: OriginThread
    proxy: Process

    @property
    def registry(self) -> str:
        """What clients are told."""
        return f"{self.proxy.url}/javascript/"


@pytest.fixture
def site(tmp_path: Path, npm_content: RealNpm) -> Iterator[Site]:
    clients = [client("builder", "javascript"), client("other", "python")]
    with (
        OriginThread() as origin,
        process(tmp_path / "proxy", origin, {"clients": clients}) as proxy,
    ):
        origin.call(lambda running: npm_content.fill(running.content))
        packuments = npm_content.packuments
        origin.call(lambda running: running.javascript.packuments.update(packuments))
        proxy.keep_secret(token("builder"), token("other"))
        yield Site(origin, proxy)
        assert origin.violations == []


@pytest.fixture
def program(request: pytest.FixtureRequest) -> str:
    """What the test is about."""
    name: str = request.param
    return name


@pytest.fixture
def ready(site: Site, node_machines: NodeMachines, program: str) -> NodeMachine:
    """A machine of that program that knows the registry and its token."""
    machine = node_machines(program)
    machine.use(site.proxy.url, token("builder"))
    return machine


# --- who may -----------------------------------------------------------------------------------


@programs
def test_a_token_is_shown_for_packuments_and_tarballs(ready: NodeMachine) -> None:
    done = ready.add("alpha-js", "fallback-js")
    assert done.code == 0, done.output
    assert ready.requires("fallback-js") == "3.1.0"
    assert token("builder").encode() not in ready.lock


@programs
@pytest.mark.parametrize(("secret", "status"), [("", "401"), ("other", "403")])
def test_without_the_right_nothing_is_installed(
    program: str, secret: str, status: str, site: Site, node_machines: NodeMachines
) -> None:
    machine = node_machines(program)
    machine.use(site.proxy.url, token(secret) if secret else "")
    done = machine.add("alpha-js")
    assert done.code != 0
    words = {
        "401": ("401", "authentica", "unauthorized", "client token required"),
        "403": ("403", "forbidden", "client not allowed"),
    }
    assert any(word in done.output.lower() for word in words[status]), done.output
    assert site.origin.log == []


# --- what the upstream refuses -----------------------------------------------------------------


@npms
def test_npm_prints_why_a_version_is_blocked(site: Site, ready: NodeMachine) -> None:
    site.origin.call(lambda origin: origin.block("alpha-js", "1.0.0"))
    done = ready.add("alpha-js")
    assert done.code != 0
    assert "403 Blocked by upstream" in done.output
    assert "MALWARE_DETECTED: alpha-js 1.0.0 is blocked" in done.output


@npms
def test_npm_prints_why_a_package_is_blocked(site: Site, ready: NodeMachine) -> None:
    site.origin.call(lambda origin: origin.block("alpha-js"))
    done = ready.add("alpha-js")
    assert done.code != 0
    assert "409 Blocked by upstream" in done.output
    assert "MALWARE_DETECTED: every version of alpha-js is blocked" in done.output


@programs
@pytest.mark.parametrize("version", ["1.0.0", None])
def test_no_program_installs_what_is_blocked(
    program: str, version: str | None, site: Site, ready: NodeMachine
) -> None:
    site.origin.call(lambda origin: origin.block("alpha-js", version))
    assert ready.add("alpha-js@1.0.0").code != 0
    assert not (ready.project / "node_modules/alpha-js/index.js").exists()


@npms
def test_publishing_and_logging_in_are_refused_in_words(ready: NodeMachine) -> None:
    published = ready.run("publish")
    assert published.code != 0
    assert "the proxy is read-only" in published.output


# --- calls -------------------------------------------------------------------------------------


@npms
def test_npm_finds_its_way_about(ready: NodeMachine) -> None:
    talks: tuple[tuple[tuple[str, ...], str], ...] = (
        (("ping",), "PONG"),
        (("whoami",), "builder"),
        (("view", "alpha-js@latest", "version"), "1.0.0"),
        (("view", "@scope/beta-js", "bin"), "beta-js"),
        (("dist-tag", "ls", "alpha-js"), "latest: 1.0.0"),
        (("search", "beta-js"), "@scope/beta-js"),
        (("view", "alpha-js@0.9.0", "deprecated"), "too old"),
    )
    for command, said in talks:
        done = ready.run(*command)
        assert (done.code, said in done.output) == (0, True), done.output


# Not yarn 1, whose audit has its maker's registry built in.
@pytest.mark.parametrize(
    ("program", "audit"),
    [
        ("npm-8", ("audit",)),
        ("npm-11", ("audit",)),
        ("pnpm", ("audit",)),
        ("yarn-4", ("npm", "audit")),
        ("bun", ("audit",)),
    ],
    indirect=["program"],
)
def test_an_audit_tells_of_advisories(
    program: str, audit: tuple[str, ...], site: Site, ready: NodeMachine
) -> None:
    assert ready.add("alpha-js").code == 0
    clean = ready.run(*audit)
    assert clean.code == 0, clean.output
    known = {"alpha-js": [ADVISORY]}
    site.origin.call(lambda origin: origin.javascript.advisories.update(known))
    found = ready.run(*audit)
    # npm 8 forgets its own exit code on newer Nodes: what it prints is what counts.
    assert found.code != 0 or program == "npm-8"
    assert ADVISORY["title"] in found.output
    asked = site.origin.call(lambda origin: list(origin.javascript.audits))
    assert len(asked) == 2
    assert "alpha-js" in json.dumps(asked[0])


def test_npm_verifies_the_upstreams_signatures_with_its_keys(
    site: Site, node_machines: NodeMachines
) -> None:
    machine = node_machines("npm-8")  # newer ones fetch the public registry's keys first
    machine.use(site.proxy.url, token("builder"))
    assert machine.add("alpha-js", "express").code == 0
    done = machine.run("audit", "signatures")
    assert (done.code, "packages have verified registry signatures" in done.output) == (0, True)
    dist = {"signatures": [{"keyid": "SHA256:test-origin", "sig": "AAAA"}]}
    forged = tarball("forged-js", "1.0.0")
    site.origin.call(lambda origin: origin.content.add(replace(forged, dist=dist)))
    assert machine.add("forged-js").code == 0
    done = machine.run("audit", "signatures")
    assert "1 package has an invalid registry signature" in done.output
    assert "forged-js@1.0.0" in done.output


@npms
def test_a_lock_file_made_against_the_upstream_is_installed_through_the_proxy(
    program: str, site: Site, ready: NodeMachine
) -> None:
    assert ready.run("install", "--package-lock-only", "alpha-js", "fallback-js").code == 0
    here, there = site.proxy.url, site.origin.url
    text = ready.lock.decode().replace(here, there)
    text = text.replace("/javascript/fallback-js/-/", "/javascript-upstream/fallback-js/-/")
    assert text.count(there) in (3, 6)  # npm 8 writes everything twice
    ready.write("package-lock.json", text)
    site.origin.reset()
    done = ready.run("ci", "--no-audit", "--loglevel=http")
    assert done.code == 0, done.output
    assert ready.requires("fallback-js") == "3.1.0"
    doubled = f"{here}/javascript/javascript-upstream/fallback-js/-/fallback-js-3.1.0.tgz"
    assert doubled in done.output
    assert site.origin.count("GET", r"\.tgz", "store") == 3


def test_corepack_brings_a_package_manager_and_verifies_it(
    site: Site, node_machines: NodeMachines
) -> None:
    machine = node_machines("npm-11")
    said = "console.log('9.99.0 of the proxy')\n"
    made = tarball("pnpm", "9.99.0", files={"bin/pnpm.cjs": said}, bin={"pnpm": "bin/pnpm.cjs"})
    site.origin.call(lambda origin: origin.content.add(made))
    keys = site.origin.call(lambda origin: origin.javascript.keys()["keys"])
    variables = {
        "COREPACK_NPM_REGISTRY": site.registry.rstrip("/"),
        "COREPACK_NPM_TOKEN": token("builder"),
        "COREPACK_INTEGRITY_KEYS": json.dumps({"npm": keys}),
        "COREPACK_ENABLE_DOWNLOAD_PROMPT": "0",
    }
    program = str(machine.modules / "corepack/dist/corepack.js")
    for wanted in ("pnpm@9.99.0", "pnpm@latest"):
        done = machine.start("node", program, wanted, "--version", **variables)
        assert (done.code, "9.99.0 of the proxy" in done.output) == (0, True), done.output
    assert site.origin.count("GET", "pnpm-9.99.0", "store") == 1


# --- binaries of platforms ---------------------------------------------------------------------


# But for yarn 1, which fetches all of them first, and looks then.
@pytest.mark.parametrize("program", [name for name in PROGRAMS if name != "yarn-1"], indirect=True)
def test_of_binaries_for_many_platforms_only_this_ones_is_fetched(
    program: str, site: Site, ready: NodeMachine
) -> None:
    done = ready.add("esbuild")
    assert done.code == 0, done.output
    targets = [one.target for one in site.origin.log if one.server == "origin"]
    binaries = [path for path in targets if path.endswith(".tgz") and "/@esbuild/" in path]
    assert len(binaries) == 1
    assert "/@esbuild/linux-" in binaries[0]
