"""Whether a package is the one that an index lists. Pure.

Purpose: an index gives no digest of a package's file. Its `C:` is the SHA-1 of the control segment
only, as it is compressed; in there stands `datahash`, the SHA-256 of the data segment, likewise.
`Package` finds the borders between them while the package passes by, and holds both to what was
promised. The signature in front is nobody's promise: it may hold signatures and nothing else, and
no client takes anything from it but them.

Reading: apk-tools' `apk-package(5)`, abuild's and melange's writers. Non-goals: signatures (clients
have the keys, and what vouches for the index is in the index); packages of apk-tools' version 3
format, which the upstream does not have.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Final, final

from proxy.ecosystems.apk_archive import SIGNATURE, Broken, Member, entries

MAX_SEGMENT: Final = 8 << 20  # bytes that signature or control inflate to; the data is not inflated
_INFO: Final = ".PKGINFO"
_DATAHASH = re.compile(rb"^datahash[ \t]*=[ \t]*([0-9a-fA-F]{64})[ \t\r]*$", re.MULTILINE)
_PREFIX: Final = "Q1"  # of a SHA-1 in base64


def control_digest(checksum: str) -> bytes | None:
    """The SHA-1 in an index's `C:`; None: it is none."""
    if not checksum.startswith(_PREFIX):
        return None
    try:
        digest = base64.b64decode(checksum.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest if len(digest) == hashlib.sha1(usedforsecurity=False).digest_size else None


@final
class Package:
    """Implements `Verifier`. `checksum`: the index's `C:`. `size` in bytes; None: not told."""

    def __init__(self, checksum: str, size: int | None) -> None:
        self._promised = control_digest(checksum)
        self._left = size
        self._broken = self._promised is None
        self._first = True
        self._begin()
        self._datahash = ""
        self._data = hashlib.sha256()
        self._has_data = False

    def feed(self, piece: bytes) -> None:
        """See `Verifier.feed`."""
        if self._left is not None:
            self._left -= len(piece)
        rest = piece
        while rest and not self._broken:
            rest = self._take(rest)

    def holds(self) -> bool:
        """See `Verifier.holds`."""
        if self._broken or self._member is not None or self._left not in (None, 0):
            return False
        if not self._datahash:
            return not self._has_data
        return self._data.hexdigest() == self._datahash

    def _begin(self) -> None:
        self._member: Member | None = Member(MAX_SEGMENT)
        self._hash = hashlib.sha1(usedforsecurity=False)

    def _take(self, piece: bytes) -> bytes:
        """Take the next bytes in, up to a border; what stands behind it."""
        member = self._member
        if member is None:
            self._has_data = True
            self._data.update(piece)
            return b""
        try:
            rest = member.take(piece)
            self._hash.update(piece[: len(piece) - len(rest)])
            if member.ended:
                self._close(member)
        except Broken:
            self._broken = True
            return b""
        return rest

    def _close(self, member: Member) -> None:
        """A segment has ended: the signature, or the control segment. Raises Broken."""
        found = list(entries(member.content))
        signed = bool(found) and all(entry.name.startswith(SIGNATURE) for entry in found)
        if self._first and signed:
            self._first = False
            self._begin()
            return
        if self._hash.digest() != self._promised:
            raise Broken("another control segment")
        infos = [entry for entry in found if entry.name == _INFO]
        if len(infos) != 1:
            raise Broken("not one description")
        told = _DATAHASH.findall(member.content, infos[0].start, infos[0].end)
        if len(told) > 1:
            raise Broken("more than one data segment")
        self._datahash = told[0].decode("ascii").lower() if told else ""
        self._member = None
