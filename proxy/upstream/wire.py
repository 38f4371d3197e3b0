"""A connection of the library's that takes in plain answers itself.

Purpose: most answers are a small body behind a head that says so (`plain`). The library makes a
parser, a message, a queue and a stream with flow control of each (measured: half of what asking
costs here); this takes head and body as they are. Everything else is given to the library's parser,
from the first byte on, as if nobody had looked.

It is looked at once, when the first bytes of an answer come. What comes while nobody asks, or
beyond the body's length, belongs to nobody: such a connection is not used again.

Reading: aiohttp `client_proto.py` (`ResponseHandler`); RFC 9112 section 6.3. Non-goals: whose turn
it is (`questions`), how long it may take (`deadlines`, `silence`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, final

import aiohttp
from aiohttp.client_proto import ResponseHandler

from proxy.upstream.arriving import Arriving
from proxy.upstream.plain import PlainHead, read_plain

READ_BUFFER: Final = 256 << 10
"""Bytes that are asked for in one read of a body that may be large; asyncio's own measure."""
READ: Final = 96 << 10
"""The same for an answer that may be small. For more than 128 KiB the C library has the kernel make
room each time, and take it back (measured: 30 us a read in place of 5)."""

# Head and body of a plain answer.
Plain = tuple[PlainHead, Arriving]
# Is told of it, once; of None where it is not plain: then the library has it.
Reply = Callable[[Plain | None], None]


@final
class Wire(ResponseHandler):
    """The library's protocol with an eye on what comes in. `is_idle`: the last answer has come to
    its end, and nobody has asked since."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.is_idle = False
        self._events = loop
        self._most = 0
        self._reply: Reply | None = None
        self._body: Arriving | None = None

    @property
    def is_ready(self) -> bool:
        """Whether it is open, and nothing has come on it that nobody asked for."""
        transport = self.transport
        return transport is not None and not transport.is_closing() and not self.should_close

    def ask(self, question: bytes) -> asyncio.Future[Plain | None]:
        """The same as `put`, to be awaited. Raises ServerDisconnectedError."""
        answer: asyncio.Future[Plain | None] = self._events.create_future()
        if self.transport is None:
            raise aiohttp.ServerDisconnectedError
        self.put(question, partial(_give, answer))
        return answer

    def put(self, question: bytes, reply: Reply) -> None:
        """Send a GET, all of it; `reply` is told of what comes in answer. After None the caller,
        who is alone with this connection, goes on with `read`, as the library does."""
        self.is_idle = False
        transport = self.transport
        if transport is None or not self.is_ready:
            reply(None)
            return
        self._reply = reply
        if self._most != READ:
            self._read_up_to(READ)
        transport.write(question)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        reply = self._reply
        if reply is not None:
            self._reply = None
            self._answered(reply, data)
        elif self._body is not None:
            self._gather(self._body, data)
        elif self.is_idle and data:  # without data, a stream that was read asks to go on
            self.close()
        else:
            super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `asyncio.BaseProtocol`."""
        body, self._body = self._body, None
        if body is not None:
            body.set_exception(aiohttp.ClientPayloadError("the body was cut"))
        reply, self._reply = self._reply, None
        super().connection_lost(exc)
        if reply is not None:
            reply(None)  # `read` says what happened

    def _answered(self, reply: Reply, data: bytes) -> None:
        found = read_plain(data)
        if found is not None:
            left = found.size - (len(data) - found.end)
            if left >= 0:
                body = Arriving(self._events, data, found.end, left)
                if left:
                    self._body = body
                else:
                    self.is_idle = True
                reply((found, body))
                return
        self._leave_to_library()
        super().data_received(data)
        reply(None)

    def _gather(self, body: Arriving, data: bytes) -> None:
        left = body.left
        if len(data) > left:
            self.force_close()
            data = data[:left]
        if len(data) == left:
            self._body, self.is_idle = None, True
        body.feed(data)

    def _leave_to_library(self) -> None:
        """Have the library's parser take what comes."""
        self._read_up_to(READ_BUFFER)
        self.set_response_params(
            read_until_eof=True, auto_decompress=False, read_bufsize=READ_BUFFER
        )

    def _read_up_to(self, most: int) -> None:
        """Have asyncio ask for so many bytes in one read. With TLS it has its own measure."""
        self._most = most
        transport = self.transport
        if transport is not None and hasattr(transport, "max_size"):
            transport.max_size = most


def _give(answer: asyncio.Future[Plain | None], plain: Plain | None) -> None:
    if not answer.done():  # else who asked has left
        answer.set_result(plain)
