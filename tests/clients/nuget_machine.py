"""A machine with a nuget, that has met no package yet.

Purpose: real nuget on real mono, run as a user starts it, with an empty home and empty package
folders, so whatever is installed came through the address that it was given: the configuration that
`cgr-proxy setup` prints, with this proxy's address, and a token in the environment if the machine
has one.

Non-goals: installing nuget (`sh tests/run.sh dotnet` does), the proxy.
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.clients.machine import Done, clean_environment, run_program
from tests.printed import printed

_LIMIT = 170.0


def program(tools: Path) -> tuple[str, ...]:
    """How nuget is started."""
    (found,) = (tools / "nuget" / "node_modules" / "nuget-exe").glob("nuget-*.exe")
    return (shutil.which("mono") or "mono", str(found))


@dataclass(frozen=True, slots=True)
class NugetMachine:
    """`url`: of the proxy. `token`: of a client of it."""

    folder: Path
    url: str
    nuget: tuple[str, ...]
    token: str = ""

    @classmethod
    def new(cls, folder: Path, url: str, tools: Path, token: str = "") -> NugetMachine:
        """Make it: an empty home, no package, the configuration that `cgr-proxy setup` prints."""
        made = cls(folder, url, program(tools), token)
        made.home.mkdir(parents=True)
        (folder / "nuget.config").write_text(printed("nuget", url)[0], "utf-8")
        return made

    @property
    def home(self) -> Path:
        """The user's home."""
        return self.folder / "home"

    def run(self, *arguments: str) -> Done:
        """Run nuget in the machine's folder, with nothing of this machine's own."""
        environment = clean_environment(self.home) | {
            "NUGET_PACKAGES": str(self.folder / "global"),
            "NUGET_HTTP_CACHE_PATH": str(self.folder / "answers"),
            **({"CGR_PROXY_TOKEN": self.token} if self.token else {}),
        }
        command = (*self.nuget, *arguments, "-NonInteractive")
        return run_program(command, self.folder, environment, limit=_LIMIT)

    def install(self, package: str, *options: str) -> Done:
        """Install a package, and all that it needs."""
        where = ("-OutputDirectory", "packages", "-Framework", "net472")
        return self.run("install", package, *where, *options)

    def restore(self, versions: dict[str, str]) -> Done:
        """Restore a list of packages, which nothing is looked up for."""
        line = '<package id="{}" version="{}" targetFramework="net472" />'
        lines = "".join(line.format(*each) for each in versions.items())
        (self.folder / "packages.config").write_text(f"<packages>{lines}</packages>", "utf-8")
        return self.run("restore", "packages.config", "-PackagesDirectory", "packages")

    def installed(self) -> dict[str, str]:
        """The SHA-256 of each installed package, by its file's name in small letters."""
        found = (self.folder / "packages").rglob("*.nupkg")
        return {path.name.lower(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}

    def unpacked(self, name: str) -> bool:
        """Whether every file of an installed package's `lib` has been unpacked beside it."""
        (package,) = (self.folder / "packages").rglob(name)
        with zipfile.ZipFile(package) as archive:
            wanted = [one for one in archive.namelist() if one.startswith("lib/")]
            return bool(wanted) and all(
                (package.parent / one).read_bytes() == archive.read(one) for one in wanted
            )

    def texts(self) -> list[bytes]:
        """Every file that nuget has kept, but for packages and what came in them."""
        inside = [path for path in self.folder.rglob("*") if path.is_file()]
        return [path.read_bytes() for path in inside if path.suffix not in (".dll", ".nupkg")]
