"""What a proxy may answer, told by an oracle that only knows what happened upstream and when.

Purpose: the truth of the upstream is a pair: the revision of a document (or the status that refuses
it) and the digest of an artifact (or the status that refuses it). The oracle keeps what the proxy
may have learnt of each and when, and gives for each request all that may be answered. It knows no
entry, no key, no flight: only invariants.

* I1: an artifact has the bytes that the upstream gave under a listing, and never older ones than
  those that were served before.
* I5: a refusal is one that the upstream made; its silence is never one.
* I6: what was served, and not refused since, is served while the upstream is silent.
* What the upstream refuses is withheld as soon as what was learnt before is older than the ttl, and
  stays withheld through any silence.

Non-goals: driving anything (`test_state_machine`), documents that are parts of others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

TTL = 300.0
SKEW = 61.0
REFUSED_FOR = 31.0  # seconds that a refusal, and a failure, may be remembered
MAX_STALE = 86_400.0
SILENT = frozenset({502, 503, 429})

Truth = int | str  # a status in three digits is an int below 1000; a revision is 1000 and more


@dataclass(frozen=True, slots=True)
class Answer:
    """What came: a status, and with 200 what was in the body (revision or digest)."""

    status: int
    content: Truth = ""


@dataclass(frozen=True, slots=True)
class Learnt:
    """What may have been learnt, at which time of the proxy's clock. `refusal`: a status or 0."""

    content: Truth
    refusal: int
    at: float


@dataclass(slots=True)
class Thing:
    """A document or an artifact. `content`, `refusal`: as the upstream has it at this moment.

    `stored`: it was served whole, and nothing has been taken out of the store since.
    """

    content: Truth
    refusal: int = 0
    learnt: list[Learnt] = field(default_factory=list)
    stored: bool = False
    served: list[Truth] = field(default_factory=list)

    def now(self, now: float) -> Learnt:
        return Learnt(self.content, self.refusal, now)

    def believed(self, now: float, *, silent: bool) -> set[tuple[Truth, int]]:
        """What the proxy may go by. `silent`: it may have been unable to ask lately."""
        found = {(one.content, one.refusal) for one in self.learnt if silent or _counts(one, now)}
        return found if silent else found | {(self.content, self.refusal)}

    def lose(self) -> None:
        """It may not be in the store any more, nor what the upstream said against it."""
        self.stored = False
        self.learnt += [replace(one, refusal=0) for one in self.learnt if one.refusal]

    def learn(self, now: float, answer: Answer) -> None:
        """The upstream could be asked. When nothing else explains the answer, it was."""
        told = _explains(self.now(now), answer)
        if told and not any(_explains(one, answer) for one in self.learnt):
            self.learnt.clear()
        self.learnt.append(self.now(now))
        if self.refusal and not self.stored:
            self.learnt.append(replace(self.now(now), refusal=0))  # nowhere to note it


def _counts(one: Learnt, now: float) -> bool:
    if one.refusal:
        return 0 <= now - one.at < REFUSED_FOR
    return abs(now - one.at) < TTL + SKEW


def _explains(one: Learnt, answer: Answer) -> bool:
    return answer == (Answer(one.refusal) if one.refusal else Answer(200, one.content))


@dataclass(slots=True)
class Oracle:
    """`listed`: the document lists the artifact; `falls_back`: where it is not to be found, another
    one may. `digests`: of the artifact, by the revision that lists it. `failures`: when the
    upstream was silent, by the proxy's clock; `calm_at`: since when, by a steady one, it is not."""

    document: Thing
    artifact: Thing
    listed: bool
    falls_back: bool = False
    digests: dict[Truth, Truth] = field(default_factory=dict)
    failures: list[float] = field(default_factory=list)
    calm_at: float = 0.0

    def troubled(self, now: float, steady: float) -> bool:
        """Whether a failure may still be remembered."""
        recent = any(0 <= now - at < REFUSED_FOR for at in self.failures)
        return recent or steady - self.calm_at < REFUSED_FOR

    def judge(
        self,
        what: Literal["document", "artifact"],
        answer: Answer,
        *,
        now: float,
        steady: float,
        silent: bool,
        note: str = "",
    ) -> None:
        """Fail when an answer is not one that may be given; learn from it otherwise."""
        thing: Thing = getattr(self, what)
        allowed = set(self._allowed(what, now, silent=False)) if not silent else set()
        if silent or self.troubled(now, steady):
            allowed |= self._in_silence(what, now)
        assert answer in allowed, (what, answer, note, sorted(map(str, allowed)), self)
        if answer.status == 200:
            order = thing.served
            if answer.content in order:
                assert order[-1] == answer.content, ("went back", what, answer, order)
            else:
                order.append(answer.content)
            thing.stored = True
        if silent:
            self.failures.append(now)
        else:
            thing.learn(now, answer)
            if what == "artifact" and self.listed:
                self.document.learnt.append(self.document.now(now))

    def _allowed(self, what: str, now: float, *, silent: bool) -> Iterable[Answer]:
        documents = self.document.believed(now, silent=silent)
        artifacts = self.artifact.believed(now, silent=silent)
        if what == "document":
            for content, refusal in documents:
                yield Answer(refusal) if refusal else Answer(200, content)
            return
        if not self.listed:
            for content, refusal in artifacts:
                yield Answer(refusal) if refusal else Answer(200, content)
            if len({content for content, _ in artifacts}) > 1:
                yield Answer(502)  # it is compared with what stands beside it, learnt earlier
            return
        # The listing says which bytes: those of its own revision.
        digests = self.digests
        for listing, hidden in documents:
            for content, refusal in artifacts:
                if hidden in (404, 410) and self.falls_back:
                    yield Answer(refusal) if refusal else Answer(200, content)
                    yield Answer(200, digests[listing])
                    yield Answer(404)
                    continue
                if hidden or refusal:
                    # Without its page nobody knows whether there ever was one: 404, not 410.
                    yield Answer(404 if hidden == 410 else hidden or refusal)
                    continue
                yield Answer(200, content)
                if digests[listing] != content:
                    yield Answer(200, digests[listing])
                    yield Answer(502)

    def _in_silence(self, what: str, now: float) -> set[Answer]:
        thing: Thing = getattr(self, what)
        allowed = set(self._allowed(what, now, silent=True))
        sure = thing.stored and len(allowed) == 1 and next(iter(allowed)).status == 200
        ages = [now - one.at for one in self.document.learnt]
        if what == "document" and ages and max(ages) > MAX_STALE:
            sure = False
            if min(ages) > MAX_STALE + TTL + SKEW:
                allowed = {answer for answer in allowed if answer.status != 200}
        stays = thing.stored and all(one.refusal for one in thing.learnt) and thing.learnt
        if not sure and not (what == "artifact" and stays):
            allowed |= {Answer(status) for status in SILENT}
        return allowed
