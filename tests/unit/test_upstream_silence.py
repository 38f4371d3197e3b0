"""A body that says nothing any more, and one whose bytes were there in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from proxy.errors import Unavailable
from tests.unit.upstream_room import SWIFT, Raw, room

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_rubbish_between_chunks_ends_a_body_at_once_and_not_as_a_silence() -> None:
    """The library closes the connection and tells nobody who waits for the rest."""
    received = asyncio.Event()

    async def broken(_: str) -> AsyncIterator[bytes]:
        yield HEAD + b"2\r\nok\r\n"
        await received.wait()
        yield b"zz\r\n"
        await asyncio.Event().wait()

    async with (
        Raw(broken) as raw,
        room(raw.url, limits=replace(SWIFT, read_timeout=60.0)) as made,
    ):
        made.seen.upstream_bytes = lambda *_: received.set()  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            async with asyncio.timeout(10):
                await made.get("/x")


async def test_bytes_that_were_there_while_the_loop_was_held_up_are_no_silence() -> None:
    received = asyncio.Event()

    async def steady(_: str) -> AsyncIterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"
        await received.wait()
        await asyncio.sleep(0)  # it waits for the next piece
        yield b"c"
        time.sleep(1.0)  # noqa: ASYNC251  # a process that was stopped; "c" lies in the socket
        await asyncio.sleep(0.1)
        yield b"d"

    limits = replace(SWIFT, read_timeout=0.5)
    async with Raw(steady) as raw, room(raw.url, limits=limits) as made:
        made.seen.upstream_bytes = lambda *_: received.set()  # type: ignore[method-assign]
        assert await made.get("/x") == b"abcd"
