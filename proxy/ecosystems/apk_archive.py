"""Gzip members and tar entries, as far as apk files have them. Pure.

Purpose: an apk package and an index are gzip members one after the other, whose contents make one
tar archive: signature, control, data. What is read here is small and bounded, whatever it inflates
to; nothing is ever unpacked to anywhere.

Reading: RFC 1952 (gzip), POSIX ustar, apk-tools' `apk-package(5)`. Non-goals: long names, links,
anything else that neither an index nor a control segment has.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple, final

_GZIP: Final = 16 + zlib.MAX_WBITS
_STEP: Final = 1 << 18  # bytes inflated at a time
_BLOCK: Final = 512
_PLAIN: Final = (b"0", b"\0")
_HEADERS: Final = (b"x", b"g")  # of pax: about the entry behind, or all of them
SIGNATURE: Final = ".SIGN."


class Broken(Exception):
    """Not of the format, cut, or larger than anything of its kind."""


class Entry(NamedTuple):
    """A plain file of a tar archive: where its content lies in it."""

    name: str
    start: int
    end: int


@final
class Member:
    """One gzip member that comes in pieces. `content` has at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._inflating = zlib.decompressobj(_GZIP)
        self._limit = limit
        self.content = bytearray()

    def take(self, piece: bytes) -> bytes:
        """Inflate the next bytes; what stands behind the end of the member. Raises Broken."""
        inflating, rest = self._inflating, piece
        try:
            while rest and not inflating.eof:
                self.content += inflating.decompress(rest, _STEP)
                rest = inflating.unconsumed_tail
                if len(self.content) > self._limit:
                    raise Broken("it inflates to more than it may")
        except zlib.error as error:
            raise Broken("it is not gzip, or damaged") from error
        return inflating.unused_data

    @property
    def ended(self) -> bool:
        """Tell whether its end, with the checksum, was there."""
        return self._inflating.eof


def members(body: bytes, limit: int) -> Iterator[bytearray]:
    """The contents of all members, together at most `limit` bytes. Raises Broken."""
    while body:
        member = Member(limit)
        body = member.take(body)
        if not member.ended:
            raise Broken("it is cut")
        limit -= len(member.content)
        yield member.content


def entries(tar: bytes | bytearray) -> Iterator[Entry]:
    """The plain files of a tar archive; its end may be missing, as in all but the last member.

    Raises Broken.
    """
    at = 0
    while at < len(tar):
        header = bytes(tar[at : at + _BLOCK])
        if not header.strip(b"\0"):
            return
        if len(header) < _BLOCK:
            raise Broken("its archive is cut")
        size = _octal(header[124:136])
        start = at + _BLOCK
        at = start + -(-size // _BLOCK) * _BLOCK
        if start + size > len(tar):
            raise Broken("its archive is cut")
        if header[156:157] in _PLAIN:
            name = header[:100].split(b"\0", 1)[0]
            yield Entry(name.decode("utf-8", "replace"), start, start + size)
        elif header[156:157] not in _HEADERS:
            yield Entry("", start, start)  # a folder, a link: there, but of no use here


def _octal(field: bytes) -> int:
    digits = field.strip(b"\0 ")
    if not digits:
        return 0
    if not all(byte in b"01234567" for byte in digits):
        raise Broken("its archive gives no size")
    return int(digits, 8)
