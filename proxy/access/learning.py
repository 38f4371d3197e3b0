"""Entitlements as the platform says them: asked behind, answered at once from memory.

Purpose: a request never waits for the platform. One task asks every `refresh` seconds (a little
less, so that what is withdrawn is refused within it; sooner after a failure); the answer replaces
the last one, whole, and is kept on disk. While the platform is silent the last answer holds for
`grace` seconds by a clock that only goes forward.

Reading: `known` (the decision table), `memory` (the file). Non-goals: whom to ask (`platform`).
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, final

from proxy.access.entitlements import Verdict
from proxy.access.known import Answer, judge
from proxy.access.memory import Clocks, Learnt, Memory
from proxy.access.platform import Asker
from proxy.access.turn import Turn
from proxy.errors import PlatformRefused, PlatformSilent

LOG = logging.getLogger(__name__)
FIRST_RETRY = 1.0
PATIENCE = 3.0  # seconds that a start waits when nothing at all is known
FOLLOW = 0.5  # seconds between two looks at what another process has learnt
LONGEST = 20.0  # seconds for one refresh with all its questions
Outcome = Literal["answered", "not_allowed", "refused", "silent"]
State = Literal["fresh", "stale", "expired", "unknown", "unasked"]


@dataclass(frozen=True, slots=True)
class Terms:
    """`refresh` and `grace` in seconds. `unasked`: the verdict where we may not ask."""

    refresh: float
    grace: float
    unasked: Verdict = Verdict.UNKNOWN


@final
class PlatformEntitlements:
    """Implements `Entitlements`. `outcomes`: what the refreshes came to, counted. `turn`: who asks
    for several processes; None: this one does."""

    def __init__(
        self,
        asker: Asker,
        memory: Memory,
        terms: Terms,
        clocks: Clocks,
        turn: Turn | None = None,
    ) -> None:
        self._turn = turn
        self._asker = asker
        self._memory = memory
        self._terms = terms
        self._clocks = clocks
        self.outcomes: Counter[Outcome] = Counter()
        self._learnt: Learnt | None = None
        self._tiered: tuple[str, ...] = ()  # kept when an answer is forgotten; see `Learnt`
        self._speaks = False  # the platform, to this process, the last time it was asked
        self._failures = 0
        self._trouble = "it was not asked yet"
        self._reported = ""
        self._asking: asyncio.Task[None] | None = None
        self._loop: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._heard = asyncio.Event()
        self._asked = clocks.steady()  # by this process, the last time

    def allowed(self, ecosystem: str, scope: str) -> Verdict:
        """See `Entitlements.allowed`."""
        learnt = self._learnt
        return judge(
            learnt.answer if learnt is not None else None,
            ecosystem,
            scope,
            holds=self.age <= self._limit,
            unasked=self._terms.unasked,
            tiered=learnt is not None and learnt.is_tiered,
        )

    # --- its life ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to ask. Waits for the first answer, for a while, only when nothing is known."""
        self._learnt = await asyncio.to_thread(self._memory.read)
        self._tiered = self._learnt.tiered if self._learnt is not None else ()
        self._loop = asyncio.get_running_loop().create_task(self._ask_on())
        if self._learnt is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await (self.refresh() if self._turn is None else self._heard.wait())

    def wake(self) -> None:
        """Ask now: the credentials may be others."""
        self._wake.set()

    async def close(self) -> None:
        """Stop asking."""
        tasks = [task for task in (self._loop, self._asking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._turn is not None:
            self._turn.release()

    async def refresh(self) -> None:
        """Ask once and note what came; who comes while that goes on waits for the same answer."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._ask())
        await asyncio.shield(self._asking)

    async def _ask_on(self) -> None:
        while True:
            if self._turn is not None:
                await self._follow(self._turn)
            await self.refresh()
            self._heard.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._wake.wait()
            self._wake.clear()

    async def _follow(self, turn: Turn) -> None:
        """Take what another process has learnt, for as long as it is that one's turn to ask and it
        keeps what it hears. Returns when this one has to ask."""
        while not await asyncio.to_thread(turn.take):
            await self._take_from_others()
            asked = self._clocks.steady() - self._asked
            if self.age > self._fresh and asked >= self._terms.refresh:
                # That one is told nothing, or cannot keep it: now and again each asks for itself.
                return
            await asyncio.sleep(min(FOLLOW, self._terms.refresh / 20))

    async def _take_from_others(self) -> None:
        found = await asyncio.to_thread(self._memory.newer, self._learnt)
        self._forget_others()
        current = self._asker.organisations()
        if found is not None and (not current or found.answer.organisation in current):
            self._learnt, self._tiered = found, found.tiered
            self._trouble, self._reported = "", ""
            self._heard.set()
        self._speaks = self.age <= self._fresh

    def _pause(self) -> float:
        """Seconds until the next question: one refresh at most, its own time included."""
        longest = max(0.1, self._terms.refresh * random.uniform(0.8, 0.9))  # noqa: S311  # jitter
        if self._speaks:
            return longest
        return float(min(longest, FIRST_RETRY * 2 ** min(self._failures - 1, 10)))

    async def _ask(self) -> None:
        asked = self._asked = self._clocks.steady()
        try:
            self._forget_others()
            async with asyncio.timeout(LONGEST):
                answer = await self._asker.ask()
        except PlatformRefused as error:
            self._failed("refused", str(error))
        except PlatformSilent as error:
            self._failed("silent", str(error))
        except TimeoutError:
            self._failed("silent", f"no answer within {LONGEST:g} s")
        except Exception:
            # Whatever it is, the next round must come: an answer that never does shuts all doors.
            LOG.exception("asking the platform failed inside the proxy")
            self._failed("silent", "a defect of the proxy; see its log")
        else:
            await self._take(Learnt(answer, asked, self._clocks.wall(), self._tiered))

    def _forget_others(self) -> None:
        """Another organisation's answer, kept or from before a rotation, is no answer."""
        current = self._asker.organisations()
        if self._learnt and current and self._learnt.answer.organisation not in current:
            LOG.warning("the pull token is of another organisation: its entitlements are asked for")
            self._learnt = None

    async def _take(self, learnt: Learnt) -> None:
        before = self._learnt
        self._learnt, self._tiered = learnt, learnt.tiered
        self._speaks, self._failures, self._trouble = True, 0, ""
        self.outcomes["answered" if learnt.answer.may_ask else "not_allowed"] += 1
        if self._reported or before is None or before.answer != learnt.answer:
            _tell(learnt.answer, self._terms.unasked)
        self._reported = ""
        try:
            await asyncio.to_thread(self._memory.write, learnt)
        except Exception:
            # It counts, kept or not, and the next round must come: see `_ask`.
            LOG.exception("keeping the entitlements failed inside the proxy")

    def _failed(self, outcome: Outcome, trouble: str) -> None:
        self._speaks = False
        self._failures += 1
        self._trouble = trouble
        self.outcomes[outcome] += 1
        state = self.state
        if self._reported != f"{outcome} {state}":
            self._reported = f"{outcome} {state}"
            LOG.warning(
                "the entitlements could not be asked for (%s); %s", trouble, _MEANING[state]
            )

    # --- what is known -----------------------------------------------------------------------

    @property
    def age(self) -> float:
        """Seconds since the last answer was asked for; infinite where there is none."""
        return self._clocks.steady() - self._learnt.steady if self._learnt else math.inf

    @property
    def _limit(self) -> float:
        """The age up to which a permission holds. An answer of the last rounds always does."""
        return max(self._terms.grace, self._fresh) if self._speaks else self._terms.grace

    @property
    def _fresh(self) -> float:
        """The age up to which an answer is one of the last rounds."""
        return 2 * self._terms.refresh + LONGEST

    @property
    def state(self) -> State:
        """`unasked`: the platform says that we may not ask. `stale`: it is silent, within grace."""
        if self._learnt is None:
            return "unknown"
        if self.age > self._limit:
            return "expired"
        if not self._learnt.answer.may_ask:
            return "unasked"
        return "fresh" if self._speaks else "stale"

    @property
    def answer(self) -> Answer | None:
        """The last one, however old."""
        return self._learnt.answer if self._learnt is not None else None

    def describe(self) -> dict[str, Any]:
        """For the operator, as JSON."""
        learnt, age = self._learnt, self.age
        return {
            "state": self.state,
            "organization": learnt.answer.organisation if learnt else None,
            "learnt_at": _moment(learnt.wall) if learnt else None,
            "age_seconds": round(age, 3) if math.isfinite(age) else None,
            "refresh_seconds": self._terms.refresh,
            "grace_seconds": self._terms.grace,
            "trouble": self._trouble or None,
            "remediated_tiers": learnt.is_tiered if learnt else None,
            "items": [asdict(item) for item in learnt.answer.items] if learnt else [],
        }


_MEANING: dict[State, str] = {
    "fresh": "the last answer holds",
    "stale": "the last answer holds for the grace",
    "unasked": "the upstream's own refusals decide for the grace",
    "expired": "the last answer is too old: nothing is allowed until it answers",
    "unknown": "there is no earlier answer: nothing is allowed until it answers",
}


def _tell(answer: Answer, unasked: Verdict) -> None:
    if answer.may_ask:
        names = ", ".join(sorted(answer.names)) or "nothing"
        LOG.info("the organisation is entitled to: %s", names)
    elif unasked is Verdict.ALLOWED:
        LOG.info("our credentials may not ask for entitlements: the upstream's refusals decide")
    else:
        LOG.warning(
            "our credentials may not ask for entitlements: nothing is allowed; use a pull token"
            " whose role lists them, or set [entitlements] source"
        )


def _moment(wall: float) -> str | None:
    try:
        return datetime.fromtimestamp(wall, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None
