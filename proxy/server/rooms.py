"""Everything that a request walks through, in one value.

Non-goals: making the rooms (`proxy.wiring`), the walk (`handler`).
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.access.door import Door
from proxy.access.gate import Gate
from proxy.cache.artifacts import Artifacts
from proxy.cache.bulk import Bulk
from proxy.cache.documents import Documents
from proxy.cache.forwards import Forwards
from proxy.model import HostRules
from proxy.observe.audit import AuditLog
from proxy.observe.logs import AccessLog
from proxy.observe.metrics import Metrics
from proxy.server.front import Network
from proxy.server.health import Health
from proxy.server.hot import Hot
from proxy.server.mounts import Mounts
from proxy.server.own_names import OwnNames
from proxy.server.tls import Certificates


@dataclass(frozen=True, slots=True)
class Rooms:
    """Everything a request walks through. `hosts`: what upstream links may name.

    `min_rate`: bytes a second that a client must take; 0: no minimum. `extracts`: offer what we
    can make of what the upstream has (core metadata of wheels). `own_names`: what a client may call
    us where being on this machine is enough. `certificates` None: nobody is known by one.
    """

    mounts: Mounts
    gate: Gate
    door: Door
    documents: Documents
    bulk: Bulk
    artifacts: Artifacts
    hot: Hot
    forwards: Forwards
    health: Health
    metrics: Metrics
    access_log: AccessLog
    audit: AuditLog
    hosts: HostRules
    own_names: OwnNames
    trusted_proxies: tuple[Network, ...] = ()
    public_url: str = ""
    min_rate: int = 0
    extracts: bool = True
    certificates: Certificates | None = None
