"""The composition root: makes the rooms from the settings, runs them, stops them. No logic.

Nobody imports this but `proxy.cli`. Reading: simple-repository-server `create_app`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from ssl import SSLContext
from urllib.parse import urlsplit

import proxy
from proxy.access.asking import PlatformHttp
from proxy.access.door import Door
from proxy.access.entitlements import AssumedEntitlements, Entitlements, StaticEntitlements
from proxy.access.learning import PlatformEntitlements
from proxy.access.memory import Clocks, read_boot_id, steady_seconds
from proxy.access.wiring import PlatformOptions, ask_platform, token_exchange
from proxy.cache.artifacts import Artifacts
from proxy.cache.bulk import Bulk
from proxy.cache.documents import Documents
from proxy.cache.download import Download, DownloadLimits
from proxy.cache.extracts import Extracts
from proxy.cache.freshness import Policy
from proxy.cache.upkeep import Upkeep
from proxy.cache.variants import Variants
from proxy.cache.worker import Worker
from proxy.config import LIBRARIES, Settings
from proxy.ecosystems import ECOSYSTEMS
from proxy.ecosystems.base import Extracting
from proxy.live import Live
from proxy.observe.audit import AuditFile
from proxy.observe.logs import Logs, start_logs
from proxy.observe.metrics import Metrics
from proxy.observe.tokens import TokenNumbers
from proxy.server import process
from proxy.server.admin import Admin
from proxy.server.entitlements import PATH, EntitlementView
from proxy.server.handler import Handler, Rooms
from proxy.server.health import Health
from proxy.server.listener import Listener
from proxy.server.mounts import Mounts
from proxy.server.wire import Server
from proxy.storage.changes import Changes
from proxy.storage.disk import DiskStorage
from proxy.upstream.addresses import AddressRules
from proxy.upstream.client import HttpUpstream, UpstreamLimits
from proxy.upstream.credentials import Clocks as TokenClocks
from proxy.upstream.credentials import Credentials, KeylessSource, PairSource, Source
from proxy.upstream.keyless import AUDIENCES
from proxy.upstream.tls import client_context

LOG = logging.getLogger("proxy")
POLL_CREDENTIALS = 2.0
RENEW_TOKENS = 1.0


class App:
    """All rooms of one process, wired. Make it inside a running loop; `start`, then `stop`.

    `clock`: seconds since the epoch; `steady`: seconds that only go forward. `load`: the settings
    anew, for a reload. `trust`: makes the TLS context for upstreams, from the operator's bundle.
    Raises CannotStart for a named file that cannot be used.
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
    ) -> None:
        self.settings = settings
        self._clocks = Clocks(steady, clock, read_boot_id())
        self.metrics = Metrics([ecosystem.name for ecosystem in ECOSYSTEMS], proxy.__version__)
        origins = {item.name: getattr(settings.upstream, item.upstream) for item in ECOSYSTEMS}
        with process.using("upstream.ca_bundle"):
            self._tls = trust(settings.upstream.ca_bundle)
        self.credentials = Credentials(
            credential_sources(settings),
            logs.redactor.register,
            token_exchange(settings.upstream.issuer, self._tls, self._clocks),
            TokenClocks(clock, steady),
        )
        self.metrics.watch(TokenNumbers(self.credentials.ends, clock))
        self.health = Health(self._degraded)
        self.live = Live(settings, PlatformHttp(self._tls), load=load, wall=clock, clock=steady)
        self.entitlements = self._make_entitlements()
        # First what may be wrong: nothing that would have to be closed is open by then.
        self._endpoint = self._make_endpoint()
        changes, room = Changes(), settings.cache.max_size
        with process.using("cache.directory", settings.cache.directory):
            self.storage = storage = DiskStorage(
                settings.cache.directory, watcher=changes, max_body=room
            )
        self.upkeep = Upkeep(storage, changes, room)
        self.upstream = self._make_upstream(origins)
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
            Variants(Worker()),
            origins=origins,
            max_document=settings.limits.max_document,
            clock=clock,
        )
        self.bulk = Bulk(storage, self.upstream, policy, origins=origins, clock=clock)
        extracting = {item.name: item for item in ECOSYSTEMS if isinstance(item, Extracting)}
        self.artifacts = Artifacts(
            storage,
            self.documents,
            self.upstream,
            Download(
                storage,
                self.upstream,
                self.metrics,
                DownloadLimits(room),
                Extracts(storage, self.upstream, extracting),
                clock=time.monotonic,
            ),
            policy,
            origins=origins,
            clock=clock,
            metrics=self.metrics,
        )
        self.metrics.watch_in_flight(lambda: self.health.running)
        self.metrics.watch_dropped_lines(lambda: logs.dropped)
        self._watch_cache_and_upstreams()
        if settings.log.audit_size:
            where = settings.log.audit or settings.cache.directory / "audit.jsonl"
            with process.using("log.audit"):
                logs.keep_audit(AuditFile(where, settings.log.audit_size))
        self.listener, self.admin = self._make_listeners(logs)
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
            loop.create_task(_repeat(POLL_CREDENTIALS, self.credentials.poll)),
            loop.create_task(_repeat(RENEW_TOKENS, self.credentials.exchange)),
            loop.create_task(self.live.run()),
        ]
        self.health.started = True
        if self.settings.upstream.allow_insecure:
            LOG.warning("[upstream] allow_insecure is on: plain http upstreams; for tests only")

    @property
    def ready_line(self) -> str:
        """The line that scripts wait for: the real addresses."""
        admin = self.admin.url if self.admin is not None else "off"
        return f"cgr-proxy ready {self.listener.url} admin {admin}"

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
        taken = await self.live.reload()
        self._endpoint.reload()
        await asyncio.gather(self.credentials.reload(), self.live.renew_keys())
        if isinstance(self.entitlements, PlatformEntitlements):
            self.entitlements.wake()
        LOG.info("reloaded%s", "" if taken else ", but for the configuration: it has mistakes")

    def _watch_cache_and_upstreams(self) -> None:
        self.metrics.watch_cache_bytes(lambda: self.upkeep.books.total)
        self.metrics.watch_cache_entries(lambda: self.upkeep.books.entries)
        self.metrics.cache_limit(self.settings.cache.max_size)
        asked_by = {ecosystem.upstream: ecosystem.name for ecosystem in ECOSYSTEMS}
        self.metrics.watch_breakers(asked_by, lambda key: self.upstream.is_down(asked_by[key]))

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
                min_rate=limits.min_rate,
            ),
            tls=self._tls,
            clock=time.monotonic,
            observer=self.metrics,
            frozen=given.frozen,
        )

    def _make_listeners(self, logs: Logs) -> tuple[Listener, Listener | None]:
        settings, listen = self.settings, self.settings.server.listen
        rooms = Rooms(
            mounts=Mounts(ECOSYSTEMS),
            gate=self.live.gate,
            door=Door(self.entitlements),
            documents=self.documents,
            bulk=self.bulk,
            artifacts=self.artifacts,
            health=self.health,
            metrics=self.metrics,
            access_log=logs.access,
            audit=logs.audit,
            hosts=settings.upstream.redirect_hosts,
            trusted_proxies=settings.server.trusted_proxies,
            public_url=settings.server.public_url,
            min_rate=settings.limits.min_rate,
            extracts=settings.cache.core_metadata,
            certificates=self.live.certificates,
        )
        handler = Handler(rooms)
        self.hot = hot = handler.hot
        self.metrics.watch_repeats(lambda: hot.repeats)
        tls = self.live.tls.context if self.live.tls is not None else None
        server = Server(handler, handler.refuse, settings.limits.max_connections, hot.answer)
        main = Listener(server, listen.host, listen.port, tls)
        self.live.on_authority_gone(main.close_idle)
        if (where := settings.server.admin_listen) is None:
            return main, None
        server = Server(self._endpoint, self._endpoint.refuse)
        return main, Listener(server, where.host, where.port)

    def _make_endpoint(self) -> Admin:
        settings = self.settings
        view = EntitlementView(settings.entitlements.source, self.entitlements, ECOSYSTEMS)
        self.metrics.watch(view.numbers())
        token_file = settings.server.admin_token_file
        with process.using("server.admin_token_file"):
            return Admin(self.metrics, self.health, token_file, {PATH: view.describe})

    def _make_entitlements(self) -> Entitlements:
        given, upstream = self.settings.entitlements, self.settings.upstream
        asking = [name for name in LIBRARIES if name in self.settings.credentials]
        if given.source == "static":
            return StaticEntitlements(given.ecosystems)
        if given.source == "auto" and not (asking and upstream.has_platform):
            return AssumedEntitlements()  # nobody could ask, or nobody should be asked
        options = PlatformOptions(
            issuer=upstream.issuer,
            api=upstream.api,
            ecosystems=asking,
            organisation=given.organization,
            directory=self.settings.cache.directory,
            assume=given.source == "auto",
            refresh=given.refresh,
            grace=given.grace,
        )
        pairs, assumed = self.credentials, self.credentials.subject
        return ask_platform(options, pairs, self._tls, self._clocks, assumed)

    def _degraded(self) -> list[str]:
        found = [f"upstream does not answer: {name}" for name in self.upstream.open_breakers]
        found += self.credentials.troubles([ecosystem.name for ecosystem in ECOSYSTEMS])
        return found + ([self.upkeep.trouble] if self.upkeep.trouble else [])


