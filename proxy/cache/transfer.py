"""What one transfer has received so far, and whether it was right. No I/O.

Purpose: the sizes and digests of a body in the making, kept over several upstream answers when a
broken transfer is resumed; what to do after a break; the rule of a minimum rate.

Reading: RFC 9110 section 14.2 (resuming). Non-goals: reading and writing.
"""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import final

from proxy.errors import DigestMismatch, Malformed, Unavailable
from proxy.model import Source
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
    """The leader's books. `source`: what the listing promises.

    `no_cache`: ask past caches in between. `ranged`: ask for the rest only; else for the whole, of
    which what is here is skipped.
    """

    def __init__(self, source: Source, *, no_cache: bool = False) -> None:
        self._source = source
        self.no_cache = no_cache
        self.ranged = True
        self.breaks = 0
        self._idle = 0
        self._mark = -1
        self.restart()

    def restart(self) -> None:
        """Forget what was received."""
        self._sha256 = hashlib.sha256()
        digest = self._source.digest
        other = digest is not None and digest.algorithm != "sha256"
        self._other = hashlib.new(digest.algorithm) if digest is not None and other else None
        self.received = 0
        self.size = self._source.size
        self.framed = True

    def update(self, piece: bytes) -> None:
        """Count and hash a piece."""
        self.received += len(piece)
        self._sha256.update(piece)
        if self._other is not None:
            self._other.update(piece)

    @property
    def sha256(self) -> str:
        """Lower-case hex of all that was received."""
        return self._sha256.hexdigest()

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
        if self._source.digest is None and self.received == 0:
            raise Malformed("The upstream sent nothing in place of the file.")
        if not self._matches():
            raise DigestMismatch(
                "The upstream's bytes do not have the digest that its listing promises; nothing"
                " was kept."
            )

    @property
    def proven(self) -> bool:
        """Tell whether all is here, whatever became of the answer that brought it."""
        full = self.received > 0 and self.size in (None, self.received)
        return self._source.digest is not None and full and self._matches()

    @property
    def resumable(self) -> bool:
        """Tell whether bytes of any origin may be gone on with: the digest will tell."""
        return self._source.digest is not None

    @property
    def provable(self) -> bool:
        """Tell whether the end can be told from a cut: only then it may be stored."""
        return self._source.digest is not None or self.framed

    def _matches(self) -> bool:
        wanted = self._source.digest
        if wanted is None:
            return True
        return (self._other or self._sha256).hexdigest() == wanted.hex


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
