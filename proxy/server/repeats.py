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
from proxy.cache.status import HIT
from proxy.ecosystems.base import Ecosystem
from proxy.model import DocumentTarget
from proxy.observe.logs import Noted
from proxy.server.hot import Hot
from proxy.server.seam import asked
from proxy.server.walk import Walk


@final
class Repeats:
    """Keeps what may be repeated in `hot`."""

    def __init__(self, gate: Gate, door: Door, documents: Documents, hot: Hot) -> None:
        self._gate = gate
        self._door = door
        self._documents = documents
        self._hot = hot

    def prepare(
        self,
        walk: Walk,
        ecosystem: Ecosystem,
        target: DocumentTarget,
        held: Held,
    ) -> None:
        """Note on the walk what its answer stands on."""
        if held.status is not HIT or walk.request.method != "GET" or asked(walk.request) is None:
            return
        if _ends(walk) or (standing := self._documents.standing(ecosystem, target, held)) is None:
            return
        gate, clients, entitled = self._gate, walk.clients, self._door.entitled
        name, scope = ecosystem.name, target.scope

        def stands() -> int | None:
            if gate.clients is not clients or not entitled(name, scope):
                return None
            return standing()

        walk.stands = stands

    def keep(self, walk: Walk, response: web.StreamResponse) -> None:
        """Keep the answer that has just been sent, if it may be repeated."""
        question, stands, request = asked(walk.request), walk.stands, walk.request
        if question is None or stands is None or not isinstance(response, web.Response):
            return
        lasting = response.keep_alive and request.version == HttpVersion11
        if response.status in (200, 304) and lasting and (noted := _noted(walk, response)):
            self._hot.keep(*question, response, stands, noted)


def _ends(walk: Walk) -> bool:
    """Whether what the sender showed ends by itself, or may begin to count: ID tokens and
    certificates do."""
    if walk.principal is None or walk.principal.kind == "token":
        return walk.principal is None
    known = walk.principal.kind in ("network", "loopback")
    return not known or "Authorization" in walk.request.headers


def _noted(walk: Walk, response: web.Response) -> Noted | None:
    if walk.line is None or walk.ecosystem is None or not walk.principal or walk.peer is None:
        return None
    return Noted(
        walk.principal.name,
        str(walk.peer.address),
        walk.line.path,
        walk.ecosystem.name,
        response.status,
        walk.cache,
        walk.request.headers.get("User-Agent", ""),
    )
