"""Heads of answers as nearly all of them are: a 200 with a body of a known, small size. Pure.

Purpose: to tell at one look what needs no parser with states: a head that came whole, of lines that
are beyond doubt. Whatever could be read in two ways (another status, framing or coding, folded
lines, odd characters, two lengths) is not plain and is left to the library's parser.

Reading: RFC 9112 sections 2.2, 5 and 6. Non-goals: what the fields mean (`answers`).
"""

from __future__ import annotations

import re
from typing import Final, final

from multidict import CIMultiDict, CIMultiDictProxy

SMALL: Final = 256 << 10
"""Bytes of the largest body that a plain answer has."""
LONGEST: Final = 8000
"""Bytes of the longest head that is looked at; the library takes lines of that length."""
MOST: Final = 100
"""Fields of a plain head, at most; the library takes a few more."""
# Each of these gives the body another end or another meaning, or the connection another use.
_NOT_PLAIN: Final = (
    *(b"content-length", b"connection", b"transfer-encoding", b"content-encoding"),
    *(b"content-range", b"trailer", b"upgrade", b"proxy-connection", b"sec-websocket-key1"),
)
_LINE = (
    rb"\r\n(?:"
    rb"(?!(?i:" + b"|".join(_NOT_PLAIN) + rb"):)[!#-'*+.^_`|~0-9A-Za-z-]+: (?! )[ -~]+(?<! )"
    rb"|(?i:connection: keep-alive)(?=\r))"
)
# One length among lines of which each can be read in one way only: no line is tried twice.
_HEAD = re.compile(
    rb"HTTP/1\.1 200 [ -~]*"
    rb"(?:" + _LINE + rb")*?\r\n(?i:content-length): ([0-9]{1,6})(?=\r)(?:" + _LINE + rb")*"
    rb"\r\n\r\n"
)
_AROUND: Final = 2  # line ends of a head besides those of its fields


@final
class PlainHead:
    """Of `end` bytes at the beginning of `data`, before a body of `size` bytes."""

    __slots__ = ("_fields", "_text", "end", "size")

    def __init__(self, data: bytes, end: int, size: int) -> None:
        self.end = end
        self.size = size
        self._text = data[: end - 4]
        self._fields: CIMultiDictProxy[str] | None = None

    @property
    def fields(self) -> CIMultiDictProxy[str]:
        """Its fields. Made when somebody wants them: of most nobody does."""
        if self._fields is None:
            found = CIMultiDict[str]()
            for line in self._text.decode("ascii").split("\r\n")[1:]:
                name, _, value = line.partition(": ")
                found.add(name, value)
            self._fields = CIMultiDictProxy(found)
        return self._fields


def read_plain(data: bytes) -> PlainHead | None:
    """The plain head at the beginning of `data`. None: it is not plain, or not whole."""
    found = _HEAD.match(data, 0, LONGEST)
    if found is None:
        return None
    end, size = found.end(), int(found[1])
    if not 0 < size <= SMALL or data.count(b"\r\n", 0, end) > MOST + _AROUND:
        return None
    return PlainHead(data, end, size)
