"""The few calls that are passed on: asked anew each time, never kept.

Purpose: a question of a client (a search, an audit of a lock file) goes to the upstream in our own
words: path, Accept and body are what the ecosystem made of the client's, no header of the client's
goes along. The answer is held whole, bounded, and must be JSON: anything else is rubbish.

Reading: the npm registry API (search, audit). Non-goals: rights (the caller shows a Grant), what a
body says (`Sifting`).
"""

from __future__ import annotations

import asyncio
import json
from typing import final

from proxy.cache.threads import aside
from proxy.cache.whole import receive
from proxy.ecosystems.base import Ecosystem
from proxy.errors import Malformed
from proxy.model import Document, ForwardTarget, Grant
from proxy.upstream.base import Upstream, UpstreamRequest

MAX_ANSWER = 16 << 20
MAX_AT_ONCE = 8
"""Calls under way: they are few and large, and packages must not wait behind them."""
_JSON = "application/json"


@final
class Forwards:
    """Passes calls on. Answers have at most `max_answer` bytes."""

    def __init__(self, upstream: Upstream, max_answer: int = MAX_ANSWER) -> None:
        self._upstream = upstream
        self._max_answer = max_answer
        self._places = asyncio.Semaphore(MAX_AT_ONCE)

    async def ask(
        self, ecosystem: Ecosystem, target: ForwardTarget, grant: Grant, body: bytes
    ) -> Document:
        """Ask the upstream; `body` is empty for a GET. Raises what `proxy.errors` has for it."""
        if target.scope not in grant.scopes or grant.ecosystem != ecosystem.name:
            raise AssertionError("a grant for something else was shown")
        request = UpstreamRequest(
            ecosystem.name, target.path, accept=target.accept, document=True, body=body
        )
        async with self._places:
            response = await self._upstream.open(request)
            try:
                too_large = "The upstream's answer to this call is too large."
                answer = await receive(response, self._max_answer, too_large)
            finally:
                await response.close()
        await aside(len(answer), lambda: _check(answer))
        return Document(answer, _JSON, response.head.url)


def _check(answer: bytes) -> None:
    """A page of something in between, or half an answer, is none."""
    try:
        json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise Malformed("The upstream's answer to this call is no valid JSON.") from error
