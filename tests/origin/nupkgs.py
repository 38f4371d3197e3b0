"""NuGet packages for the test origin: made up, or packed by a real nuget.

Purpose: `Nupkg` is an artifact that lives where its identifier and version say, or, by the vendor's
fallback, elsewhere; `nupkg` makes one in memory that every client installs, `packed` takes what a
real `nuget pack` has made. Its manifest is an artifact beside it.

Reading: NuGet's documentation, ".nuspec reference"; the Open Packaging Conventions. Non-goals: HTTP
(see `dotnet`).
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

from tests.origin.blobs import BytesBlob, FileBlob
from tests.origin.content import Artifact, Content

DOTNET = "dotnet"
FLAT = "/dotnet/v3-flatcontainer"
FALLBACK = "/dotnet-upstream"
ALPHA, BETA, DEEP = "Alpha.Net", "Beta.Net", "Deep.Net"
_STAMP = (2026, 1, 1, 0, 0, 0)
_TYPES = (
    b'<?xml version="1.0" encoding="utf-8"?><Types'
    b' xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    b'<Default Extension="rels"'
    b' ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    b'<Default Extension="nuspec" ContentType="application/octet"/>'
    b'<Default Extension="dll" ContentType="application/octet"/></Types>'
)


@dataclass(frozen=True, slots=True)
class Nupkg(Artifact):
    """A package, or its manifest. `project` is its identifier as its author writes it, `version`
    the same; `needs`: identifier to version range."""

    needs: Mapping[str, str] = field(default_factory=dict)

    @property
    def lower(self) -> tuple[str, str]:
        """Identifier and version in their normal spelling."""
        return self.project.lower(), normal(self.version)

    @property
    def path(self) -> str:
        """The path it is served at, decoded."""
        package, version = self.lower
        return f"{FALLBACK if self.fallback else FLAT}/{package}/{version}/{self.filename}"


def normal(version: str) -> str:
    """The normal spelling of a version that has three or four numbers."""
    return re.sub(r"^(\d+\.\d+\.\d+)\.0(?=-|$)", r"\1", version.partition("+")[0].lower())


def manifest_of(package: str, version: str, needs: Mapping[str, str]) -> bytes:
    """A `.nuspec`."""
    line = '<dependency id="{}" version="{}"/>'
    each = "".join(line.format(escape(name), escape(wanted)) for name, wanted in needs.items())
    group = f'<group targetFramework=".NETStandard2.0">{each}</group>'
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<package xmlns="http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd"><metadata>'
        f"<id>{escape(package)}</id><version>{escape(version)}</version><authors>nobody</authors>"
        f"<description>made up</description><dependencies>{group}</dependencies>"
        "</metadata></package>\n"
    ).encode()


def archive(
    package: str,
    version: str,
    needs: Mapping[str, str] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> bytes:
    """A package's bytes; the same each time."""
    name = f"{package}.nuspec"
    relation = (
        '<?xml version="1.0" encoding="utf-8"?><Relationships'
        ' xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship'
        f' Type="http://schemas.microsoft.com/packaging/2010/07/manifest" Target="/{name}"'
        ' Id="R1"/></Relationships>'
    )
    members = {
        "_rels/.rels": relation.encode(),
        name: manifest_of(package, version, needs or {}),
        f"lib/netstandard2.0/{package}.dll": f"MZ {package} {version}".encode(),
        **(files or {}),
        "[Content_Types].xml": _TYPES,
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for member, content in members.items():
            file.writestr(zipfile.ZipInfo(member, _STAMP), content)
    return buffer.getvalue()


def nupkg(
    package: str,
    version: str,
    needs: Mapping[str, str] | None = None,
    *,
    fallback: bool = False,
    files: Mapping[str, bytes] | None = None,
) -> Nupkg:
    """A package in memory."""
    data = archive(package, version, needs, files)
    return Nupkg(
        f"{package.lower()}.{normal(version)}.nupkg",
        *(package, version, BytesBlob(data), DOTNET, fallback),
        needs=needs or {},
    )


def with_manifest(package: Nupkg) -> Iterator[Nupkg]:
    """A package, and its manifest."""
    yield package
    body = manifest_of(package.project, package.version, package.needs)
    name = f"{package.project.lower()}.nuspec"
    yield Nupkg(name, package.project, package.version, BytesBlob(body), "dotnet-manifests")


def add_tiny(content: Content) -> None:
    """Add two versions of one package, one of which needs another, which has come by the vendor's
    fallback, and a remediated build; a package of several versions with words in them."""
    for package in (
        nupkg(ALPHA, "1.0.0"),
        nupkg(ALPHA, "1.1.0", {BETA: "[2.0.0, )"}),
        nupkg(ALPHA, "1.0.0-cgr.1"),
        nupkg(BETA, "2.0.0.5", fallback=True),
        *(nupkg(DEEP, version) for version in ("0.9.0-rc.2", "0.9.0-RC.10", "3.0.0.0")),
    ):
        for file in with_manifest(package):
            content.add(file)


def packed(folder: Path) -> Iterable[Nupkg]:
    """What `nuget pack` has made in a folder (blocking: hashes it)."""
    for path in sorted(folder.glob("*.nupkg")):
        with zipfile.ZipFile(path) as file:
            (name,) = (one for one in file.namelist() if one.endswith(".nuspec") and "/" not in one)
            text = file.read(name).decode("utf-8-sig")
        package, version = (
            re.findall(rf"<{tag}>([^<]+)</{tag}>", text)[0] for tag in ("id", "version")
        )
        needs = dict(re.findall(r'<dependency id="([^"]+)" version="([^"]+)"', text))
        yield Nupkg(
            f"{package.lower()}.{normal(version)}.nupkg",
            *(package, version, FileBlob(path), DOTNET),
            needs=needs,
        )
