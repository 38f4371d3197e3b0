"""Heads of answers as nearly all of them are: a 200 with a body of a known, small size. Pure.

Purpose: to tell at one look what needs no parser with states: a head that came whole, of lines that
are beyond doubt. Whatever could be read in two ways (another status, framing or coding, folded
lines, odd characters, two lengths) is not plain and is left to the library's parser.

Reading: RFC 9112 sections 2.2, 5 and 6. Non-goals: what the fields mean (`answers`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, final

from multidict import CIMultiDict, CIMultiDictProxy

SMALL: Final = 256 << 10
"""Bytes of the largest body that a plain answer has."""
LONGEST: Final = 8000
"""Bytes of the longest head that is looked at; the library takes lines of that length."""
MOST: Final = 100
"""Fields of a plain head, at most; the library takes a few more."""
_HEAD = re.compile(
    rb"HTTP/1\.1 200 [ -~]*(?:\r\n[!#-'*+.^_`|~0-9A-Za-z-]+: (?! )[ -~]+(?<! ))+\r\n\r\n"
)
_DIGITS = len(str(SMALL))
# Each of these gives the body another end or another meaning, or the connection another use.
_NOT_PLAIN = frozenset(
    {
        *("transfer-encoding", "content-encoding", "content-range", "trailer", "upgrade"),
        *("proxy-connection", "sec-websocket-key1"),
    }
)
_KEPT = "keep-alive"


@final
class PlainHead:
    """Of `end` bytes, before a body of `size` bytes."""

    __slots__ = ("_fields", "_pairs", "end", "size")

    def __init__(self, pairs: list[list[str]], end: int, size: int) -> None:
        self.end = end
        self.size = size
        self._pairs = pairs
        self._fields: CIMultiDictProxy[str] | None = None

    @property
    def fields(self) -> CIMultiDictProxy[str]:
        """Its fields. Made when somebody wants them: of most nobody does."""
        if self._fields is None:
            self._fields = CIMultiDictProxy(
                CIMultiDict([(name, value) for name, value in self._pairs])
            )
        return self._fields


def read_plain(data: bytes) -> PlainHead | None:
    """The plain head at the beginning of `data`. None: it is not plain, or not whole."""
    found = _HEAD.match(data, 0, LONGEST)
    if found is None:
        return None
    end = found.end()
    lines = data[: end - 4].decode("ascii").split("\r\n")
    pairs = [line.split(": ", 1) for line in lines[1:]]
    order = _order(tuple([name for name, _ in pairs]))
    if order is None:
        return None
    at, connections = order
    length = pairs[at][1]
    if len(length) > _DIGITS or not length.isdigit():
        return None
    for connection in connections:
        if pairs[connection][1].lower() != _KEPT:
            return None
    size = int(length)
    return PlainHead(pairs, end, size) if 0 < size <= SMALL else None


@lru_cache(maxsize=64)
def _order(names: tuple[str, ...]) -> tuple[int, tuple[int, ...]] | None:
    """Where the length is among fields of such names, and where what is said of the connection is.
    None: they are not those of a plain head. A server has mostly the same ones, in one order."""
    lower = [name.lower() for name in names]
    if len(lower) > MOST or lower.count("content-length") != 1 or not _NOT_PLAIN.isdisjoint(lower):
        return None
    connections = [at for at, name in enumerate(lower) if name == "connection"]
    return lower.index("content-length"), tuple(connections)
