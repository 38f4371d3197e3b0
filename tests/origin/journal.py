"""What the test origin saw: every request, every broken rule, every byte of body it sent.

Purpose: tests judge a proxy by what reached the upstream, so this is the evidence. One journal is
shared by all servers of one origin; lists are appended to in the event loop's thread only.

Non-goals: deciding what is a violation; each server knows its own rules and reports them here.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came in.

    `server`: `origin` or `store`. `target`: the raw request target, byte for byte (latin-1).
    `headers`: pairs in the order received, names as spelt. `at`: seconds on the origin's clock.
    """

    server: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    at: float

    def header(self, name: str) -> str | None:
        """Give the first value of a header, or None."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass(slots=True)
class Journal:
    """The evidence of one origin.

    `violations`: one sentence for each broken rule; a good proxy leaves it empty.
    `counters`: `credentials_missing`, `credentials_wrong`, `presigned_expired`, ... (see servers).
    `body_bytes`: bytes of body handed to the socket, by server. `peak`: the most requests that
    were being answered at one time, by server. `idle` is set while none is.
    """

    log: list[Received] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    body_bytes: Counter[str] = field(default_factory=Counter)
    peak: Counter[str] = field(default_factory=Counter)
    in_flight: Counter[str] = field(default_factory=Counter)
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.idle.set()

    def begin(self, received: Received) -> None:
        """Note a request and that its answer has begun."""
        self.log.append(received)
        self.in_flight[received.server] += 1
        self.idle.clear()
        now = self.in_flight[received.server]
        self.peak[received.server] = max(self.peak[received.server], now)

    def end(self, received: Received) -> None:
        """Note that an answer is over."""
        self.in_flight[received.server] -= 1
        if not self.in_flight.total():
            self.idle.set()

    def violation(self, received: Received, what: str) -> None:
        """Note a broken rule."""
        self.violations.append(f"{received.server}: {what}: {received.method} {received.target}")

    def count(
        self, method: str | None = None, pattern: str | None = None, server: str | None = None
    ) -> int:
        """Count requests; `pattern` is a regular expression searched in the raw target."""
        return sum(
            1
            for entry in self.log
            if (method is None or entry.method == method)
            and (server is None or entry.server == server)
            and (pattern is None or re.search(pattern, entry.target) is not None)
        )

    def reset(self) -> None:
        """Forget everything but what is going on right now."""
        self.log.clear()
        self.violations.clear()
        self.counters.clear()
        self.body_bytes.clear()
        self.peak.clear()
