"""A client's machine for JavaScript: an empty home, a project, and six programs to install with.

Purpose: real npm (an old and a new one), pnpm, yarn (1 and 4) and bun, run as a user starts them,
with nothing of this machine's own: no settings, no cache, no credential. What differs between them
is here: where they find what `cgr-proxy setup` prints for them, and what their commands are called.

Non-goals: installing the programs (`sh tests/run.sh npm` does), the proxy.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.clients.machine import Done, clean_environment, run_program
from tests.printed import printed, with_token

PROGRAMS = ("npm-8", "npm-11", "pnpm", "yarn-1", "yarn-4", "bun")
LOCKS = {
    "npm-8": "package-lock.json",
    "npm-11": "package-lock.json",
    "pnpm": "pnpm-lock.yaml",
    "yarn-1": "yarn.lock",
    "yarn-4": "yarn.lock",
    "bun": "bun.lock",
}
_ADD = {
    "npm-8": ("install", "--no-audit", "--no-fund", "--ignore-scripts"),
    "npm-11": ("install", "--no-audit", "--no-fund", "--ignore-scripts"),
    "pnpm": ("add", "--ignore-scripts"),
    "yarn-1": ("add", "--non-interactive", "--ignore-scripts"),
    "yarn-4": ("add",),
    "bun": ("add", "--ignore-scripts"),
}
_FROZEN = {
    "npm-8": ("ci", "--no-audit", "--no-fund", "--ignore-scripts"),
    "npm-11": ("ci", "--no-audit", "--no-fund", "--ignore-scripts"),
    "pnpm": ("install", "--frozen-lockfile", "--ignore-scripts"),
    "yarn-1": ("install", "--frozen-lockfile", "--non-interactive", "--ignore-scripts"),
    "yarn-4": ("install", "--immutable"),
    "bun": ("install", "--frozen-lockfile", "--ignore-scripts"),
}

NodeMachines = Callable[[str], "NodeMachine"]


@dataclass(frozen=True, slots=True)
class NodeMachine:
    """A machine that has met no registry yet, for one program. `modules`: where programs are;
    `variables`: of its environment besides."""

    program: str
    folder: Path
    modules: Path
    variables: dict[str, str] = field(default_factory=dict)

    @classmethod
    def new(cls, program: str, folder: Path, tools: Path) -> NodeMachine:
        """Make it: an empty home, and a project that needs nothing."""
        machine = cls(program, folder, tools / "npm" / "node_modules")
        machine.home.mkdir(parents=True)
        machine.project.mkdir()
        machine.write("package.json", json.dumps({"name": "app", "version": "1.0.0"}))
        if program == "yarn-4":
            machine.write("yarn.lock", "")  # else it looks for a project further up
        return machine

    @property
    def home(self) -> Path:
        """The user's home."""
        return self.folder / "home"

    @property
    def project(self) -> Path:
        """Where things are installed."""
        return self.folder / "app"

    def write(self, name: str, text: str) -> None:
        """Write a file of the project."""
        (self.project / name).write_text(text, encoding="utf-8")

    @property
    def lock(self) -> bytes:
        """The program's lock file."""
        return (self.project / LOCKS[self.program]).read_bytes()

    def use(self, url: str, token: str = "", *more: str) -> None:
        """Write what `cgr-proxy setup` prints, for the proxy at a URL, and a token to show it.

        `more`: lines for .npmrc.
        """
        texts = printed(self.program.partition("-")[0], url)
        text = texts[-1] if self.program == "yarn-1" else texts[0]
        if token:
            text = with_token(text, token)
            self.variables["CGR_PROXY_TOKEN"] = token
        match self.program:
            case "yarn-4":
                (self.home / ".yarnrc.yml").write_text(text, encoding="utf-8")
                quiet = "enableTelemetry: false\nenableScripts: false\nnodeLinker: node-modules\n"
                self.write(".yarnrc.yml", quiet)
            case "bun":
                self.write("bunfig.toml", text)
            case _:
                lines = "".join(f"{line}\n" for line in more)
                (self.home / ".npmrc").write_text(text + lines, encoding="utf-8")

    def run(self, *arguments: str, **variables: str) -> Done:
        """Run the program in the project's folder."""
        return self.start(*self._command(), *arguments, **variables)

    def start(self, *command: str, **variables: str) -> Done:
        """Run any command in the project's folder."""
        environment = clean_environment(self.home) | {
            "CI": "1",  # no questions, no looking for newer versions
            "NPM_CONFIG_GLOBALCONFIG": os.devnull,
            "NO_COLOR": "1",
        }
        return run_program(command, self.project, environment | self.variables | variables)

    def add(self, *packages: str) -> Done:
        """Install packages, and note them in the project and its lock file."""
        return self.run(*_ADD[self.program], *packages)

    def install_locked(self) -> Done:
        """Install what the lock file says, and nothing else."""
        return self.run(*_FROZEN[self.program])

    def take_lock_of(self, other: NodeMachine) -> None:
        """Copy another machine's project, without what is installed."""
        for name in ("package.json", LOCKS[self.program]):
            (self.project / name).write_bytes((other.project / name).read_bytes())

    def requires(self, package: str) -> str:
        """The version of an installed package, after loading it."""
        code = f"require('{package}'); console.log(require('{package}/package.json').version)"
        done = self.start("node", "-e", code)
        assert done.code == 0, done.output
        return done.output.strip()

    def _command(self) -> tuple[str, ...]:
        modules = self.modules
        match self.program:
            case "npm-8" | "npm-11":
                return ("node", str(modules / self.program.replace("-", "") / "bin/npm-cli.js"))
            case "yarn-1":
                return ("node", str(modules / "yarn1/bin/yarn.js"))
            case "yarn-4":
                return ("node", str(modules / "@yarnpkg/cli-dist/bin/yarn.js"))
            case "bun":
                return (_native(modules / "@oven", "bun-linux-*/bin/bun"),)
            case _:
                return (_native(modules / "@pnpm", "exe.linux-*/pnpm"),)


def _native(folder: Path, pattern: str) -> str:
    """A program for this machine's own architecture: npm has installed no other."""
    return str(min(folder.glob(pattern)))
