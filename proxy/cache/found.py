"""What asking for an artifact can come to: it is stored, on its way, or only described or told of.

What is made for each request here, as its permit, order and facts elsewhere, is a named tuple: a
frozen dataclass of as many fields takes several times as long to make (measured).

Non-goals: how it came to that (`artifacts`), answers on the wire.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from proxy.cache.entry import one_digest
from proxy.cache.flight import Follower
from proxy.cache.status import CacheStatus
from proxy.model import Algorithm, Digest
from proxy.storage.base import Body, Record

# Tells, at once and from memory, the age in seconds of an answer that would be given again, or
# None: it has to be asked for anew.
Standing = Callable[[], int | None]


@dataclass(frozen=True, slots=True)
class Basis:
    """`scope`: the entitlement under which it was found. `stands`: the age in seconds that it would
    be served with now, or None: that has to be found out anew."""

    scope: str
    stands: Standing


class Stored(NamedTuple):
    """A stored artifact, its body open. `age` in seconds. The receiver MUST close it.

    `doubted`: a transfer of it failed a short while ago. A client that asks for the rest of what
    it got then, without saying of what (no If-Range), must get the whole. `heal`: to be called
    when the body turns out to be unreadable, so that the next request fetches it anew. `digests`:
    computed of it besides SHA-256 (see `ArtifactFacts`). `content`: all of it, verified, where it
    is ready in memory. `basis`: what it stands on, asked only by who wants to give it again.
    """

    record: Record
    body: Body
    status: CacheStatus
    age: int
    doubted: bool = False
    heal: Callable[[], None] = lambda: None
    digests: str = ""
    content: bytes | None = None
    basis: Callable[[], Basis | None] = lambda: None

    def digest_by(self, algorithm: Algorithm) -> Digest | None:
        """Its digest by an algorithm; None: not computed."""
        return one_digest(self.record.sha256, self.digests, algorithm)

    def close(self) -> None:
        """Release the body."""
        self.body.close()


class Flying(NamedTuple):
    """An artifact on its way, its head known. The receiver MUST close it.

    Of one that `Flights.begin` gave the head is not known yet; `status` is right if it lands.
    """

    follower: Follower
    status: CacheStatus
    age: int = 0

    def digest_by(self, algorithm: Algorithm) -> Digest | None:
        """Its digest by an algorithm; None: not known, or not yet."""
        every = self.follower.flight.digests
        return next((digest for digest in every if digest.algorithm == algorithm), None)

    def close(self) -> None:
        """Leave the flight."""
        self.follower.leave()


@dataclass(frozen=True, slots=True)
class Described:
    """All that a HEAD needs, known from the listing alone: `size` in bytes."""

    size: int
    status: CacheStatus
    age: int = 0

    def digest_by(self, _algorithm: Algorithm) -> Digest | None:
        """None."""
        return None

    def close(self) -> None:
        """Nothing to release."""


@dataclass(frozen=True, slots=True)
class Told:
    """The digest of an artifact, of what age the copy is that it is of, and what that stands on
    (see `Stored`)."""

    digest: Digest
    status: CacheStatus
    age: int = 0
    basis: Callable[[], Basis | None] = field(default=lambda: None)
