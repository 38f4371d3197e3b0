"""What tests of the download engine share: artifacts of any size, and a client that reads slowly.

Purpose: a client here sees each byte when it comes, may stop half-way, hang up early, or speak
HTTP/1.0; how its connection ended is told apart (`fin`, `rst`). Non-goals: judging (tests do).
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from tests.origin import Artifact, Content, Origin
from tests.origin.blobs import SyntheticBlob

LIMIT = 30.0
KIB, MIB = 1 << 10, 1 << 20
_RESET = struct.pack("ii", 1, 0)


class Proxy(Protocol):
    """Where clients connect."""

    @property
    def url(self) -> str: ...


def noise(content: Content, size: int, *, seed: int = 0, name: str = "bigblob") -> Artifact:
    """An artifact of `size` bytes on a page of its own."""
    return content.synthetic(name, size, seed)


def other_noise(origin: Origin, artifact: Artifact, seed: int = 99) -> Artifact:
    """Replace an artifact by other bytes of the same size under the same path."""
    blob = SyntheticBlob(artifact.blob.size, seed)
    return origin.content.add(replace(artifact, blob=blob))


def data_of(artifact: Artifact) -> bytes:
    """All bytes of a noise artifact."""
    blob = artifact.blob
    return b"".join(blob.pieces()) if isinstance(blob, SyntheticBlob) else blob.data  # type: ignore[attr-defined]


def pattern(artifact: Artifact) -> str:
    """Finds the artifact's requests in the origin's log, but not its page's."""
    return re.escape(artifact.filename)


def bodies(origin: Any, artifact: Artifact) -> int:
    """How often the object store was asked for its body."""
    count: int = origin.count("GET", pattern(artifact), "store")
    return count


def pages(origin: Any, project: str = "bigblob") -> int:
    """How often the upstream was asked for a page."""
    count: int = origin.count("GET", f"/simple/{project}/", "origin")
    return count


# --- a client ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Got:
    """An answer to its end. `complete`: its framing says that this was all; `ended`: `fin`, `rst`,
    or `open` where the framing told the end."""

    status: int
    headers: dict[str, str]
    body: bytes
    ended: str
    complete: bool

    @property
    def sha256(self) -> str:
        """Of the body."""
        return hashlib.sha256(self.body).hexdigest()

    @property
    def cache(self) -> str:
        """The Cache-Status."""
        return self.headers.get("cache-status", "")


class Stream:
    """One request whose answer is read step by step."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}
        self.method = "GET"

    async def send(self, target: str, *, version: str = "1.1", **fields: str) -> None:
        """Send a request. `fields`: `_` in a name stands for a dash; `method` is no field."""
        self.method = fields.pop("method", "GET")
        names = {"Host": "localhost", **{k.replace("_", "-"): v for k, v in fields.items()}}
        lines = [f"{self.method} {target} HTTP/{version}", *(f"{k}: {v}" for k, v in names.items())]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())
        await self.writer.drain()

    async def head(self) -> Stream:
        """Read the head."""
        async with asyncio.timeout(LIMIT):
            raw = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").rstrip().split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
        return self

    async def exactly(self, count: int) -> bytes:
        """Read so many bytes of the body (not chunked)."""
        async with asyncio.timeout(LIMIT):
            return await self.reader.readexactly(count)

    async def rest(self, limit: float = LIMIT, *, keep: bool = False) -> Got:
        """Read to the end of the answer, and close unless the connection is to be kept."""
        body, ended, complete = bytearray(), "open", False
        try:
            async with asyncio.timeout(limit):
                complete = await self._read_body(body)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            ended = "rst" if isinstance(error, ConnectionError) else "fin"
            if isinstance(error, asyncio.IncompleteReadError):
                body += error.partial
        finally:
            if not keep:
                self.close()
        return Got(self.status, self.headers, bytes(body), ended, complete)

    async def _read_body(self, body: bytearray) -> bool:
        length = self.headers.get("content-length")
        if self.method == "HEAD" or self.status in (204, 304):
            return True
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                body += (await self.reader.readexactly(size + 2))[:-2]
            return await self.reader.readexactly(2) == b"\r\n"
        if length is None:
            while piece := await self.reader.read(MIB):
                body += piece
            return True
        left = int(length)
        while left:
            piece = await self.reader.read(min(left, MIB))
            if not piece:
                raise asyncio.IncompleteReadError(b"", left)
            body += piece
            left -= len(piece)
        return True

    def hang_up(self) -> None:
        """Reset the connection."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.writer.transport.abort()

    def close(self) -> None:
        """Close the connection."""
        self.writer.transport.abort()


async def stream(
    proxy: Proxy, target: str, *, version: str = "1.1", buffer: int = 0, **fields: str
) -> Stream:
    """Send a request on a connection of its own. `buffer`: SO_RCVBUF in bytes."""
    parts = urlsplit(proxy.url)
    sock = socket.socket()
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_connect(sock, (parts.hostname, parts.port))
    except BaseException:
        sock.close()
        raise
    limit = buffer or 1 << 16
    reader, writer = await asyncio.open_connection(sock=sock, limit=limit)
    made = Stream(reader, writer)
    await made.send(target, version=version, **fields)
    return made


async def fetch(proxy: Proxy, target: str, *, version: str = "1.1", **fields: str) -> Got:
    """One request, read to its end. An answer that never began has status 0."""
    try:
        made = await stream(proxy, target, version=version, buffer=0, **fields)
    except ConnectionError:
        return Got(0, {}, b"", "rst", complete=False)
    try:
        await made.head()
        return await made.rest()
    except (ConnectionError, asyncio.IncompleteReadError):
        return Got(0, {}, b"", "rst", complete=False)
    finally:
        made.close()


async def loaded(proxy: Proxy, artifacts: Sequence[Artifact], chance: random.Random) -> None:
    """Ask for anything, for ever; an answer that looks complete is right."""
    while True:
        artifact = chance.choice(artifacts)
        got = await fetch(proxy, artifact.link)
        if got.status == 200 and got.complete:
            assert got.sha256 == artifact.blob.sha256
        # Whoever nobody listens to may ask again a moment later.
        await asyncio.sleep(0.01 if got.status == 0 else 0)


# --- what is left behind -----------------------------------------------------------------------


def descriptors() -> int:
    """Open file descriptors of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def until(what: Callable[[], bool], seconds: float = LIMIT) -> None:
    """Let the loop run until something holds; fails after a while."""
    async with asyncio.timeout(seconds):
        while not what():  # noqa: ASYNC110  # of things that tell nobody when they change
            await asyncio.sleep(0.005)


@contextmanager
def quick(module: Any, **values: float) -> Iterator[None]:
    """Set constants of a module for a while: a window of 30 seconds is no test."""
    before = {name: getattr(module, name) for name in values}
    for name, value in values.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)
