"""One request from line to answer: the walk through the rooms, in order.

1. framing and Host, 2. who asks (401; both were found out a moment ago, perhaps: `heading`),
3. the path (400, 404), 4. what it means to its ecosystem, 5. the right to it (403), 6. the cache,
7. the answer. An error at any step is worded once, by the ecosystem whose client will show it; the
access log and the metrics hear of every answer.

Reading: design section 1. Non-goals: anything that one of the rooms decides.
"""

from __future__ import annotations

import logging
import time
from typing import assert_never, final

from aiohttp import web

from proxy.cache.artifacts import Described, Flying, Stored
from proxy.cache.coding import CODINGS
from proxy.cache.status import DENIED
from proxy.ecosystems.base import Ecosystem
from proxy.errors import (
    InternalError,
    MethodNotAllowed,
    NotFound,
    ProxyError,
    UpstreamSilent,
)
from proxy.model import (
    ArtifactTarget,
    ChecksumTarget,
    DocumentTarget,
    ForwardTarget,
    Grant,
    Links,
    Principal,
    StaticTarget,
    Target,
)
from proxy.observe.request_id import RequestIds
from proxy.server import responses
from proxy.server.canonical import canonicalise
from proxy.server.coding import choose_coding
from proxy.server.conditional import wants_range
from proxy.server.errand import handed
from proxy.server.errors import refusal, render
from proxy.server.front import base_url, check_framing, check_no_body
from proxy.server.heading import Heading, Headings
from proxy.server.noting import note
from proxy.server.passing import pass_on
from proxy.server.prompt import PromptWay
from proxy.server.repeats import Repeats
from proxy.server.rooms import Rooms
from proxy.server.sending import finish
from proxy.server.understanding import Meaning, Understanding
from proxy.server.walk import Walk, digest_of
from proxy.server.wire import abort

LOG = logging.getLogger(__name__)
RANGE_PATIENCE = 10.0  # seconds that a Range waits for a cold artifact to be verified


