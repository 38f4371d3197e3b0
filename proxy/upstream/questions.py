"""GETs on the library's connections, put without its request and response objects.

Purpose: of what a small answer costs here, most is what the library does around its connections
for cases that this proxy has closed off (cookies, redirects, middlewares, uploads; measured: three
quarters of it). So its connector makes the connections (names, TLS, the addresses of a host in
turn), which are kept here while nobody uses them (`kept`); the request in between is written here,
and a plain answer is read here (`wire`), any other by the library's parser. POSTs, and everything
that goes by way of the organisation's own proxy, are left to its session.

Reading: aiohttp `client.py` (`_request`), `client_reqrep.py` (`send`, `start`). Non-goals: what is
asked, what the answer means.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Mapping
from typing import Final, final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDictProxy
from yarl import URL

from proxy.upstream.addresses import Address
from proxy.upstream.asked import Asked
from proxy.upstream.kept import Kept
from proxy.upstream.plain import PlainHead
from proxy.upstream.session import KEEP_ALIVE, Answer, Content, NotHttp
from proxy.upstream.wire import READ_BUFFER, Plain, Wire

MAX_ORIGINS: Final = 256
_SWITCHING = 101
_Read = tuple[int, CIMultiDictProxy[str], Content]  # status, fields, body


@final
class PlainAnswer:
    """Implements `Answer`. The connection is kept for others when the body is here. `head`: its
    fields, if not a plain one."""

    __slots__ = ("_address", "_kept", "connection", "content", "head", "status")

    def __init__(  # noqa: PLR0913, PLR0917  # made in two lines
        self,
        address: Address,
        status: int,
        head: PlainHead | CIMultiDictProxy[str],
        content: Content,
        connection: Connection,
        kept: Kept,
    ) -> None:
        self.status = status
        self.head = head
        self.content = content
        self.connection: Connection | None = connection
        self._address = address
        self._kept = kept
        content.on_eof(self._ended)

    @property
    def url(self) -> URL:
        """See `Answer.url`."""
        return self._address.url

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """See `Answer.headers`."""
        return self.head.fields if isinstance(self.head, PlainHead) else self.head

    @property
    def content_length(self) -> int | None:
        """See `Answer.content_length`."""
        value = self.headers.get("Content-Length", "")
        return int(value) if value.isascii() and value.isdigit() else None

    def close(self) -> None:
        """See `Answer.close`."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()

    def _ended(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            self._kept.put(connection)


@final
class _Origin:
    """What is known of one: `about` is what the connector has to know of a request, which is
    nothing of its own; `lines` are those of the last `fields` that were asked with: mostly the
    next question has the same."""

    __slots__ = ("about", "fields", "kept", "lines")

    def __init__(self, about: aiohttp.ClientRequest) -> None:
        self.about = about
        self.kept = Kept(KEEP_ALIVE)
        self.fields: Mapping[str, str] = {}
        self.lines = ""

    def head(self, target: str, fields: Mapping[str, str]) -> bytes:
        """A request's head. Raises ValueError where a value would end its line."""
        if fields != self.fields or not self.lines:
            self.lines = _lines({"Host": self.about.headers["Host"], **fields})
            self.fields = fields
        return f"GET {target} HTTP/1.1\r\n{self.lines}".encode()


@final
class Questions:
    """Asks on the connections of a session, which is closed with it.

    `shown`: what the organisation's own proxy is to be shown; None: there is none.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        connect_timeout: float,
        shown: Mapping[str, str] | None = None,
    ) -> None:
        if session.connector is None:
            raise AssertionError("a session without connections")
        self._loop = asyncio.get_running_loop()
        self._session = session
        self._shown = shown
        self._connector = session.connector
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout)
        self._origins: OrderedDict[str, _Origin] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def origins(self) -> int:
        """How many origins something is known of."""
        return len(self._origins)

    async def close(self) -> None:
        """Close every connection."""
        if self._timer is not None:
            self._timer.cancel()
        await self._session.close()  # which waits for those that are kept, too
        for origin in self._origins.values():
            origin.kept.close()

    async def ask(self, address: Address, fields: Mapping[str, str], body: bytes = b"") -> Answer:
        """Ask, and wait for the head. `body`: of a POST. Raises one of `session.FAILURES`."""
        if body or self._shown is not None:
            return await self._left_to_session(address, fields, body)
        origin = self._origins.get(address.origin) or self._meet(address)
        question = origin.head(address.target, fields)
        connection = origin.kept.take()
        if connection is None:
            connection = await self._connect(origin)
        wire = connection.protocol
        try:
            if isinstance(wire, Wire):
                plain = await wire.ask(question)
                read = None if plain else await _read(wire)
            else:
                plain, read = None, await _ask(connection, question)
        except BaseException:
            connection.close()
            raise
        return _answer(address, plain, read, connection, origin.kept)

    def put(self, asked: Asked, fields: Mapping[str, str]) -> bool:
        """Ask on a connection that stands idle, and have it told what comes; False: there is none.

        Raises ValueError, as `ask`.
        """
        origin = self._origins.get(asked.address.origin)
        if origin is None or self._shown is not None:
            return False
        question = origin.head(asked.address.target, fields)
        connection = origin.kept.take()
        if connection is None:
            return False
        asked.connection, asked.kept = connection, origin.kept
        wire = connection.protocol
        if not isinstance(wire, Wire):
            raise AssertionError("a connection of another kind was kept")  # noqa: TRY004
        # When the turn is over: see `proxy.upstream.at_once`.
        self._loop.call_soon(wire.put, question, asked.heard)
        return True

    async def go_on(self, asked: Asked) -> Answer:
        """Go on with what was put: as `ask`."""
        try:
            read = None if asked.plain else await _read_late(asked)
        except BaseException:
            asked.connection.close()
            raise
        return _answer(asked.address, asked.plain, read, asked.connection, asked.kept)

    def _left_to_session(
        self, address: Address, fields: Mapping[str, str], body: bytes
    ) -> Awaitable[Answer]:
        return self._session.request(
            "POST" if body else "GET",
            address.url,
            headers=fields,
            data=body or None,
            allow_redirects=False,
            proxy_headers=self._shown,
        )

    async def _connect(self, origin: _Origin) -> Connection:
        if self._timer is None:
            self._sweep()
        try:
            return await self._connector.connect(origin.about, [], self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError("no connection in time") from error

    def _meet(self, address: Address) -> _Origin:
        about = aiohttp.ClientRequest(
            "GET", address.url.origin(), loop=self._loop, session=self._session
        )
        self._origins[address.origin] = origin = _Origin(about)
        if len(self._origins) > MAX_ORIGINS:
            self._origins.popitem(last=False)[1].kept.close()
        return origin

    def _sweep(self) -> None:
        """Close what was kept too long, now and again for as long as this is open."""
        self._timer = self._loop.call_later(KEEP_ALIVE, self._sweep)
        for origin in self._origins.values():
            origin.kept.sweep()


def _answer(
    address: Address, plain: Plain | None, read: _Read | None, connection: Connection, kept: Kept
) -> PlainAnswer:
    """What was taken in by us, or read by the library."""
    if plain is not None:
        return PlainAnswer(address, 200, *plain, connection, kept)
    if read is None:
        raise AssertionError("no answer")
    return PlainAnswer(address, *read, connection, kept)


async def _ask(connection: Connection, question: bytes) -> _Read:
    """Ask as the library does, whose parser takes what comes."""
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None:
        raise aiohttp.ServerDisconnectedError
    protocol.set_response_params(
        read_until_eof=True, auto_decompress=False, read_bufsize=READ_BUFFER
    )
    transport.write(question)
    return await _read(protocol)


async def _read_late(asked: Asked) -> _Read:
    """What has come, or comes now, and is not plain. Raises what came in its place."""
    if asked.failure is not None:
        raise asked.failure
    wire = asked.connection.protocol
    if wire is None:
        raise aiohttp.ServerDisconnectedError
    return await _read(wire)


async def _read(protocol: ResponseHandler) -> _Read:
    """The head of an answer that the library's parser has read; hints before it are passed over."""
    try:
        message, content = await protocol.read()
        while message.code < 200 and message.code != _SWITCHING:
            message, content = await protocol.read()
    except HttpProcessingError as error:
        raise NotHttp from error
    return message.code, message.headers, content


def _lines(fields: Mapping[str, str]) -> str:
    """The lines of a head behind its first. Raises ValueError where a value would end its line."""
    lines = [f"{name}: {value}" for name, value in fields.items()]
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1 or "\0" in text:
        raise ValueError("a field with a line break")
    return f"{text}\r\n\r\n"
