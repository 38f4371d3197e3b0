"""Calls in a thread that are outlasted.

Purpose: what works on an open file in a thread goes on when its caller is cancelled; so the caller
waits for it, and nobody closes the file under it. Non-goals: calls that never end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(call: Callable[[], T]) -> T:
    """Run a call in a thread and outlast it: who is cancelled meanwhile MUST NOT close what the
    call works on."""
    running = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()
        raise
