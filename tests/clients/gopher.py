"""A machine with a go command, that has met no module yet.

Purpose: a copy of the project, an empty home and an empty module cache, so whatever is built with
came through the address that it was given. What has been compiled is shared (`built`): compiling
the standard library takes longest, and no module comes from there.

Non-goals: installing go (`sh tests/run.sh go` does), the proxy.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.clients.machine import Done, clean_environment, run_program
from tests.printed import printed

PROJECT = Path(__file__).parent / "projects" / "go"
_LIMIT = 170.0


@dataclass(frozen=True, slots=True)
class Gopher:
    """`url`: of the proxy. `built`: where what is compiled is kept."""

    folder: Path
    url: str
    built: Path

    @classmethod
    def new(cls, folder: Path, url: str, built: Path) -> Gopher:
        """Make it: an empty home, an empty module cache, a copy of the project."""
        made = cls(folder, url, built)
        made.home.mkdir(parents=True)
        shutil.copytree(PROJECT, made.project)
        done = made._run("sh", "-c", printed("go", url)[0])
        assert done.code == 0, done.output
        return made

    @property
    def home(self) -> Path:
        """The user's home."""
        return self.folder / "home"

    @property
    def project(self) -> Path:
        """What is built."""
        return self.folder / "project"

    @property
    def modules(self) -> Path:
        """The module cache."""
        return self.folder / "modules"

    def go(self, *arguments: str, **more: str) -> Done:
        """Run go in the project's folder, told of the proxy as `cgr-proxy setup` says, and with
        nothing of this machine's own.

        `more`: environment variables.
        """
        return self._run("go", *arguments, **more)

    def _run(self, *command: str, **more: str) -> Done:
        variables = {
            "GOFLAGS": "-mod=mod -modcacherw",
            "GOENV": str(self.home / "go-env"),
            "GOMODCACHE": str(self.modules),
            "GOCACHE": str(self.built),
            "GOPATH": str(self.home / "go"),
            "GOTOOLCHAIN": "local",
            "GOTELEMETRY": "off",
            "CGO_ENABLED": "0",
            **more,
        }
        environment = clean_environment(self.home) | variables
        return run_program(command, self.project, environment, limit=_LIMIT)

    def downloads(self, ending: str = "") -> list[Path]:
        """What was downloaded, of the files whose names end so."""
        found = (self.modules / "cache" / "download").rglob(f"@v/*{ending}")
        return sorted(path for path in found if path.is_file())
