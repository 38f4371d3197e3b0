"""The seam before aiohttp's parser: a question that is known is answered where its bytes come in.

Purpose: an answer that is ready needs no parser, no task and no response object; they are nine
tenths of its cost. What a question is, and when it may be answered here, is decided by what aiohttp
keeps to itself about a connection (`SEAM`). The lock file pins the version that this was tested
with, a test says when another one has other names, and `Server` leaves all to the handler then.

Reading: aiohttp `web_protocol.py` (`data_received`, `start`), asyncio `selector_events.py`.
Non-goals: what the answers are (`hot`), those that are not ready yet (`errand`).
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from time import monotonic
from typing import Any

from aiohttp import web
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler

from proxy.server.paged import Paged

KEEPALIVE = 30.0
READ = 16 << 10
"""Bytes that are asked for in one read: requests are small. asyncio asks for 256 KiB, and to have
so much room made and taken back each time costs 13 us (measured), as much as a whole hit."""
SEAM = (
    *("_waiter", "_messages", "_request_count", "_upgraded", "_paused", "_close", "_force_close"),
    *("_next_keepalive_close_time", "_process_keepalive"),
)
"""What answering before the parser leans on, besides `data_received`."""
_END = b"\r\n\r\n"

# Head and body to send at once to a question (the bytes of a request) from an address, if that is
# known. The last argument is the time by the monotonic clock, which is the loop's.
Recall = Callable[[bytes, str, float], tuple[bytes, bytes | Paged] | None]


class RepeatingHandler(RequestHandler):
    """aiohttp's connection with an eye on what comes in. `recall` None: nothing is known."""

    __slots__ = ("_fd", "_peer", "_question", "_recall", "_socket", "_whole")

    def __init__(
        self,
        server: web.Server,
        recall: Recall | None,
        **kwargs: Any,  # noqa: ANN401  # aiohttp's
    ) -> None:
        super().__init__(server, **kwargs)
        self._recall = recall
        # Whether the parser stands between two requests, with nothing half-read.
        self._whole = recall is not None
        self._question = b""
        self._peer = ""
        self._fd = -1  # the transport's own, to write to while nothing waits in its buffer
        self._socket: socket.socket | None = None  # the same, if it can be had

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note who is at the other end."""
        super().connection_made(transport)
        name = transport.get_extra_info("peername")
        self._peer = name[0] if name else ""
        peer = transport.get_extra_info("socket")
        if peer is not None and transport.get_extra_info("sslcontext") is None:
            self._fd = peer.fileno()
            own = getattr(peer, "_sock", None)  # what asyncio wraps: it has no `send`
            self._socket = own if isinstance(own, socket.socket) else None
        if hasattr(transport, "max_size"):
            transport.max_size = READ

    @property
    def asked(self) -> tuple[bytes, str] | None:
        """The very bytes of the one request that is being answered, and from where they came.

        None: they came in pieces, or with others before or behind them.
        """
        return (self._question, self._peer) if self._question else None

    def data_received(self, data: bytes) -> None:
        """Answer a question that is known at once; give the rest to the parser.

        A question is exactly one request without body in one piece, on a connection on which
        nothing else is under way: the parser, which is between two requests then, need not see it.
        """
        if not self._whole:
            self._go_on(data)
            return
        self._question = b""
        waiter, recall = self._waiter, self._recall
        idle = waiter is not None and not waiter.done()
        if idle and recall is not None and not (self._paused or self._close or self._force_close):
            now = monotonic()
            found = recall(data, self._peer, now)
            if found is not None:
                self._next_keepalive_close_time = now + KEEPALIVE
                self.put(*found)
                return
            if self._set_out(data):
                return
        self._parse(data, idle=idle)

    def _go_on(self, data: bytes) -> None:
        """Take bytes that are no question's first ones."""
        super().data_received(data)

    def _set_out(self, _question: bytes) -> bool:
        """Begin an answer that is not ready without the parser; False: that is not possible."""
        return False

    def _parse(self, data: bytes, *, idle: bool) -> None:
        """Give bytes to the parser, which is between two requests. `idle`: as the handler is."""
        before = self._request_count
        super().data_received(data)
        parsed = self._request_count - before
        # Each head ends in one: nothing is left over if there are as many, the last at the end.
        self._whole = (
            data.endswith(_END)
            and data.count(_END) == parsed
            and not self._upgraded
            and self._messages[-1][1] is EMPTY_PAYLOAD
        )
        if idle and self._whole and parsed == 1 and data.startswith(b"GET "):
            self._question = data

    def put(self, head: bytes, body: bytes | memoryview | Paged) -> bool:
        """Write both at once and without joining them, as asyncio does from 3.12 on.

        False: nobody is there any more.
        """
        sent, transport = 0, self.transport
        if transport is None or transport.is_closing():
            return False
        data = body.data if isinstance(body, Paged) else body
        if self._fd < 0:
            transport.write(head + data)  # with TLS each write is a record and a send of its own
            return True
        if not transport.get_write_buffer_size():
            try:
                if isinstance(body, Paged) and self._socket is not None:
                    sent = body.send(head, self._socket)
                else:
                    sent = os.writev(self._fd, (head, data))
            except OSError:
                sent = 0  # full, or gone: the transport finds out, and deals with it
            if sent == len(head) + len(data):
                return True
        if sent < len(head):
            transport.write(head[sent:])
        if data:
            transport.write(memoryview(data)[max(0, sent - len(head)) :])
        return True


def asked(request: web.BaseRequest) -> tuple[bytes, str] | None:
    """See `RepeatingHandler.asked`."""
    connection = request.protocol
    return connection.asked if isinstance(connection, RepeatingHandler) else None
