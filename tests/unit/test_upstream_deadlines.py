"""Limits of time that share a timer end as each of them would alone."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from proxy.upstream.deadlines import Deadlines


async def wait(deadlines: Deadlines, seconds: float, ended: list[float]) -> None:
    """Wait for ever, and note what came to an end."""
    with pytest.raises(TimeoutError), deadlines.within(seconds):
        await asyncio.Event().wait()
    ended.append(seconds)
    await asyncio.sleep(0)  # the task is not held to be cancelled


async def test_each_wait_ends_when_its_own_moment_has_come_whoever_waits_beside_it() -> None:
    seconds = [number * 0.02 for number in range(1, 9)]
    random.shuffle(seconds)
    loop, deadlines = asyncio.get_running_loop(), Deadlines()
    ended: list[float] = []
    longest = asyncio.ensure_future(wait(deadlines, 600.0, ended))

    async def one(limit: float) -> None:
        moment = loop.time() + limit
        await wait(deadlines, limit, ended)
        assert loop.time() >= moment

    async with asyncio.timeout(10):
        await asyncio.gather(*(one(limit) for limit in seconds))
    longest.cancel()
    assert sorted(ended) == sorted(seconds)


async def test_one_that_came_too_late_for_anything_ends_at_its_first_wait() -> None:
    ended: list[float] = []
    async with asyncio.timeout(10):
        await wait(Deadlines(), -1.0, ended)
    assert ended == [-1.0]


async def test_what_is_done_in_time_is_left_alone_when_the_moment_comes() -> None:
    deadlines, ended = Deadlines(), list[float]()
    with deadlines.within(0.02):
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await wait(deadlines, 0.05, ended)  # a later moment: the timer has gone off in between
    assert ended == [0.05]


async def test_who_is_cancelled_by_somebody_else_stays_cancelled() -> None:
    deadlines = Deadlines()
    begun = asyncio.Event()

    async def both() -> None:
        with deadlines.within(0.0):
            begun.set()
            await asyncio.Event().wait()

    async def one() -> None:
        with deadlines.within(600.0):
            await asyncio.Event().wait()

    first, second = asyncio.ensure_future(both()), asyncio.ensure_future(one())
    await begun.wait()
    first.cancel()
    second.cancel()
    for task in (first, second):
        with contextlib.suppress(TimeoutError), pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()


async def test_an_error_of_what_is_done_comes_through() -> None:
    with pytest.raises(OSError, match="gone"), Deadlines().within(600.0):
        raise OSError("gone")
