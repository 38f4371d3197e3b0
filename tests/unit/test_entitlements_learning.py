"""Entitlements over time: what holds while the platform speaks, is silent, comes back."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.access.entitlements import Verdict
from proxy.access.known import Answer, Entitlement
from proxy.access.learning import LONGEST, PATIENCE, PlatformEntitlements, Terms
from proxy.access.memory import Clocks, Memory
from proxy.errors import PlatformRefused, PlatformSilent
from tests.running import Clock

OURS, THEIRS = "a" * 40, "b" * 40
ALLOWED, DENIED, UNKNOWN = Verdict.ALLOWED, Verdict.DENIED, Verdict.UNKNOWN
SILENT = PlatformSilent("the platform answered 503")
HOUR = 3600.0


def answer(*names: str, organisation: str = OURS) -> Answer:
    return Answer(organisation, tuple(Entitlement(name) for name in names))


class Asked:
    """A platform that says what a test wants, when it wants."""

    def __init__(self, *says: Answer | Exception) -> None:
        self.says = list(says) or [SILENT]
        self.asked = 0
        self.current = frozenset({OURS})
        self.gate = asyncio.Event()
        self.gate.set()
        self.changed = asyncio.Condition()

    def organisations(self) -> frozenset[str]:
        return self.current

    async def ask(self) -> Answer:
        async with self.changed:
            self.asked += 1
            self.changed.notify_all()
        await self.gate.wait()
        say = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        if isinstance(say, Exception):
            raise say
        return say

    async def until(self, times: int) -> None:
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(lambda: self.asked >= times)


class Life:
    """One process's entitlements; another one over the same folder is the next process."""

    def __init__(self, folder: Path, asker: Asked, terms: Terms, boot: str = "one") -> None:
        self.asker = asker
        self.steady = Clock()
        self.wall = Clock()
        clocks = Clocks(self.steady, self.wall, boot)
        self.entitlements = PlatformEntitlements(
            asker, Memory(folder, "https://api.example", clocks), terms, clocks
        )

    def says(self, scope: str = "python") -> Verdict:
        return self.entitlements.allowed("python", scope)

    async def then(self, *says: Answer | Exception) -> None:
        self.asker.says[:] = says
        await self.entitlements.refresh()


TERMS = Terms(refresh=60.0, grace=HOUR)


@asynccontextmanager
async def living(
    folder: Path, *says: Answer | Exception, terms: Terms = TERMS
) -> AsyncIterator[Life]:
    life = Life(folder, Asked(*says), terms)
    await life.entitlements.start()
    try:
        yield life
    finally:
        await life.entitlements.close()


async def test_the_first_answer_is_there_when_the_start_is_over(tmp_path: Path) -> None:
    async with living(tmp_path, answer("PYTHON")) as life:
        assert life.says() is ALLOWED
        assert life.entitlements.allowed("java", "java") is DENIED
        assert life.entitlements.state == "fresh"


async def test_an_answer_replaces_the_last_one_whole(tmp_path: Path) -> None:
    async with living(tmp_path, answer("PYTHON", "JAVA")) as life:
        await life.then(answer("JAVA"))
        assert life.says() is DENIED
        await life.then(answer("PYTHON"))
        assert life.entitlements.allowed("java", "java") is DENIED
        await life.then(answer())
        assert life.says() is DENIED


@pytest.mark.parametrize("trouble", [SILENT, PlatformRefused("401"), RuntimeError("a defect")])
async def test_a_silent_platform_changes_nothing_within_grace_and_ends_all_after_it(
    tmp_path: Path, trouble: Exception
) -> None:
    async with living(tmp_path, answer("PYTHON")) as life:
        await life.then(trouble)
        life.steady.advance(HOUR - 5)
        assert (life.says(), life.entitlements.state) == (ALLOWED, "stale")
        assert life.entitlements.allowed("java", "java") is DENIED
        life.steady.advance(10)
        assert (life.says(), life.entitlements.state) == (UNKNOWN, "expired")
        assert life.entitlements.allowed("java", "java") is DENIED
        await life.then(answer("PYTHON"))
        assert (life.says(), life.entitlements.state) == (ALLOWED, "fresh")


async def test_no_step_of_the_wall_clock_makes_the_grace_longer(tmp_path: Path) -> None:
    async with living(tmp_path, answer("PYTHON")) as life:
        await life.then(SILENT)
        life.wall.advance(-400 * 86400)
        life.steady.advance(HOUR + 5)
        assert life.says() is UNKNOWN
        life.wall.advance(800 * 86400)
        assert life.says() is UNKNOWN


