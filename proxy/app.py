"""The composition root: makes the rooms from the settings, runs them, stops them. No logic.

Nobody imports this but `proxy.cli`. Reading: simple-repository-server `create_app`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from ssl import SSLContext

import proxy
from proxy.access.asking import PlatformHttp
from proxy.access.learning import PlatformEntitlements
from proxy.access.memory import Clocks, read_boot_id, steady_seconds
from proxy.access.wiring import token_exchange
from proxy.cache.upkeep import Upkeep
from proxy.config import Settings
from proxy.ecosystems import ECOSYSTEMS
from proxy.live import Live
from proxy.observe.audit import AuditFile
from proxy.observe.logs import Logs, start_logs
from proxy.observe.metrics import Metrics
from proxy.observe.tokens import TokenNumbers
from proxy.reloads import POLL
from proxy.server import process
from proxy.server.health import Health
from proxy.server.hot import Hot
from proxy.server.notify import Notifier
from proxy.server.rounds import repeat
from proxy.storage.changes import Changes
from proxy.storage.disk import DiskStorage
from proxy.upstream.credentials import Clocks as TokenClocks
from proxy.upstream.credentials import Credentials
from proxy.upstream.tls import client_context
from proxy.wiring.egress import way_out
from proxy.wiring.engine import make_engine, make_upstream
from proxy.wiring.entitlements import make_entitlements
from proxy.wiring.listeners import clients_listener, operators_views
from proxy.wiring.operators import make_admin, operators_listener, ready_line
from proxy.wiring.pull_tokens import credential_sources
from proxy.wiring.upstreams import origins_of

LOG = logging.getLogger("proxy")
RENEW_TOKENS = 1.0


class App:
    """All rooms of one process, wired. Make it inside a running loop; `start`, then `stop`.

    `clock`: seconds since the epoch; `steady`: seconds that only go forward. `load`: the settings
    anew, for a reload. `trust`: makes the TLS context for upstreams, from the operator's bundle.
    `opens`: see `Live`. `disorder`: another process has died and could not tell the index what it
    had stored. Raises CannotStart for a named file that cannot be used.
    """

    def __init__(  # noqa: PLR0913  # what a test may put in the place of the machine's own
        self,
        settings: Settings,
        logs: Logs,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = steady_seconds,
        load: Callable[[], Settings] | None = None,
        *,
        trust: Callable[[Path | None], SSLContext] = client_context,
        opens: bool = True,
        disorder: bool = False,
    ) -> None:
        self.settings = settings
        clocks = Clocks(steady, clock, read_boot_id())
        self.metrics = Metrics([ecosystem.name for ecosystem in ECOSYSTEMS], proxy.__version__)
        with process.using("upstream.ca_bundle"):
            tls = trust(settings.upstream.ca_bundle)
        with process.using("upstream.proxy_password_file"):
            egress = way_out(settings, logs.redactor.register)
        platform = PlatformHttp(tls, egress)
        self.credentials = Credentials(
            credential_sources(settings),
            logs.redactor.register,
            token_exchange(settings.upstream.issuer, platform, clocks),
            TokenClocks(clock, steady),
        )
        self.health = Health(self._degraded)
        self.live = Live(settings, platform, load=load, wall=clock, clock=steady, opens=opens)
        self.entitlements = make_entitlements(settings, self.credentials, platform, clocks)
        # First what may be wrong: nothing that would have to be closed is open by then.
        views = operators_views(settings, self.entitlements, self.metrics)
        self.admin_endpoint = make_admin(settings.server, self.health, self.metrics, views)
        changes, room = Changes(), settings.cache.max_size
        with process.using("cache.directory", settings.cache.directory):
            self.storage = DiskStorage(
                settings.cache.directory,
                watcher=changes,
                max_body=room,
                healed=self.metrics.cache_healed,
            )
        if disorder:
            self.storage.doubt()
        self.upkeep = Upkeep(self.storage, changes, room)
        self.upstream = make_upstream(settings, self.credentials, self.metrics, tls, egress)
        engine = make_engine(settings, self.storage, self.upstream, self.metrics, clock)
        self.documents, self.bulk, self.artifacts = engine.documents, engine.bulk, engine.artifacts
        self._watch_everything(logs, clock)
        keep_audit(settings, logs)
        self.hot = Hot(self.metrics, logs.access)
        self.listener = clients_listener(
            settings,
            live=self.live,
            entitlements=self.entitlements,
            engine=engine,
            hot=self.hot,
            health=self.health,
            metrics=self.metrics,
            logs=logs,
        )
        self.live.on_authority_gone(self.listener.close_idle)
        self.admin = operators_listener(settings.server, self.admin_endpoint)
        self._pollers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Read the credentials and listen. Raises CannotStart when an address is taken."""
        await self.credentials.load()
        if isinstance(self.entitlements, PlatformEntitlements):
            await self.entitlements.start()
        await self.listener.start()
        if self.admin is not None:
            await self.admin.start()
        self.upkeep.start()
        loop = asyncio.get_running_loop()
        self._pollers = [
            loop.create_task(rounds)
            for rounds in (
                repeat(POLL, self.credentials.poll, "reading the pull tokens"),
                repeat(RENEW_TOKENS, self.credentials.exchange, "renewing short-lived tokens"),
                self.live.run(),
                repeat(POLL, self.admin_endpoint.poll, "reading the admin token"),
            )
        ]
        self.health.started = True
        if self.settings.upstream.allow_insecure:
            LOG.warning("[upstream] allow_insecure is on: plain http upstreams; for tests only")

    @property
    def ready_line(self) -> str:
        """See `Service`."""
        return ready_line(self.listener.url, self.admin)

    async def stop(self, hurry: asyncio.Event) -> None:
        """Drain and close everything, in the order of the walk."""
        self.health.draining = True
        async with AsyncExitStack() as stack:
            stack.push_async_callback(asyncio.to_thread, self.storage.close)
            stack.push_async_callback(asyncio.to_thread, self.upkeep.close)
            stack.push_async_callback(self.upstream.close)
            stack.push_async_callback(self.documents.close)
            stack.push_async_callback(self.bulk.close)
            stack.push_async_callback(self.artifacts.close)
            if isinstance(self.entitlements, PlatformEntitlements):
                stack.push_async_callback(self.entitlements.close)
            stack.push_async_callback(self.live.close)
            for poller in self._pollers:
                stack.callback(poller.cancel)
            if self.admin is not None:
                stack.push_async_callback(self.admin.close)
            stack.push_async_callback(self.listener.close)
            await self.listener.drain(hurry, self.settings.server.shutdown_grace)

    async def reload(self) -> None:
        """Read again what may have been replaced: the configuration, pull tokens, keys."""
        kept = await self.renew()
        LOG.info("reloaded%s", f", but for the configuration: {kept}" if kept else "")

    async def renew(self) -> str:
        """The same without a word; why the configuration stays as it was, "" where it does not."""
        kept = await self.live.reload()
        await self.admin_endpoint.reload()
        await asyncio.gather(self.credentials.reload(), self.live.renew_keys())
        if isinstance(self.entitlements, PlatformEntitlements):
            self.entitlements.wake()
        return kept

    def _watch_everything(self, logs: Logs, clock: Callable[[], float]) -> None:
        self.metrics.watch(TokenNumbers(self.credentials.ends, clock))
        self.metrics.watch_in_flight(lambda: self.health.running)
        self.metrics.watch_repeats(lambda: self.hot.repeats)
        self.metrics.watch_dropped_lines(lambda: logs.dropped)
        self.metrics.watch_cache_bytes(lambda: self.upkeep.books.total)
        self.metrics.watch_cache_entries(lambda: self.upkeep.books.entries)
        self.metrics.watch_evictions(
            lambda: self.upkeep.evicted.entries, lambda: self.upkeep.evicted.freed
        )
        self.metrics.cache_limit(self.settings.cache.max_size)
        asked_by = {ecosystem.upstream: ecosystem.name for ecosystem in ECOSYSTEMS}
        self.metrics.watch_breakers(asked_by, lambda key: self.upstream.is_down(asked_by[key]))

    def _degraded(self) -> list[str]:
        found = [f"upstream does not answer: {name}" for name in self.upstream.open_breakers]
        found += self.credentials.troubles(origins_of(self.settings))
        return found + ([self.upkeep.trouble] if self.upkeep.trouble else [])


def keep_audit(settings: Settings, logs: Logs) -> None:
    """Keep an audit log where one is wanted. Raises CannotStart."""
    if settings.log.audit_size:
        where = settings.log.audit or settings.cache.directory / "audit.jsonl"
        with process.using("log.audit"):
            logs.keep_audit(AuditFile(where, settings.log.audit_size))


def run(
    settings: Settings,
    load: Callable[[], Settings] | None = None,
    notifier: Notifier | None = None,
) -> int:
    """Run one process; the exit code. `load`: the settings anew, for a reload. `notifier`: the
    service manager that is told how it goes."""
    logs = start_logs(settings.log.level, settings.log.format, access=settings.log.access)
    try:
        return process.run(lambda: App(settings, logs, load=load), notifier)
    finally:
        logs.stop()
