"""How long the room waits for whom, and who is told of what it comes to.

Non-goals: keeping to it (`client`, `exchange`, `response`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """Times in seconds. `first_byte_timeout` bounds each exchange; a whole question with its
    redirects and retries gets twice that. `retry_pause`: before the second try, give or take half;
    the third waits twice as long. `min_rate`: bytes per second over `rate_window`."""

    connections: int = 64
    queue_timeout: float = 30.0
    connect_timeout: float = 3.0
    first_byte_timeout: float = 15.0
    read_timeout: float = 30.0
    retry_pause: float = 0.15
    min_rate: float = 1024.0
    rate_window: float = 30.0


class UpstreamObserver(Protocol):
    """What the room tells the metrics."""

    def upstream_request(self, ecosystem: str, outcome: str, seconds: float) -> None:
        """One exchange with an upstream host ended."""
        ...

    def upstream_bytes(self, ecosystem: str, count: int) -> None:
        """A piece of a body came, of `count` bytes."""
        ...

    def limit_reached(self, limit: str) -> None:
        """An exchange ended at a limit, named as in the configuration."""
        ...
