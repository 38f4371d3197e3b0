"""What request targets mean, as it was found out before.

Purpose: canonicalising and classifying are pure, and clients ask for the same few thousand paths
again and again: the same words mean the same thing, whoever says them and whenever. Rights and
what is held are no part of a meaning.

Bounded in number and in the length of what is kept; refusals are found out anew each time.

Reading: `proxy.server.canonical`, `proxy.ecosystems.base` ("implementations MUST be pure").
Non-goals: anything that may change while the process runs.
"""

from __future__ import annotations

from typing import final

from proxy.ecosystems.base import Ecosystem
from proxy.model import RequestLine, Target

MAX_MEANINGS = 4096
LONGEST = 600  # characters


Words = tuple[str, str, str | None, tuple[str, ...]]
"""All that a meaning is made of: method, target, Host as sent (an absolute target must agree with
it), every Accept line."""
Meaning = tuple[RequestLine, Ecosystem, Target]
"""What words mean."""


@final
class Understanding:
    """Words to meaning, the latest `limit` of them."""

    def __init__(self, limit: int = MAX_MEANINGS) -> None:
        self._limit = limit
        self._known: dict[Words, Meaning] = {}

    def find(self, words: Words) -> Meaning | None:
        """What these words were found to mean."""
        return self._known.get(words)

    def keep(self, words: Words, meaning: Meaning) -> None:
        """Keep a meaning; the one that was kept first goes when there are too many."""
        _, target, host, accept = words
        if len(target) + len(host or "") + sum(map(len, accept)) > LONGEST:
            return
        self._known[words] = meaning
        if len(self._known) > self._limit:
            del self._known[next(iter(self._known))]

    def __len__(self) -> int:
        return len(self._known)
