"""Artifacts that nobody has by themselves: made of the one that they are a part of.

Purpose: the flight of an artifact whose source is `extracted`. The whole is read where it is: in
the store when it is there, else by a few ranges of it from the upstream, at most `RANGES_BUDGET`
bytes; where that does not do, the whole is fetched, verified and stored like any other. So it comes
as long as the whole can be had.

What was made of ranges is made of bytes that nobody has verified: it is kept, but marked, and made
again when somebody asks for it and the whole has come meanwhile.

Reading: PEP 658 (core metadata of wheels); uv's and pip's reading of remote wheels by ranges.
Non-goals: what an artifact consists of (`Extracting`), who may have it.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from typing import final

from proxy.cache.entry import ArtifactFacts
from proxy.cache.flight import Flight
from proxy.cache.keys import beside
from proxy.cache.order import Order
from proxy.cache.threads import in_thread
from proxy.ecosystems.base import Extracting
from proxy.errors import Malformed, NotFound, StorageFailed, Unavailable
from proxy.model import Source, Whole
from proxy.storage.base import Body, Record, Storage
from proxy.storage.memory import MemoryWriter
from proxy.upstream.base import Head, Upstream, UpstreamRequest, UpstreamResponse

LOG = logging.getLogger(__name__)
RANGES_BUDGET = 2 << 20
STORED_BUDGET = 48 << 20
MAX_RANGES = 8
TAIL = 16 << 10  # bytes of the end, asked for to learn the size where no listing says it
# A host that has the whole, but no ranges of it, answers one of these or 200.
_NO_RANGES = (400, 403, 405, 416, 501)


class _NoRanges(Exception):
    """It cannot be made of ranges."""


@final
class Extracts:
    """`extracting`: the ecosystems that have such artifacts, by name."""

    def __init__(
        self, storage: Storage, upstream: Upstream, extracting: Mapping[str, Extracting]
    ) -> None:
        self._storage = storage
        self._upstream = upstream
        self._extracting = extracting

    async def bring(self, flight: Flight, order: Order) -> None:
        """Make the artifact of an order, store it and end its flight.

        Raises what asking the upstream raises; NotFound when the whole does not hold it.
        """
        whole = order.source.whole
        if whole is None:
            raise AssertionError("an artifact is to be extracted from nothing")
        body = await self._open_whole(order.key, whole)
        data = None
        if body is None:
            data = await self._of_ranges(order, whole)
        proven = data is None
        if data is None:
            data = await self._of_stored(order, body or await _fetch_whole(order))
        facts = order.facts()._replace(extracted="whole" if proven else "parts")
        await self._keep(flight, order.key, data, facts)

    # --- of the stored whole -----------------------------------------------------------------

    async def _open_whole(self, key: str, whole: Whole) -> Body | None:
        record = stored_whole(self._storage, key, whole)
        if record is None:
            return None
        if record.suspect and not await in_thread(lambda: self._storage.recheck(record)):
            return None
        return self._storage.open(record)

    async def _of_stored(self, order: Order, body: Body) -> bytes:
        ecosystem = self._extracting[order.ecosystem]
        try:
            return await in_thread(lambda: _extract(ecosystem, order.source, body))
        except Malformed as error:
            # It is verified: there is nothing wrong with it but that it has none.
            raise NotFound(
                f"The artifact exists, but not this part of it: {error.detail}"
            ) from error
        except OSError as error:
            raise Unavailable(
                "The stored copy could not be read; try again.", retry_after=1
            ) from error
        finally:
            body.close()

    # --- of ranges ---------------------------------------------------------------------------

    async def _of_ranges(self, order: Order, whole: Whole) -> bytes | None:
        """None: the whole has to be fetched."""
        try:
            return await _Ranges(self._upstream, order, whole.size).extract(
                self._extracting[order.ecosystem]
            )
        except (Malformed, _NoRanges) as error:
            LOG.info("an artifact is not to be had by ranges (%s); fetching its whole", error)
            return None

    # --- keeping it --------------------------------------------------------------------------

    async def _keep(self, flight: Flight, key: str, data: bytes, facts: ArtifactFacts) -> None:
        record, body = None, None
        try:
            record = await in_thread(lambda: self._write(key, data, facts))
            body = self._storage.open(record)
        except StorageFailed as error:
            LOG.warning("the store takes nothing (%s); passing through", error)
        if body is None:
            record, body = None, _spooled(data)
        flight.begin(body, len(data))
        flight.advance(len(data))
        flight.finish(record)

    def _write(self, key: str, data: bytes, facts: ArtifactFacts) -> Record:
        writer = self._storage.create(key)
        try:
            writer.write(data)
            return writer.commit(hashlib.sha256(data).hexdigest(), facts.fields())
        finally:
            writer.close()


async def _fetch_whole(order: Order) -> Body:
    if order.fetch_whole is None:
        raise AssertionError("an order for an extract does not say how to fetch its whole")
    return await order.fetch_whole()


def stored_whole(storage: Storage, key: str, whole: Whole | None) -> Record | None:
    """The entry of the whole of an artifact, if it is stored as its listing promises it."""
    record = storage.lookup(beside(key, whole.path)) if whole is not None else None
    facts = ArtifactFacts.of_record(record) if record is not None else None
    if whole is None or record is None or facts is None:
        return None
    if not facts.fulfils(whole.digest, record.sha256):
        return None
    return record


def _extract(ecosystem: Extracting, source: Source, body: Body) -> bytes:
    """Read a stored whole. Raises Malformed, OSError."""
    steps = ecosystem.extract(source, body.size, STORED_BUDGET)
    try:
        start, end = next(steps)
        while True:
            count = max(0, min(end, body.size) - start)  # the file may go on
            start, end = steps.send(os.pread(body.fileno(), count, start))
    except StopIteration as done:
        return bytes(done.value)


def _spooled(data: bytes) -> Body:
    """What the disk did not take, for those who wait. Raises StorageFailed."""
    spool = MemoryWriter()
    try:
        spool.write(data)
        return spool.open()
    finally:
        spool.close()


@final
class _Ranges:
    """Asks for parts of one whole."""

    def __init__(self, upstream: Upstream, order: Order, size: int | None) -> None:
        self._upstream = upstream
        self._order = order
        self._size = size
        self._etag: str | None = None

    async def extract(self, ecosystem: Extracting) -> bytes:
        """Make the artifact. Raises _NoRanges, Malformed and what asking raises."""
        tail = b""
        if self._size is None:
            tail = await self._ask(suffix=TAIL)
        size = self._size
        if size is None:
            raise _NoRanges("the size is not known")
        steps = ecosystem.extract(self._order.source, size, RANGES_BUDGET)
        try:
            start, end = next(steps)
            for _ in range(MAX_RANGES):
                known = start - (size - len(tail))
                here = tail[known : known + end - start] if known >= 0 else b""
                start, end = steps.send(here or await self._ask(start=start, end=end))
        except StopIteration as done:
            return bytes(done.value)
        finally:
            steps.close()
        raise _NoRanges("too many parts")

    async def _ask(self, *, start: int = 0, end: int | None = None, suffix: int = 0) -> bytes:
        source = self._order.source
        request = UpstreamRequest(
            self._order.ecosystem, source.location, start=start, end=end, suffix=suffix
        )
        try:
            response = await self._upstream.open(request)
        except Unavailable as error:
            if error.upstream_status in _NO_RANGES:
                raise _NoRanges("the upstream refuses ranges") from error
            raise
        try:
            self._check(response.head)
            return await _read(response, suffix if end is None else end - start)
        finally:
            await response.close()

    def _check(self, head: Head) -> None:
        """Every part must be one of the same whole."""
        if head.status != 206:
            raise _NoRanges("the upstream sends the whole")
        self._size = head.size if self._size is None else self._size
        self._etag = head.etag if self._etag is None else self._etag
        if head.size != self._size or head.etag != self._etag:
            raise Malformed("The upstream's artifact is another one than its listing promises.")


async def _read(response: UpstreamResponse, most: int) -> bytes:
    data = bytearray()
    async for piece in response.pieces():
        data += piece
        if len(data) > most:
            raise Malformed("The upstream sent more than the range that was asked for.")
    wanted = min(most, (response.head.size or 0) - response.head.start)
    if len(data) != wanted:
        raise Malformed("The upstream sent less than the range that was asked for.")
    return bytes(data)
