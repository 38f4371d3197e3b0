"""What is told of a request at its end, whichever way it went: numbers, access log, audit log.

Purpose: the two ways (`handler`, `prompt`) say the same in the same words; they stand side by side
here. Each answer is told once.

Non-goals: answers that are repeated (`hot`, `repeats`); how a path is written (`noted`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple, final

from aiohttp import web

from proxy.ecosystems.base import Ecosystem
from proxy.model import ArtifactTarget, RequestLine
from proxy.observe.audit import AuditRecord
from proxy.observe.formats import AccessRecord
from proxy.observe.logs import access_record
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


@final
@dataclass(slots=True)
class Errand:
    """An errand that has ended, for both logs: `Later`, and `audit.Later`. `at`: epoch seconds;
    `sent`: bytes of body; `cache`, `sha256`: see `note_errand`."""

    at: float
    seconds: float
    about: About
    status: int
    sent: int
    cache: str
    sha256: str

    def accessed(self) -> AccessRecord:
        """See `proxy.observe.formats.Later`."""
        about, heading = self.about, self.about.heading
        return access_record(
            self.at,
            about.id,
            heading.principal.name,
            heading.peer.shown,
            "GET",
            about.line.path,
            about.ecosystem.name,
            self.status,
            self.sent,
            self.seconds,
            self.cache if self.cache != NONE else "",
            heading.agent,
        )

    def audited(self) -> AuditRecord:
        """See `proxy.observe.audit.Later`."""
        about, heading = self.about, self.about.heading
        return AuditRecord(
            self.at,
            about.id,
            "served",
            heading.principal.name,
            heading.principal.kind,
            heading.peer.shown,
            about.ecosystem.name,
            purl_of(about.ecosystem, about.target),
            about.line.path,
            self.status,
            self.sent,
            f"sha256:{self.sha256}",
            self.cache if self.cache != NONE else "",
            "",
        )


def note_errand(
    rooms: Rooms, about: About, cache: str, content: bytes | memoryview, sha256: str
) -> None:
    """Tell of an errand whose client has got `content`; nothing of it: the client has left.

    `sha256`: of that. `cache`: the label of what the cache did, NONE where that is not known.
    """
    status, sent = 200 if content else LEFT, len(content)
    seconds = time.perf_counter() - about.started
    rooms.metrics.request(about.ecosystem.name, status, cache, seconds, sent)
    errand = Errand(time.time(), seconds, about, status, sent, cache, sha256)
    rooms.access_log.later(errand)
    if content:
        rooms.audit.append(errand)
