"""From an answer that was just given to one that may be given again.

Purpose: what of the walk has to hold for an answer to be repeated, put together as one question
(`Hot` asks it before every repetition), and the little that the logs say of each.

Reading: `proxy.server.hot`, which says what is remembered and why that is right. Non-goals: bytes
on the wire (`wire`).
"""

from __future__ import annotations

from typing import final

from aiohttp import web
from aiohttp.http import HttpVersion11

from proxy.access.door import Door
from proxy.access.gate import Gate
from proxy.cache.documents import Documents, Held
from proxy.cache.found import Described, Flying, Standing, Stored, Told
from proxy.cache.status import HIT
from proxy.ecosystems.base import Ecosystem
from proxy.model import DocumentTarget
from proxy.observe.alike import Alike
from proxy.observe.audit import AuditLog
from proxy.observe.formats import AccessRecord
from proxy.observe.logs import alike
from proxy.server.heading import is_lasting
from proxy.server.hot import Audited, Hot
from proxy.server.seam import asked
from proxy.server.walk import Walk


@final
class Repeats:
    """Keeps what may be repeated in `hot`. `certified`: clients may be known by certificates."""

    def __init__(  # noqa: PLR0913  # made once, by the handler
        self,
        gate: Gate,
        door: Door,
        documents: Documents,
        hot: Hot,
        audit: AuditLog,
        *,
        certified: bool,
    ) -> None:
        self._certified = certified
        self._gate = gate
        self._door = door
        self._documents = documents
        self._hot = hot
        self._audit = audit

    def prepare(
        self,
        walk: Walk,
        ecosystem: Ecosystem,
        target: DocumentTarget,
        held: Held,
    ) -> None:
        """Note on the walk what its answer stands on."""
        if held.status is not HIT or not self._may_repeat(walk):
            return
        if (standing := self._documents.standing(ecosystem, target, held)) is None:
            return
        walk.stands = self._with_rights(walk, ecosystem, target.scope, standing)

    def prepare_found(
        self, walk: Walk, ecosystem: Ecosystem, found: Stored | Flying | Described | Told
    ) -> None:
        """The same for an artifact, or what is told of one."""
        if isinstance(found, Flying | Described) or found.status is not HIT or _parts(walk.request):
            return
        if not self._may_repeat(walk) or (basis := found.basis()) is None:
            return
        walk.stands = self._with_rights(walk, ecosystem, basis.scope, basis.stands)

    def keep(self, walk: Walk, response: web.StreamResponse) -> None:
        """Keep the answer that has just been sent, if it may be repeated."""
        question, stands, request = asked(walk.request), walk.stands, walk.request
        if question is None or stands is None or not isinstance(response, web.Response):
            return
        lasting = response.keep_alive and request.version == HttpVersion11
        if response.status in (200, 304) and lasting and (noted := _noted(walk, response)):
            self._hot.keep(*question, response, stands, noted, self._audited(walk, response))

    def _may_repeat(self, walk: Walk) -> bool:
        if self._certified or walk.request.method != "GET" or walk.principal is None:
            return False
        if not is_lasting(walk.principal, walk.request):
            return False
        question = asked(walk.request)
        return question is not None and self._hot.wants(*question)

    def _with_rights(
        self, walk: Walk, ecosystem: Ecosystem, scope: str, standing: Standing
    ) -> Standing:
        """`standing`, as long as who asked is known and the organisation may have it."""
        gate, clients, entitled = self._gate, walk.clients, self._door.entitled
        name = ecosystem.name

        def stands() -> int | None:
            if gate.clients is not clients or not entitled(name, scope):
                return None
            return standing()

        return stands

    def _audited(self, walk: Walk, response: web.Response) -> Audited | None:
        """How to note in the audit log that it was given again; None: it is not worth it."""
        sent = _sent(response)
        record = walk.audited(0.0, response.status, sent) if self._audit.on else None
        if record is None:
            return None
        append, every = self._audit.append, Alike(record)
        return lambda now, request_id: append((now, request_id, every))


def _parts(request: web.BaseRequest) -> bool:
    """Whether a part is asked for: what that gets is judged each time."""
    return "Range" in request.headers or "If-Range" in request.headers


def _sent(response: web.Response) -> int:
    """Bytes of body."""
    body = response.body if response.status != 304 else b""
    return len(body) if isinstance(body, bytes) else 0


def _noted(walk: Walk, response: web.Response) -> Alike[AccessRecord] | None:
    if walk.line is None or walk.ecosystem is None or not walk.principal or walk.peer is None:
        return None
    return alike(
        walk.principal.name,
        walk.peer.shown,
        walk.line.path,
        walk.ecosystem.name,
        response.status,
        _sent(response),
        walk.cache,
        walk.request.headers.get("User-Agent", ""),
    )
