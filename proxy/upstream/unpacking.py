"""A document that comes packed, though identity was asked for: unpacked piece by piece. No I/O.

Purpose: some upstreams keep documents packed and send them so to everybody (NuGet's registrations).
No piece that comes out is large, whatever comes in, so that whoever reads them can stop at a limit.

Reading: RFC 9110 section 8.4 (Content-Encoding), RFC 1952. Non-goals: artifacts, whose bytes are
what their digest is of: those are never unpacked.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, final

from proxy.errors import Malformed, Unavailable

GZIP: Final = ("gzip", "x-gzip")
PIECE: Final = 256 << 10
_WRAPPED: Final = 16 + zlib.MAX_WBITS


@final
class Unpacker:
    """Unpacks one gzip stream."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_WRAPPED)

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """What a piece holds, in pieces of `PIECE` bytes at most. Raises Malformed."""
        while piece:
            if self._stream.eof:
                raise Malformed("The upstream's packed document has something behind its end.")
            try:
                made = self._stream.decompress(piece, PIECE)
            except zlib.error as error:
                raise Malformed("The upstream's packed document cannot be unpacked.") from error
            piece = self._stream.unconsumed_tail or self._stream.unused_data
            if made:
                yield made

    def finish(self) -> None:
        """Take note of the end. Raises Unavailable when it was cut."""
        if not self._stream.eof:
            raise Unavailable("The upstream's packed document broke off; try again.", retry_after=1)
