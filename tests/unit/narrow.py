"""A client that can take little at a time, for tests of what waits then."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from proxy.server.listener import Listener


@asynccontextmanager
async def narrow_client(listener: Listener) -> AsyncIterator[socket.socket]:
    """The only client of a listener that is opened for it, and closed when it has gone."""
    await listener.start()
    host, port = listener.url.removeprefix("http://").split(":")
    try:
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.setblocking(False)
            await asyncio.get_running_loop().sock_connect(one, (host, int(port)))
            yield one
    finally:
        await listener.close()
