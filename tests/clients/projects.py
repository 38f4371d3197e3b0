"""A project that a tool locks and installs: uv, poetry, pdm and pipenv behind one face.

Purpose: each tool's files are written as a user writes them; what names the index is what
`cgr-proxy setup` prints, with the address of the test's proxy in it, so that what it says is what
runs. Further indexes (remediated, CUDA) stand beside it, each for the packages named with it.

A tool's second index is an *explicit* one wherever it knows such a thing: nothing else comes from
there. pdm names the packages of a source (and leaves them out of the other one); pipenv names the
source of a package.

Non-goals: running anything (`Machine` does), judging (tests do).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.clients.machine import Done, Machine
from tests.printed import printed

_HEAD = """[project]
name = "thing"
version = "1"
requires-python = ">=3.11,<4"
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a project needs: from the proxy at `url`, and by package from other indexes of it.

    `packages`: name -> version specifier, maybe empty. `elsewhere`: package -> name of its index.
    """

    url: str
    packages: Mapping[str, str]
    elsewhere: Mapping[str, str] = field(default_factory=dict)

    def address(self, index: str) -> str:
        """The address of one of the proxy's indexes."""
        return f"{self.url}/{index}/simple/"

    @property
    def requirements(self) -> str:
        """As an array of PEP 508 texts."""
        return str([f"{name}{version}" for name, version in self.packages.items()])


def _uv(machine: Machine, wanted: Wanted) -> None:
    settings = machine.home / "config" / "uv" / "uv.toml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(printed("uv", wanted.url)[0])
    text = f"{_HEAD}dependencies = {wanted.requirements}\n"
    text += "[tool.uv.sources]\n"
    for package, index in wanted.elsewhere.items():
        text += f'{package} = {{ index = "{index}" }}\n'
    for index in wanted.elsewhere.values():
        text += f'[[tool.uv.index]]\nname = "{index}"\n'
        text += f'url = "{wanted.address(index)}"\nexplicit = true\n'
    (machine.folder / "pyproject.toml").write_text(text)


def _poetry(machine: Machine, wanted: Wanted) -> None:
    text = f"{_HEAD}dependencies = {wanted.requirements}\n[tool.poetry]\npackage-mode = false\n"
    text += printed("poetry", wanted.url)[0]
    for index in wanted.elsewhere.values():
        text += f'[[tool.poetry.source]]\nname = "{index}"\n'
        text += f'url = "{wanted.address(index)}"\npriority = "explicit"\n'
    text += "[tool.poetry.dependencies]\n"
    for package, index in wanted.elsewhere.items():
        text += f'{package} = {{ source = "{index}" }}\n'
    (machine.folder / "pyproject.toml").write_text(text)


def _pdm(machine: Machine, wanted: Wanted) -> None:
    text = f"{_HEAD}dependencies = {wanted.requirements}\n[tool.pdm]\ndistribution = false\n"
    text += printed("pdm", wanted.url)[0]
    if wanted.elsewhere:
        text += f"exclude_packages = {list(wanted.elsewhere)}\n"
    for package, index in wanted.elsewhere.items():
        text += f'[[tool.pdm.source]]\nname = "{index}"\n'
        text += f'url = "{wanted.address(index)}"\ninclude_packages = ["{package}"]\n'
    (machine.folder / "pyproject.toml").write_text(text)


def _pipenv(machine: Machine, wanted: Wanted) -> None:
    text = printed("pipenv", wanted.url)[0]
    for index in wanted.elsewhere.values():
        url = wanted.address(index).rstrip("/")
        text += f'[[source]]\nname = "{index}"\nurl = "{url}"\nverify_ssl = true\n'
    text += "[packages]\n"
    for name, version in wanted.packages.items():
        where = f', index = "{wanted.elsewhere[name]}"' if name in wanted.elsewhere else ""
        text += f'{name} = {{ version = "{version or "*"}"{where} }}\n'
    (machine.folder / "Pipfile").write_text(text)


@dataclass(frozen=True, slots=True)
class Tool:
    """One of them. `agent`: the beginning of its User-Agent; `only_wheels`: variables for that."""

    name: str
    lock_file: str
    locking: tuple[str, ...]
    installing: tuple[str, ...]
    agent: str
    variables: Mapping[str, str]
    only_wheels: Mapping[str, str]

    def write(self, machine: Machine, wanted: Wanted) -> None:
        """Write the project's files."""
        {"uv": _uv, "poetry": _poetry, "pdm": _pdm, "pipenv": _pipenv}[self.name](machine, wanted)

    def lock(self, machine: Machine, **variables: str) -> Done:
        """Resolve and write the lock file."""
        return self._run(machine, self.locking, variables)

    def install(self, machine: Machine, **variables: str) -> Done:
        """Install exactly what the lock file holds into the machine's virtual environment."""
        return self._run(machine, self.installing, variables)

    def locked(self, machine: Machine) -> Path:
        """Where its lock file is."""
        return machine.folder / self.lock_file

    def _run(self, machine: Machine, words: tuple[str, ...], more: Mapping[str, str]) -> Done:
        environment = str(machine.folder / "env")
        program = str(machine.tools / self.name / "bin" / self.name)
        # Each takes an active environment for the one to fill.
        known = {"VIRTUAL_ENV": environment, **self.variables, **more}
        return machine.run(program, *words, **known)


TOOLS = (
    Tool(
        "uv",
        "uv.lock",
        ("lock",),
        ("sync", "--locked", "--active"),
        "uv/",
        {"UV_NO_CONFIG": "false", "UV_PYTHON": sys.executable},
        {"UV_NO_BUILD": "1"},
    ),
    Tool(
        "poetry",
        "poetry.lock",
        ("lock", "--no-interaction"),
        ("sync", "--no-interaction"),
        "poetry/",
        {},
        {"POETRY_INSTALLER_ONLY_BINARY": ":all:"},
    ),
    Tool(
        "pdm",
        "pdm.lock",
        ("lock",),
        ("sync",),
        "pdm/",
        {"PDM_CHECK_UPDATE": "0"},
        {"PDM_ONLY_BINARY": ":all:"},
    ),
    Tool(
        "pipenv",
        "Pipfile.lock",
        ("lock",),
        ("sync",),
        "pip/",
        # pip keeps pages of a host over plain http only where that host is trusted.
        {"PIPENV_NOSPIN": "1", "PIPENV_VERBOSITY": "-1", "PIP_TRUSTED_HOST": "127.0.0.1"},
        {"PIP_ONLY_BINARY": ":all:"},
    ),
)
