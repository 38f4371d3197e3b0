"""The upstream room on real sockets: what its tests share.

Purpose: an `HttpUpstream` for one ecosystem with a credential that is loaded, a clock that tests
push ahead, a server that sends exactly what it is told, a resolver that answers what it is told.

Non-goals: the vendor's behaviour (see `tests.origin`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from types import TracebackType
from typing import Any, Self

from aiohttp.abc import AbstractResolver, ResolveResult

from proxy.egress import Egress
from proxy.model import HostRules
from proxy.secret import Secret
from proxy.upstream.addresses import AddressRules, Network
from proxy.upstream.base import UpstreamRequest
from proxy.upstream.client import HttpUpstream, UpstreamLimits
from proxy.upstream.credentials import Credentials, PairSource
from tests.origin import Origin
from tests.running import trusting

LOOPBACK = (ip_network("127.0.0.0/8"),)
SWIFT = UpstreamLimits(
    connect_timeout=1.0, first_byte_timeout=2.0, read_timeout=2.0, retry_pause=0.01
)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Converse = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Clock:
    """Monotonic seconds that tests push ahead."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@dataclass
class Seen:
    """Implements `UpstreamObserver`: the outcomes, in order; bytes of bodies."""

    outcomes: list[str] = field(default_factory=list)
    received: int = 0
    limits: list[str] = field(default_factory=list)

    def upstream_request(self, ecosystem: str, outcome: str, seconds: float) -> None:
        assert ecosystem == "python"
        assert seconds >= 0
        self.outcomes.append(outcome)

    def limit_reached(self, limit: str) -> None:
        self.limits.append(limit)

    def upstream_bytes(self, ecosystem: str, count: int) -> None:
        assert ecosystem == "python"
        self.received += count


@dataclass
class Room:
    """A running upstream room."""

    upstream: HttpUpstream
    credentials: Credentials
    clock: Clock
    seen: Seen

    async def get(self, location: str, **what: Any) -> bytes:
        """Ask, read to the end, close."""
        response = await self.upstream.open(ask(location, **what))
        try:
            return b"".join([piece async for piece in response.pieces()])
        finally:
            await response.close()


def ask(location: str, **what: Any) -> UpstreamRequest:
    """A request of the python ecosystem."""
    return UpstreamRequest("python", location, **what)


async def loaded(source: PairSource | None) -> Credentials:
    """Credentials with a first reading behind them."""
    credentials = Credentials({"python": [source]} if source is not None else {})
    await credentials.load()
    return credentials


def token_of(origin: Origin) -> PairSource:
    """The pull token of a test origin."""
    return PairSource(username=origin.username, password=Secret(origin.password))


@contextlib.asynccontextmanager
async def room(
    url: str,
    source: PairSource | None = None,
    *,
    hosts: tuple[str, ...] = (),
    networks: tuple[Network, ...] = LOOPBACK,
    insecure: bool = True,
    limits: UpstreamLimits = SWIFT,
    tls: ssl.SSLContext | None = None,
    frozen: frozenset[str] = frozenset(),
    resolver: AbstractResolver | None = None,
    challenging: bool = False,
    egress: Egress | None = None,
) -> AsyncIterator[Room]:
    """Open an upstream room for one base URL; learnt hosts are those in `hosts`.

    `challenging`: the upstream wants bearer tokens.
    """
    clock, seen = Clock(), Seen()
    credentials = await loaded(source)
    upstream = HttpUpstream(
        {"python": url},
        credentials,
        AddressRules(HostRules(hosts), networks, insecure),
        limits,
        tls=tls or trusting(None),
        clock=clock,
        observer=seen,
        frozen=frozen,
        challenging=frozenset({"python"} if challenging else ()),
        resolver=resolver,
        egress=egress,
    )
    try:
        yield Room(upstream, credentials, clock, seen)
    finally:
        await upstream.close()


@contextlib.asynccontextmanager
async def room_of(origin: Origin, **how: Any) -> AsyncIterator[Room]:
    """A room for a test origin, its object store allowed."""
    hosts = (origin.store_url.removeprefix("http://"), *how.pop("hosts", ()))
    async with room(origin.url, token_of(origin), hosts=hosts, **how) as made:
        yield made


class Conversations:
    """What a server has to do with connections: one coroutine each, none of which outlives it."""

    def __init__(self, converse: Converse) -> None:
        self._converse = converse
        self._running: set[asyncio.Task[None]] = set()

    async def begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Have one, for as long as both sides are there; for `asyncio.start_server`."""
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            await self._converse(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            self._running.discard(task)

    async def end(self, server: asyncio.Server) -> None:
        """End all of them, and their server."""
        server.close()
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await server.wait_closed()


class Raw:
    """A server that sends what `answer` gives for a request target, byte for byte.

    An answer ends the connection when it is not framed, or comes piece by piece. `None`: the
    connection is ended without one.
    """

    def __init__(
        self,
        answer: Callable[[str], bytes | AsyncIterator[bytes] | None],
        host: str = "127.0.0.3",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._answer = answer
        self.host = host
        self._tls = tls
        self.connections = 0
        self.heads: list[str] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._conversations = Conversations(self._converse)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    @property
    def place(self) -> str:
        """`host:port`, as `redirect_hosts` has it."""
        return f"{self.host}:{self.port}"

    @property
    def targets(self) -> list[str]:
        return [head.split(" ")[1] for head in self.heads]

    async def __aenter__(self) -> Self:
        # asyncio switches Nagle's algorithm off only where the protocol is named.
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        sock.bind((self.host, 0))
        self.port = sock.getsockname()[1]
        self._server = await asyncio.start_server(
            self._conversations.begin, sock=sock, ssl=self._tls
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        await self._conversations.end(self._server)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.heads.append(head)
            answer = self._answer(head.split(" ")[1])
            if answer is None:
                return
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                async for piece in answer:
                    writer.write(piece)
                    await writer.drain()
            if not isinstance(answer, bytes) or b"Content-Length" not in answer:
                if writer.can_write_eof():
                    writer.write_eof()
                    await reader.read()
                return


class Names(AbstractResolver):
    """A resolver that answers from a table, each name's answers in turn, the last one for ever."""

    def __init__(self, table: Mapping[str, list[list[str]]]) -> None:
        self._table = {name: list(answers) for name, answers in table.items()}
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        if host not in self._table:
            raise OSError(None, "no such name")
        answers = self._table[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass


def redirect_to(location: str, status: int = 302) -> bytes:
    """A redirect as the vendor sends it: with a page for a body."""
    page = b"<html>moved</html>"
    head = f"HTTP/1.1 {status} Found\r\nLocation: {location}\r\nContent-Length: {len(page)}\r\n\r\n"
    return head.encode("latin-1") + page


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """A framed answer; `_` in a header's name stands for a dash."""
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    head = f"HTTP/1.1 {status} Odd\r\n{''.join(lines)}Content-Length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body
