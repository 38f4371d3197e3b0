"""Questions that are put at once, and their answers that are here at once.

Purpose: `exchange` looks, asks, waits and notes for any question; this does the same for one to
which nothing stands in the way, in one go before the answer and in one after it. What is known of
hosts and credentials is asked of those who know it, and told to them, as there.

What many small misses need in the same moment is done for all of them in a row before the next
thing is done for any (measured: the loop's thread takes an eighth less, code and data being in the
processor's caches then, and whoever is on the other side is woken once for all): their questions
go out when those who asked in one turn of the loop have been understood, what has come is verified
and stored when all of it was read, and is sent when it is stored.

Non-goals: any other question; what a refusal means (`exchange`).
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import final

from proxy.upstream.addresses import Address
from proxy.upstream.asked import Asked, Asker
from proxy.upstream.base import Told, UpstreamRequest
from proxy.upstream.credentials import Credentials
from proxy.upstream.deadlines import Deadlines
from proxy.upstream.fields import fields_of
from proxy.upstream.limits import UpstreamObserver
from proxy.upstream.outages import Outages
from proxy.upstream.questions import Questions
from proxy.upstream.scrubber import Scrubber


@final
class AtOnce:
    """For those ecosystems that have a token to show, all but the `challenging`. `seconds`: that an
    answer may take. `clock`: monotonic seconds. The others are those of the exchange."""

    def __init__(  # noqa: PLR0913, PLR0917  # made once, by `exchange`
        self,
        questions: Questions,
        credentials: Credentials,
        outages: Outages,
        scrubber: Scrubber,
        deadlines: Deadlines,
        observer: UpstreamObserver,
        *,
        challenging: frozenset[str],
        seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._questions = questions
        self._credentials = credentials
        self._outages = outages
        self._scrubber = scrubber
        self._deadlines = deadlines
        self._tell = observer.upstream_request
        self._challenging = challenging
        self._seconds = seconds
        self._clock = clock

    def put(
        self, request: UpstreamRequest, address: Address, told: Told, asker: Asker
    ) -> Asked | None:
        """Ask; None: there is something to be looked at first, or no connection stands idle. Raises
        ValueError as `Questions.ask`."""
        name = request.upstream_name
        token = self._credentials.untroubled(name)
        if token is None or name in self._challenging or not address.own:
            return None
        breaker = self._outages.of(address.origin)
        if not breaker.is_calm:
            return None
        started, until = self._clock(), monotonic() + self._seconds
        asked = Asked(request, address, token, breaker, started, until, told, asker)
        self._scrubber.sent(token)
        if not self._questions.put(asked, fields_of(request, token, own=True)):
            return None
        breaker.enter()
        self._deadlines.watch(asked)
        return asked

    def answered(self, asked: Asked) -> memoryview | None:
        """Something has come. Its body, if it is plain and all here: then it has been noted."""
        self._deadlines.unwatch(asked)
        body = asked.plain[1].whole if asked.plain is not None else None
        if body is None:
            return None
        asked.noted = True
        self._tell(asked.request.ecosystem, "200", self._clock() - asked.started)
        self._credentials.accepted(asked.request.upstream_name, asked.token)
        self._outages.settle(asked.breaker, asked.address, None)
        return body
