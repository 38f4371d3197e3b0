"""The clients' listening address with what answers behind it, from the settings.

Purpose: that listener, and what the rooms behind it have to show to the operator. Non-goals:
starting it; the operator's own (`operators`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from proxy.access.door import Door
from proxy.access.entitlements import Entitlements
from proxy.config import Settings
from proxy.ecosystems import ECOSYSTEMS
from proxy.live import Live
from proxy.observe.logs import Logs
from proxy.observe.metrics import Metrics
from proxy.server.entitlements import PATH, EntitlementView
from proxy.server.handler import Handler
from proxy.server.health import Health
from proxy.server.hot import Hot
from proxy.server.listener import Listener
from proxy.server.mounts import Mounts
from proxy.server.own_names import OwnNames
from proxy.server.rooms import Rooms
from proxy.server.wire import Server
from proxy.wiring.engine import Engine
from proxy.wiring.upstreams import ecosystems_of


def operators_views(
    settings: Settings, entitlements: Entitlements, metrics: Metrics
) -> Mapping[str, Callable[[], object]]:
    """What the operator is shown of the rooms, by path; its numbers become metrics."""
    view = EntitlementView(settings.entitlements.source, entitlements, ECOSYSTEMS)
    metrics.watch(view.numbers())
    return {PATH: view.describe}


def clients_listener(  # noqa: PLR0913  # every room that a request walks through
    settings: Settings,
    *,
    live: Live,
    entitlements: Entitlements,
    engine: Engine,
    hot: Hot,
    health: Health,
    metrics: Metrics,
    logs: Logs,
) -> Listener:
    """The listener of everybody else."""
    handler = Handler(
        Rooms(
            mounts=Mounts(ecosystems_of(settings)),
            gate=live.gate,
            door=Door(entitlements),
            documents=engine.documents,
            bulk=engine.bulk,
            artifacts=engine.artifacts,
            hot=hot,
            forwards=engine.forwards,
            health=health,
            metrics=metrics,
            access_log=logs.access,
            audit=logs.audit,
            hosts=settings.upstream.redirect_hosts,
            own_names=OwnNames(settings.server.public_url),
            trusted_proxies=settings.server.trusted_proxies,
            public_url=settings.server.public_url,
            min_rate=settings.limits.min_rate,
            extracts=settings.cache.core_metadata,
            certificates=live.certificates,
        )
    )
    tls = live.tls.context if live.tls is not None else None
    limits = settings.limits
    server = Server(
        *(handler, handler.refuse, limits.max_connections, hot.answer, handler.prompt),
        min_rate=limits.min_rate,
        reached=metrics.limit_reached,
    )
    listen, shared = settings.server.listen, settings.server.workers > 1
    return Listener(server, listen.host, listen.port, tls, shared=shared)
