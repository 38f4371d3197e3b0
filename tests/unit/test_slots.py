"""Places in the line: who gets one, and that each is given back."""

from __future__ import annotations

import asyncio

import pytest

from proxy.upstream.slots import Slots


async def test_a_quarter_of_the_places_is_for_documents_only() -> None:
    slots = Slots(4)
    for _ in range(3):
        await slots.take(brief=False)
    assert not slots.are_free(brief=False)
    assert slots.are_free(brief=True)
    await slots.take(brief=True)
    assert not slots.are_free(brief=True)


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
        assert slots.are_free(brief=False)
        await slots.take(brief=False)
    assert not slots.are_free(brief=False)


async def test_a_place_that_was_given_back_goes_to_who_waits() -> None:
    slots = Slots(1)
    await slots.take(brief=False)
    waiting = asyncio.ensure_future(slots.take(brief=True))
    await asyncio.sleep(0)
    assert not waiting.done()
    slots.give_back(brief=False)
    await waiting
