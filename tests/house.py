"""The rules of the house that no linter knows: `python -m tests.house`.

Purpose: one pass over the checkout's own files; every finding is one line, and any finding is
exit code 1. What it looks for:

* hosts of public package registries (asked from the package clients, so that none stands here);
* absolute paths of somebody's machine;
* a URL in a lock file, or a dependency that the lock files do not pin as declared;
* a test that is skipped, expected to fail or patches what it tests, or that no stage runs;
* a module of more than 350 lines whose docstring does not say why.

Non-goals: style (ruff), types (mypy), layers (import-linter).
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TOP = Path(__file__).resolve().parent.parent
UNREAD = {".git", ".cache", ".hypothesis", ".venv", "__pycache__", "node_modules", "build", "dist"}
LOCKS = ("requirements.lock", "tests/requirements.lock", "tests/build.lock")
MAX_LINES = 350
STAGED = (
    *("tests/unit/", "tests/matrix/", "tests/faults/"),
    *("tests/clients/test_python", "tests/clients/test_javascript"),
    *("tests/clients/test_java_", "tests/clients/test_containers"),
    *("tests/clients/test_go", "tests/clients/test_apk", "tests/clients/test_dotnet"),
    "tests/deploy/",
)

_MACHINE_PATH = re.compile(r"(^|[^A-Za-z0-9_.])/(tmp|work|root|home)/[A-Za-z0-9]")
_UNMERGED = re.compile(r"<{7} |>{7} ")
_WAY_OUT = re.compile(r"pytest\.(skip|importorskip|xfail)|mark\.(skip|xfail)|mock\.patch")
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


def main() -> int:
    """Print every finding; 1 if there is any."""
    findings = sorted({*check_texts(), *check_locks(), *check_tests(), *check_lengths()})
    for finding in findings:
        print(finding)
    return 1 if findings else 0


def files(top: Path = TOP) -> Iterator[Path]:
    """Every text file that belongs to the project."""
    for path in sorted(top.iterdir()):
        if path.name in UNREAD or re.fullmatch(r"\..*_cache", path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from files(path)
        elif path.is_file():
            yield path


def check_texts() -> Iterator[str]:
    """Registry hosts, paths of one machine, merges that were left half done."""
    hosts = registry_hosts()
    for path in files():
        name = path.relative_to(TOP).as_posix()
        for number, line in enumerate(_text(path).splitlines(), start=1):
            if any(host in line for host in hosts):
                yield f"{name}:{number}: names the host of a public package registry"
            if _MACHINE_PATH.search(line) and not name.startswith("deploy/"):
                yield f"{name}:{number}: absolute path of a machine"
            if _UNMERGED.match(line):
                yield f"{name}:{number}: two versions that nobody has put together"


def check_locks() -> Iterator[str]:
    """Lock files: no address, and every declared dependency pinned within its bounds."""
    for path in files():
        if path.suffix == ".lock" and "://" in _text(path):
            yield f"{path.relative_to(TOP)}: a lock file names no address"
    declaration = tomllib.loads(_text(TOP / "pyproject.toml"))
    project = declaration["project"]
    extras = project["optional-dependencies"]
    declared = (project["dependencies"], extras["tests"], declaration["build-system"]["requires"])
    for lock, requirements in zip(LOCKS, declared, strict=True):
        pins = {canonicalize_name(n): v for n, v in _PIN.findall(_text(TOP / lock))}
        for requirement in map(Requirement, requirements):
            pin = pins.get(canonicalize_name(requirement.name))
            if pin is None or not requirement.specifier.contains(pin, prereleases=True):
                yield f"{lock}: {requirement} is not pinned as pyproject.toml declares it"


def check_tests() -> Iterator[str]:
    """A test runs, in a stage, and tests the thing itself."""
    for path in files(TOP / "tests"):
        name = path.relative_to(TOP).as_posix()
        if path.suffix != ".py" or path == Path(__file__).resolve():
            continue
        if path.name.startswith("test_") and not name.startswith(STAGED):
            yield f"{name}: no stage of tests/run.sh runs it"
        for number, line in enumerate(_text(path).splitlines(), start=1):
            if _WAY_OUT.search(line):
                yield f"{name}:{number}: a test is neither skipped nor patched"


def check_lengths() -> Iterator[str]:
    """Modules of the proxy are split by meaning before they grow long."""
    for path in files(TOP / "proxy"):
        text = _text(path)
        if path.suffix == ".py" and text.count("\n") > MAX_LINES and "350 lines" not in text:
            yield f"{path.relative_to(TOP)}: longer than {MAX_LINES} lines"


def registry_hosts() -> frozenset[str]:
    """The hosts that the machine's package clients call by default. Unknown clients add none."""
    found = {
        urlsplit(word).hostname or word
        for command in (
            [sys.executable, "-c", _PIP_DEFAULTS],
            ["npm", "config", "get", "registry"],
            ["go", "env", "GOPROXY"],
        )
        for word in re.split(r"[\s,|]+", _answer(command))
    }
    for source in Path("/etc/apt").glob("sources.list*/*"):
        addresses = re.findall(r"https?://\S+", _text(source))
        found |= {urlsplit(address).hostname or "" for address in addresses}
    return frozenset(host for host in found if re.fullmatch(r"[\w.-]+\.[a-z]+", host))


_PIP_DEFAULTS = """
from pip._internal.models.index import PyPI
print(PyPI.netloc, PyPI.file_storage_domain)
"""


def _answer(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _text(path: Path) -> str:
    return path.read_text("utf-8", errors="replace")


if __name__ == "__main__":
    sys.exit(main())
