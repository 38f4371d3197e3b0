"""The clients' address, held by the supervisor without listening on it.

Purpose: with SO_REUSEPORT anybody of the same user may listen beside us without a word. So first
the address is bound as if for one process, which fails where somebody listens; then it is bound
again to be shared, and stays bound as long as the supervisor lives: a port that the system chose
is the same for all workers, and nobody else takes it while they are started again.

Reading: socket(7), bind(2). Non-goals: listening (each worker does).
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import final

from proxy.config import Address
from proxy.server.process import EX_UNAVAILABLE, CannotStart


@final
class Reserved:
    """An address that is held. `port`: the real one."""

    def __init__(self, sockets: list[socket.socket], port: int) -> None:
        self._sockets = sockets
        self.port = port

    def close(self) -> None:
        """Let go of it."""
        for held in self._sockets:
            held.close()


def reserve(address: Address) -> Reserved:
    """Hold an address. Looks a name up: not for an event loop. Raises CannotStart."""
    held: list[socket.socket] = []
    port = address.port
    try:
        for family, where in _places(address):
            if port:
                _bound(family, where, port, shared=False).close()
            held.append(_bound(family, where, port, shared=True))
            port = held[-1].getsockname()[1]
    except OSError as error:
        Reserved(held, port).close()
        raise CannotStart(
            f"cannot listen on {address.host} port {port}: {error.strerror}", EX_UNAVAILABLE
        ) from error
    return Reserved(held, port)


def _places(address: Address) -> list[tuple[socket.AddressFamily, str]]:
    """The addresses of a host, as asyncio's `create_server` takes them."""
    found = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return list(dict.fromkeys((family, str(where[0])) for family, _, _, _, where in found))


def _bound(family: socket.AddressFamily, host: str, port: int, *, shared: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            with suppress(OSError):
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((host, port))
    except BaseException:
        made.close()
        raise
    return made
