"""A question that no task waits for: who put it is told when the answer has come.

Purpose: where a connection stands idle, and nothing is known against host or credential, a question
can be put at once; and mostly its answer is a plain one that is all here when the first bytes come.
Neither needs a task, nor the coroutines that a wait goes through. Whatever else comes (another
kind of answer, a part of it, a failure, no time left) is the general way's, which goes on from
there as if it had asked itself.

Non-goals: putting it (`exchange`, `questions`), what its end means (`client`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Protocol, final

from aiohttp.connector import Connection

from proxy.upstream.addresses import Address
from proxy.upstream.base import Told, UpstreamRequest, UpstreamResponse
from proxy.upstream.breaker import Breaker
from proxy.upstream.kept import Kept
from proxy.upstream.wire import Plain


class Asker(Protocol):
    """Who puts questions."""

    def answered(self, asked: Asked) -> None:
        """Its answer has come, or something in its place."""
        ...

    def drop(self, asked: Asked) -> None:
        """See `proxy.upstream.base.Asked.drop`."""
        ...

    def go_on(self, asked: Asked) -> Awaitable[UpstreamResponse]:
        """See `proxy.upstream.base.Asked.go_on`."""
        ...


@final
class Asked:
    """Implements `proxy.upstream.base.Asked`, and `Overdue` for as long as nothing has come.

    `token`: what was shown. `started`: of the asker's clock; `until`: of the loop's. `told`: of
    whoever put it. `connection`: it is asked on; one of `kept`. Then `plain` is what has come, if
    that is plain, and `failure` what came in its place. `noted`: what it means for the next
    questions was noted.
    """

    __slots__ = (
        *("_asker", "_is_over", "address", "breaker", "connection", "failure", "kept", "noted"),
        *("plain", "request", "started", "token", "told", "until"),
    )
    connection: Connection
    kept: Kept

    def __init__(  # noqa: PLR0913, PLR0917  # made in one place
        self,
        request: UpstreamRequest,
        address: Address,
        token: str,
        breaker: Breaker,
        started: float,
        until: float,
        told: Told,
        asker: Asker,
    ) -> None:
        self.request = request
        self.address = address
        self.token = token
        self.breaker = breaker
        self.started = started
        self.until = until
        self.told = told
        self.plain: Plain | None = None
        self.failure: BaseException | None = None
        self.noted = False
        self._asker = asker
        self._is_over = False

    def heard(self, plain: Plain | None) -> None:
        """What the wire has taken in; see `Reply`."""
        if not self._is_over:  # else the connection is being closed
            self.plain = plain
            self._end()

    def end(self) -> None:
        """See `Overdue`."""
        self._fail(TimeoutError())

    def leave(self) -> None:
        """See `proxy.upstream.base.Asked`."""
        self._fail(asyncio.CancelledError())

    def distrust(self) -> None:
        """See `proxy.upstream.base.Asked`."""
        self.connection.close()

    def drop(self) -> None:
        """See `proxy.upstream.base.Asked`."""
        self._asker.drop(self)

    def go_on(self) -> Awaitable[UpstreamResponse]:
        """See `proxy.upstream.base.Asked`."""
        return self._asker.go_on(self)

    def _fail(self, failure: BaseException) -> None:
        if not self._is_over:
            self.failure = failure
            self.connection.close()
            self._end()

    def _end(self) -> None:
        self._is_over = True
        # When the turn is over: see `proxy.upstream.at_once`.
        asyncio.get_running_loop().call_soon(self._asker.answered, self)
