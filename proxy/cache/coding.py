"""Content codings that ready bodies are kept in.

Purpose: an index page shrinks to a tenth. gzip is what every client speaks; zstd packs a little
better in a fifth of the time, and is there where Python itself has it (3.14). For older Pythons
there are libraries, but a coding that only some clients use and nobody needs is not worth a
compiled dependency in the data path.

Reading: RFC 9110 section 8.4, RFC 8878. Non-goals: choosing one for a client (`server.coding`).
"""

from __future__ import annotations

import sys
import zlib
from typing import Final

if sys.version_info >= (3, 14):
    from compression import zstd

    CODINGS: Final = ("zstd", "gzip")
else:
    CODINGS: Final = ("gzip",)

SMALLEST: Final = 1024
"""Bytes; a shorter body is not worth it."""
_GZIP_LEVEL: Final = 6
_GZIP_FORMAT: Final = 16 + zlib.MAX_WBITS


def compress(body: bytes, coding: str) -> bytes:
    """Pack a body in one of `CODINGS`, always in the same way. Takes a while: not in the loop."""
    if sys.version_info >= (3, 14) and coding == "zstd":
        return zstd.compress(body)
    packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_FORMAT)
    return packer.compress(body) + packer.flush()
