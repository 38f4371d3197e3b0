"""Who may install, and what those who may not are told, by real clients.

Purpose: a client token in every place where these programs keep one, the door's three refusals on
cached and uncached packages alike, and the upstream's own refusal in words that a person sees. pip
says why an index page was refused only when it is asked to be verbose. Neighbours: `test_python`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.clients.machine import PROGRAMS, Machine, Machines
from tests.clients.projects import TOOLS, Tool, Wanted
from tests.origin import OriginThread
from tests.printed import printed, token_variables, with_token
from tests.running import Process, client, process, token

pytestmark = pytest.mark.client

VARIABLES = re.compile(r'^  ([A-Z_]+): (".*")$', re.MULTILINE)

programs = pytest.mark.parametrize("program", PROGRAMS)


@dataclass(frozen=True, slots=True)
class Site:
    """A proxy that knows two clients: `builder` for Python, `other` for Java."""

    origin: OriginThread
    proxy: Process

    def index(self, secret: str = "") -> str:
        """The address of the index, with a password in it."""
        who = f"any:{secret}@" if secret else ""
        return f"http://{who}{urlsplit(self.proxy.url).netloc}/python/simple/"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    clients = [client("builder", "python"), client("other", "java")]
    folder = tmp_path_factory.mktemp("proxy")
    with OriginThread() as origin, process(folder, origin, {"clients": clients}) as proxy:
        # No client's token may be anywhere either.
        proxy.keep_secret(token("builder"), token("other"))
        yield Site(origin, proxy)
        assert origin.violations == []


# --- those who may -----------------------------------------------------------------------------

Place = Callable[[Machine, Site], tuple[str, dict[str, str]]]
"""Puts the token somewhere; gives the index to name and the variables to set."""


def in_the_address(machine: Machine, site: Site) -> tuple[str, dict[str, str]]:
    return site.index(token("builder")), {}


def in_netrc(machine: Machine, site: Site) -> tuple[str, dict[str, str]]:
    netrc = machine.home / ".netrc"
    netrc.write_text(with_token(printed("pip", site.proxy.url)[1], token("builder")))
    netrc.chmod(0o600)
    return site.index(), {}


def in_variables(machine: Machine, site: Site) -> tuple[str, dict[str, str]]:  # as the others
    named = token_variables(printed("uv", site.proxy.url)[0], token("builder"))
    return f"cgr={site.index()}", named


@pytest.mark.parametrize(
    ("program", "place"),
    [
        *((program, place) for program in PROGRAMS for place in (in_the_address, in_netrc)),
        ("uv", in_variables),
    ],
)
def test_a_token_is_found_where_the_program_keeps_it(
    program: str, place: Place, machine: Machine, site: Site
) -> None:
    index, variables = place(machine, site)

    done = machine.install(program, index, "alpha", **variables)

    assert done.code == 0, done.output
    assert machine.version("alpha") == "1.0"


@pytest.mark.parametrize("tool", TOOLS, ids=[tool.name for tool in TOOLS])
def test_a_project_is_locked_with_a_token_that_is_not_in_its_lock_file(
    tool: Tool, machine: Machine, site: Site
) -> None:
    tool.write(machine, Wanted(site.proxy.url, {"alpha": ""}))
    site.origin.reset()
    refused = tool.lock(machine)
    heard = site.origin.log
    in_netrc(machine, site)

    locked, done = tool.lock(machine), tool.install(machine)

    assert refused.code != 0
    assert heard == []
    assert (locked.code, done.code) == (0, 0), locked.output + done.output
    assert machine.version("alpha") == "1.0"
    assert token("builder") not in tool.locked(machine).read_text()
    assert token("builder") not in done.output


@pytest.mark.parametrize("tool", TOOLS[:3], ids=["uv", "poetry", "pdm"])
def test_a_project_is_locked_with_a_token_in_the_variables_that_setup_names(
    tool: Tool, machine: Machine, site: Site
) -> None:
    tool.write(machine, Wanted(site.proxy.url, {"alpha": ""}))
    named = token_variables(printed(tool.name, site.proxy.url)[0], token("builder"))

    locked, done = tool.lock(machine, **named), tool.install(machine, **named)

    assert (locked.code, done.code) == (0, 0), locked.output + done.output
    assert machine.version("alpha") == "1.0"
    assert token("builder") not in tool.locked(machine).read_text()


@pytest.mark.parametrize("program", ["pip-23", "pip"])
def test_pip_finds_index_and_token_in_the_files_that_setup_prints(
    program: str, machine: Machine, site: Site
) -> None:
    in_netrc(machine, site)
    settings = machine.home / "pip.conf"
    settings.write_text(printed("pip", site.proxy.url)[0])
    pip = (str(machine.tools / program / "bin" / "pip"), "--python", machine.python)

    done = machine.run(*pip, "install", "alpha", PIP_CONFIG_FILE=str(settings))

    assert done.code == 0, done.output
    assert machine.version("alpha") == "1.0"


@pytest.mark.parametrize("client", ["github-actions", "gitlab-ci"])
def test_a_job_installs_with_the_variables_and_commands_of_its_text(
    client: str, machine: Machine, site: Site
) -> None:
    (text,) = printed(client, site.proxy.url)
    variables = {name: json.loads(value) for name, value in VARIABLES.findall(text)}
    script = "\n".join(line.strip() for line in text.partition("umask 077\n")[2].splitlines())
    job = machine.run("sh", "-euc", script, CGR_PROXY_TOKEN=token("builder"))
    assert job.code == 0, job.output

    pip = (str(machine.tools / "pip" / "bin" / "pip"), "--python", machine.python)
    done = machine.run(*pip, "install", "alpha", **variables)
    again = machine.uv("pip", "install", "--python", machine.python, "beta-pkg", **variables)

    assert (done.code, again.code) == (0, 0), done.output + again.output
    assert machine.version("alpha") == "1.0"


# --- those who may not -------------------------------------------------------------------------

JSON = "application/vnd.pypi.simple.v1+json"
REFUSALS = [("", 401), ("cgrp_" + "x" * 43, 401), (token("other"), 403)]
PIP_SAID = {
    401: "401 Client Error: Client token required",
    403: "403 Client Error: Client not allowed",
}
UV_SAID = {401: "401 Unauthorized", 403: "403 Forbidden"}


@programs
@pytest.mark.parametrize(("secret", "status"), REFUSALS, ids=["none", "wrong", "not for Python"])
@pytest.mark.parametrize("package", ["alpha", "fallback-only"], ids=["cached", "uncached"])
def test_a_client_that_may_not_is_refused_and_can_find_out_why(  # noqa: PLR0917
    program: str, secret: str, status: int, package: str, machine: Machine, site: Site
) -> None:
    cache(site, "alpha")
    site.origin.reset()

    done = machine.install(program, site.index(secret), package, *verbose(program))

    assert done.code != 0
    assert (UV_SAID if program == "uv" else PIP_SAID)[status] in done.output
    assert site.origin.log == []


def verbose(program: str) -> tuple[str, ...]:
    """What makes a program say why an index page was refused: uv needs no asking."""
    return () if program == "uv" else ("-vv",)


def cache(site: Site, project: str) -> None:
    """Have the proxy hold a project's page and artifacts."""
    with_token = {"authorization": f"Bearer {token('builder')}"}
    page = site.proxy.get(f"/python/simple/{project}/", accept=JSON, **with_token)
    assert page.status == 200
    for file in page.json()["files"]:
        target = "/" + file["url"].lstrip("./")
        assert site.proxy.get(target, **with_token).status == 200


