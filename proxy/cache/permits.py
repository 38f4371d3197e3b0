"""Permits: what the decision that an artifact may be served consists of. Pure.

Non-goals: making that decision (`rights`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from proxy.cache.entry import ArtifactFacts
from proxy.cache.status import HIT, CacheStatus
from proxy.model import ArtifactTarget, DocumentTarget, Grant, Source


@dataclass(frozen=True, slots=True)
class Step:
    """A document that a listing decision stands on, by its bytes."""

    document: DocumentTarget
    sha256: str


class Permit(NamedTuple):
    """A current listing decision: the source, and the document (path, SHA-256) that says so.

    `steps`: the documents that it stands on, in the order they were asked. Where there are several,
    `listing` is the first and `listing_sha256` of all of them, so of no single one.
    `compare`: no document lists it; it is compared with what the upstream keeps beside it.
    `target`: the artifact itself, where the right to it is that to its package.
    """

    source: Source
    listing: str = ""
    listing_sha256: str = ""
    status: CacheStatus = HIT
    steps: tuple[Step, ...] = ()
    compare: ArtifactTarget | None = None
    target: ArtifactTarget | None = None


def is_plain(permit: Permit) -> bool:
    """Tell whether the digest in its listing is all that a body has to fulfil, and it comes by
    itself."""
    source = permit.source
    return (
        source.digest is not None
        and not source.seal
        and not source.extracted
        and source.whole is None
        and permit.compare is None
        and permit.target is None
    )


def withheld_of(facts: ArtifactFacts, permit: Permit) -> str:
    """The verdict that a stored artifact is under. One at an address that is no longer listed is
    no news."""
    return facts.withheld if facts.location == permit.source.location else ""


def in_order(
    target: ArtifactTarget, grant: Grant, facts: ArtifactFacts | None
) -> list[DocumentTarget]:
    """The listings to ask: only granted scopes, the one that listed the stored copy first."""
    allowed = [listing for listing in target.listed_in if listing.scope in grant.scopes]
    if facts is not None:
        allowed.sort(key=lambda listing: listing.path != facts.listing)
    return allowed


def asks_own(target: ArtifactTarget, grant: Grant, facts: ArtifactFacts) -> bool:
    """Whether the listing of the stored copy is one that may be asked for this client: only then
    does it say anything of the copy that none lists it."""
    listings = in_order(target, grant, facts)
    return bool(listings) and listings[0].path == facts.listing


def permit_of(facts: ArtifactFacts, status: CacheStatus, steps: tuple[Step, ...] = ()) -> Permit:
    """The decision that a stored copy was made under, still in force."""
    source = Source(
        facts.location,
        facts.package,
        facts.version,
        facts.digest,
        whole=facts.whole,
        extracted=bool(facts.extracted),
        seal=facts.seal,
    )
    return Permit(source, facts.listing, facts.listing_sha256, status, steps)


def facts_of(permit: Permit, now: float) -> ArtifactFacts:
    """What is noted of a body that comes under a permit. `now`: epoch seconds."""
    source = permit.source
    return ArtifactFacts(
        location=source.location,
        package=source.package,
        version=source.version,
        digest=source.digest,
        fetched_at=now,
        checked_at=now,
        listing=permit.listing,
        listing_sha256=permit.listing_sha256,
        whole=source.whole,
        seal=source.seal,
    )
