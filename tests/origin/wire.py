"""A small HTTP/1.1 server on asyncio streams, for full control of every byte.

Purpose: the test origin must see raw request targets exactly as sent and must be able to break
every rule of the protocol on purpose; a real server library forbids both. Keep-alive, request
bodies with Content-Length, nothing more.

Reading: RFC 9112. Non-goals: being a good server for anything but tests; TLS; HTTP/2.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.origin.blobs import BytesBlob, Part, whole

_MAX_HEAD = 256 * 1024
_MAX_BODY = 4 * 1024 * 1024
EMPTY = whole(BytesBlob(b""))

Header = tuple[str, str]


class BadWire(Exception):
    """The peer sent what cannot be read as a request."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `target` is raw (latin-1); header names as spelt, in order."""

    method: str
    target: str
    version: str
    headers: tuple[Header, ...]
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """Give the first value of a header, or None."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def all(self, name: str) -> str:
        """Give all values of a header, joined with commas; empty when absent."""
        return ", ".join(value for key, value in self.headers if key.lower() == name.lower())

    def without(self, *names: str) -> Request:
        """Copy it without some headers (lower case)."""
        kept = tuple(pair for pair in self.headers if pair[0].lower() not in names)
        return Request(self.method, self.target, self.version, kept, self.body)

    @property
    def keep_alive(self) -> bool:
        """Tell whether the peer wants to go on with this connection."""
        return self.version == "HTTP/1.1" and "close" not in self.all("connection").lower()


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. `headers` without Content-Length, which framing adds."""

    status: int
    headers: tuple[Header, ...] = ()
    body: Part = EMPTY

    @classmethod
    def of(cls, status: int, media_type: str, body: bytes, *headers: Header) -> Response:
        """Make an answer whose body is at hand."""
        return cls(status, (("Content-Type", media_type), *headers), whole(BytesBlob(body)))


class Connection:
    """One TCP connection: reading requests off it, writing, and ending it well or badly."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = bytearray()
        # Drain then waits until the kernel has everything: cuts at an exact byte need that.
        writer.transport.set_write_buffer_limits(high=0)

    async def request(self) -> Request | None:
        """Read one request; None when the peer has gone. Raises BadWire."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _MAX_HEAD:
                raise BadWire("head too long")
            if not await self._fill():
                return None
        head = bytes(self._buffer[:end]).decode("latin-1")
        del self._buffer[: end + 4]
        first, *lines = head.split("\r\n")
        parts = first.split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            raise BadWire("request line")
        pairs = [line.partition(":") for line in lines]
        if any(not colon or not name or name != name.strip() for name, colon, _ in pairs):
            raise BadWire("header line")
        headers = tuple((name, value.strip()) for name, _, value in pairs)
        request = Request(parts[0], parts[1], parts[2], headers)
        body = await self._body(request)
        return Request(parts[0], parts[1], parts[2], headers, body)

    async def _body(self, request: Request) -> bytes:
        if request.header("transfer-encoding") is not None:
            raise BadWire("transfer coding")
        length = request.header("content-length") or "0"
        if not length.isdecimal() or int(length) > _MAX_BODY:
            raise BadWire("content length")
        while len(self._buffer) < int(length):
            if not await self._fill():
                raise BadWire("body cut short")
        body = bytes(self._buffer[: int(length)])
        del self._buffer[: int(length)]
        return body

    async def _fill(self) -> bool:
        data = await self._reader.read(64 * 1024)
        self._buffer += data
        return bool(data)

    async def write(self, data: bytes) -> None:
        """Write and wait until the kernel has taken all of it."""
        self._writer.write(data)
        await self._writer.drain()

    async def gone(self) -> None:
        """Wait until the peer has closed."""
        while await self._fill():
            pass

    async def reset(self) -> None:
        """End with RST, after the peer's kernel has what was written (bounded wait)."""
        sock = self._writer.get_extra_info("socket")
        for _ in range(2000):
            if sock.fileno() < 0:
                return
            queued = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
            if struct.unpack("i", queued)[0] == 0:
                break
            await asyncio.sleep(0.001)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def close(self) -> None:
        """End with FIN."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


Serve = Callable[[Connection, Request], Awaitable[bool]]


class Listener:
    """One listening address that can be closed and reopened on the same port.

    `serve` answers one request and tells whether the connection goes on. While closed, the port
    stays bound without listening: connections are refused and nobody else can take it.
    """

    def __init__(self, host: str, port: int, serve: Serve) -> None:
        self.host = host
        self.port = port
        self._serve = serve
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = None
        self._running: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """`http://host:port`."""
        return f"http://{self.host}:{self.port}"

    async def open(self) -> None:
        """Start to listen; the port is the one of the last time."""
        if self._server is not None:
            return
        sock = self._reserved or self._bind()
        self._reserved = None
        self._server = await asyncio.start_server(self._connected, sock=sock, backlog=1024)

    async def close(self, *, keep_port: bool = True) -> None:
        """Stop to listen and break off every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
            if keep_port:
                self._reserved = self._bind()
        elif self._reserved is not None and not keep_port:
            self._reserved.close()
            self._reserved = None
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _bind(self) -> socket.socket:
        # asyncio switches Nagle's algorithm off only where the protocol is named: without it every
        # second answer on a connection waits 40 ms for the acknowledgement of the first.
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((self.host, self.port))
        sock.setblocking(False)
        self.port = sock.getsockname()[1]
        return sock

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        connection = Connection(reader, writer)
        try:
            await self._converse(connection)
        except asyncio.CancelledError:
            # Only `close` cancels: the callback's task must end quietly, or asyncio logs it.
            writer.transport.abort()
        except (ConnectionError, BadWire):
            writer.transport.abort()
        finally:
            self._running.discard(task)

    async def _converse(self, connection: Connection) -> None:
        while (request := await connection.request()) is not None:
            if not await self._serve(connection, request):
                break
        await connection.close()
