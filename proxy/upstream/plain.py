"""Heads of answers as nearly all of them are: a 200 with a body of a known, small size. Pure.

Purpose: to tell at one look what needs no parser with states: a head that came whole, of lines that
are beyond doubt. Whatever could be read in two ways (another status, framing or coding, folded
lines, odd characters, two lengths) is not plain and is left to the library's parser.

Reading: RFC 9112 sections 2.2, 5 and 6. Non-goals: what the fields mean (`answers`).
"""

from __future__ import annotations

import re
from typing import Final

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
_FIELD = re.compile(r"\r\n([^:]+): ([^\r]+)")
# Each of these gives the body another end or another meaning, or the connection another use.
_NOT_PLAIN = (
    *("Transfer-Encoding", "Content-Encoding", "Content-Range", "Trailer", "Upgrade"),
    *("Proxy-Connection", "Sec-WebSocket-Key1"),
)
_KEPT = "keep-alive"


def read_plain(data: bytes) -> tuple[CIMultiDictProxy[str], int, int] | None:
    """The fields of a plain head at the beginning of `data`, how long it is, and how long its body,
    both in bytes. None: it is not plain, or not whole."""
    found = _HEAD.match(data, 0, LONGEST)
    if found is None:
        return None
    end = found.end()
    fields = CIMultiDict(_FIELD.findall(data[:end].decode("ascii")))
    lengths = fields.getall("Content-Length", ())
    if len(lengths) != 1 or len(fields) > MOST:
        return None
    (length,) = lengths
    if len(length) > _DIGITS or not length.isdigit():
        return None
    for value in fields.getall("Connection", ()):
        if value.lower() != _KEPT:
            return None
    for name in _NOT_PLAIN:
        if name in fields:
            return None
    size = int(length)
    return (CIMultiDictProxy(fields), end, size) if 0 < size <= SMALL else None
