"""What one transfer has received so far, and whether it was right. No I/O.

Purpose: the sizes and digests of a body in the making, kept over several upstream answers when a
broken transfer is resumed; what to do after a break; the rule of a minimum rate.

Reading: RFC 9110 section 14.2 (resuming). Non-goals: reading and writing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from enum import Enum
from typing import final

from proxy.ecosystems.base import Verifier
from proxy.errors import DigestMismatch, Malformed, Unavailable
from proxy.model import Algorithm, Digest, Source
from proxy.upstream.base import Head

MAX_BREAKS = 5
MAX_IDLE_BREAKS = 1  # in a row that brought nothing
RATE_WINDOW = 30.0


class Next(Enum):
    """What to do after an answer broke off."""

    RESUME = "ask for the rest"
    RESTART = "begin again"
    STOP = "give up"


@final
class Transfer:
    """The leader's books. `source`: what the listing promises; `learn` says what others do.

    `verifier`: makes the judge of a sealed artifact. `digests`: what is computed besides SHA-256.
    `no_cache`: ask past caches in between. `ranged`: ask for the rest only; else for the whole, of
    which what is here is skipped.
    """

    def __init__(
        self,
        source: Source,
        *,
        no_cache: bool = False,
        digests: Sequence[Algorithm] = (),
        verifier: Callable[[], Verifier] | None = None,
    ) -> None:
        self._make_verifier = verifier
        self._source = source
        self._listed = (source.digest,) if source.digest is not None else ()
        self._expected: tuple[Digest, ...] = self._listed
        self._asked = tuple(digests)
        self.no_cache = no_cache
        self.ranged = True
        self.breaks = 0
        self._idle = 0
        self._mark = -1
        self.restart()

    def restart(self) -> None:
        """Forget what was received."""
        wanted = ("sha256", *self._asked, *(digest.algorithm for digest in self._expected))
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in wanted}
        self._verifier = self._make_verifier() if self._make_verifier is not None else None
        self.received = 0
        self.size = self._source.size
        self.framed = True

    def update(self, piece: bytes | memoryview) -> None:
        """Count and hash a piece."""
        self.received += len(piece)
        for each in self._hashes.values():
            each.update(piece)
        if self._verifier is not None:
            self._verifier.feed(bytes(piece))

    def learn(self, digests: Sequence[Digest]) -> None:
        """What else it must be, of those that are computed: replaces what was learnt before."""
        self._expected = (*self._listed, *digests)

    @property
    def sha256(self) -> str:
        """Lower-case hex of all that was received."""
        return self._hashes["sha256"].hexdigest()

    @property
    def digests(self) -> tuple[Digest, ...]:
        """What was to be computed, of all that was received."""
        return tuple(Digest(name, self._hashes[name].hexdigest()) for name in self._asked)

    @property
    def start(self) -> int:
        """The first byte to ask for."""
        return self.received if self.ranged else 0

    def accept(self, head: Head) -> int:
        """Take an answer's head; how many of its first bytes are here already.

        Raises DigestMismatch when its size cannot be right, Malformed when it is a page.
        """
        if head.size is not None and self.size is not None and head.size != self.size:
            raise DigestMismatch(
                f"The upstream sends {head.size} bytes where {self.size} belong; nothing was kept."
            )
        if not self.resumable and head.media_type.lower().startswith("text/html"):
            raise Malformed("The upstream sent a page in place of the file.")
        self.size = head.size if head.size is not None else self.size
        self.framed = head.framed
        return self.received - head.start

    def expect(self, total: int) -> None:
        """Before there are so many bytes: raises DigestMismatch when that is more than belongs."""
        if self.size is not None and total > self.size:
            raise DigestMismatch("The upstream sent more bytes than belong; nothing was kept.")

    def broke_off(self, *, headed: bool) -> Next:
        """Count a broken answer and decide. `headed`: followers have sent a head.

        Resumed only while it goes forward, and only where a digest will tell whether the rest
        belongs to what is here. A validator is not enough: what came may have been wrong, too.
        """
        self.breaks += 1
        self._idle = 0 if self.received > self._mark else self._idle + 1
        self._mark = max(self._mark, self.received)
        if self.breaks > MAX_BREAKS or self._idle > MAX_IDLE_BREAKS:
            return Next.STOP
        if self.received == 0 or self.resumable:
            return Next.RESUME
        return Next.STOP if headed else Next.RESTART

    def refuse_range(self) -> None:
        """The upstream cannot give the rest alone: ask for the whole from here on."""
        self.ranged = False

    def check(self) -> None:
        """Judge the whole. Raises Unavailable (cut), DigestMismatch or Malformed."""
        if self.size is not None and self.received < self.size:
            raise Unavailable("The upstream's answer broke off; try again.", retry_after=1)
        if not self.resumable and self.received == 0:
            raise Malformed("The upstream sent nothing in place of the file.")
        if not self._matches():
            raise DigestMismatch(
                "The upstream's bytes do not have the digest that its listing or checksum file"
                " promises; nothing was kept."
            )

    @property
    def proven(self) -> bool:
        """Tell whether all is here, whatever became of the answer that brought it."""
        full = self.received > 0 and self.size in (None, self.received)
        return self.resumable and full and self._matches()

    @property
    def resumable(self) -> bool:
        """Tell whether bytes of any origin may be gone on with: digest or seal will tell."""
        return bool(self._expected) or self._verifier is not None

    @property
    def provable(self) -> bool:
        """Tell whether the end can be told from a cut: only then it may be stored."""
        return self.resumable or self.framed

    def _matches(self) -> bool:
        if self._verifier is not None and not self._verifier.holds():
            return False
        return all(
            self._hashes[wanted.algorithm].hexdigest() == wanted.hex for wanted in self._expected
        )


@final
class Rate:
    """The rule of a minimum rate: `least` bytes a second over a window. 0: no rule.

    Only time spent waiting for the one who is judged counts: a client is not to blame for a slow
    upstream, nor an upstream for a slow disk.
    """

    def __init__(self, least: int) -> None:
        self._least = least
        self._waited = 0.0
        self._bytes = 0
        self._all_waited = 0.0
        self._all_bytes = 0

    def keeps(self, count: int, waited: float) -> bool:
        """Count bytes and the seconds waited for them; False once a window was too slow."""
        self._bytes += count
        self._waited += waited
        self._all_bytes += count
        self._all_waited += waited
        if self._waited < RATE_WINDOW:
            return True
        enough = self._bytes >= self._least * self._waited
        self._waited, self._bytes = 0.0, 0
        return enough

    @property
    def sound(self) -> bool:
        """Tell whether all of it together kept the rate: a sudden silence may be mended by asking
        again, a drip is what it is."""
        slow = self._all_bytes < self._least * self._all_waited
        return self._all_waited < RATE_WINDOW or not slow