async def _repeat(seconds: float, do: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        await do()


def credential_sources(settings: Settings) -> dict[str, list[Source]]:
    """The sources of each ecosystem's credentials, in the terms of the upstream room."""
    keys = dict.fromkeys(LIBRARIES, "libraries") | {item.name: item.upstream for item in ECOSYSTEMS}
    found: dict[str, list[Source]] = {}
    for name, held in settings.credentials.items():
        key = keys.get(name, "")  # an ecosystem that is not built yet may have no upstream
        for given in held:
            if given.identity and given.identity_token_file and key:
                source: Source = KeylessSource(
                    given.identity, given.identity_token_file, AUDIENCES[key]
                )
            elif given.identity:
                continue
            else:
                source = PairSource(
                    username=given.username,
                    username_file=given.username_file,
                    password=given.password,
                    password_file=given.password_file,
                    pair_file=given.pair_file,
                    docker_config=given.docker_config,
                    netrc=given.netrc,
                    host=urlsplit(getattr(settings.upstream, key)).netloc if key else "",
                )
            found.setdefault(name, []).append(source)
    return found


def run(settings: Settings, load: Callable[[], Settings] | None = None) -> int:
    """Run one process; the exit code. `load`: the settings anew, for a reload."""
    logs = start_logs(settings.log.level, settings.log.format, access=settings.log.access)
    try:
        return process.run(lambda: App(settings, logs, load=load))
    finally:
        logs.stop()
