"""Entitlements of several processes over one folder: one asks, all know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from proxy.access.entitlements import Verdict
from proxy.access.known import Answer, Entitlement
from proxy.access.learning import LONGEST, PlatformEntitlements, Terms
from proxy.access.memory import FILE_NAME, Clocks, Memory
from proxy.access.turn import NAME, Turn
from proxy.errors import PlatformSilent
from tests.engine import until
from tests.running import Clock

OURS = "a" * 40
TERMS = Terms(refresh=1.0, grace=3600.0)


def answer(*names: str) -> Answer:
    return Answer(OURS, tuple(Entitlement(name) for name in names))


class Asked:
    """A platform that several processes ask."""

    def __init__(self, says: Answer | Exception) -> None:
        self.says = says
        self.by: list[int] = []

    def of(self, number: int) -> One:
        return One(self, number)


class One:
    def __init__(self, asked: Asked, number: int) -> None:
        self._asked, self._number = asked, number

    def organisations(self) -> frozenset[str]:
        return frozenset({OURS})

    async def ask(self) -> Answer:
        self._asked.by.append(self._number)
        if isinstance(self._asked.says, Exception):
            raise self._asked.says
        return self._asked.says


def made(folder: Path, asked: Asked, number: int, steady: Clock) -> PlatformEntitlements:
    clocks = Clocks(steady, Clock(), "one boot")
    memory = Memory(folder, "https://api.example", clocks)
    return PlatformEntitlements(asked.of(number), memory, TERMS, clocks, Turn(folder))


@asynccontextmanager
async def several(
    folder: Path, asked: Asked, steady: Clock, count: int = 3
) -> AsyncIterator[list[PlatformEntitlements]]:
    async with AsyncExitStack() as stack:
        found = [made(folder, asked, number, steady) for number in range(count)]
        for one in found:
            stack.push_async_callback(one.close)
        await asyncio.gather(*(one.start() for one in found))
        yield found


def allowed(found: list[PlatformEntitlements]) -> set[Verdict]:
    return {one.allowed("python", "python") for one in found}


async def test_one_asks_and_all_know_when_their_start_is_over(tmp_path: Path) -> None:
    asked = Asked(answer("PYTHON"))
    async with several(tmp_path, asked, Clock()) as found:
        assert allowed(found) == {Verdict.ALLOWED}
        assert {one.state for one in found} == {"fresh"}
        assert len(set(asked.by)) == 1


async def test_what_is_withdrawn_is_known_to_all_without_their_asking(tmp_path: Path) -> None:
    asked = Asked(answer("PYTHON"))
    async with several(tmp_path, asked, Clock()) as found:
        asked.says = answer("JAVA")
        await until(lambda: allowed(found) == {Verdict.DENIED})
        assert len(set(asked.by)) == 1


async def test_another_one_asks_when_the_one_that_did_is_gone(tmp_path: Path) -> None:
    asked = Asked(answer("PYTHON"))
    async with several(tmp_path, asked, Clock()) as found:
        first = asked.by[0]
        await found[first].close()
        rest = [one for one in found if one is not found[first]]
        asked.says = answer("JAVA")
        await until(lambda: allowed(rest) == {Verdict.DENIED})
        assert len(set(asked.by)) == 2


async def test_while_the_platform_is_silent_all_are_stale_and_the_grace_counts(
    tmp_path: Path,
) -> None:
    asked, steady = Asked(answer("PYTHON")), Clock()
    async with several(tmp_path, asked, steady) as found:
        asked.says = PlatformSilent("it answered 503")
        steady.advance(2 * TERMS.refresh + LONGEST + 1)
        await until(lambda: {one.state for one in found} == {"stale"})
        assert allowed(found) == {Verdict.ALLOWED}
        steady.advance(TERMS.grace)
        await until(lambda: {one.state for one in found} == {"expired"})
        assert allowed(found) == {Verdict.UNKNOWN}
        asked.says = answer("PYTHON")
        await until(lambda: allowed(found) == {Verdict.ALLOWED})


async def test_where_nothing_can_be_kept_each_asks_for_itself(tmp_path: Path) -> None:
    asked, steady = Asked(answer("PYTHON")), Clock()
    (tmp_path / FILE_NAME).mkdir()  # nothing can take its place
    async with several(tmp_path, asked, steady) as found:
        steady.advance(TERMS.refresh)
        await until(lambda: allowed(found) == {Verdict.ALLOWED})
        assert set(asked.by) == {0, 1, 2}


def test_a_turn_is_one_process_s_at_a_time(tmp_path: Path) -> None:
    one, two = Turn(tmp_path), Turn(tmp_path)
    assert [one.take(), two.take(), one.take()] == [True, False, True]
    one.release()
    one.release()
    assert two.take()
    two.release()
    (tmp_path / NAME).unlink()
    (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")
    assert [one.take(), two.take()] == [True, True]  # no file to agree by
