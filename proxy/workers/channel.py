"""What goes between the supervisor and a worker: JSON objects over a pair of sockets.

Purpose: orders one way, reports the other, and the news that is passed on. Each message is its
length and its text. What only tells of the moment may be dropped when the other side does not
read: a process that hangs must not fill the memory of the others.

Reading: unix(7). Non-goals: what the messages mean.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any, final

Message = dict[str, Any]
MAX_MESSAGE = 64 << 20
MAX_WAITING = 4 << 20
"""Bytes that may wait for the other side before what can be spared is dropped."""
_LENGTH = struct.Struct("!I")


def framed(message: Message) -> bytes:
    """A message as it goes over the socket."""
    text = json.dumps(message, separators=(",", ":")).encode("ascii")
    return _LENGTH.pack(len(text)) + text


def receive_blocking(sock: socket.socket) -> Message:
    """The first message, before there is an event loop. Raises EOFError, OSError."""
    (length,) = _LENGTH.unpack(_exactly(sock, _LENGTH.size))
    return _parsed(_exactly(sock, min(length, MAX_MESSAGE)))


@final
class Channel:
    """One end, inside an event loop. Made by `open_channel`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def waiting(self) -> int:
        """Bytes that are not on their way yet."""
        return self._writer.transport.get_write_buffer_size()

    def send(self, message: Message, *, spare: bool = False) -> None:
        """Send without waiting. `spare`: it may be dropped. Never raises: who is gone is told by
        `receive`."""
        if self._writer.is_closing():
            return
        if spare and self.waiting > MAX_WAITING:
            return
        self._writer.write(framed(message))

    async def receive(self) -> Message | None:
        """The next message; None when the other side is gone."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            return _parsed(await self._reader.readexactly(min(length, MAX_MESSAGE)))
        except (asyncio.IncompleteReadError, OSError, ValueError):
            return None

    def close(self) -> None:
        """Let go of it."""
        self._writer.close()


async def open_channel(sock: socket.socket) -> Channel:
    """Make a channel of one socket of a pair."""
    sock.setblocking(False)  # noqa: FBT003  # the library's
    return Channel(*await asyncio.open_unix_connection(sock=sock))


def _parsed(text: bytes) -> Message:
    """Raises ValueError."""
    message = json.loads(text)
    if not isinstance(message, dict):
        raise ValueError("no message")  # noqa: TRY004  # as for every other odd text
    return message


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise EOFError("the other side is gone")
        data += piece
    return data
