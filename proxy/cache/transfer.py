"""What one transfer has received so far, and whether it was right. No I/O.

Purpose: the sizes and digests of a body in the making, kept over several upstream answers when a
broken transfer is resumed; the rule of a minimum rate.

Reading: RFC 9110 section 14.2 and 13.1.5 (resuming). Non-goals: reading and writing.
"""

from __future__ import annotations

import hashlib
from typing import final

from proxy.errors import DigestMismatch, Malformed, Unavailable
from proxy.model import Source
from proxy.upstream.base import Head

MAX_RESUMES = 5
RATE_WINDOW = 30.0


@final
class Transfer:
    """The leader's books. `source`: what the listing promises."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.resumes = 0
        self.no_cache = False
        self.restart()

    def restart(self) -> None:
        """Forget what was received."""
        self._sha256 = hashlib.sha256()
        digest = self._source.digest
        other = digest is not None and digest.algorithm != "sha256"
        self._other = hashlib.new(digest.algorithm) if digest is not None and other else None
        self.received = 0
        self.size = self._source.size
        self.etag = ""
        self.framed = True
        self.page = False
        self._mark = -1

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

    def accept(self, head: Head) -> int:
        """Take an answer's head; how many of its first bytes are here already.

        Raises DigestMismatch when its size cannot be right, Unavailable when it cannot go on
        from what is here.
        """
        if head.size is not None and self.size is not None and head.size != self.size:
            raise DigestMismatch(
                f"The upstream sends {head.size} bytes where {self.size} belong; nothing was kept."
            )
        if self.received and self._source.digest is None and head.start != self.received:
            raise Unavailable("The upstream's answer broke off and has changed; try again.")
        self.size = head.size if head.size is not None else self.size
        self.framed = head.framed
        self.page = head.media_type.lower().startswith("text/html")
        strong = head.etag.startswith('"')
        self.etag = head.etag if strong else ""
        return self.received - head.start

    def may_resume(self) -> bool:
        """Count a broken answer; tell whether to ask for the rest.

        Only while it goes forward, and only where a digest, or a strong validator, will tell
        whether the rest belongs to what is here.
        """
        self.resumes += 1
        forward = self.received > self._mark
        self._mark = self.received
        sure = self.received == 0 or self._source.digest is not None or bool(self.etag)
        return forward and sure and self.resumes <= MAX_RESUMES

    def check(self) -> None:
        """Judge the whole. Raises Unavailable (cut), DigestMismatch or Malformed."""
        if self.size is not None and self.received < self.size:
            raise Unavailable("The upstream's answer broke off; try again.", retry_after=1)
        if self.size is not None and self.received > self.size:
            raise DigestMismatch("The upstream sent more bytes than belong; nothing was kept.")
        wanted = self._source.digest
        if wanted is None:
            if self.received == 0 or self.page:
                raise Malformed("The upstream sent a page or nothing in place of the file.")
            return
        found = self._other.hexdigest() if self._other is not None else self.sha256
        if found != wanted.hex:
            raise DigestMismatch(
                f"The upstream's bytes do not have the {wanted.algorithm} that its listing"
                " promises; nothing was kept."
            )

    @property
    def provable(self) -> bool:
        """Tell whether the end can be told from a cut: only then it may be stored."""
        return self._source.digest is not None or self.framed


@final
class Rate:
    """The rule of a minimum rate: `least` bytes a second over a window. 0: no rule."""

    def __init__(self, least: int, now: float) -> None:
        self._least = least
        self._since = now
        self._bytes = 0

    def keeps(self, count: int, now: float) -> bool:
        """Count bytes; False once a whole window was too slow."""
        self._bytes += count
        elapsed = now - self._since
        if elapsed < RATE_WINDOW:
            return True
        enough = self._bytes >= self._least * elapsed
        self._since, self._bytes = now, 0
        return enough
