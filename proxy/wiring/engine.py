"""The cache's rooms and the upstream behind them, from the settings.

Purpose: documents, large documents and artifacts share one store, one upstream and one policy.
Non-goals: the store itself, whose life is longer (`proxy.app`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from ssl import SSLContext

from proxy.cache.artifacts import Artifacts
from proxy.cache.bulk import Bulk
from proxy.cache.documents import Documents
from proxy.cache.download import Download, DownloadLimits
from proxy.cache.extracts import Extracts
from proxy.cache.forwards import Forwards
from proxy.cache.freshness import Policy
from proxy.cache.variants import Variants
from proxy.cache.worker import Worker
from proxy.config import Settings
from proxy.ecosystems import ECOSYSTEMS
from proxy.ecosystems.base import Extracting
from proxy.egress import Egress
from proxy.observe.metrics import Metrics
from proxy.storage.disk import DiskStorage
from proxy.upstream.addresses import AddressRules
from proxy.upstream.client import HttpUpstream, UpstreamLimits
from proxy.upstream.credentials import Credentials
from proxy.wiring.upstreams import challenging, origins_of


@dataclass(frozen=True, slots=True)
class Engine:
    """What answers from the cache, or fetches."""

    documents: Documents
    bulk: Bulk
    artifacts: Artifacts
    forwards: Forwards


def make_upstream(
    settings: Settings,
    credentials: Credentials,
    metrics: Metrics,
    tls: SSLContext,
    egress: Egress | None,
) -> HttpUpstream:
    """Make the room that asks the world."""
    given, limits = settings.upstream, settings.limits
    return HttpUpstream(
        origins_of(settings),
        credentials,
        AddressRules(given.redirect_hosts, given.allow_networks, given.allow_insecure),
        UpstreamLimits(
            connections=limits.max_upstream_connections,
            queue_timeout=limits.queue_timeout,
            connect_timeout=limits.connect_timeout,
            first_byte_timeout=limits.first_byte_timeout,
            min_rate=limits.min_rate,
        ),
        tls=tls,
        clock=time.monotonic,
        observer=metrics,
        frozen=given.frozen,
        challenging=challenging(settings),
        egress=egress,
    )


def make_engine(
    settings: Settings,
    storage: DiskStorage,
    upstream: HttpUpstream,
    metrics: Metrics,
    clock: Callable[[], float],
) -> Engine:
    """Make the rooms. `clock`: seconds since the epoch."""
    origins = origins_of(settings)
    policy = Policy(
        ttl=settings.cache.document_ttl,
        tag_ttl=settings.cache.tag_ttl,
        max_stale=settings.cache.max_stale,
        negative_ttl=settings.cache.negative_ttl,
    )
    documents = Documents(
        storage,
        upstream,
        policy,
        Variants(Worker()),
        origins=origins,
        max_document=settings.limits.max_document,
        clock=clock,
        healed=metrics.cache_healed,
        reached=partial(metrics.limit_reached, "max_document"),
    )
    extracting = {item.name: item for item in ECOSYSTEMS if isinstance(item, Extracting)}
    download = Download(
        storage,
        upstream,
        metrics,
        DownloadLimits(settings.cache.max_size),
        Extracts(storage, upstream, extracting),
        clock=time.monotonic,
    )
    artifacts = Artifacts(
        storage,
        documents,
        upstream,
        download,
        policy,
        origins=origins,
        clock=clock,
        metrics=metrics,
    )
    bulk = Bulk(storage, upstream, policy, origins=origins, clock=clock)
    return Engine(documents, bulk, artifacts, Forwards(upstream))
