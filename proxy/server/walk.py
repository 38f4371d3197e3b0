"""What is known of one request so far, and what of it is worth keeping.

Purpose: each step of the walk adds what it found out; the end of the walk, whichever way it went,
tells access log and audit log from it.

Non-goals: walking (`proxy.server.handler`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from aiohttp import web

from proxy.access.clients import Clients
from proxy.cache.found import Described, Flying, Standing, Stored
from proxy.ecosystems.base import Ecosystem
from proxy.errors import AccessError, Blocked, ProxyError
from proxy.model import (
    ArtifactTarget,
    ChecksumTarget,
    DocumentTarget,
    Principal,
    RequestLine,
    Target,
)
from proxy.observe.audit import AuditRecord, Decision
from proxy.observe.metrics import NONE
from proxy.server.conditional import UNCONDITIONAL, Conditions
from proxy.server.front import Peer

LEFT = 499
"""Status of a transfer that broke off, in the logs; no client ever sees it."""
_VERSIONED = (ArtifactTarget, DocumentTarget, ChecksumTarget)


@final
@dataclass(slots=True)
class Walk:
    """One request on its way. `started`: seconds of the performance counter.

    `digest`: of the artifact's bytes, `sha256:...`, once it is known. `probed`: it is the question
    of a machine that asks every few seconds, and no line in the log is worth it. `begun`: the
    flight that was begun for it before it came here; whoever takes it off MUST close it.
    """

    request: web.BaseRequest
    id: str
    started: float
    peer: Peer | None = None
    line: RequestLine | None = None
    ecosystem: Ecosystem | None = None
    principal: Principal | None = None
    target: Target | None = None
    digest: str = ""
    error: ProxyError | None = None
    cache: str = NONE
    probed: bool = False
    clients: Clients | None = None
    conditions: Conditions = UNCONDITIONAL
    stands: Standing | None = None
    begun: Flying | None = None

    @property
    def failure(self) -> str:
        """Why it was refused or failed, in words for the log; "" where it was not."""
        return f"{self.error.reason}: {self.error.detail}" if self.error is not None else ""

    @property
    def purl(self) -> str:
        """The package that is asked for; "" where none is, or not known yet."""
        if self.ecosystem is None or self.target is None:
            return ""
        return purl_of(self.ecosystem, self.target)

    def audited(self, now: float, status: int, sent: int) -> AuditRecord | None:
        """The record for the audit log; None: nothing that is worth keeping was decided.

        `now`: epoch seconds; `status` and `sent` bytes of the answer.
        """
        decision = self._decision(status, sent)
        if decision is None or self.principal is None or self.peer is None or self.line is None:
            return None
        return AuditRecord(
            now,
            self.id,
            decision,
            self.principal.name,
            self.principal.kind,
            self.peer.shown,
            self.ecosystem.name if self.ecosystem is not None else "",
            self.purl,
            self.line.path,
            status,
            sent,
            self.digest,
            self.cache if self.cache != NONE else "",
            self.error.reason if self.error is not None else "",
        )

    def _decision(self, status: int, sent: int) -> Decision | None:
        """A 304 tells a client that what it has is right, so it has it; a HEAD gives nothing."""
        if self.error is not None:
            if isinstance(self.error, AccessError):
                return "denied"
            if isinstance(self.error, Blocked):
                return "withheld"
        target = self.target
        kept = isinstance(target, ArtifactTarget) or (
            isinstance(target, DocumentTarget) and target.verbatim
        )
        if not kept or self.request.method != "GET":
            return None
        return "served" if status in (200, 206, 304) or (status == LEFT and sent) else None


def purl_of(ecosystem: Ecosystem, target: Target) -> str:
    """The package URL of what a target is of; "" where it is of no package."""
    if not target.package:
        return ""
    version = target.version if isinstance(target, _VERSIONED) else ""
    return ecosystem.purl(target.package, version)


def digest_of(found: Stored | Flying | Described) -> str:
    """The digest of an artifact's bytes, as far as it is known by now."""
    match found:
        case Stored(record=record):
            return f"sha256:{record.sha256}"
        case Flying() if (landed := found.follower.flight.record) is not None:
            return f"sha256:{landed.sha256}"
        case _:
            return ""
