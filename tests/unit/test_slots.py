"""Places in the line: who gets one, and that each is given back."""

from __future__ import annotations

import asyncio
import random

import pytest

from proxy.upstream.slots import Slots


async def test_a_quarter_of_the_places_is_for_documents_only() -> None:
    slots = Slots(4)
    for _ in range(3):
        assert slots.take_now(brief=False)
    assert not slots.take_now(brief=False)
    assert slots.take_now(brief=True)
    assert not slots.take_now(brief=True)


async def test_who_leaves_the_line_takes_no_place_with_him() -> None:
    slots = Slots(4)
    for _ in range(4):
        await slots.take(brief=True)
    waiting = asyncio.ensure_future(slots.take(brief=False))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    for _ in range(4):
        slots.give_back(brief=True)
    for _ in range(3):
        assert slots.take_now(brief=False)
    assert not slots.take_now(brief=False)


@pytest.mark.parametrize("brief", [True, False])
async def test_who_is_given_a_place_while_he_leaves_passes_it_on(*, brief: bool) -> None:
    slots = Slots(1)
    await slots.take(brief=True)
    first, second = (asyncio.ensure_future(slots.take(brief=brief)) for _ in range(2))
    await asyncio.sleep(0)
    slots.give_back(brief=True)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second


async def test_a_place_that_was_given_back_goes_to_who_waits() -> None:
    slots = Slots(1)
    await slots.take(brief=False)
    waiting = asyncio.ensure_future(slots.take(brief=True))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert not slots.take_now(brief=True)
    slots.give_back(brief=False)
    assert not slots.take_now(brief=True)  # it is his, though he has not yet heard
    await waiting


async def test_a_place_for_anybody_goes_to_who_came_first() -> None:
    slots, order = Slots(4), list[int]()

    async def wait(number: int, *, brief: bool) -> None:
        await slots.take(brief=brief)
        order.append(number)

    for _ in range(3):
        await slots.take(brief=False)
    await slots.take(brief=True)
    kinds = [False, True, False, True, True, False]
    waiting = [asyncio.ensure_future(wait(at, brief=kind)) for at, kind in enumerate(kinds)]
    await asyncio.sleep(0)
    slots.give_back(brief=True)  # of those, artifacts may have none
    await waiting[1]
    for _ in range(3):
        slots.give_back(brief=False)
    await asyncio.gather(waiting[0], waiting[2], waiting[3])
    assert order == [1, 0, 2, 3]
    for task in waiting:
        task.cancel()


async def test_whatever_comes_and_goes_no_place_is_lost_and_none_is_had_twice() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance, slots = random.Random(seed), Slots(8)
    had: list[bool] = []
    waiting: list[asyncio.Task[None]] = []

    async def wait(*, brief: bool) -> None:
        await slots.take(brief=brief)
        had.append(brief)

    for _ in range(3000):
        what = chance.random()
        if what < 0.45:
            waiting.append(asyncio.ensure_future(wait(brief=chance.random() < 0.4)))
        elif what < 0.6 and waiting:
            waiting.pop(chance.randrange(len(waiting))).cancel()
        elif had:
            slots.give_back(brief=had.pop(chance.randrange(len(had))))
        if chance.random() < 0.7:
            await asyncio.sleep(0)
        assert len(had) <= 8
        assert had.count(False) <= 6
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    for brief in had:
        slots.give_back(brief=brief)
    assert [slots.take_now(brief=False) for _ in range(7)] == [True] * 6 + [False]
    assert [slots.take_now(brief=True) for _ in range(3)] == [True, True, False]
