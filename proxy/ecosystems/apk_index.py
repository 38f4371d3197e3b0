"""What an `APKINDEX.tar.gz` lists. Pure.

Purpose: an index is passed on as it is, if it is whole; what it says of a package (`C:`, `S:`) is
what the package's bytes are held to. An index of a large repository lists a hundred thousand
packages: what is kept of it is one row of text each, so that it is handed over and searched as one.

Reading: apk-tools' `apk-repositories(5)`, the APKINDEX format. Non-goals: dependencies, versions'
order, signatures (they stay in it, and clients check them).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from proxy.ecosystems.apk_archive import Broken, entries, members
from proxy.ecosystems.apk_package import control_digest
from proxy.errors import Malformed, NotListed
from proxy.model import ArtifactTarget, Document, Source

INDEX: Final = "APKINDEX.tar.gz"
MAX_INFLATED: Final = 512 << 20
_LIST: Final = "APKINDEX"
_FIELDS = re.compile(rb"^(?:([PVCS]):(\S+)[ \t\r]*|)$", re.MULTILINE)
_SIZE = re.compile(rb"[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class Offers:
    """All packages of an index, one row each: file name, checksum, size. Implements `Catalogue`."""

    rows: bytes

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return len(self.rows)

    @classmethod
    def of(cls, index: Document) -> Self:
        """Read an index. Raises Malformed."""
        rows = [b""]
        record: dict[bytes, bytes] = {}
        for key, value in (*_FIELDS.findall(_listed(index)), (b"", b"")):
            if key:
                record[key] = value
            elif record:
                row = (record.get(b"P", b"") + b"-" + record.get(b"V", b"") + b".apk",)
                rows.append(b" ".join((*row, record.get(b"C", b"-"), record.get(b"S", b"-"))))
                record = {}
        rows.append(b"")
        return cls(b"\n".join(rows))

    def find(self, target: ArtifactTarget) -> Source:
        """What the index says of a package; the first of two rows about one file counts.

        Raises NotListed; Malformed where it does not say what the file has to be.
        """
        wanted = b"\n" + target.filename.encode("utf-8") + b" "
        start = self.rows.find(wanted)
        if start < 0:
            raise NotListed(target.filename)
        start += len(wanted)
        end = self.rows.index(b"\n", start)
        checksum, _, size = self.rows[start:end].partition(b" ")
        seal = checksum.decode("ascii", "replace")
        if control_digest(seal) is None or not _SIZE.fullmatch(size):
            raise Malformed("The upstream's index gives no checksum and size of this package.")
        return Source(
            target.path,
            target.package,
            target.version,
            size=int(size),
            upstream=target.upstream,
            seal=seal,
        )

    def smallest(self) -> str:
        """The file name of the smallest package; "": there is none."""
        rows = [row.split(b" ") for row in self.rows.splitlines() if row]
        sized = [(int(size), name) for name, _, size in rows if _SIZE.fullmatch(size)]
        return min(sized)[1].decode("utf-8", "replace") if sized else ""


def check(index: Document) -> None:
    """Tell an index that is whole from anything else. Raises Malformed."""
    _listed(index)


def _listed(index: Document) -> bytes:
    """The list in the archive. Raises Malformed."""
    tar = bytearray()
    try:
        for content in members(index.body, MAX_INFLATED):
            tar += content
        found = [entry for entry in entries(tar) if entry.name == _LIST]
    except Broken as error:
        raise Malformed(f"The upstream's package index cannot be read: {error}.") from error
    if len(found) != 1:
        raise Malformed("The upstream's package index holds no list of packages, or several.")
    return bytes(tar[found[0].start : found[0].end])
