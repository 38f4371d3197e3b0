"""What is told of a request at its end, whichever way it went: numbers, access log, audit log.

Purpose: the two ways (`handler`, `prompt`) say the same in the same words; they stand side by side
here. Each answer is told once.

Non-goals: answers that are repeated (`hot`, `repeats`); how a path is written (`noted`).
"""

from __future__ import annotations

import time
from typing import NamedTuple

from aiohttp import web

from proxy.ecosystems.base import Ecosystem
from proxy.model import ArtifactTarget, RequestLine
from proxy.observe.audit import AuditRecord
from proxy.observe.metrics import NONE
from proxy.server.heading import Heading
from proxy.server.noted import noted_path
from proxy.server.rooms import Rooms
from proxy.server.walk import LEFT, Walk, purl_of
from proxy.server.wire import body_size


def note(rooms: Rooms, walk: Walk, response: web.StreamResponse | None) -> None:
    """Tell of a walk; `response` None: the client left before an answer."""
    request = walk.request
    seconds = time.perf_counter() - walk.started
    status = response.status if response is not None else LEFT
    name = walk.ecosystem.name if walk.ecosystem is not None else NONE
    sent = body_size(request, response)
    rooms.metrics.request(name, status, walk.cache, seconds, sent)
    if walk.probed:
        return
    rooms.access_log.append(
        walk.id,
        walk.principal.name if walk.principal is not None else "",
        walk.peer.shown if walk.peer is not None else "",
        request.method,
        walk.line.path if walk.line is not None else noted_path(request.raw_path),
        name if name != NONE else "",
        status,
        sent,
        seconds,
        walk.cache if walk.cache != NONE else "",
        request.headers.get("User-Agent", ""),
        walk.failure,
    )
    if rooms.audit.on and (record := walk.audited(time.time(), status, sent)) is not None:
        rooms.audit.append(record)


class About(NamedTuple):
    """Who asks for what, of a plain GET. `id`: of the request. `started`: seconds of the
    performance counter."""

    id: str
    started: float
    heading: Heading
    line: RequestLine
    ecosystem: Ecosystem
    target: ArtifactTarget


def note_errand(rooms: Rooms, about: About, cache: str, content: bytes, sha256: str) -> None:
    """Tell of an errand whose client has got `content`; nothing of it: the client has left.

    `sha256`: of that. `cache`: the label of what the cache did, NONE where that is not known.
    """
    heading, ecosystem, path = about.heading, about.ecosystem.name, about.line.path
    principal, peer, shown = heading.principal, heading.peer.shown, cache if cache != NONE else ""
    status, sent = 200 if content else LEFT, len(content)
    seconds = time.perf_counter() - about.started
    rooms.metrics.request(ecosystem, status, cache, seconds, sent)
    rooms.access_log.append(
        *(about.id, principal.name, peer, "GET", path, ecosystem, status, sent, seconds),
        *(shown, heading.agent),
    )
    if not content or not rooms.audit.on:
        return
    rooms.audit.append(
        AuditRecord(
            time.time(),
            about.id,
            "served",
            principal.name,
            principal.kind,
            peer,
            ecosystem,
            purl_of(about.ecosystem, about.target),
            path,
            status,
            sent,
            f"sha256:{sha256}",
            shown,
            "",
        )
    )
