"""The prompt way: a small artifact that is not here is fetched without a task that waits for it.

Purpose: of what a plain miss costs here, most is aiohttp's parser, its task, our coroutines and the
response object. A request whose heading was read a moment ago (`heading`), and whose path names an
artifact that can be fetched at once, is understood where its bytes come in, and its answer is
written by whoever notes that the flight has landed.

The steps are those of the general way (`handler`), in its order, and so is every byte: fields,
log, numbers and audit record. Whatever is not that plain is left to it: before anything has
happened by saying None, later by handing on what was begun (`errand`). It alone words refusals and
failures, and sends what is large.

Reading: design section 1. Non-goals: hits (`hot`), documents, parts, HEADs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import final

from proxy.cache.flight import Flight
from proxy.cache.found import Flying
from proxy.ecosystems.base import Ecosystem
from proxy.errors import ProxyError
from proxy.model import ArtifactTarget, Principal
from proxy.observe.metrics import NONE
from proxy.observe.request_id import RequestIds
from proxy.server import responses
from proxy.server.canonical import canonicalise
from proxy.server.errand import ErrandHandler
from proxy.server.heading import Heading, Headings, version_at
from proxy.server.noting import About, note_errand
from proxy.server.rooms import Rooms
from proxy.server.understanding import Meaning, Understanding, Words
from proxy.server.walk import purl_of
from proxy.storage.base import Record

LOG = logging.getLogger(__name__)
_METHOD = "GET"
_START = b"GET /"
_TARGET_AT = len(b"GET ")


@final
class PromptWay:
    """Sets out for small artifacts. What `headings` and `understanding` know is the handler's."""

    def __init__(
        self, rooms: Rooms, ids: RequestIds, headings: Headings, understanding: Understanding
    ) -> None:
        self._rooms = rooms
        self._ids = ids
        self._headings = headings
        self._understanding = understanding

    def __call__(self, question: bytes, peer: str, connection: ErrandHandler) -> _Errand | None:
        """See `proxy.server.errand.Prompt`. Never raises."""
        if not question.startswith(_START):
            return None
        end = version_at(question)
        heading = self._headings.known(question[end:], peer)
        if heading is None or not heading.plain:
            return None
        try:
            return self._set_out(question, end, heading, connection)
        except ProxyError:
            return None
        except Exception:
            # A defect, whichever: here it would cost the connection, there it is an answer.
            LOG.exception("the prompt way failed; the general one is taken")
            return None

    def _set_out(
        self, question: bytes, end: int, heading: Heading, connection: ErrandHandler
    ) -> _Errand | None:
        """`end`: of the target in the question."""
        started = time.perf_counter()
        # Strange bytes are no path of ours in whichever coding: the general way says so.
        text = question[_TARGET_AT:end].decode("ascii", "replace")
        words = (_METHOD, text, heading.host, heading.accept)
        meaning = self._understanding.find(words) or self._understand(words)
        line, ecosystem, target = meaning
        # Nor is the path of a probe one. Digests are told of what is compared with others first.
        if isinstance(target, ArtifactTarget) and not target.digests:
            flying = self._begin(heading.principal, ecosystem, target)
            if flying is not None:
                self._rooms.health.running += 1
                about = About(self._ids.next(), started, heading, line, ecosystem, target)
                return _Errand(self._rooms, connection, question, about, flying)
        # The general way asks for it next. What is fetched from here is mostly asked for once.
        self._understanding.keep(words, meaning)
        return None

    def _understand(self, words: Words) -> Meaning:
        """What the path means, whoever asks. Raises what the general way does."""
        method, text, host, accept = words
        line = canonicalise(method, text, host=host, accept=accept)
        ecosystem = self._rooms.mounts.require(line.segments)
        return line, ecosystem, ecosystem.classify(line)

    def _begin(
        self, principal: Principal, ecosystem: Ecosystem, target: ArtifactTarget
    ) -> Flying | None:
        """Its flight, if that can be begun at once. Raises what the door does."""
        rooms = self._rooms
        purl = purl_of(ecosystem, target) if principal.packages else ""
        scopes = rooms.mounts.scopes(ecosystem)
        grant = rooms.door.require(principal, ecosystem.name, target, scopes, purl)
        return rooms.artifacts.begin(ecosystem, target, grant)


@final
class _Errand:
    """Implements `Errand`: one request, its flight, and what is said at its end."""

    __slots__ = ("_about", "_connection", "_is_over", "_question", "_rooms", "flying")

    def __init__(
        self,
        rooms: Rooms,
        connection: ErrandHandler,
        question: bytes,
        about: About,
        flying: Flying,
    ) -> None:
        self._rooms = rooms
        self._connection = connection
        self._question = question
        self._about = about
        self._is_over = False
        self.flying = flying
        self._wait(flying.follower.flight)

    @property
    def id(self) -> str:
        """See `Errand`."""
        return self._about.id

    @property
    def started(self) -> float:
        """See `Errand`."""
        return self._about.started

    def left(self) -> None:
        """See `Errand`."""
        self.flying.close()
        if not self._is_over:
            self._is_over = True
            self._rooms.health.running -= 1
            note_errand(self._rooms, self._about, NONE, b"", "")

    def _wait(self, flight: Flight) -> None:
        if flight.done or flight.headed:
            asyncio.get_running_loop().call_soon(self._told)
        else:
            flight.hear(self._told)

    def _told(self) -> None:
        """The flight has come further."""
        if self._is_over:
            return
        flight = self.flying.follower.flight
        if not (flight.done or flight.headed):
            self._wait(flight)
            return
        self._is_over = True
        self._rooms.health.running -= 1
        record, content = flight.record, flight.content
        # Else it has failed, it is large, or it could not be stored.
        if record is None or not content or not self._answer(record, content):
            self._connection.hand_back(self._question)

    def _answer(self, record: Record, content: bytes | memoryview) -> bool:
        """Send it, note it, and let the connection go on; False: it cannot be sent from here."""
        about, status = self._about, self.flying.status
        try:
            head = responses.landed(about.target, about.id, record, str(status))
        except ValueError:
            LOG.exception("no head for an artifact; the general way is taken")
            return False
        sent = self._connection.put(head, content)
        self.flying.close()
        try:
            note_errand(self._rooms, about, status.label, content if sent else b"", record.sha256)
        finally:
            # A connection that stays busy is read by nobody, whatever becomes of the note.
            self._connection.done()
        return True
