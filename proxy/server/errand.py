"""A connection whose question is being answered behind the parser's back: an errand.

Purpose: an answer that is not ready, but will be in a moment and small, needs as little of parser,
task and response as one that is (`seam`). Between the question and it the connection is busy, of
which aiohttp, to which it looks idle, must not hear:

- further bytes wait, at most about `MAX_KEPT` of them, and are taken in their order after it;
- it is neither idle for the keep-alive timer, nor closed by a drain before it is answered;
- when the client goes away, the errand is told.

An errand that turns out to be more than that is handed back: its question goes to the parser, as if
it had come in just now, and the handler finds on the connection what has been begun (`handed`).

Reading: aiohttp `web_protocol.py`. Non-goals: what is fetched and said (`prompt`).
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

from aiohttp import web

from proxy.cache.found import Flying
from proxy.server.seam import KEEPALIVE, Recall, RepeatingHandler

MAX_KEPT = 64 << 10  # bytes


class Errand(Protocol):
    """What is under way for the question of one connection."""

    @property
    def id(self) -> str:
        """Of the request."""
        ...

    @property
    def started(self) -> float:
        """Seconds of the performance counter."""
        ...

    @property
    def flying(self) -> Flying:
        """The flight, of which a head need not be known."""
        ...

    def left(self) -> None:
        """The client has gone: nobody waits for it any more."""
        ...


# Sets out for the answer to a question (the bytes of a request) from an address; None: that is not
# possible, and nothing has happened. What it gives MUST end with `done` or `hand_back`, and not
# before it was given.
Prompt = Callable[[bytes, str, "ErrandHandler"], Errand | None]


class ErrandHandler(RepeatingHandler):
    """A connection that may be on an errand. `prompt` None: it never is."""

    __slots__ = ("_errand", "_handed", "_kept", "_last", "_prompt")

    def __init__(
        self,
        server: web.Server,
        recall: Recall | None,
        prompt: Prompt | None,
        **kwargs: Any,  # noqa: ANN401  # aiohttp's
    ) -> None:
        super().__init__(server, recall, **kwargs)
        self._prompt = prompt
        self._errand: Errand | None = None
        self._handed: Errand | None = None  # handed back, and not taken by the handler yet
        self._kept = b""
        self._last = False  # the connection is to end with the answer

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a next request. Bytes of an answer may still be on their way."""
        waiter = self._waiter
        idle = waiter is not None and not waiter.done() and not self._messages
        return idle and self._errand is None

    def take(self) -> Errand | None:
        """What was begun for the request that the handler has just been given, if anything was.
        Whoever takes it MUST close its flight."""
        handed, self._handed = self._handed, None
        return handed

    # --- the errand's side -------------------------------------------------------------------

    def done(self) -> None:
        """The answer is out: go on with what came in meanwhile."""
        self._errand, self._whole = None, True
        self._next_keepalive_close_time = monotonic() + KEEPALIVE
        if self._last:
            self.force_close()
        elif self._kept:
            self.data_received(self._release())

    def hand_back(self, question: bytes) -> None:
        """Leave the question to the parser and the handler, and what came in behind it."""
        self._handed, self._errand = self._errand, None
        self._next_keepalive_close_time = monotonic() + KEEPALIVE
        self._parse(question, idle=True)
        if self._last:
            super().close()
        elif self._kept:
            self.data_received(self._release())

    # --- aiohttp's side ----------------------------------------------------------------------

    def _set_out(self, question: bytes) -> bool:
        prompt = self._prompt
        if prompt is None or (errand := prompt(question, self._peer, self)) is None:
            return False
        self._errand, self._whole = errand, False
        return True

    def _go_on(self, data: bytes) -> None:
        """Keep for later what comes in meanwhile. Who sends much of it has to wait."""
        if self._errand is None:
            super()._go_on(data)
            return
        self._kept += data
        if len(self._kept) > MAX_KEPT and self.transport is not None:
            self.transport.pause_reading()

    def _release(self) -> bytes:
        kept, self._kept = self._kept, b""
        if len(kept) > MAX_KEPT and self.transport is not None:
            self.transport.resume_reading()
        return kept

    def _process_keepalive(self) -> None:
        """Look again later: who waits for an answer is not idle."""
        if self._errand is not None:
            self._next_keepalive_close_time = monotonic() + KEEPALIVE
        super()._process_keepalive()

    def close(self) -> None:
        """End the connection, after the answer if there is one under way."""
        if self._errand is None:
            super().close()
        else:
            self._last = True

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell who is on the way that the client has gone."""
        errand, self._errand, self._kept = self._errand or self.take(), None, b""
        super().connection_lost(exc)
        if errand is not None:
            errand.left()


def handed(request: web.BaseRequest) -> Errand | None:
    """See `ErrandHandler.take`."""
    connection = request.protocol
    return connection.take() if isinstance(connection, ErrandHandler) else None
