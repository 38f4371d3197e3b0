"""Clients that do not take what they asked for: what waits for them is not kept for ever.

Purpose: an answer that is in memory is written at once, and what the client's system does not take
waits in this process. Whoever takes less of it than the minimum rate over a window is cut off; the
answers of the hot path, which nobody waits for, are looked at like all others. It costs nothing
where nothing waits: the look is begun by the transport's own `pause_writing`.

What is judged is only what waited when the window began, so that a client that asks seldom, and
takes what it gets, is never taken for a slow one.

Reading: `tcp(7)` SIOCOUTQ, TCP_INFO (`tcpi_bytes_acked`); nginx `send_timeout`. Non-goals: bodies
that are read from a file while they are sent (`sending`).
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Callable
from typing import Final, final

from proxy.cache.transfer import RATE_WINDOW

_LINGER_NOT: Final = struct.pack("ii", 1, 0)
_ACKED: Final = slice(120, 128)
"""Where `struct tcp_info` has `tcpi_bytes_acked` (Linux 4.1)."""


@final
class Stalled:
    """The look at one connection's client. `least`: bytes a second that it must take; 0: any.
    `reached` is told when it did not."""

    __slots__ = ("_acknowledged", "_least", "_looking", "_reached", "_waiting")

    def __init__(self, least: int, reached: Callable[[str], None] = lambda _: None) -> None:
        self._least = least
        self._reached = reached
        self._looking = False
        self._waiting = 0  # bytes that were unsent when the window began
        self._acknowledged = 0

    def look_at(self, transport: asyncio.BaseTransport | None) -> None:
        """Something waits there: look at it until nothing does. Once is enough."""
        if self._looking or not self._least or not isinstance(transport, asyncio.Transport):
            return
        self._looking = True
        self._begin(transport)

    def _begin(self, transport: asyncio.Transport) -> None:
        self._waiting, self._acknowledged = unsent(transport), acknowledged(transport)
        asyncio.get_running_loop().call_later(RATE_WINDOW, self._look, transport)

    def _look(self, transport: asyncio.Transport) -> None:
        if not transport.get_write_buffer_size():
            self._looking = False
            return
        if self._taken(transport) < min(self._waiting, self._least * RATE_WINDOW):
            self._reached("min_rate_client")
            reset(transport)
            return
        self._begin(transport)

    def _taken(self, transport: asyncio.Transport) -> int:
        now = acknowledged(transport)
        if now:
            return now - self._acknowledged
        return self._waiting - unsent(transport)  # a system that does not count them


def reset(transport: asyncio.Transport) -> None:
    """Cut a connection off so that the client sees it: not with an end, but with a reset."""
    peer = _socket(transport)
    # Closed already: aiohttp lists a connection until its task has ended.
    if peer is not None and peer.fileno() >= 0:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()


def unsent(transport: asyncio.Transport) -> int:
    """Bytes that the peer's system has not acknowledged, in our buffer and in the kernel's."""
    if (peer := _socket(transport)) is None:
        return 0
    buffered = transport.get_write_buffer_size()
    if peer.fileno() < 0:
        return buffered
    queued = fcntl.ioctl(peer.fileno(), termios.TIOCOUTQ, bytes(4))
    return buffered + int.from_bytes(queued, sys.byteorder)


def acknowledged(transport: asyncio.Transport) -> int:
    """Bytes that the peer's system has acknowledged since it connected; 0: nobody counts them."""
    peer = _socket(transport)
    if peer is None or peer.fileno() < 0:
        return 0
    try:
        told = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED.stop)
    except OSError:
        return 0
    return int.from_bytes(told[_ACKED], sys.byteorder)


def _socket(transport: asyncio.Transport) -> socket.socket | None:
    """The socket of a connection. None once it is closed: one with TLS that is closed twice, by
    aiohttp and by a drain, has lost what it would answer with (asyncio of Python 3.11)."""
    try:
        found: socket.socket | None = transport.get_extra_info("socket")
    except AttributeError:
        return None
    return found
