"""The process that looks after the workers, and answers the operator.

Purpose: one admin listener, one ready line, one reading of the configuration, one answer to a
signal, whatever the number of workers. It serves no client and holds no connection to an upstream.

`/readyz` is 503 until all workers are ready for the first time, while none of them is, and during
the drain; `degraded` while one is missing, or has troubles. The numbers are sums: of a worker that
was killed all but the last second counts on.

Reading: the package's own docstring. Non-goals: one process alone (`proxy.app.run`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import final

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector

from proxy.config import Settings
from proxy.observe.logs import start_logs
from proxy.observe.metrics import NAMESPACE, ReadCounter
from proxy.observe.totals import dump
from proxy.reloads import POLL, Reloads, opens_to_loopback
from proxy.server import process
from proxy.server.health import Health
from proxy.server.notify import Notifier
from proxy.server.rounds import repeat
from proxy.wiring.operators import make_admin, operators_listener, ready_line
from proxy.workers.crew import LOOK, RENEWAL, Crew
from proxy.workers.reserving import Reserved, reserve
from proxy.workers.terms import Loading, Terms, to_text

LOG = logging.getLogger(__name__)
SCRAPE = 2.0
"""Seconds that a scrape waits for the workers' numbers; then the last ones have to do."""


def supervise(loading: Loading, notifier: Notifier) -> int:
    """Run workers and their supervisor until told to stop; the exit code. `notifier`: the service
    manager. Raises ConfigError."""
    settings = loading.load()
    logs = start_logs(settings.log.level, settings.log.format, access=settings.log.access)
    try:
        return process.run(lambda: Supervisor(settings, loading), notifier)
    finally:
        logs.stop()


@final
class Supervisor:
    """Implements `Service`. Made inside the loop. Raises CannotStart."""

    def __init__(self, settings: Settings, loading: Loading) -> None:
        self._settings = settings
        self._loading = loading
        self._first = self._last = loading.text
        self._opens = opens_to_loopback(settings)
        self._loop = asyncio.get_running_loop()
        self._reserved: Reserved | None = None
        self._crew = Crew(settings.server.workers, self._terms)
        self._health = Health(self._crew.troubles, lambda: bool(self._crew.ready))
        self._reloads = Reloads(settings, loading.load, self._apply)
        self._registry = numbers_of(self._crew, settings.server.workers)
        self._crew.own = lambda: dump(self._registry)
        views = _Views(self._crew)
        self._admin_endpoint = make_admin(settings.server, self._health, self, views)
        self._admin = operators_listener(settings.server, self._admin_endpoint)
        self._url = ""
        self._pollers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Hold the address, listen for the operator, start the workers. Raises CannotStart."""
        self._reserved = await asyncio.to_thread(reserve, self._settings.server.listen)
        if self._admin is not None:
            await self._admin.start()
        await self._crew.start()
        self._url = self._crew.ready[0].url
        self._pollers = [
            self._loop.create_task(rounds)
            for rounds in (
                repeat(POLL, self._reloads.poll, "looking at the configuration"),
                repeat(POLL, self._admin_endpoint.poll, "reading the admin token"),
                repeat(LOOK, self._crew.look, "looking after the workers"),
            )
        ]
        self._health.started = True

    @property
    def ready_line(self) -> str:
        """See `Service`."""
        return ready_line(self._url, self._admin)

    async def reload(self) -> None:
        """Read the configuration for all, and have each read again what it has for itself."""
        kept = await self._reloads.reload()
        await self._admin_endpoint.reload()
        await self._crew.ask("reload", RENEWAL)
        LOG.info("reloaded%s", f", but for the configuration: {kept}" if kept else "")

    async def stop(self, hurry: asyncio.Event) -> None:
        """Drain all workers; the operator is answered until the last one has ended."""
        self._health.draining = True
        async with AsyncExitStack() as stack:
            if self._reserved is not None:
                stack.callback(self._reserved.close)
            if self._admin is not None:
                stack.push_async_callback(self._admin.close)
            for poller in self._pollers:
                stack.callback(poller.cancel)
            await self._crew.stop(hurry, self._settings.server.shutdown_grace)

    def render(self) -> tuple[bytes, str]:
        """The sum of all numbers, fresh where the workers answer. Not for the loop's thread."""
        asking = asyncio.run_coroutine_threadsafe(self._crew.ask("report"), self._loop)
        with suppress(TimeoutError):
            asking.result(SCRAPE)
        return self._crew.totals.render()

    def _terms(self, number: int, disorder: bool) -> Terms:  # noqa: FBT001  # a `Crew` asks
        settings, port = self._settings, self._reserved.port if self._reserved else 0
        listen = replace(settings.server.listen, port=port)
        return Terms(
            number,
            settings.server.workers,
            self._loading.at(listen),
            self._first,
            self._last,
            self._opens,
            disorder,
        )

    def _apply(self, found: Settings) -> None:
        """The clients are others: for all workers, and those that are yet to come."""
        self._last = self._loading.text
        self._opens = self._opens and not (found.clients or found.oidc)
        self._crew.take(to_text(self._last))


@final
class _Views(Mapping[str, Callable[[], object]]):
    """What the first worker shows, as of its last report."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def __getitem__(self, path: str) -> Callable[[], object]:
        shown = self._shown()[path]
        return lambda: shown

    def __iter__(self) -> Iterator[str]:
        return iter(self._shown())

    def __len__(self) -> int:
        return len(self._shown())

    def _shown(self) -> dict[str, object]:
        return next((one.views for one in self._crew.ready if one.views), {})


def numbers_of(crew: Crew, count: int) -> CollectorRegistry:
    """What only the supervisor knows, and its own process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    gauge = Gauge(
        "workers", "Workers that there should be.", namespace=NAMESPACE, registry=registry
    )
    gauge.set(count)
    Gauge(
        "workers_ready", "Workers that serve.", namespace=NAMESPACE, registry=registry
    ).set_function(lambda: len(crew.ready))
    text = "Workers that were started in place of one that had ended."
    registry.register(ReadCounter(f"{NAMESPACE}_worker_restarts", text, lambda: crew.restarts))
    return registry
