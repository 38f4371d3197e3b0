"""apk packages and indexes for the test origin, written from the format's description.

Purpose: `package` makes a signed package of three gzip members (signature, control, data), `index`
a signed index of packages. Both are real: apk clients take them with `public_key`. Nothing here is
shared with whoever reads them.

Reading: `apk-package(5)`, the APKINDEX format, abuild's `abuild-sign`. Non-goals: HTTP (see `apk`).
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.origin.blobs import BytesBlob
from tests.origin.content import Artifact

ORGANISATION, ARCH = "example", "x86_64"
REPOSITORY = f"{ORGANISATION}/{ARCH}"
KEY = "example-5f0c1d.rsa.pub"
_STAMP = 1_772_000_000


@dataclass(frozen=True, slots=True)
class ApkFile(Artifact):
    """A package. `index`: organisation and architecture; `checksum`: of the control member, as the
    index says it; `depends`: on what."""

    checksum: str = ""
    depends: Sequence[str] = field(default=())

    @property
    def path(self) -> str:
        """The path it is served at, decoded."""
        return f"/{self.index}/{self.filename}"

    @property
    def link(self) -> str:
        """The path at the proxy."""
        return "/apk" + quote(self.path, safe="/+~")


@functools.cache
def private_key() -> rsa.RSAPrivateKey:
    """The key of everything that is signed in this process."""
    return rsa.generate_private_key(65537, 2048)


def public_key() -> bytes:
    """What clients verify with, as PEM."""
    return (
        private_key()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def jwks() -> dict[str, Any]:
    """The same as a JSON Web Key Set (RFC 7517)."""

    def number(value: int) -> str:
        data = value.to_bytes((value.bit_length() + 7) // 8, "big")
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    numbers = private_key().public_key().public_numbers()
    kid = KEY.removesuffix(".rsa.pub")
    key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": kid}
    return {"keys": [{**key, "n": number(numbers.n), "e": number(numbers.e)}]}


@dataclass(frozen=True, slots=True)
class Segments:
    """The three gzip members of a package; `signature` may be empty."""

    signature: bytes
    control: bytes
    data: bytes

    @property
    def checksum(self) -> str:
        """What an index says of it."""
        return "Q1" + base64.b64encode(hashlib.sha1(self.control).digest()).decode()

    @property
    def whole(self) -> bytes:
        """The package."""
        return self.signature + self.control + self.data


def segments(
    name: str,
    version: str,
    files: Mapping[str, bytes] | None = None,
    *,
    depends: Sequence[str] = (),
    signed: bool = True,
    datahash: str | None = None,
) -> Segments:
    """Make a package. `datahash`: in place of the true one; "": none."""
    content = {f"usr/share/{name}/version": f"{version}\n".encode()} if files is None else files
    data = gzip.compress(_tar(content, checksums=True), mtime=0)
    told = hashlib.sha256(data).hexdigest() if datahash is None else datahash
    info = {
        "pkgname": name,
        "pkgver": version,
        "pkgdesc": f"the package {name}",
        "url": "https://packages.example/",
        "builddate": str(_STAMP),
        "size": str(sum(map(len, content.values()))),
        "arch": ARCH,
        "origin": name,
        "license": "Apache-2.0",
    }
    lines = ["# made up", *(f"{key} = {value}" for key, value in info.items())]
    lines += [f"depend = {other}" for other in depends]
    lines += [f"datahash = {told}"] if told else []
    control = gzip.compress(_tar({".PKGINFO": ("\n".join(lines) + "\n").encode()}, cut=True))
    return Segments(_signature(control) if signed else b"", control, data)


def package(
    name: str,
    version: str,
    files: Mapping[str, bytes] | None = None,
    *,
    depends: Sequence[str] = (),
    signed: bool = True,
) -> ApkFile:
    """Make a package and what an index says of it."""
    made = segments(name, version, files, depends=depends, signed=signed)
    return ApkFile(
        *(f"{name}-{version}.apk", name, version, BytesBlob(made.whole), REPOSITORY),
        checksum=made.checksum,
        depends=depends,
    )


@functools.cache
def tiny() -> tuple[ApkFile, ...]:
    """Two versions of a package, one that it depends on, one that nobody signed."""
    return tuple(_tiny())


def _tiny() -> Iterator[ApkFile]:
    yield package("alpha-apk", "1.0-r0")
    yield package("alpha-apk", "1.1-r2", depends=["beta-apk"])
    yield package("beta-apk", "2.0_rc1-r0")
    yield package("unsigned++", "0.1-r0", signed=False)


def index(packages: Iterable[ApkFile], *, signed: bool = True) -> bytes:
    """Make an index: a signature, if it is `signed`, and the archive of the list."""
    records = []
    for item in packages:
        fields = {
            "C": item.checksum,
            "P": item.project,
            "V": item.version,
            "A": item.index.rpartition("/")[2],
            "S": str(item.blob.size),
            "I": str(item.blob.size),
            "T": f"the package {item.project}",
            "U": "https://packages.example/",
            "L": "Apache-2.0",
            "o": item.project,
            "t": str(_STAMP),
            **({"D": " ".join(item.depends)} if item.depends else {}),
        }
        records.append("".join(f"{key}:{value}\n" for key, value in fields.items()) + "\n")
    content = {"DESCRIPTION": b"made up", "APKINDEX": "".join(records).encode()}
    plain = gzip.compress(_tar(content), mtime=0)
    return (_signature(plain) if signed else b"") + plain


def _signature(of: bytes) -> bytes:
    """The gzip member that stands in front of what it signs."""
    signed = private_key().sign(of, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303  # the format's
    return gzip.compress(_tar({f".SIGN.RSA.{KEY}": signed}, cut=True), mtime=0)


def _tar(files: Mapping[str, bytes], *, cut: bool = False, checksums: bool = False) -> bytes:
    """A tar archive. `cut`: without its end, as in front of another one."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        folders: set[str] = set()
        for name, content in files.items():
            for count in range(1, len(parts := name.split("/"))):
                folder = "/".join(parts[:count])
                if folder not in folders:
                    folders.add(folder)
                    archive.addfile(_info(folder, kind=tarfile.DIRTYPE, mode=0o755))
            info = _info(name)
            info.size = len(content)
            if checksums:
                sha1 = hashlib.sha1(content).hexdigest()
                info.pax_headers = {"APK-TOOLS.checksum.SHA1": sha1}
            archive.addfile(info, io.BytesIO(content))
        end = archive.offset
    return buffer.getvalue()[:end] if cut else buffer.getvalue()


def _info(name: str, *, kind: bytes = tarfile.REGTYPE, mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, mode, _STAMP
    info.uname = info.gname = "root"
    return info
