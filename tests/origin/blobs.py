"""Bodies of the test origin: bytes in memory, a file, or endless-looking generated noise.

Purpose: one small shape for everything that is sent, so that a 500 MB artifact costs no memory
and every fault works on every body. A blob may be read from any offset, as often as wanted.

Non-goals: knowing what the bytes mean (see `wheels`) or how they are sent (see `transmit`).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

CHUNK = 256 * 1024
_BLOCK = 64 * 1024


class Blob(Protocol):
    """Bytes of known length. Reading MUST NOT block the event loop."""

    @property
    def size(self) -> int:
        """Length in bytes."""
        ...

    @property
    def sha256(self) -> str:
        """Hex SHA-256 over all bytes."""
        ...

    @property
    def etag(self) -> str:
        """A strong entity tag as object stores make it: quoted hex MD5."""
        ...

    def chunks(self, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` up to, not including, `end`."""
        ...


class BytesBlob:
    """A body that is held in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    @cached_property
    def sha256(self) -> str:
        """Hex SHA-256."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def etag(self) -> str:
        """Quoted hex MD5."""
        return f'"{hashlib.md5(self.data, usedforsecurity=False).hexdigest()}"'

    async def chunks(self, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield slices."""
        for at in range(start, end, CHUNK):
            yield self.data[at : min(at + CHUNK, end)]


class FileBlob:
    """A file on disk; hashed once, when it is made (call this outside the event loop)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.sha256, self.etag = _digests(_file_pieces(path))

    async def chunks(self, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield pieces, each read in a thread."""
        for at in range(start, end, CHUNK):
            yield await asyncio.to_thread(self._read, at, min(CHUNK, end - at))

    def _read(self, at: int, length: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(at)
            return file.read(length)


class SyntheticBlob:
    """Noise that `seed` determines: the same bytes in every process, none of them held.

    Hashing needs one pass over all bytes (about 3 s for a GB), made at construction.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self.size = size
        self.seed = seed
        self.sha256, self.etag = _digests(self.pieces())

    def pieces(self) -> Iterator[bytes]:
        """Yield all bytes, block by block."""
        for at in range(0, self.size, _BLOCK):
            yield self._block(at // _BLOCK)[: self.size - at]

    async def chunks(self, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield blocks, the first and last cut to fit; lets other tasks run in between."""
        at = start
        while at < end:
            offset = at % _BLOCK
            piece = self._block(at // _BLOCK)[offset : offset + end - at]
            yield piece
            at += len(piece)
            await asyncio.sleep(0)

    def _block(self, index: int) -> bytes:
        return hashlib.shake_128(f"{self.seed}:{index}".encode()).digest(_BLOCK)


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a blob that one answer carries: from `start` up to, not including, `end`."""

    blob: Blob
    start: int
    end: int

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.end - self.start

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the part's bytes."""
        return self.blob.chunks(self.start, self.end)


def whole(blob: Blob) -> Part:
    """Give all of a blob as a part."""
    return Part(blob, 0, blob.size)


def _digests(pieces: Iterator[bytes]) -> tuple[str, str]:
    sha256 = hashlib.sha256()
    md5 = hashlib.md5(usedforsecurity=False)
    for piece in pieces:
        sha256.update(piece)
        md5.update(piece)
    return sha256.hexdigest(), f'"{md5.hexdigest()}"'


def _file_pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            yield piece
