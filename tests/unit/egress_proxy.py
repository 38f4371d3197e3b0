"""A proxy of an organisation, for tests: tunnels (CONNECT), and plain requests in absolute form.

Non-goals: keeping a connection for two requests in absolute form.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from types import TracebackType
from typing import Self

from tests.unit.upstream_room import Conversations, answer

HOST = "127.0.0.8"


class EgressProxy:
    """`credential`: `user:password` that it asks for. `names`: host to the address it leads to.

    `heads`: of what it was asked itself; `inside`: the first bytes of each tunnel.
    """

    def __init__(self, credential: str = "", names: dict[str, str] | None = None) -> None:
        self._wanted = base64.b64encode(credential.encode()).decode() if credential else ""
        self._names = names or {}
        self.heads: list[str] = []
        self.inside: list[bytes] = []
        self._conversations = Conversations(self._converse)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._conversations.begin, HOST, 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._conversations.end(self._server)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        self.heads.append(head)
        if self._wanted and f"Proxy-Authorization: Basic {self._wanted}\r\n" not in head:
            writer.write(answer(407, Proxy_Authenticate="Basic"))
            await writer.drain()
            return
        method, target, _ = head.split(" ", 2)
        place = target if method == "CONNECT" else target.split("/")[2]
        host, _, port = place.rpartition(":")
        there, back = await asyncio.open_connection(self._names.get(host, host), int(port))
        try:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
                first = await reader.read(1 << 16)
                self.inside.append(first)
                back.write(first)
                await asyncio.gather(_pump(reader, back), _pump(there, writer))
            else:
                plain = head.replace(f"http://{place}", "", 1)
                ours = ("proxy-", "connection:")
                kept = [one for one in plain.split("\r\n") if not one.lower().startswith(ours)]
                kept.insert(1, "Connection: close")  # one request a connection
                back.write("\r\n".join(kept).encode("latin-1"))
                await _pump(there, writer)
        finally:
            back.transport.abort()


async def _pump(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    while piece := await source.read(1 << 16):
        to.write(piece)
        await to.drain()
    with contextlib.suppress(OSError):
        to.write_eof()
