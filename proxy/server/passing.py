"""A call that is passed on: its body read, sifted, and sent to the upstream in our own words.

Purpose: the one place where what a client sends beyond its request line goes upstream, bounded, and
without what names packages that the client may not have. By now the client's right is checked.

Non-goals: understanding bodies (`Sifting`), asking (`proxy.cache.forwards`).
"""

from __future__ import annotations

from functools import partial

from aiohttp import web

from proxy.access.packages import may_have
from proxy.cache.forwards import Forwards
from proxy.cache.threads import aside
from proxy.ecosystems.base import Ecosystem, Sifting
from proxy.model import ForwardTarget, Grant, Principal
from proxy.server import responses
from proxy.server.front import read_body
from proxy.server.walk import Walk


async def pass_on(  # noqa: PLR0913  # all that the walk has found out
    walk: Walk,
    principal: Principal,
    ecosystem: Ecosystem,
    target: ForwardTarget,
    *,
    grant: Grant,
    forwards: Forwards,
) -> web.Response:
    """Ask the upstream and answer with what it says. Raises what `proxy.errors` has for both."""
    body = b""
    if target.max_body:
        body = await read_body(walk.request, target.max_body)
        if not isinstance(ecosystem, Sifting):
            raise AssertionError("a body is to be passed on by who does not understand it")
        may = may_have(principal.packages, ecosystem.purl)
        body = await aside(len(body), partial(ecosystem.sift, target, body, may))
    found = await forwards.ask(ecosystem, target, grant, body)
    walk.cache = "bypass"
    return responses.passed_on(found, responses.base_headers(walk.id))
