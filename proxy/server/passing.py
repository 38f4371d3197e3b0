"""A call that is passed on: its body read, sifted, and sent to the upstream in our own words.

Purpose: the one place where what a client sends beyond its request line goes upstream, bounded, and
without what names packages that the client may not have. By now the client's right is checked.
The answer is worded anew where it holds links, or names what the client may not have.

Non-goals: understanding bodies (`Sifting`) and answers (`Answering`), asking
(`proxy.cache.forwards`).
"""

from __future__ import annotations

from functools import partial

from aiohttp import web

from proxy.access.packages import may_have
from proxy.cache.forwards import Forwards
from proxy.cache.threads import aside
from proxy.ecosystems.base import Answering, Ecosystem, Sifting
from proxy.model import ForwardTarget, Grant, Links, Principal
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
    links: Links,
) -> web.Response:
    """Ask the upstream and answer with what it says. Raises what `proxy.errors` has for both."""
    body, may = b"", may_have(principal.packages, ecosystem.purl)
    if target.max_body:
        body = await read_body(walk.request, target.max_body)
        if not isinstance(ecosystem, Sifting):
            raise AssertionError("a body is to be passed on by who does not understand it")
        body = await aside(len(body), partial(ecosystem.sift, target, body, may))
    found = await forwards.ask(ecosystem, target, grant, body)
    if isinstance(ecosystem, Answering):
        job = partial(ecosystem.answer, target, found, links, may)
        found = await aside(len(found.body), job)
    elif target.sifted and not target.max_body:
        raise AssertionError("an answer is to be sifted by who does not understand it")
    walk.cache = "bypass"
    return responses.passed_on(found, responses.base_headers(walk.id))
