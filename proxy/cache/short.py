"""Short flights: small bodies of known digest whose first answer is whole and right.

Purpose: nearly every miss is one. Nobody may see a small body before it is verified, so it needs
no books and no file that grows: its pieces are gathered in memory, verified together, and stored.
Whatever is unusual (a break, another size, wrong bytes, a disk that takes nothing) is left to who
knows what to do then (`download`): what was heard so far is given to it as the answer to its own
first question. So everything else comes as if there were no short flights.

Reading: design rule 6. Non-goals: asking twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from typing import final

from proxy.cache.flight import SMALL, Flight
from proxy.cache.leader import resign
from proxy.cache.order import Order
from proxy.cache.verdicts import to_text
from proxy.errors import ProxyError, StorageFailed
from proxy.model import Digest
from proxy.storage.base import Record, Writer
from proxy.upstream.base import Asked, Head, Upstream, UpstreamResponse


def is_short(flight: Flight, order: Order) -> bool:
    """Tell whether it may be one: nobody has seen a part of it, and nothing but its listing's
    digest has to be looked at."""
    source = order.source
    return (
        not flight.begun
        and source.digest is not None
        and (source.size is None or source.size <= SMALL)
        and order.compare is None
        and order.verifier is None
        and order.judge is None
        and not order.digests
    )


@final
class Heard:
    """An answer that was begun to be read. Implements `UpstreamResponse`: who reads it hears that
    again, and then what is still to come.

    `waited`: seconds, for the body. `writer`: to go on with; None: the store takes nothing. `here`:
    all that was left of it, where that was taken at once.
    """

    def __init__(
        self, response: UpstreamResponse, writer: Writer | None, here: bytes = b""
    ) -> None:
        self.writer = writer
        self.waited = 0.0
        self._response = response
        self._rest: AsyncIterator[bytes] | None = None
        self._kept = [here] if here else []
        self._error: ProxyError | None = None
        self._is_whole = bool(here)  # what is kept is all there is

    async def whole(self, size: int, clock: Callable[[], float]) -> bytes | None:
        """Read it to its end; None: it broke off, or has another size."""
        kept, received, started = self._kept, 0, clock()
        if self._is_whole:
            return kept[0] if len(kept[0]) == size else None
        self._rest = rest = self._response.pieces()
        try:
            async for piece in rest:
                kept.append(piece)
                received += len(piece)
                if received > size:
                    break
        except ProxyError as error:
            self._error = error.with_traceback(None)
        self.waited = clock() - started
        if received != size or self._error is not None:
            return None
        return kept[0] if len(kept) == 1 else b"".join(kept)

    @property
    def head(self) -> Head:
        """See `UpstreamResponse.head`."""
        return self._response.head

    async def pieces(self) -> AsyncIterator[bytes]:
        """See `UpstreamResponse.pieces`."""
        for piece in self._kept:
            yield piece
        if self._error is not None:
            raise self._error
        if self._is_whole:
            return
        async for piece in self._rest or self._response.pieces():
            yield piece

    def here(self) -> bytes:
        """See `UpstreamResponse.here`."""
        return b""

    def pours(self) -> bool:
        """See `UpstreamResponse.pours`."""
        return self._rest is None and not self._kept and self._response.pours()

    async def read_into(self, view: memoryview) -> int:
        """See `UpstreamResponse.read_into`."""
        return await self._response.read_into(view)

    async def close(self) -> None:
        """See `UpstreamResponse.close`."""
        await self._response.close()


@final
class ShortFlights:
    """Brings them. `most`: bytes of the largest that may be stored. `clock`: monotonic seconds.
    `unstorable`: told why the store takes nothing."""

    def __init__(
        self,
        upstream: Upstream,
        most: int,
        clock: Callable[[], float],
        unstorable: Callable[[StorageFailed], None],
    ) -> None:
        self._upstream = upstream
        self._most = min(most, SMALL)
        self._clock = clock
        self._unstorable = unstorable

    async def bring(
        self, flight: Flight, order: Order, writer: Writer, asked: Asked | None
    ) -> Heard | None:
        """Fetch, verify, commit, and end the flight; or give what was heard, with the flight as it
        was. `asked`: the question, if it was put already. Raises what the upstream raises, with the
        claim given back."""
        response: UpstreamResponse | None = None
        try:
            response = await (asked.go_on() if asked else self._upstream.open(order.request()))
            size = self._size(order, response.head)
            if size is None:
                return Heard(response, writer)
            flight.size = size  # tells whether it is worth finishing
            heard: Heard | None = None
            content: bytes | None = response.here()
            if not content or len(content) != size:  # else it has all come, as mostly
                heard = Heard(response, writer, content or b"")
                content = await heard.whole(size, self._clock)
                if content is None:
                    return heard
            await response.close()
            right = self.fits(order, content)
            record = self.store(flight, order, writer, content, right) if right else None
            if record is not None:
                flight.finish(record, content)
                return None
        except BaseException as error:
            if response is not None:
                await response.close()
            resign(flight, writer, to_text(error) if isinstance(error, ProxyError) else "")
            raise
        heard = heard or Heard(response, writer, content)
        if right:
            heard.writer = None
        return heard

    def _size(self, order: Order, head: Head) -> int | None:
        """Bytes of a body that can be one; None: there is something about it."""
        size = head.size if order.source.size is None else order.source.size
        if size is None or size > self._most or head.size not in (None, size) or head.start:
            return None
        return size

    def fits(self, order: Order, content: bytes | memoryview) -> str:
        """The SHA-256 of a body that is what was ordered; empty: it is not, or it is too large."""
        source, size = order.source, len(content)
        if size > self._most or source.size not in (None, size):
            return ""
        sha256 = hashlib.sha256(content, usedforsecurity=False).hexdigest()
        return sha256 if _fulfils(source.digest, content, sha256) else ""

    def store(
        self,
        flight: Flight,
        order: Order,
        writer: Writer,
        content: bytes | memoryview,
        sha256: str,
    ) -> Record | None:
        """Commit what fits, and be done with the writer; None: the store does not take it."""
        try:
            fields = order.facts().fields()
            if order.shared:
                writer.write(content)
                record = writer.commit(sha256, fields)
            else:
                record = writer.commit_whole(content, sha256, fields)
        except StorageFailed as error:
            self._unstorable(error)
            resign(flight, writer, "")
            return None
        writer.close()
        return record


def _fulfils(promised: Digest | None, content: bytes | memoryview, sha256: str) -> bool:
    if promised is None or promised.algorithm == "sha256":
        return promised is not None and promised.hex == sha256
    found = hashlib.new(promised.algorithm, content, usedforsecurity=False)
    return found.hexdigest() == promised.hex