@final
class Handler:
    """Answers client requests."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._ids = RequestIds()
        self._understanding = Understanding()
        self._headings = Headings(
            *(rooms.gate, rooms.own_names, rooms.trusted_proxies, rooms.certificates)
        )
        self.prompt = PromptWay(rooms, self._ids, self._headings, self._understanding)
        """The way of small artifacts that are not here; see `proxy.server.errand.Prompt`."""
        self._repeats = Repeats(
            *(rooms.gate, rooms.door, rooms.documents, rooms.hot, rooms.audit),
            certified=rooms.certificates is not None,
        )

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, send the answer, note it."""
        begun = handed(request)
        if begun is None:
            walk = Walk(request, self._ids.next(), time.perf_counter())
        else:
            walk = Walk(request, begun.id, begun.started, begun=begun.flying)
        health = self._rooms.health
        response: web.StreamResponse | None = None
        health.running += 1
        try:
            answer = await self._answer_or_error(walk)
            await finish(request, answer, self._rooms.min_rate)
            response = answer
            if walk.stands is not None:
                self._repeats.keep(walk, response)
            return response
        finally:
            health.running -= 1
            if walk.begun is not None:  # what has come in between is no answer to it
                walk.begun.close()
            note(self._rooms, walk, response)

    def refuse(self, request: web.BaseRequest, status: int) -> web.StreamResponse:
        """Answer what the parser refused (400), or a defect of ours (500)."""
        walk = Walk(request, self._ids.next(), time.perf_counter())
        response = self._render(walk, refusal(status))
        note(self._rooms, walk, response)
        return response

    async def _answer_or_error(self, walk: Walk) -> web.StreamResponse:
        """The answer, or the failure in words. Raises ConnectionError when a head is out already
        and what follows it cannot be told from an answer any more."""
        failure: ProxyError
        try:
            return await self._answer(walk)
        except ConnectionError as broken:
            # A head was out already: only the log can still say why.
            walk.error = broken.__cause__ if isinstance(broken.__cause__, ProxyError) else None
            raise
        except ProxyError as error:
            failure = error
        except Exception as defect:
            # A defect, whichever. Here it is still known who asked for what: the client reads of it
            # in its own ecosystem's words, the log and the numbers hear of it like of any failure.
            LOG.exception("a request failed inside the proxy", extra={"request_id": walk.id})
            failure = refusal(500)
            failure.__cause__ = defect
        if walk.request.writer.output_size > 0:
            walk.error = failure
            raise abort(walk.request) from failure
        return self._render(walk, failure)

    # --- the walk ----------------------------------------------------------------------------

    async def _answer(self, walk: Walk) -> web.StreamResponse:
        rooms, request = self._rooms, walk.request
        target = request.raw_path
        heading = self._headings.find(request)
        if heading is None:
            walk.ecosystem = rooms.mounts.guess(target)
            check_framing(request)
        if (probe := rooms.health.probe(target, request.method)) is not None:
            walk.probed = True
            return probe(responses.base_headers(walk.id))
        if heading is None:
            heading = await self._headings.read(walk, target)
        walk.peer, walk.principal, walk.clients = heading.peer, heading.principal, heading.clients
        walk.conditions = heading.conditions
        if request.method == "OPTIONS":
            check_no_body(request)
            return self._options(walk)
        line, ecosystem, found = self._understand(walk, target, heading)
        if line.method == "POST" and not isinstance(found, ForwardTarget):
            raise MethodNotAllowed("Only GET and HEAD are answered here: the proxy is read-only.")
        if not (heading.bare or (isinstance(found, ForwardTarget) and found.max_body)):
            check_no_body(request)
        scopes = rooms.mounts.scopes(ecosystem)
        principal = heading.principal
        purl = walk.purl if principal.packages else ""
        grant = rooms.door.require(principal, ecosystem.name, found, scopes, purl)
        return await self._allowed(walk, ecosystem, found, grant, principal)

    async def _allowed(
        self,
        walk: Walk,
        ecosystem: Ecosystem,
        found: Target,
        grant: Grant,
        principal: Principal,
    ) -> web.StreamResponse:
        match found:
            case StaticTarget():
                return responses.static(found, principal.name, responses.base_headers(walk.id))
            case DocumentTarget():
                return await self._document_or_other(walk, ecosystem, found, grant)
            case ArtifactTarget():
                return await self._artifact(walk, ecosystem, found, grant)
            case ChecksumTarget():
                return await self._checksum(walk, ecosystem, found, grant)
            case ForwardTarget():
                forwards, links = self._rooms.forwards, self._links(walk, based=True)
                return await pass_on(
                    *(walk, principal, ecosystem, found),
                    grant=grant,
                    forwards=forwards,
                    links=links,
                )
            case _:
                assert_never(found)

    def _understand(self, walk: Walk, target: str, heading: Heading) -> Meaning:
        """What is asked; noted step by step, for the words of a refusal."""
        method, host, accept = walk.request.method, heading.host, heading.accept
        words = (method, target, host, accept)
        if (known := self._understanding.find(words)) is not None:
            walk.line, walk.ecosystem, walk.target = known
            return known
        walk.line = line = canonicalise(method, target, host=host, accept=accept)
        walk.ecosystem = ecosystem = self._rooms.mounts.require(line.segments)
        walk.target = found = ecosystem.classify(line)
        meaning = (line, ecosystem, found)
        self._understanding.keep(words, meaning)
        return meaning

    async def _document_or_other(
        self, walk: Walk, ecosystem: Ecosystem, target: DocumentTarget, grant: Grant
    ) -> web.StreamResponse:
        """A document, or what is to be had in its place."""
        other = target.otherwise
        try:
            return await self._document(walk, ecosystem, target, grant)
        except NotFound:
            if other is None:
                raise
        except UpstreamSilent:
            # What took its place while the upstream could be asked is kept, too.
            keeps = self._rooms.documents.keeps
            if isinstance(other, DocumentTarget) and await keeps(ecosystem, other, grant):
                return await self._document(walk, ecosystem, other, grant)
            raise
        if isinstance(other, StaticTarget):
            return responses.static(other, grant.principal, responses.base_headers(walk.id))
        return await self._document_or_other(walk, ecosystem, other, grant)

    async def _document(
        self, walk: Walk, ecosystem: Ecosystem, target: DocumentTarget, grant: Grant
    ) -> web.StreamResponse:
        if target.bulk:
            return await self._bulk(walk, ecosystem, target, grant)
        links = self._links(walk, based=target.based)
        held = await self._rooms.documents.get(ecosystem, target, grant, links)
        accepted = walk.request.headers.getall("Accept-Encoding", ())
        coding = choose_coding(accepted, CODINGS) if not target.verbatim else ""
        walk.digest = f"sha256:{held.sha256}" if target.verbatim else ""
        variant = await self._rooms.documents.variant(ecosystem, target, held, links, coding=coding)
        walk.cache = held.status.label
        self._repeats.prepare(walk, ecosystem, target, held)
        headers = responses.base_headers(walk.id)
        return responses.document(walk.request, target, held, variant, headers)

    async def _checksum(
        self, walk: Walk, ecosystem: Ecosystem, target: ChecksumTarget, grant: Grant
    ) -> web.StreamResponse:
        told = await self._rooms.artifacts.checksum(ecosystem, target, grant, self._links(walk))
        walk.cache = told.status.label
        self._repeats.prepare_found(walk, ecosystem, told)
        return responses.checksum(walk.request, told, responses.base_headers(walk.id))

    async def _bulk(
        self, walk: Walk, ecosystem: Ecosystem, target: DocumentTarget, grant: Grant
    ) -> web.StreamResponse:
        found = await self._rooms.bulk.get(ecosystem, target, grant)
        try:
            walk.cache = found.status.label
            headers, rate = responses.base_headers(walk.id), self._rooms.min_rate
            return await responses.bulk(walk.request, target, found, headers, rate)
        finally:
            found.close()

    async def _artifact(
        self, walk: Walk, ecosystem: Ecosystem, target: ArtifactTarget, grant: Grant
    ) -> web.StreamResponse:
        rooms, request = self._rooms, walk.request
        begun, walk.begun = walk.begun, None
        found: Stored | Flying | Described
        if begun is not None:
            found = await rooms.artifacts.follow(begun)
        else:
            found = await rooms.artifacts.get(
                ecosystem, target, grant, self._links(walk), head_only=request.method == "HEAD"
            )
        try:
            # Never an unverified 206: wait for the verdict a little, else send the whole.
            if (
                isinstance(found, Flying)
                and wants_range(walk.conditions)
                and await found.follower.settled(RANGE_PATIENCE)
            ):
                found = rooms.artifacts.landed(found) or found
            walk.cache = found.status.label
            self._repeats.prepare_found(walk, ecosystem, found)
            headers = responses.base_headers(walk.id)
            match found:
                case Stored():
                    return await responses.stored(
                        *(request, walk.conditions, target, found, headers, rooms.min_rate)
                    )
                case Flying():
                    return await responses.flying(request, target, found, headers, rooms.min_rate)
                case Described():
                    return responses.described(target, found, headers)
                case _:
                    assert_never(found)
        finally:
            walk.digest = digest_of(found)
            found.close()

    # --- the ends ----------------------------------------------------------------------------

    def _links(self, walk: Walk, *, based: bool = False) -> Links:
        base = ""
        if based and walk.peer is not None:
            base = base_url(walk.request, self._rooms.public_url, walk.peer)
        return Links(base, self._rooms.hosts, self._rooms.extracts)

    @staticmethod
    def _options(walk: Walk) -> web.Response:
        headers = responses.base_headers(walk.id)
        headers["Allow"] = "GET, HEAD"
        return web.Response(status=204, headers=headers)

    def _render(self, walk: Walk, error: ProxyError) -> web.Response:
        walk.error = error
        if walk.ecosystem is None:
            walk.ecosystem = self._rooms.mounts.guess(walk.request.raw_path)
        error.kind = error.kind or (walk.target.kind if walk.target is not None else "")
        response = render(error, walk.ecosystem, walk.id, responses.base_headers(walk.id))
        if response.headers.get("Cache-Status") == DENIED:
            walk.cache = "denied"
        if walk.request.body_exists or isinstance(error, InternalError):
            response.force_close()
        if error.status == 401 and self._has_gone(walk.request):
            # A new handshake may let in whom this one, by authorities that have gone, does not.
            response.force_close()
        return response

    def _has_gone(self, request: web.BaseRequest) -> bool:
        certificates, transport = self._rooms.certificates, request.transport
        return (
            certificates is not None and transport is not None and certificates.has_gone(transport)
        )
