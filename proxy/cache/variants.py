"""Variants: a document as one kind of client gets it, made once per change and kept ready.

Purpose: per document (its very bytes), representation, base URL and coding there is one ready body
with the strong ETag of exactly these bytes. Small documents are rewritten at once; larger ones, and
everything that packs, outside the event loop, once for all who wait.

Reading: RFC 9110 sections 8.8.3 (an ETag per coding) and 12. Non-goals: what is fresh.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import final

from proxy.cache.coding import SMALLEST, compress
from proxy.cache.ready import Ready
from proxy.cache.singleflight import SingleFlight
from proxy.cache.threads import LARGE
from proxy.cache.worker import Worker, tabulated
from proxy.ecosystems.base import Catalogue, Cataloguing, Ecosystem, Table, Tabulating
from proxy.model import ArtifactTarget, Document, DocumentTarget, Further, Links, Source

BUDGET = 64 << 20
TABLES_BUDGET = 32 << 20
CATALOGUES_BUDGET = 64 << 20
# Bytes of a listing. To take its table in from the other process stalls the loop for 4 ms a MiB,
# once in the listing's life; to look there for each artifact takes 90 ms a MiB (measured).
TABLE_LIMIT = 4 << 20
TABLE_SIZE = 2  # times the listing's own size, roughly
# Reading and writing a page takes 0.1 ms per KiB (measured): what would take longer than the loop
# may be held up goes to another process, which costs 2 ms.


@dataclass(frozen=True, slots=True)
class Variant:
    """A body with its ETag. `coding`: the Content-Encoding, empty for none."""

    body: bytes
    media_type: str
    etag: str
    headers: tuple[tuple[str, str], ...] = ()
    coding: str = ""


@final
class Variants:
    """Makes and keeps them."""

    def __init__(self, worker: Worker, budget: int = BUDGET) -> None:
        self._worker = worker
        self._ready: Ready[Variant] = Ready(budget)
        self._making: SingleFlight[Variant] = SingleFlight()
        self._tables: Ready[Table] = Ready(TABLES_BUDGET)
        self._tabulating: SingleFlight[Table] = SingleFlight()
        self._catalogues: Ready[Catalogue] = Ready(CATALOGUES_BUDGET)
        self._cataloguing: SingleFlight[Catalogue] = SingleFlight()

    async def close(self) -> None:
        """Stop what is being made."""
        await self._making.close()
        await self._tabulating.close()
        await self._cataloguing.close()
        await self._worker.close()

    async def get(  # noqa: PLR0913  # all that a body depends on
        self,
        ecosystem: Ecosystem,
        target: DocumentTarget,
        document: Document,
        sha256: str,
        links: Links,
        *,
        coding: str = "",
    ) -> Variant:
        """The client's form of a document whose bytes have that SHA-256. Raises Malformed.

        A body that is not worth packing comes without the coding.
        """
        base = links.base if target.based else ""
        key = (
            *(ecosystem.name, target.upstream, target.path, sha256),
            *(target.representation, target.part, base),
        )
        # The packed body first: of a very large document it is the only one that is kept.
        if coding and (packed := self._ready.get((*key, coding))) is not None:
            return packed
        plain = self._ready.get((*key, ""))
        if plain is None:
            plain = await self._make(key, ecosystem, target, document, sha256=sha256, links=links)
        if not coding or len(plain.body) < SMALLEST:
            return plain
        return await self._pack((*key, coding), plain)

    def table(
        self, ecosystem: Ecosystem, package: str, url: str, sha256: str
    ) -> Callable[[], Table | None]:
        """How to get at what a listing of a package at `url`, of that SHA-256, says. None: it is
        not ready."""
        return partial(self._tables.get, _table_key(ecosystem, package, url, sha256))

    async def locate(
        self, ecosystem: Ecosystem, target: ArtifactTarget, listing: Document, sha256: str
    ) -> Source | Further:
        """`Ecosystem.locate`, without holding up the loop. `sha256`: of the listing.

        Raises NotListed, Malformed. A listing that names many artifacts is read once for them all.
        """
        if isinstance(ecosystem, Cataloguing):
            return (await self._catalogue(ecosystem, listing, sha256)).find(target)
        if len(listing.body) <= TABLE_LIMIT and isinstance(ecosystem, Tabulating):
            return (await self._table(ecosystem, target, listing, sha256)).find(target)
        if len(listing.body) <= LARGE:
            return ecosystem.locate(target, listing)
        return await self._worker.locate(ecosystem, target, listing)

    async def _table(
        self, ecosystem: Ecosystem, target: ArtifactTarget, listing: Document, sha256: str
    ) -> Table:
        key = _table_key(ecosystem, target.package, listing.url, sha256)
        if (known := self._tables.get(key)) is not None:
            return known
        if len(listing.body) <= LARGE:
            table = tabulated(ecosystem, target.package, listing)
        else:
            job = partial(self._worker.tabulate, ecosystem, target.package, listing)
            task, _ = self._tabulating.join("\0".join(key), job)
            table = await asyncio.shield(task)
        self._tables.put(key, table, TABLE_SIZE * len(listing.body))
        return table

    async def _catalogue(self, ecosystem: Ecosystem, listing: Document, sha256: str) -> Catalogue:
        key = (ecosystem.name, listing.url, sha256)
        found = self._catalogues.get(key)
        if found is None:
            job = partial(self._worker.catalogue, ecosystem, listing)
            task, _ = self._cataloguing.join("\0".join(key), job)
            found = await asyncio.shield(task)
            self._catalogues.put(key, found, found.size)
        return found

    async def _make(  # noqa: PLR0913  # one caller
        self,
        key: tuple[str, ...],
        ecosystem: Ecosystem,
        target: DocumentTarget,
        document: Document,
        *,
        sha256: str,
        links: Links,
    ) -> Variant:
        if len(document.body) <= LARGE:
            made = self._rewrite(ecosystem, target, document, sha256, links)
            return self._keep((*key, ""), made, hashlib.sha256(made.body).hexdigest())

        async def make() -> Variant:
            made, sha256 = await self._worker.rewrite(ecosystem, target, document, links)
            return self._keep((*key, ""), made, sha256)

        task, _ = self._making.join("\0".join((*key, "")), make)
        return await asyncio.shield(task)

    def _rewrite(
        self,
        ecosystem: Ecosystem,
        target: DocumentTarget,
        document: Document,
        sha256: str,
        links: Links,
    ) -> Document:
        """At once; who gets a listing asks for what it lists next, so its table is made with it."""
        if not isinstance(ecosystem, Tabulating):
            return ecosystem.rewrite(target, document, links)
        made, table = ecosystem.rewrite_tabulated(target, document, links)
        if table is not None:
            key = _table_key(ecosystem, target.package, document.url, sha256)
            self._tables.put(key, table, TABLE_SIZE * len(document.body))
        return made

    async def _pack(self, key: tuple[str, ...], plain: Variant) -> Variant:
        coding = key[-1]

        async def pack() -> Variant:
            body = await asyncio.to_thread(compress, plain.body, coding)
            etag = f'{plain.etag[:-1]}-{coding}"'
            packed = replace(plain, body=body, etag=etag, coding=coding)
            self._ready.put(key, packed, len(body))
            return packed

        task, _ = self._making.join("\0".join(key), pack)
        return await asyncio.shield(task)

    def _keep(self, key: tuple[str, ...], made: Document, sha256: str) -> Variant:
        variant = Variant(made.body, made.media_type, f'"{sha256[:40]}"', made.headers)
        self._ready.put(key, variant, len(made.body))
        return variant


def _table_key(
    ecosystem: Ecosystem, package: str, url: str, sha256: str
) -> tuple[str, str, str, str]:
    """What one table is kept by: where two packages share a listing, each has its own."""
    return ecosystem.name, package, url, sha256
