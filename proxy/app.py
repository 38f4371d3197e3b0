"""The composition root: makes the rooms from the settings, runs them, stops them. No logic.

Nobody imports this but `proxy.cli`. Reading: simple-repository-server `create_app`.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import sys
import time
from contextlib import AsyncExitStack, suppress

from aiohttp import http_parser

import proxy
from proxy.access.clients import Client, Clients
from proxy.access.door import Door
from proxy.access.entitlements import AssumedEntitlements, Entitlements, StaticEntitlements
from proxy.cache.artifacts import Artifacts
from proxy.cache.documents import Documents
from proxy.cache.download import Download
from proxy.cache.freshness import Policy
from proxy.config import Settings
from proxy.ecosystems import ECOSYSTEMS
from proxy.observe.logs import Logs, start_logs
from proxy.observe.metrics import Metrics
from proxy.server.admin import Admin
from proxy.server.handler import Handler, Rooms
from proxy.server.health import Health
from proxy.server.listener import Listener
from proxy.server.mounts import Mounts
from proxy.server.wire import Server
from proxy.storage.disk import DiskStorage
from proxy.upstream.addresses import AddressRules
from proxy.upstream.client import HttpUpstream, UpstreamLimits
from proxy.upstream.credentials import Credentials, PairSource
from proxy.upstream.tls import client_context

LOG = logging.getLogger("proxy")
POLL_CREDENTIALS = 2.0
EX_UNAVAILABLE = 69


class App:
    """All rooms of one process, wired. Make it inside a running loop; `start`, then `stop`."""

    def __init__(self, settings: Settings, logs: Logs) -> None:
        self.settings = settings
        self.metrics = Metrics([ecosystem.name for ecosystem in ECOSYSTEMS], proxy.__version__)
        origins = {item.name: getattr(settings.upstream, item.upstream) for item in ECOSYSTEMS}
        sources = {
            name: PairSource(
                username=given.username,
                username_file=given.username_file,
                password=given.password,
                password_file=given.password_file,
                pair_file=given.pair_file,
            )
            for name, given in settings.credentials.items()
        }
        self.credentials = Credentials(sources, logs.redactor.register)
        self.upstream = self._make_upstream(origins)
        storage = DiskStorage(settings.cache.directory)
        policy = Policy(
            ttl=settings.cache.document_ttl,
            tag_ttl=settings.cache.document_ttl,
            max_stale=settings.cache.max_stale,
            negative_ttl=settings.cache.negative_ttl,
        )
        self.documents = Documents(
            storage,
            self.upstream,
            policy,
            origins=origins,
            max_document=settings.limits.max_document,
            clock=time.time,
        )
        self.artifacts = Artifacts(
            storage,
            self.documents,
            Download(storage, self.upstream, self.metrics),
            policy,
            origins=origins,
            clock=time.time,
            metrics=self.metrics,
        )
        self.health = Health(self._degraded)
        self.metrics.watch_in_flight(lambda: self.health.running)
        self.metrics.watch_dropped_lines(lambda: logs.dropped)
        self.listener, self.admin = self._make_listeners(logs)
        self._poller: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the credentials and listen. Raises OSError when an address is taken."""
        await self.credentials.load()
        await self.listener.start()
        if self.admin is not None:
            await self.admin.start()
        self._poller = asyncio.get_running_loop().create_task(self._poll())
        self.health.started = True

    async def stop(self, hurry: asyncio.Event) -> None:
        """Drain and close everything, in the order of the walk."""
        self.health.draining = True
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.upstream.close)
            stack.push_async_callback(self.documents.close)
            stack.push_async_callback(self.artifacts.close)
            if self._poller is not None:
                stack.callback(self._poller.cancel)
            if self.admin is not None:
                stack.push_async_callback(self.admin.close)
            stack.push_async_callback(self.listener.close)
            await self.listener.drain(hurry, self.settings.server.shutdown_grace)

    def _make_upstream(self, origins: dict[str, str]) -> HttpUpstream:
        given, limits = self.settings.upstream, self.settings.limits
        return HttpUpstream(
            origins,
            self.credentials,
            AddressRules(given.redirect_hosts, given.allow_networks, given.allow_insecure),
            UpstreamLimits(
                connections=limits.max_upstream_connections,
                queue_timeout=limits.queue_timeout,
                connect_timeout=limits.connect_timeout,
                first_byte_timeout=limits.first_byte_timeout,
            ),
            tls=client_context(given.ca_bundle),
            clock=time.monotonic,
            observer=self.metrics,
            frozen=given.frozen,
        )

    def _make_listeners(self, logs: Logs) -> tuple[Listener, Listener | None]:
        settings = self.settings
        rooms = Rooms(
            mounts=Mounts(ECOSYSTEMS),
            clients=Clients(
                [
                    Client(item.name, item.token_hashes, item.networks, item.ecosystems)
                    for item in settings.clients
                ],
                loopback_default=settings.server.listen.is_loopback,
            ),
            door=Door(self._make_entitlements()),
            documents=self.documents,
            artifacts=self.artifacts,
            health=self.health,
            metrics=self.metrics,
            access_log=logs.access,
            hosts=settings.upstream.redirect_hosts,
            trusted_proxies=settings.server.trusted_proxies,
            public_url=settings.server.public_url,
        )
        handler = Handler(rooms)
        listen = settings.server.listen
        main = Listener(Server(handler, handler.refuse), listen.host, listen.port)
        where = settings.server.admin_listen
        if where is None:
            return main, None
        token_file = settings.server.admin_token_file
        token = token_file.read_text().strip() if token_file is not None else ""
        admin = Admin(self.metrics, self.health, token)
        return main, Listener(Server(admin, admin.refuse), where.host, where.port)

    def _make_entitlements(self) -> Entitlements:
        given = self.settings.entitlements
        if given.source == "static":
            return StaticEntitlements(given.ecosystems)
        return AssumedEntitlements()

    def _degraded(self) -> list[str]:
        return [f"upstream does not answer: {origin}" for origin in self.upstream.open_breakers]

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_CREDENTIALS)
            await self.credentials.poll()


async def serve(settings: Settings, logs: Logs) -> int:
    """Run until SIGTERM or SIGINT; a second one ends the drain."""
    loop = asyncio.get_running_loop()
    stopping, hurry = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        (hurry if stopping.is_set() else stopping).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    app = App(settings, logs)
    loop.add_signal_handler(signal.SIGHUP, lambda: loop.create_task(app.credentials.poll()))
    try:
        await app.start()
    except OSError as error:
        LOG.error("cannot listen: %s", error.strerror)  # noqa: TRY400  # a traceback says no more
        return EX_UNAVAILABLE
    if settings.upstream.allow_insecure:
        LOG.warning("[upstream] allow_insecure is on: plain http upstreams; for tests only")
    admin = app.admin.url if app.admin is not None else "off"
    sys.stdout.write(f"cgr-proxy ready {app.listener.url} admin {admin}\n")
    sys.stdout.flush()
    await stopping.wait()
    LOG.info("draining")
    await app.stop(hurry)
    return 0


def run(settings: Settings) -> int:
    """Run one process; the exit code."""
    if not hasattr(http_parser, "HttpRequestParserC"):
        sys.stderr.write("cgr-proxy: aiohttp's C parser is missing; reinstall aiohttp\n")
        return EX_UNAVAILABLE
    # A crash must not write the pull token to disk.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logs = start_logs(settings.log.level, settings.log.format, access=settings.log.access)
    try:
        return asyncio.run(serve(settings, logs))
    finally:
        logs.stop()
