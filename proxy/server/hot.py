"""Questions that were answered a moment ago, asked again in the very same words: the hot path.

Purpose: a build farm asks for the same few pages again and again. A request whose bytes, from the
first to the last, and whose sender's address are those of one that was answered within the last
second means the same: it need not be parsed, understood and worded anew. What it may *have* is
never remembered. Each time, before a byte goes out, the answer's `stands` is asked whether

- the table of clients is the one that the sender was found in (a reload makes another),
- the organisation is still entitled to it, by the same rule as for any other request,
- the document is fresh, undoubted, and its entry on disk the very same file; or the artifact's
  entry is, nothing is noted or remembered against it, and so is the document that lists it
  (`proxy.cache.grounds`).

So neither a client's removal nor a withdrawn entitlement is late, nor a new document; what another
process does to the store is seen within a millisecond (`proxy.storage.known`). The second is the
bound for what nobody has thought of.

Not here, because more than bytes and address decides there: connections of listeners that ask for
client certificates, ID tokens of jobs (they end), parts, everything but GETs that were hits.

What differs from answer to answer (Date, X-Request-Id, Age) is put in, and each one is counted and
logged like any other; what does not is put together once. Measured: 12 us of processor time in
place of 90: 8 are the kernel's, 1 the loop's, 2 this module's and what it asks, 1 (with the audit
log 2) that of the logs' thread.

Reading: the README's part on speed; nginx "microcaching" (which remembers rights too, and so is
late). Non-goals: streams, ranges, errors.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic, time
from typing import final

from aiohttp import web

from proxy.cache.found import Standing
from proxy.observe.alike import Alike
from proxy.observe.formats import AccessRecord
from proxy.observe.logs import AccessLog
from proxy.observe.metrics import Metrics
from proxy.observe.request_id import RequestIds
from proxy.server.answer import head_of, http_date
from proxy.server.paged import Paged, PagedBodies
from proxy.server.sending import AT_ONCE

LIFE = 1.0  # seconds
BUDGET = 64 << 20  # bytes
MAX_QUESTION = 4096
MAX_ASKED = 8192
_BOOKS = 2000  # bytes that an answer takes besides question, head and body, roughly
_PER_ANSWER = frozenset({"date", "x-request-id", "age"})

_END = b"\r\n\r\n"

# Notes in the audit log that it was given again: epoch seconds and request id.
Audited = Callable[[float, str], None]


@final
class _Answer:
    """One answer, ready but for what differs."""

    __slots__ = (
        *("age", "audited", "body", "born", "cost", "count", "front", "head", "noted", "second"),
        *("size", "stands"),
    )

    def __init__(  # noqa: PLR0913, PLR0917  # made once, by `Hot`
        self,
        head: bytes,
        body: bytes | Paged,
        size: int,
        stands: Standing,
        noted: Alike[AccessRecord],
        audited: Audited | None,
        count: Callable[[float, int], None],
        born: float,
    ) -> None:
        self.head = head
        self.body = body
        self.size = size
        self.stands = stands
        self.noted = noted
        self.audited = audited
        self.count = count
        self.born = born
        self.cost = _BOOKS + 2 * len(head) + (size if isinstance(body, bytes) else 2 * size)
        # All of the head up to the request's id, as it is in one second and at one age.
        self.front = b""
        self.second = self.age = -1

    def dress(self, second: int, date: bytes, age: int) -> None:
        """Put in what is the same for a second."""
        self.front = b"%bDate: %b\r\nAge: %d\r\nX-Request-Id: " % (self.head, date, age)
        self.second, self.age = second, age


@final
class Hot:
    """The answers of the last second. Times: seconds of the loop's clock, as callers give them."""

    def __init__(self, metrics: Metrics, access_log: AccessLog, budget: int = BUDGET) -> None:
        self._ids = RequestIds()
        self._metrics = metrics
        self._access_log = access_log
        self._budget = budget
        self._used = 0
        self._bodies = PagedBodies()
        # Oldest first: what is kept anew moves to the end.
        self._answers: OrderedDict[tuple[bytes, str], _Answer] = OrderedDict()
        # Hashes of questions that were asked lately: what is asked once is not worth keeping.
        self._asked: OrderedDict[int, None] = OrderedDict()
        self._sweeping = False
        self.repeats = 0
        """Answers given so far."""

    def __len__(self) -> int:
        return len(self._answers)

    def wants(self, question: bytes, peer: str) -> bool:
        """Whether the answer is worth keeping: it was asked for before, not long ago."""
        name = hash((question, peer))
        if name in self._asked:
            self._asked.move_to_end(name)
            return True
        self._asked[name] = None
        if len(self._asked) > MAX_ASKED:
            self._asked.popitem(last=False)
        return False

    def answer(
        self, question: bytes, peer: str, started: float
    ) -> tuple[bytes, bytes | Paged] | None:
        """Head and body to send. None: the question has to be walked through the rooms.

        `peer`: the address at the other end. `started`: when the question was there.
        """
        found = self._answers.get((question, peer))
        # What is over is left for `keep`, which most often has the same body to put in its place.
        if found is None or started - found.born > LIFE:
            return None
        age = found.stands()
        if age is None:
            self._drop((question, peer))
            return None
        request_id, now, body = self._ids.next(), time(), found.body
        second = int(now)
        if second != found.second or age != found.age:
            found.dress(second, http_date(second).encode("ascii"), age)
        self.repeats += 1
        seconds = monotonic() - started
        found.count(seconds, found.size)
        self._access_log.repeat((now, request_id, seconds, found.noted))
        if found.audited is not None:
            found.audited(now, request_id)
        return found.front + request_id.encode("ascii") + _END, body

    def keep(  # noqa: PLR0913, PLR0917  # one caller
        self,
        question: bytes,
        peer: str,
        response: web.Response,
        stands: Standing,
        noted: Alike[AccessRecord],
        audited: Audited | None = None,
    ) -> None:
        """Keep the answer that has just been sent to a question."""
        body = response.body if response.status != 304 else b""
        if not isinstance(body, bytes) or len(question) > MAX_QUESTION or len(body) > AT_ONCE:
            return
        loop = asyncio.get_running_loop()
        what = noted.record
        count = self._metrics.answers(what.ecosystem, what.status, what.cache).count
        head = head_of(response, _PER_ANSWER)
        laid = self._bodies.of(body)
        made = _Answer(head, laid, len(body), stands, noted, audited, count, loop.time())
        self._drop((question, peer))
        self._answers[question, peer] = made
        self._used += made.cost + len(question)
        while self._used > self._budget:
            self._drop(next(iter(self._answers)))
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(LIFE, self._sweep, loop)

    def forget_all(self) -> None:
        """Answer nothing from memory that was asked before."""
        self._answers.clear()
        self._used = 0

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let go of what is over: nothing is held for longer than twice its life."""
        ended = loop.time() - LIFE
        while self._answers:
            key, oldest = next(iter(self._answers.items()))
            if oldest.born > ended:
                loop.call_later(LIFE, self._sweep, loop)
                return
            self._drop(key)
        self._sweeping = False

    def _drop(self, key: tuple[bytes, str]) -> None:
        dropped = self._answers.pop(key, None)
        if dropped is not None:
            self._used -= dropped.cost + len(key[0])