# --- what the upstream refuses -----------------------------------------------------------------


@programs
def test_a_blocked_version_is_refused_in_words_that_the_program_shows(
    program: str, machine: Machine, tmp_path: Path
) -> None:
    with OriginThread() as origin, process(tmp_path, origin) as proxy:
        origin.call(lambda running: running.block("beta-pkg", "2.0"))

        done = machine.install(program, f"{proxy.url}/python/simple/", "alpha")

    assert done.code != 0
    assert "Blocked by upstream" in done.output
    if program == "uv":
        assert "MALWARE_DETECTED: beta-pkg 2.0 is blocked" in done.output


@programs
def test_a_blocked_package_is_installed_from_nowhere_else(
    program: str, machine: Machine, tmp_path: Path
) -> None:
    with OriginThread() as origin, process(tmp_path, origin) as proxy:
        origin.call(lambda running: running.block("beta-pkg"))

        index = f"{proxy.url}/python/simple/"
        done = machine.install(program, index, "beta-pkg", *verbose(program))

    assert done.code != 0
    assert "Blocked by upstream" in done.output


@programs
def test_a_version_that_is_blocked_after_it_was_cached_is_withheld(
    program: str, machines: Machines, tmp_path: Path
) -> None:
    ttl = {"cache": {"document_ttl": "1ms"}}
    with OriginThread() as origin, process(tmp_path, origin, ttl) as proxy:
        index = f"{proxy.url}/python/simple/"
        before = machines().install(program, index, "beta-pkg")
        origin.call(lambda running: running.block("beta-pkg", "2.0"))

        after = machines().install(program, index, "beta-pkg")

    assert before.code == 0, before.output
    assert after.code != 0
    assert "Blocked by upstream" in after.output
