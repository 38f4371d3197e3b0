"""What the answer with a stored artifact stands on, put as a question that costs next to nothing.

Purpose: an artifact that has just been served is asked for again at once, by many. Walking to the
same answer anew costs far more than asking whether all that led to it is the same still: the entry,
the listing that names it, the upstream's consent, and that nothing is remembered against it. Where
one of these cannot be asked from memory there are no grounds, and each request is walked.

Reading: `rights`, whose decisions these are; design rule 3. Non-goals: who asks and what the
organisation is entitled to (`server.repeats` asks that for the `scope` that is named here).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import final

from proxy.cache.decisions import Refusals
from proxy.cache.documents import Documents
from proxy.cache.entry import ArtifactFacts
from proxy.cache.found import Basis, Standing
from proxy.cache.keys import beside
from proxy.cache.permits import Permit
from proxy.cache.rights import Rights
from proxy.ecosystems.base import Ecosystem
from proxy.model import ArtifactTarget
from proxy.storage.base import Record, Storage


@final
class Grounds:
    """`decisions`: what is remembered of flights, by their names. `clock`: epoch seconds."""

    def __init__(
        self,
        storage: Storage,
        documents: Documents,
        rights: Rights,
        decisions: Refusals,
        clock: Callable[[], float],
    ) -> None:
        self._storage = storage
        self._documents = documents
        self._rights = rights
        self._decisions = decisions
        self._clock = clock

    def of(
        self,
        ecosystem: Ecosystem,
        target: ArtifactTarget,
        name: str,
        permit: Permit,
        stored: tuple[Record, ArtifactFacts],
    ) -> Basis | None:
        """What a hit under a permit stands on. `name`: of the flight that would bring it.

        None: it is not settled, or not by what is in memory.
        """
        record, facts = stored
        # What was made of parts goes as soon as the whole is here.
        if record.suspect or facts.extracted == "parts":
            return None
        listed = self._listed(ecosystem, permit, facts) if target.listed_in else _unlisted
        records = self._records(record, permit)
        if listed is None or not records:
            return None
        look, clock, against = self._storage.lookup, self._clock, self._decisions.holds
        settled, since = self._settled(ecosystem, name, permit, facts), facts.fetched_at

        def stands() -> int | None:
            for one in records:
                if look(one.key) is not one:
                    return None
            now = clock()
            if listed() is None or against(name, now) or not settled(now):
                return None
            return max(0, int(now - since))

        if stands() is None:
            return None
        return Basis(permit.steps[0].document.scope if permit.steps else target.scope, stands)

    def _listed(
        self, ecosystem: Ecosystem, permit: Permit, facts: ArtifactFacts
    ) -> Standing | None:
        """How to ask whether the listing, and what it refers to, is current and says the same."""
        # Where another one than that of the entry lists it, that one is asked first, and may again.
        if not permit.steps or permit.steps[0].document.path != facts.listing:
            return None
        now, every = self._documents.standing_now, []
        for step in permit.steps:
            if (one := now(ecosystem, step.document, step.sha256)) is None:
                return None
            every.append(one)
        first, *others = every
        return first if not others else partial(_all, every)

    def _settled(
        self, ecosystem: Ecosystem, name: str, permit: Permit, facts: ArtifactFacts
    ) -> Callable[[float], bool]:
        """How to ask whether the upstream was asked a short while ago, and did not refuse.

        While the entry is the same, so is the moment that it was confirmed at, and any verdict.
        """
        is_settled = self._rights.is_settled
        begins, ends = self._rights.settled_between(permit, facts)

        def settled(now: float) -> bool:
            return begins < now < ends or is_settled(ecosystem, name, permit, facts, follows=False)

        return settled

    def _records(self, record: Record, permit: Permit) -> tuple[Record, ...]:
        """The entries that have to stay as they are; none: they are not all there."""
        about = permit.compare.about if permit.compare is not None else ""
        if not about:
            return (record,)
        other = self._storage.lookup(beside(record.key, about))
        return (record, other) if other is not None else ()


def _all(every: list[Standing]) -> int | None:
    """Of what several documents say together: the age of the oldest."""
    ages = [one() for one in every]
    known = [age for age in ages if age is not None]
    return max(known) if len(known) == len(ages) else None


def _unlisted() -> int:
    """Of what no document lists."""
    return 0
