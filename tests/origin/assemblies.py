"""Real NuGet packages for the test origin: this machine's .NET assemblies, packed by a real nuget.

Purpose: no registry that this machine reaches has packages of this kind, so they are made as their
authors make them: `nuget pack` of a manifest and of the assemblies that came with the runtime,
which need one another as they really do. A second call starts no process: the folder appears only
when it is whole, named by what is packed and by what.

Non-goals: HTTP (see `dotnet`); installing the runtime or nuget (`sh tests/run.sh dotnet` does).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

from tests.origin.download import DownloadFailed, cache_folder, kept, run_client
from tests.origin.nupkgs import Nupkg, packed

VERSION = "6.8.0.105"
NEEDS = {
    "System.ServiceModel": ("System.Runtime.Serialization", "System.IdentityModel"),
    "System.Runtime.Serialization": ("System.Xml",),
    "System.IdentityModel": ("System.Security",),
    "System.Security": ("System.Xml",),
    "System.Xml": (),
    "System.Net.Http": (),
    "System.Numerics": (),
}
"""Assembly to assemblies. A package is called like its assembly with `PREFIX`."""
PREFIX = "Farm."
_MANIFEST = """<?xml version="1.0" encoding="utf-8"?>
<package xmlns="http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd"><metadata>
<id>{id}</id><version>{version}</version><authors>the runtime's</authors>
<description>{id}</description><dependencies><group targetFramework=".NETFramework4.5">
{needs}</group></dependencies></metadata>
<files><file src={file} target="lib/net45" /></files></package>
"""


def real_packages(nuget: Sequence[str]) -> list[Nupkg]:
    """All of `NEEDS`. `nuget`: how it is started.

    Blocking: half a minute the first time. Raises DownloadFailed.
    """
    made = json.dumps([NEEDS, VERSION, PREFIX, _MANIFEST, Path(nuget[-1]).name])
    digest = hashlib.sha256(made.encode()).hexdigest()[:16]

    def make(temporary: Path) -> Path:
        fresh = temporary / "packed"
        fresh.mkdir()
        for assembly, needed in NEEDS.items():
            manifest = temporary / f"{assembly}.nuspec"
            manifest.write_text(_manifest(assembly, needed), "utf-8")
            options = ("-NoPackageAnalysis", "-NonInteractive", "-OutputDirectory", str(fresh))
            environment = {**os.environ, "HOME": str(temporary)}
            run_client([*nuget, "pack", str(manifest), *options], temporary, environment)
        return fresh

    return list(packed(kept(cache_folder() / f"dotnet-{digest}", make)))


def _manifest(assembly: str, needed: Sequence[str]) -> str:
    line = '<dependency id="{}" version="[{}]" />'
    needs = "".join(line.format(PREFIX + name, VERSION) for name in needed)
    file = quoteattr(str(_runtime() / f"{assembly}.dll"))
    return _MANIFEST.format(id=PREFIX + assembly, version=VERSION, needs=needs, file=file)


def _runtime() -> Path:
    """The folder of the runtime's assemblies. Raises DownloadFailed."""
    program = shutil.which("mono")
    if program is None:
        raise DownloadFailed("there is no mono on this machine")
    return Path(program).resolve().parent.parent / "lib" / "mono" / "4.5"