async def test_nor_shorter(tmp_path: Path) -> None:
    async with living(tmp_path, answer("PYTHON")) as life:
        await life.then(SILENT)
        life.wall.advance(400 * 86400)
        assert life.says() is ALLOWED


async def test_without_grace_the_first_silence_ends_all(tmp_path: Path) -> None:
    async with living(tmp_path, answer("PYTHON"), terms=Terms(60.0, 0.0)) as life:
        life.steady.advance(70)
        assert life.says() is ALLOWED
        await life.then(SILENT)
        assert life.says() is UNKNOWN


async def test_an_answer_that_nothing_renews_does_not_hold_for_ever(tmp_path: Path) -> None:
    async with living(tmp_path, answer("PYTHON"), terms=Terms(60.0, 0.0)) as life:
        life.steady.advance(2 * 60 + LONGEST + 1)
        assert life.says() is UNKNOWN


async def test_what_was_never_learnt_is_unknown(tmp_path: Path) -> None:
    async with living(tmp_path, SILENT) as life:
        assert (life.says(), life.entitlements.state) == (UNKNOWN, "unknown")
        assert life.entitlements.allowed("oci", "oci") is ALLOWED
        assert math.isinf(life.entitlements.age)


@pytest.mark.parametrize("unasked", [ALLOWED, UNKNOWN])
async def test_a_may_not_ask_means_what_the_source_says(tmp_path: Path, unasked: Verdict) -> None:
    no = Answer(OURS, may_ask=False)
    async with living(tmp_path, no, terms=Terms(60.0, HOUR, unasked)) as life:
        assert (life.says(), life.entitlements.state) == (unasked, "unasked")
        await life.then(SILENT)
        assert life.says() is unasked
        life.steady.advance(HOUR + 1)
        assert life.says() is UNKNOWN


# --- starts -------------------------------------------------------------------------------------


async def test_a_restart_in_an_outage_neither_opens_nor_closes(tmp_path: Path) -> None:
    async with living(tmp_path, answer("PYTHON")):
        pass
    async with living(tmp_path, SILENT) as life:
        assert (life.says(), life.entitlements.state) == (ALLOWED, "stale")
        assert life.entitlements.allowed("java", "java") is DENIED
        life.steady.advance(HOUR + 1)
        assert life.says() is UNKNOWN


async def test_a_restart_does_not_begin_the_grace_anew(tmp_path: Path) -> None:
    async with living(tmp_path, answer("PYTHON")):
        pass
    life = Life(tmp_path, Asked(SILENT), TERMS)
    life.steady.advance(HOUR - 10)
    await life.entitlements.start()
    assert life.says() is ALLOWED
    life.steady.advance(20)
    assert life.says() is UNKNOWN
    await life.entitlements.close()


async def test_a_start_with_a_kept_answer_does_not_wait_for_the_platform(tmp_path: Path) -> None:
    async with living(tmp_path, answer("PYTHON")):
        pass
    life = Life(tmp_path, Asked(answer()), TERMS)
    life.asker.gate.clear()
    async with asyncio.timeout(PATIENCE / 2):
        await life.entitlements.start()
    assert life.says() is ALLOWED
    await life.asker.until(1)
    life.asker.gate.set()
    await life.entitlements.refresh()
    assert life.says() is DENIED
    await life.entitlements.close()


async def test_another_organisations_kept_answer_counts_for_nothing(tmp_path: Path) -> None:
    async with living(tmp_path, answer("PYTHON")):
        pass
    life = Life(tmp_path, Asked(SILENT), TERMS)
    life.asker.current = frozenset({THEIRS})
    await life.entitlements.start()
    await life.entitlements.refresh()
    assert life.says() is UNKNOWN
    await life.entitlements.close()


async def test_while_no_pull_token_can_be_read_the_kept_answer_holds(tmp_path: Path) -> None:
    async with living(tmp_path, answer("PYTHON")):
        pass
    life = Life(tmp_path, Asked(PlatformRefused("no pull token")), TERMS)
    life.asker.current = frozenset()
    await life.entitlements.start()
    await life.entitlements.refresh()
    assert life.says() is ALLOWED
    await life.entitlements.close()


async def test_a_disk_that_refuses_costs_only_the_memory(tmp_path: Path) -> None:
    async with living(tmp_path / "gone", answer("PYTHON")) as life:
        assert life.says() is ALLOWED


# --- asking -------------------------------------------------------------------------------------


