"""Listings that refer to one another: the decision stands on all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from proxy.cache import listings
from proxy.cache.documents import Documents
from proxy.cache.freshness import Policy
from proxy.cache.listings import MOST_STEPS, Listings
from proxy.cache.permits import Permit
from proxy.cache.status import HIT
from proxy.cache.variants import Variants
from proxy.cache.worker import Worker
from proxy.ecosystems.openvex import OpenVex
from proxy.errors import Malformed, NotFound, NotListed
from proxy.model import (
    ArtifactTarget,
    Document,
    DocumentTarget,
    Further,
    Grant,
    Links,
    Source,
)
from proxy.storage.memory import MemoryStorage
from proxy.upstream.base import Head, UpstreamRequest
from tests.engine import quick
from tests.unit.in_pieces import InPieces

GRANT = Grant("farm", "chain", frozenset({"chain"}))
WANTED = ArtifactTarget("/wanted", "chain", "pkg", "wanted")
ELSE = Source("/unvouched", "pkg")


@dataclass(frozen=True, slots=True)
class Chain(OpenVex):
    """An ecosystem whose documents have one line: `at PATH`, `more PATH`, `maybe PATH`."""

    name: str = "chain"

    def locate(self, target: ArtifactTarget, listing: Document) -> Source | Further:  # type: ignore[override]  # says more than that one
        verb, _, path = listing.body.decode().partition(" ")
        if verb == "at":
            return Source(path + target.version, "pkg")
        if verb not in ("more", "maybe"):
            raise NotListed(target.filename)
        learnt = target._replace(version=f"{target.version}+{listing.url}")
        return Further(document_at(path), learnt, ELSE if verb == "maybe" else None)

    def rewrite(self, target: DocumentTarget, document: Document, links: Links) -> Document:
        return document


@dataclass
class Pages:
    """An upstream of texts by path. `asked`: the paths, in order. `unchanged`: so it says."""

    texts: dict[str, str]
    asked: list[str] = field(default_factory=list)
    unchanged: bool = False

    async def open(self, request: UpstreamRequest) -> Page:
        self.asked.append(request.location)
        if request.location not in self.texts:
            raise NotFound("no such page")
        return Page(request.location, self.texts[request.location], 304 if self.unchanged else 200)


@dataclass
class Page(InPieces):
    """One answer."""

    path: str
    text: str
    status: int

    @property
    def head(self) -> Head:
        return Head(self.status, self.path, "text/plain", len(self.text))

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self.text.encode()

    async def close(self) -> None:
        """Nothing is open."""


def document_at(path: str) -> DocumentTarget:
    return DocumentTarget(path, "chain", "pkg")


@dataclass
class Room:
    """Listings over some pages. `now`: epoch seconds."""

    pages: Pages
    now: float = 1000.0

    def __post_init__(self) -> None:
        policy = Policy(ttl=300, tag_ttl=60, max_stale=3600, negative_ttl=30)
        self.documents = Documents(
            *(MemoryStorage(), self.pages, policy, Variants(Worker())),
            origins={"chain": "https://chain.example"},
            max_document=1000,
            clock=lambda: self.now,
            healed=lambda: None,
        )
        self.listings = Listings(self.documents)

    async def look(self) -> Permit:
        return await self.listings.look(
            *(Chain(), WANTED, document_at("/a"), GRANT, Links()), facts=None, deadline=None
        )

    def at_hand(self, path: str = "/a") -> Permit | None:
        return self.listings.at_hand(Chain(), WANTED, document_at(path))


@asynccontextmanager
async def room(texts: Mapping[str, str]) -> AsyncIterator[Room]:
    made = Room(Pages(dict(texts)))
    try:
        yield made
    finally:
        await made.documents.close()


async def test_what_is_learnt_on_the_way_is_known_where_it_ends() -> None:
    async with room({"/a": "more /b", "/b": "more /c", "/c": "at /here"}) as made:
        permit = await made.look()
        assert permit.source.location == "/here+/a+/b"
        assert made.pages.asked == ["/a", "/b", "/c"]
        assert [step.document.path for step in permit.steps] == ["/a", "/b", "/c"]
        assert (permit.listing, permit.status.label) == ("/a", "miss")
        assert (await made.look()).status.label == "hit"
        assert len(made.pages.asked) == 3


async def test_one_listing_stands_by_its_own_bytes_and_several_by_all_of_theirs() -> None:
    async with room({"/a": "at /here"}) as alone, room({"/a": "more /b", "/b": "at /x"}) as made:
        one = await alone.look()
        assert one.listing_sha256 == one.steps[0].sha256
        first = await made.look()
        assert first.listing_sha256 not in {step.sha256 for step in first.steps}
        made.pages.texts["/b"] = "at /y"
        made.now += 301
        second = await made.look()
        assert second.source.location == "/y+/a"
        assert second.listing_sha256 != first.listing_sha256
        assert second.steps[0] == first.steps[0]


async def test_where_the_last_document_is_missing_what_held_before_it_may_do() -> None:
    async with room({"/a": "maybe /b"}) as made:
        permit = await made.look()
        assert permit.source == ELSE
        assert [step.document.path for step in permit.steps] == ["/a"]
    async with room({"/a": "more /b"}) as made:
        with pytest.raises(NotFound):
            await made.look()


async def test_a_listing_that_a_listing_refers_to_may_name_it_not() -> None:
    async with room({"/a": "maybe /b", "/b": "nothing"}) as made:
        with pytest.raises(NotListed):
            await made.look()


async def test_listings_that_refer_to_one_another_are_not_followed_for_ever() -> None:
    async with room({"/a": "more /b", "/b": "more /a"}) as made:
        with pytest.raises(Malformed, match="without an end"):
            await made.look()
        assert made.pages.asked == ["/a", "/b"]
        assert MOST_STEPS < 10


# --- without waiting ----------------------------------------------------------------------------


async def test_a_listing_in_memory_says_at_once_what_asking_it_would() -> None:
    async with room({"/a": "at /here"}) as made:
        assert made.at_hand() is None
        await made.look()
        permit = await made.look()
        assert permit.source.location == "/here"
        assert (made.at_hand(), made.at_hand()) == (permit, permit)
        assert made.pages.asked == ["/a"]


async def test_a_listing_that_has_just_come_says_at_once_what_it_says() -> None:
    async with room({"/a": "at /here"}) as made:
        first = await made.look()
        assert made.at_hand() == first._replace(status=HIT)


async def test_a_listing_that_has_just_been_confirmed_goes_on_saying_it() -> None:
    async with room({"/a": "at /here"}) as made:
        await made.look()
        before = made.at_hand()
        made.pages.unchanged = True
        made.now += 300
        assert made.at_hand() is None
        await made.look()
        assert made.at_hand() == before
        made.now += 299
        assert made.at_hand() == before
        assert made.pages.asked == ["/a", "/a"]


@pytest.mark.parametrize("known", [True, False])
async def test_a_listing_that_has_to_be_asked_again_says_nothing_at_once(*, known: bool) -> None:
    async with room({"/a": "at /here"}) as made:
        await made.look()
        permit = await made.look()
        if known:
            assert made.at_hand() == permit
        made.documents.doubt(Chain(), document_at("/a"), permit.listing_sha256)
        assert made.at_hand() is None
        made.now += 299  # the doubt is as old as the listing may be
        assert made.at_hand() is None
        made.now += 1
        assert made.at_hand() is None
        made.now -= 301  # before anybody asked
        assert made.at_hand() is None


async def test_a_listing_that_has_changed_says_what_it_says_now() -> None:
    async with room({"/a": "at /here"}) as made:
        await made.look()
        await made.look()
        before = made.at_hand()
        made.pages.texts["/a"] = "at /there"
        made.now += 300
        assert made.at_hand() is None
        await made.look()
        after = await made.look()
        assert made.at_hand() == after
        assert before is not None
        assert (before.source.location, after.source.location) == ("/here", "/there")
        assert before.listing_sha256 != after.listing_sha256


async def test_a_listing_that_is_not_the_last_word_says_nothing_at_once() -> None:
    async with room({"/a": "more /b", "/b": "at /here"}) as made:
        for _ in range(3):
            await made.look()
        assert made.at_hand() is None


async def test_only_so_many_listings_are_known_at_once() -> None:
    with quick(listings, MOST_CURRENT=2):
        async with room({"/a": "at /x", "/b": "at /y", "/c": "at /z"}) as made:
            for _ in range(2):
                for path in ("/a", "/b", "/c"):
                    await made.listings.look(
                        *(Chain(), WANTED, document_at(path), GRANT, Links()),
                        facts=None,
                        deadline=None,
                    )
            found = [made.at_hand(path) for path in ("/a", "/b", "/c", "/a")]
            assert [one and one.source.location for one in found] == ["/x", "/y", "/z", "/x"]
            assert len(made.listings._current) == 2
