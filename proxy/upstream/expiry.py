"""Says in time, and once, that a token ends.

Purpose: a line in the log at 30, 14, 7 and 1 days before the end, and in plain words once it has
come. Reading: `lifetime` (what the stages are). Non-goals: refusing anything because of it.
"""

from __future__ import annotations

import logging
from typing import final

from proxy.upstream.lifetime import ENDED, Lifetime

LOG = logging.getLogger(__name__)
URGENT = 7  # days


@final
class Watch:
    """Of one live credential. `name`: its ecosystem, for a person."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._told: tuple[float, int] | None = None

    def look(self, lifetime: Lifetime | None, now: float, *, others: bool) -> None:
        """Say what has not been said of this token. `others`: another one can be used."""
        stage = lifetime.stage(now) if lifetime is not None else None
        if lifetime is None or stage is None or (lifetime.end, stage) == self._told:
            return
        self._told = (lifetime.end, stage)
        if stage != ENDED:
            level = logging.WARNING if stage <= URGENT else logging.INFO
            LOG.log(
                level,
                "the token for %s ends within %d %s, on %s: put a new one in its place before",
                self.name,
                stage,
                "day" if stage == 1 else "days",
                lifetime.describe(),
            )
        elif others:
            LOG.warning(
                "the token for %s ended on %s; the other one is used",
                self.name,
                lifetime.describe(),
            )
        else:
            LOG.error(
                "the token for %s ended on %s: nothing new can be fetched until there is another"
                " one; what is cached is still served",
                self.name,
                lifetime.describe(),
            )