async def test_many_that_want_it_now_cost_one_question(tmp_path: Path) -> None:
    async with living(tmp_path, answer("PYTHON")) as life:
        before = life.asker.asked
        life.asker.gate.clear()
        askers = [asyncio.create_task(life.entitlements.refresh()) for _ in range(50)]
        await life.asker.until(before + 1)
        life.asker.gate.set()
        await asyncio.gather(*askers)
        assert life.asker.asked == before + 1


async def test_one_that_gives_up_waiting_does_not_end_the_question(tmp_path: Path) -> None:
    async with living(tmp_path, answer("PYTHON")) as life:
        before = life.asker.asked
        life.asker.says[:] = [answer()]
        life.asker.gate.clear()
        impatient = asyncio.create_task(life.entitlements.refresh())
        patient = asyncio.create_task(life.entitlements.refresh())
        await life.asker.until(before + 1)
        impatient.cancel()
        life.asker.gate.set()
        await patient
        assert life.says() is DENIED


async def test_it_asks_again_by_itself_sooner_than_the_refresh(tmp_path: Path) -> None:
    async with living(tmp_path, answer("PYTHON"), terms=Terms(0.2, HOUR)) as life:
        await life.asker.until(4)


async def test_it_asks_again_soon_after_a_failure(tmp_path: Path) -> None:
    async with living(tmp_path, SILENT, answer("PYTHON"), terms=Terms(HOUR, HOUR)) as life:
        assert life.says() is UNKNOWN
        await life.asker.until(2)
        await life.entitlements.refresh()
        assert life.says() is ALLOWED


async def test_a_wake_up_asks_at_once(tmp_path: Path) -> None:
    async with living(tmp_path, answer("PYTHON"), terms=Terms(HOUR, HOUR)) as life:
        before = life.asker.asked
        life.entitlements.wake()
        await life.asker.until(before + 1)


async def test_a_defect_does_not_end_the_asking(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    terms = Terms(HOUR, HOUR)
    async with living(tmp_path, RuntimeError("a defect"), answer("PYTHON"), terms=terms) as life:
        await life.asker.until(2)
        await life.entitlements.refresh()
        assert life.says() is ALLOWED
    assert "asking the platform failed inside the proxy" in caplog.text


async def test_an_outage_is_said_once_and_its_end_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with living(tmp_path, answer("PYTHON")) as life:
        for _ in range(5):
            await life.then(SILENT)
        await life.then(answer("PYTHON"))
        await life.then(answer("PYTHON"))
    said = [record.getMessage() for record in caplog.records if record.name.startswith("proxy.")]
    assert said == [
        "the organisation is entitled to: PYTHON",
        (
            "the entitlements could not be asked for (the platform answered 503);"
            " the last answer holds for the grace"
        ),
        "the organisation is entitled to: PYTHON",
    ]


async def test_the_outcomes_are_counted(tmp_path: Path) -> None:
    async with living(tmp_path, answer("PYTHON")) as life:
        await life.then(SILENT)
        await life.then(PlatformRefused("x"))
        await life.then(Answer(OURS, may_ask=False))
        counted = life.entitlements.outcomes
        assert (counted["silent"], counted["refused"], counted["not_allowed"]) == (1, 1, 1)
        assert counted["answered"] >= 1


async def test_the_operator_sees_what_is_known(tmp_path: Path) -> None:
    async with living(tmp_path, answer("PYTHON")) as life:
        shown = life.entitlements.describe()
        assert shown["state"] == "fresh"
        assert shown["organization"] == OURS
        assert shown["items"] == [
            {"ecosystem": "PYTHON", "policy": "", "cooldown_days": None, "source": ""}
        ]
        assert shown["trouble"] is None
        await life.then(SILENT)
        assert life.entitlements.describe()["trouble"] == "the platform answered 503"


async def test_an_answer_that_cannot_be_kept_counts_and_is_not_the_last_one(tmp_path: Path) -> None:
    asker = Asked(answer("PYTHON"), answer("JAVA"))
    clocks = Clocks(Clock(), Clock(), "one")
    nowhere = tmp_path / "no\0where"  # no refusal of a disk: what nobody has foreseen
    memory = Memory(nowhere, "https://api.example", clocks)
    entitlements = PlatformEntitlements(asker, memory, TERMS, clocks)
    await entitlements.start()
    try:
        assert entitlements.allowed("python", "python") is ALLOWED
        entitlements.wake()
        await asker.until(2)
        await entitlements.refresh()
        assert entitlements.allowed("python", "python") is DENIED
    finally:
        await entitlements.close()
