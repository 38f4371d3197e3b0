"""What a request says besides its line, and who says it: read once for a burst of them.

Purpose: a client that installs a hundred packages sends a hundred requests that differ in their
path only. Whether such a request is well framed, from whom it comes behind trusted fronts, who that
is, and on what conditions it wants an answer, depends on nothing but the bytes behind the path, the
address at the other end and the table of clients. So what was found out is good for every request
with the very same bytes there, for as long as the table is the same one, and a second at most: what
is in these bytes (a token, it may be) is not kept for longer than that.

What a client may *have* is no part of it, nor anything of who ends by himself: jobs with an ID
token, and whoever comes to a listener that asks for certificates.

Reading: `proxy.server.hot` (the same for whole answers), `proxy.server.seam` (what is known of a
request's bytes). Non-goals: the path (`understanding`), rights (`proxy.access.door`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final, final

from aiohttp import web
from aiohttp.http import HttpVersion11

from proxy.access.clients import Clients
from proxy.access.gate import Gate
from proxy.model import Principal
from proxy.server.conditional import UNCONDITIONAL, Conditions
from proxy.server.front import Network, Peer, peer_of
from proxy.server.own_names import OwnNames
from proxy.server.responses import conditions_of
from proxy.server.seam import asked
from proxy.server.tls import Certificates
from proxy.server.walk import Walk

LIFE = 1.0  # seconds
MAX_KNOWN = 1000
LONGEST: Final = 4096  # bytes
_VERSION: Final = len(b" HTTP/1.1")


@final
@dataclass(frozen=True, slots=True)
class Heading:
    """A heading that is well framed, of somebody who may come in.

    `clients`: the table that `principal` was found in. `bare`: there is no body, and nothing is
    said of one. `plain`: nor is a part asked for, or a condition made, or another version spoken,
    and the connection goes on. `agent`: what the client calls itself, for the log.
    """

    peer: Peer
    principal: Principal
    clients: Clients
    host: str | None
    accept: tuple[str, ...]
    conditions: Conditions
    bare: bool
    plain: bool
    agent: str


@final
class Headings:
    """Reads headings, and keeps those of the last second.

    `trusted`: fronts that tell for whom they ask. `certificates` None: nobody is known by one.
    """

    def __init__(
        self,
        gate: Gate,
        own_names: OwnNames,
        trusted: tuple[Network, ...] = (),
        certificates: Certificates | None = None,
    ) -> None:
        self._gate = gate
        self._own_names = own_names
        self._trusted = trusted
        self._certificates = certificates
        self._known: dict[tuple[bytes, str], Heading] = {}

    def find(self, request: web.BaseRequest) -> Heading | None:
        """The heading of a request, if one with the same bytes was read with the same clients."""
        question = asked(request)
        return self.known(*_name(*question)) if question is not None else None

    def known(self, rest: bytes, peer: str) -> Heading | None:
        """The same, of the bytes of a request from its version on (`version_at`), and the address
        that they came from."""
        found = self._known.get((rest, peer))
        return found if found is not None and found.clients is self._gate.clients else None

    async def read(self, walk: Walk, target: str) -> Heading:
        """Find out who sends a request that is well framed, and how. Notes the peer on the walk.

        Raises what the gate does, and for a name that we are not to be called.
        """
        request, certificates = walk.request, self._certificates
        clients = self._gate.clients
        if clients.open_to_loopback:
            self._own_names.require(request)
        walk.peer = peer = peer_of(request, self._trusted)
        headers = request.headers
        principal = await self._gate.identify(
            headers.getall("Authorization", []),
            peer.client,
            # A certificate that came with a trusted front's connection is the front's.
            subjects=certificates.subjects(request)
            if certificates is not None and not peer.trusted
            else (),
            forwarded=peer.forwarded,
            lenient=target.startswith("/v2/"),
        )
        conditions = conditions_of(request)
        bare = not request.body_exists and "Content-Encoding" not in headers
        heading = Heading(
            peer,
            principal,
            clients,
            host=headers.get("Host"),
            accept=tuple(headers.getall("Accept", ())),
            conditions=conditions,
            bare=bare,
            plain=bare and conditions == UNCONDITIONAL and _is_plain(request),
            agent=headers.get("User-Agent", ""),
        )
        if certificates is None:
            self._keep(request, heading)
        return heading

    def _keep(self, request: web.BaseRequest, heading: Heading) -> None:
        """Keep it for the next ones, if they would be of the same principal."""
        question = asked(request)
        if question is None or not is_lasting(heading.principal, request):
            return
        name = _name(*question)
        if len(name[0]) > LONGEST or len(self._known) >= MAX_KNOWN:
            return
        if not self._known:
            asyncio.get_running_loop().call_later(LIFE, self._known.clear)
        self._known[name] = heading

    def __len__(self) -> int:
        return len(self._known)


def is_lasting(principal: Principal, request: web.BaseRequest) -> bool:
    """Whether who is known by what a request shows stays so while the table of clients is the same
    one: what ID tokens and certificates show ends by itself, or begins to count, and with a
    credential that is nobody's a network's client is let in on some paths only."""
    if principal.kind == "token":
        return True
    return principal.kind in ("network", "loopback") and "Authorization" not in request.headers


def _is_plain(request: web.BaseRequest) -> bool:
    lasts = request.version == HttpVersion11 and request.keep_alive
    return lasts and request.method == "GET" and "Expect" not in request.headers


def version_at(question: bytes) -> int:
    """Where in a question the version begins, with the space before it; negative: nowhere."""
    return question.find(b"\r\n") - _VERSION


def _name(question: bytes, peer: str) -> tuple[bytes, str]:
    """What all requests have alike that differ in their path only: the rest of their bytes, from
    the version at the end of the first line on, and the address that they came from.

    The space before the version is part of it: without one it is the end of a path, and the request
    is of the version 0.9, which names none."""
    return question[version_at(question) :], peer
