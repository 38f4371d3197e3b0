"""Bodies that have arrived before anybody reads them, and those that have not."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

from tests.unit.upstream_room import OK, Raw, ask, room


async def test_a_body_that_arrived_with_its_head_is_here_and_is_counted_once() -> None:
    async with Raw(lambda _: OK) as raw, room(raw.url) as made:
        response = await made.upstream.open(ask("/x"))
        try:
            assert (response.here(), response.here()) == (b"ok", b"")
            assert [piece async for piece in response.pieces()] == []
        finally:
            await response.close()
        assert made.seen.received == 2


async def test_a_body_that_is_on_its_way_is_not_here_and_comes_in_pieces() -> None:
    asked = asyncio.Event()

    async def slow(_: str) -> AsyncIterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"
        await asked.wait()
        yield b"cd"

    async with Raw(slow) as raw, room(raw.url) as made:
        response = await made.upstream.open(ask("/x"))
        try:
            assert response.here() == b""
            asked.set()
            assert b"".join([piece async for piece in response.pieces()]) == b"abcd"
        finally:
            await response.close()
        assert made.seen.received == 4


async def test_a_packed_document_is_never_here() -> None:
    packed = gzip.compress(b"whole")
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    async with Raw(lambda _: head.encode() + packed) as raw, room(raw.url) as made:
        response = await made.upstream.open(ask("/x", document=True))
        try:
            assert response.here() == b""
            assert [piece async for piece in response.pieces()] == [b"whole"]
        finally:
            await response.close()
