"""Calls in a thread that are outlasted.

Purpose: what works on an open file in a thread goes on when its caller is cancelled; so the caller
waits for it, and nobody closes the file under it. Non-goals: calls that never end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

LARGE = 96 << 10  # bytes; less than that is hashed or read faster than a thread is found
T = TypeVar("T")


async def in_thread(call: Callable[[], T]) -> T:
    """Run a call in a thread and outlast it: who is cancelled meanwhile MUST NOT close what the
    call works on."""
    running = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await outlast(running)
        raise


async def outlast(running: asyncio.Future[T]) -> None:
    """Wait for its end, however often the caller is cancelled meanwhile: its clients may leave
    first, and the proxy stop then. What it comes to is nobody's business any more."""
    while not running.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([running])
    if not running.cancelled():
        running.exception()


async def aside(size: int, call: Callable[[], T]) -> T:
    """Do what takes long with so many bytes in a thread, and the rest at once."""
    return await in_thread(call) if size > LARGE else call()
