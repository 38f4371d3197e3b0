"""A listening address: its start, its drain, its end.

Purpose: a drain stops accepting at once, lets what is under way finish, and closes only when the
last byte has left; whoever still runs after the grace is reset.

Reading: aiohttp `web_runner.py`. aiohttp's own drain may wait twice the grace and does not wait for
bytes that sit in a socket's buffer. Non-goals: signals (`process`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, final

from aiohttp import web

from proxy.server.process import EX_UNAVAILABLE, CannotStart
from proxy.server.tls import HANDSHAKE_TIMEOUT, SHUTDOWN_TIMEOUT
from proxy.server.wire import Server

BACKLOG = 1024
_TICK = 0.05


@final
class _Site(web.TCPSite):
    """aiohttp's site with our patience: asyncio's own gives a handshake a whole minute."""

    async def start(self) -> None:
        """Listen. Raises OSError."""
        await web.BaseSite.start(self)
        server = self._runner.server
        assert server is not None  # noqa: S101  # set up before: for the type checker
        patience: dict[str, Any] = {}
        if self._ssl_context is not None:
            patience = {
                "ssl_handshake_timeout": HANDSHAKE_TIMEOUT,
                "ssl_shutdown_timeout": SHUTDOWN_TIMEOUT,
            }
        self._server = await asyncio.get_running_loop().create_server(
            server,
            self._host,
            self._port,
            ssl=self._ssl_context,
            backlog=self._backlog,
            reuse_address=self._reuse_address,
            reuse_port=self._reuse_port,
            **patience,
        )


@final
class Listener:
    """One address with one server behind it. `shared`: other processes listen there too."""

    def __init__(
        self,
        server: Server,
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        *,
        shared: bool = False,
    ) -> None:
        self._shared = shared
        self._server = server
        self._tls = tls
        self._host = host
        self._runner = web.ServerRunner(server, shutdown_timeout=0.5)
        self._site: web.TCPSite | None = None
        self._port = port

    async def start(self) -> None:
        """Listen. Raises CannotStart when the address is taken or not ours."""
        await self._runner.setup()
        site = _Site(
            self._runner,
            self._host,
            self._port,
            backlog=BACKLOG,
            reuse_address=True,
            reuse_port=self._shared or None,
            ssl_context=self._tls,
        )
        try:
            await site.start()
        except OSError as error:
            raise CannotStart(
                f"cannot listen on {self._host} port {self._port}: {error.strerror}", EX_UNAVAILABLE
            ) from error
        self._site = site

    @property
    def url(self) -> str:
        """The real address, with the port that the system chose for port 0."""
        port = self._runner.addresses[0][1] if self._runner.addresses else self._port
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'http' if self._tls is None else 'https'}://{host}:{port}"

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._server.connections)

    def close_idle(self, which: Callable[[asyncio.BaseTransport], bool]) -> None:
        """Close those connections, the busy ones after their answer."""
        self._server.close_idle(which)

    async def drain(self, hurry: asyncio.Event, grace: float) -> None:
        """Accept no more; wait until all is answered and sent, for `grace` seconds, or `hurry`."""
        if self._site is not None:
            await self._site.stop()
            self._site = None
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        while self.connections and loop.time() < deadline and not hurry.is_set():
            self._server.close_idle()
            await asyncio.sleep(_TICK)  # aiohttp tells nobody when a connection ends

    async def close(self) -> None:
        """Reset what is left."""
        self._server.reset_all()
        await self._runner.cleanup()
