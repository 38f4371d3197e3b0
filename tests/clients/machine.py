"""A client's machine: an empty home, a fresh virtual environment, and pip and uv to fill it with.

Purpose: real client programs run as a user starts them, with nothing of this machine's own: no
settings, no cache, no credential. So whatever is installed came through the address that they were
given. Non-goals: installing the programs (`sh tests/run.sh python` does), the proxy.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("pip-23", "pip", "uv")
_LIMIT = 120.0

Machines = Callable[[], "Machine"]


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one command. `output`: what it printed, errors last."""

    code: int
    output: str


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that has met no index yet. `tools`: where the client programs are installed."""

    folder: Path
    tools: Path

    @classmethod
    def new(cls, folder: Path, tools: Path) -> Machine:
        """Make it: an empty home and an empty virtual environment below `folder`."""
        machine = cls(folder, tools)
        machine.home.mkdir(parents=True)
        done = machine.uv("venv", "--python", sys.executable, str(folder / "env"))
        assert done.code == 0, done.output
        return machine

    @property
    def home(self) -> Path:
        """The user's home."""
        return self.folder / "home"

    @property
    def python(self) -> str:
        """The interpreter of the virtual environment."""
        return str(self.folder / "env" / "bin" / "python")

    def run(self, *command: str, **variables: str) -> Done:
        """Run a command in the machine's folder, with these environment variables besides."""
        return run_program(command, self.folder, clean_environment(self.home) | variables)

    def uv(self, *arguments: str, **variables: str) -> Done:
        """Run uv."""
        return self.run(str(self.tools / "uv" / "bin" / "uv"), *arguments, **variables)

    def install(self, program: str, index: str, *what: str, **variables: str) -> Done:
        """Install with one of `PROGRAMS` into the virtual environment, from one index.

        `what`: requirements, and options that pip and uv both know.
        """
        if program == "uv":
            where = ("--python", self.python, "--default-index", index)
            return self.uv("pip", "install", *where, *what, **variables)
        pip = str(self.tools / program / "bin" / "pip")
        start = (pip, "--python", self.python, "install", "--no-compile")  # compiling takes longest
        return self.run(*start, "--index-url", index, *what, **variables)

    def ask(self, code: str) -> str:
        """Run code with what is installed, and give what it prints."""
        done = self.run(self.python, "-c", code)
        assert done.code == 0, done.output
        return done.output.strip()

    def version(self, package: str) -> str:
        """The installed version of a package."""
        return self.ask(f"import importlib.metadata as m; print(m.version({package!r}))")

    def packages(self) -> dict[str, str]:
        """Every installed package with its version."""
        code = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version"
        found: dict[str, str] = json.loads(self.ask(f"{code} for d in m.distributions()}}))"))
        return {name.lower(): version for name, version in found.items()}


def run_program(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    *,
    limit: float = _LIMIT,
) -> Done:
    """Run a command in a folder, with no terminal and these environment variables only.

    `limit`: seconds; after them it is ended, and `subprocess.TimeoutExpired` raised.
    """
    done = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=limit,
        cwd=folder,
        env=environment,
    )
    return Done(done.returncode, done.stdout)


def clean_environment(home: Path) -> dict[str, str]:
    """Environment variables for a client program: an empty home and no settings of this machine."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_DATA_HOME": str(home / "data"),
        "TMPDIR": str(home.parent),
        "LANG": "C.UTF-8",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "UV_NO_CONFIG": "1",
        "UV_PYTHON_DOWNLOADS": "never",
    }
