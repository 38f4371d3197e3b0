"""GETs on the library's connections, put without its request and response objects.

Purpose: of what a small answer costs here, most is what the library does around its connections
for cases that this proxy has closed off (cookies, redirects, middlewares, uploads; measured: three
quarters of it). So its connector finds or makes the connection (names, TLS, keep-alive, the
addresses of a host in turn), its protocol parses what comes, and the request in between is written
here. POSTs, and everything that goes by way of the organisation's own proxy, are left to its
session.

Reading: aiohttp `client.py` (`_request`), `client_reqrep.py` (`send`, `start`). Non-goals: what is
asked, what the answer means.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Mapping
from typing import Final, final

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from multidict import CIMultiDictProxy
from yarl import URL

from proxy.upstream.addresses import Address
from proxy.upstream.session import READ_BUFFER, Answer, NotHttp

MAX_ORIGINS: Final = 256
_SWITCHING = 101


@final
class PlainAnswer:
    """Implements `Answer`. The connection goes back where it came from when the body is here."""

    __slots__ = ("connection", "content", "headers", "status", "url")

    def __init__(
        self,
        url: URL,
        status: int,
        headers: CIMultiDictProxy[str],
        content: StreamReader,
        connection: Connection,
    ) -> None:
        self.url = url
        self.status = status
        self.headers = headers
        self.content = content
        self.connection: Connection | None = connection
        content.on_eof(self._ended)

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
            connection.release()


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
        self._session = session
        self._shown = shown
        self._connector = session.connector
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout)
        # By origin: what the connector has to know of a request, which is nothing of its own.
        self._origins: OrderedDict[str, aiohttp.ClientRequest] = OrderedDict()

    @property
    def origins(self) -> int:
        """How many origins something is known of."""
        return len(self._origins)

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    def ask(
        self, address: Address, fields: Mapping[str, str], body: bytes = b""
    ) -> Awaitable[Answer]:
        """Ask, and wait for the head. `body`: of a POST. Raises one of `session.FAILURES`."""
        if not body and self._shown is None:
            return self._get(address, fields)
        return self._session.request(
            "POST" if body else "GET",
            address.url,
            headers=fields,
            data=body or None,
            allow_redirects=False,
            proxy_headers=self._shown,
        )

    async def _get(self, address: Address, fields: Mapping[str, str]) -> PlainAnswer:
        about = self._about(address)
        head = _head(address.url, about.headers["Host"], fields)
        try:
            connection = await self._connector.connect(about, [], self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError("no connection in time") from error
        try:
            return await self._ask(connection, address.url, head)
        except BaseException:
            connection.close()
            raise

    async def _ask(self, connection: Connection, url: URL, head: bytes) -> PlainAnswer:
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None:
            raise aiohttp.ServerDisconnectedError
        protocol.set_response_params(
            read_until_eof=True, auto_decompress=False, read_bufsize=READ_BUFFER
        )
        transport.write(head)
        try:
            message, content = await protocol.read()
            while message.code < 200 and message.code != _SWITCHING:
                message, content = await protocol.read()
        except HttpProcessingError as error:
            raise NotHttp from error
        return PlainAnswer(url, message.code, message.headers, content, connection)

    def _about(self, address: Address) -> aiohttp.ClientRequest:
        about = self._origins.get(address.origin)
        if about is None:
            loop, origin = asyncio.get_running_loop(), address.url.origin()
            about = aiohttp.ClientRequest("GET", origin, loop=loop, session=self._session)
            self._origins[address.origin] = about
            if len(self._origins) > MAX_ORIGINS:
                self._origins.popitem(last=False)
        return about


def _head(url: URL, host: str, fields: Mapping[str, str]) -> bytes:
    """A request's head. Raises ValueError where a value would end its line."""
    lines = [f"GET {url.raw_path_qs} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1 or "\0" in text:
        raise ValueError("a field with a line break")
    return f"{text}\r\n\r\n".encode()
