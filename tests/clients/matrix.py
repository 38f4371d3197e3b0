"""The table of clients in the README: `python -m tests.clients.matrix [--write README.md]`.

Purpose: what the reports of the stages say (`.cache/reports/*.xml`, written by `tests/run.sh`),
added up by client program: every test of a report is in exactly one row, those of no program in
particular in a row of their own, so that no failure is left out. Versions are asked of the programs
themselves. Non-goals: running a test.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from tests.clients.jvm import BAZEL, IVY, MAVENS

TOP = Path(__file__).parents[2]
BEGIN = "<!-- clients: made by `python -m tests.clients.matrix --write README.md` -->\n"
END = "<!-- clients: end -->\n"
HEAD = "| client | version | what | passed | failed |\n|---|---|---|---|---|\n"
_VERSION = re.compile(r"\d+\.\d+[\w.-]*")
_SECONDS = 60


class Case(NamedTuple):
    """One test of a report. `name`: `module::test[parameters]`."""

    report: str
    name: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Client:
    """A program. `tests`: pattern of the names that are about it, in reports that are called
    `report`. `version`: what it is, or the command that tells it; its first word is looked for
    below the folder of client programs (`{tools}`), then on this machine. `extra`: CI does not
    count it.
    """

    name: str
    report: str
    tests: str
    version: str | tuple[str, ...]
    extra: bool = False

    def has(self, case: Case) -> bool:
        """Tell whether a test is about it."""
        return case.report == self.report and re.search(self.tests, case.name) is not None


def _parameter(name: str) -> str:
    return rf"[\[-]{re.escape(name)}[\]-]"


def _python(name: str, *, tests: str = "", folder: str = "", title: str = "") -> Client:
    wanted = _parameter(folder or name) + (f"|{tests}" if tests else "")
    return Client(title or name, "python", wanted, (f"{folder or name}/bin/{name}", "--version"))


def _node(name: str, package: str, *, tests: str = "") -> Client:
    pinned = _PINNED[package].rpartition("@")[2]
    return Client(name.replace("-", " "), "npm", tests or _parameter(name), pinned)


def _java(name: str, tests: str, version: str | tuple[str, ...]) -> Client:
    return Client(name, "java", tests, version)


def _engine(name: str, *command: str, tests: str = "") -> Client:
    wanted = _parameter(name) + (f"|{tests}" if tests else "")
    return Client(name, "containers", wanted, command)


def _unpacked(name: str, *command: str, program: str = "", tests: str = "") -> Client:
    at = program or name
    told = command or ("sed", "-n", "s/^Version: //p", f"{{tools}}/containers/{at}.version")
    wanted = _parameter(name) + (f"|{tests}" if tests else "")
    return Client(name.replace("-", " "), "containers-extra", wanted, told, extra=True)


def _pinned(folder: str) -> dict[str, str]:
    """The versions of what npm installs for a stage, by package."""
    text = (TOP / "tests" / "clients" / folder / "package.json").read_text(encoding="utf-8")
    manifest: dict[str, dict[str, str]] = json.loads(text)
    return manifest["dependencies"] | manifest.get("optionalDependencies", {})


_PINNED = _pinned("npm") | _pinned("nuget")
# The first one that has a test gets it.
CLIENTS = (
    _python("pip", folder="pip-23", title="pip (Debian's)"),
    _python("pip", tests="::test_pips_own_|::test_compiled_requirements"),
    _python("uv", tests="::test_a_lock_file_names"),
    *(_python(name) for name in ("poetry", "pdm", "pipenv")),
    Client("curl", "python", "::test_curl_", ("curl", "--version")),
    _node("npm-8", "npm8"),
    _node("npm-11", "npm11"),
    _node("pnpm", "@pnpm/exe.linux-x64"),
    _node("yarn-1", "yarn1"),
    _node("yarn-4", "@yarnpkg/cli-dist"),
    _node("bun", "bun"),
    _node("corepack", "corepack", tests="::test_corepack_"),
    _java("Maven (Debian's)", _parameter("installed"), ("mvn", "--version")),
    *(_java("Maven", _parameter(name), name) for name in MAVENS[1:]),
    _java("Gradle", "::test_gradle_", ("gradle", "--version")),
    _java("Ivy", "::test_ivy_", IVY),
    _java("bazel", "::test_bazel_", BAZEL),
    Client("go", "go", "test_go", ("go", "version")),
    Client("nuget", "dotnet", "test_dotnet", _PINNED["nuget-exe"]),
    Client("apko", "apk", "test_apk", ("apko/apko", "version"), extra=True),
    _engine("skopeo", "skopeo", "--version", tests="Skopeo"),
    _engine("podman", "podman", "--version", tests="Podman|::test_podman_"),
    _engine("docker", "dockerd", "--version", tests="::test_docker_"),
    _engine("containerd", "containerd", "--version", tests=r"\[1\]|::test_containerd_"),
    _unpacked("containerd-2", program="containerd", tests=r"\[2\]"),
    _unpacked("crane"),
    _unpacked("cosign", tests="::test_cosign_"),
    _unpacked("helm", "containers/usr/bin/helm", "version", tests=r"::test_helm_|\[helm\]"),
    _unpacked("oras", tests="::test_oras_"),
)
REPORTS = tuple(dict.fromkeys(client.report for client in CLIENTS))


def cases(folder: Path) -> Iterator[Case]:
    """Every test of the reports. Raises FileNotFoundError where a stage has not been run."""
    for report in REPORTS:
        for item in ET.parse(folder / f"{report}.xml").iter("testcase"):  # noqa: S314
            module = item.get("classname", "").rpartition(".")[2]
            bad = any(item.find(kind) is not None for kind in ("failure", "error", "skipped"))
            yield Case(report, f"{module}::{item.get('name', '')}", not bad)


def rows(found: Sequence[Case], tools: Path) -> Iterator[str]:
    """The rows of the table; every test is counted in one."""
    left = list(found)
    for client in CLIENTS:
        own = [case for case in left if client.has(case)]
        left = [case for case in left if not client.has(case)]
        what = client.report.removesuffix("-extra") + (" (not counted)" if client.extra else "")
        yield _row(client.name, version(client, tools), what, own)
    yield _row("(none in particular)", "", "", left)


def _row(name: str, told: str, what: str, own: Sequence[Case]) -> str:
    passed = sum(case.passed for case in own)
    return f"| {name} | {told} | {what} | {passed} | {len(own) - passed} |\n"


def version(client: Client, tools: Path) -> str:
    """What a program says; "?" where there is none, or it does not say."""
    if isinstance(client.version, str):
        return client.version
    first, *rest = (word.replace("{tools}", str(tools)) for word in client.version)
    program = str(tools / first) if (tools / first).exists() else shutil.which(first)
    if program is None:
        return "?"
    done = subprocess.run(
        [program, *rest],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
        env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(tools)},
    )
    said = _VERSION.search(done.stdout + done.stderr)
    return said[0] if said else "?"


def main() -> int:
    """Print the table, or write it into a file; 1 when a stage has not been run."""
    parser = argparse.ArgumentParser(prog="python -m tests.clients.matrix", description=__doc__)
    parser.add_argument("--reports", type=Path, default=TOP / ".cache" / "reports")
    parser.add_argument("--tools", type=Path, default=TOP / ".cache" / "clients")
    parser.add_argument("--write", type=Path, help="a file with the two marks of the table")
    options = parser.parse_args()
    try:
        table = HEAD + "".join(rows(list(cases(options.reports)), options.tools))
    except FileNotFoundError as error:
        print(f"no report: {error.filename}; run `sh tests/run.sh` first", file=sys.stderr)
        return 1
    if options.write is None:
        print(table, end="")
        return 0
    before, _, rest = options.write.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    options.write.write_text(before + BEGIN + "\n" + table + "\n" + END + after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
