"""A machine with a nuget, that has met no package yet.

Purpose: real nuget on real mono, run as a user starts it, with an empty home and empty package
folders, so whatever is installed came through the address that it was given: the README's
configuration, with this proxy's address, and a token if the machine has one.

Non-goals: installing nuget (`sh tests/run.sh dotnet` does), the proxy.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.clients.machine import Done, clean_environment, run_program
from tests.running import TOP

_LIMIT = 170.0
_README_URL = "http://127.0.0.1:8080"
_TOKEN = "CGR_PROXY_TOKEN"


def program(tools: Path) -> tuple[str, ...]:
    """How nuget is started."""
    (found,) = (tools / "nuget" / "node_modules" / "nuget-exe").glob("nuget-*.exe")
    return (shutil.which("mono") or "mono", str(found))


def readme_configuration() -> str:
    """The README's nuget.config."""
    text = (TOP / "README.md").read_text("utf-8")
    section = text.partition("\n## nuget and dotnet\n")[2].partition("\n## ")[0]
    (found,) = re.findall(r"^```xml\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    configuration: str = found
    assert _README_URL in configuration
    assert f"%{_TOKEN}%" in configuration
    return configuration


@dataclass(frozen=True, slots=True)
class NugetMachine:
    """`url`: of the proxy. `token`: "" where it has none."""

    folder: Path
    url: str
    nuget: tuple[str, ...]
    token: str

    @classmethod
    def new(cls, folder: Path, url: str, tools: Path, token: str = "") -> NugetMachine:
        """Make it: an empty home, no package, the configuration."""
        made = cls(folder, url, program(tools), token)
        made.home.mkdir(parents=True)
        text = readme_configuration().replace(_README_URL, url)
        (folder / "nuget.config").write_text(text, "utf-8")
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
            **({_TOKEN: self.token} if self.token else {}),
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
