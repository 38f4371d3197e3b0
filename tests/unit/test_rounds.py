"""What goes on beside the requests goes on, whatever one round of it runs into."""

from __future__ import annotations

import asyncio
import logging

import pytest

from proxy.server.rounds import repeat


class Look:
    """Fails as long as it is told to; counts its rounds."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.rounds = 0
        self.enough = asyncio.Event()

    async def __call__(self) -> None:
        self.rounds += 1
        if self.rounds <= self.failures:
            # What a container says whose limit of processes is reached.
            raise RuntimeError("can't start new thread")
        if self.rounds == self.failures + 3:
            self.enough.set()


async def run(look: Look) -> None:
    task = asyncio.create_task(repeat(0.001, look, "looking at files"))
    async with asyncio.timeout(10):
        await look.enough.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_round_that_fails_is_not_the_last_one() -> None:
    await run(Look(failures=5))


async def test_a_row_of_failures_is_one_traceback_and_its_end_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        await run(Look(failures=5))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", "looking at files failed inside the proxy; it is tried again and again"),
        ("INFO", "looking at files works again"),
    ]
    assert caplog.records[0].exc_info is not None


async def test_cancelling_ends_it() -> None:
    task = asyncio.create_task(repeat(0.001, Look(failures=0), "looking"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
