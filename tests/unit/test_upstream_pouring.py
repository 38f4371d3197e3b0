"""Large bodies, read straight into the reader's memory: all of it, nothing else, and no clean end
of what was cut."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.errors import Unavailable
from proxy.upstream.base import UpstreamResponse
from proxy.upstream.pouring import FROM
from proxy.upstream.tls import client_context
from tests.running import LIMIT
from tests.unit.test_upstream_tls import Authority
from tests.unit.upstream_room import SWIFT, Raw, ask, room

SIZE = FROM + (2 << 20) + 7
BODY = os.urandom(SIZE)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE


async def pour(response: UpstreamResponse, sizes: random.Random | None = None) -> bytes:
    """Read to the end, into a buffer of one size, or of many."""
    assert response.pours()
    got, buffer = bytearray(), memoryview(bytearray(512 << 10))
    while count := await response.read_into(
        buffer[: sizes.randrange(1, len(buffer)) if sizes is not None else len(buffer)]
    ):
        got += buffer[:count]
        if sizes is not None and sizes.random() < 0.3:
            await asyncio.sleep(0)  # somebody who is not there when bytes come
    return bytes(got)


@pytest.mark.parametrize("seed", range(4))
async def test_a_body_is_whole_and_in_order_whatever_the_reader_does_meanwhile(seed: int) -> None:
    async with Raw(lambda _: HEAD + BODY) as raw, room(raw.url) as made:
        response = await made.upstream.open(ask("/x"))
        got = await pour(response, random.Random(seed))
        await response.close()
    assert got == BODY
    assert made.seen.received == SIZE


async def test_a_body_over_tls_is_the_same(tmp_path: Path) -> None:
    authority = Authority(tmp_path).found()
    trusted = client_context(authority.bundle)
    async with (
        Raw(lambda _: HEAD + BODY, tls=authority.context()) as raw,
        room(raw.url, tls=trusted) as made,
    ):
        response = await made.upstream.open(ask("/x"))
        got = await pour(response)
        await response.close()
    assert got == BODY


async def test_what_the_upstream_sends_behind_the_body_is_not_read() -> None:
    async with Raw(lambda _: HEAD + BODY + b"more" * 1000) as raw, room(raw.url) as made:
        response = await made.upstream.open(ask("/x"))
        assert await pour(response) == BODY
        assert await response.read_into(memoryview(bytearray(10))) == 0
        await response.close()


async def test_a_connection_ends_with_its_body_and_the_next_one_is_a_new_one() -> None:
    async with Raw(lambda _: HEAD + BODY) as raw, room(raw.url) as made:
        for _ in range(2):
            response = await made.upstream.open(ask("/x"))
            assert await pour(response) == BODY
            await response.close()
        assert raw.connections == 2


async def test_many_in_a_row_find_a_place_in_the_line() -> None:
    limits = replace(SWIFT, connections=1)
    async with Raw(lambda _: HEAD + BODY) as raw, room(raw.url, limits=limits) as made:
        for number in range(3):
            response = await made.upstream.open(ask(f"/{number}"))
            assert response.pours()
            await response.close()  # unread: whoever wanted it has gone


@pytest.mark.parametrize("sent", [0, 1, FROM // 2, SIZE - 1])
async def test_a_body_that_is_cut_has_no_clean_end(sent: int) -> None:
    async def cut(_: str) -> AsyncIterator[bytes]:
        yield HEAD + BODY[:sent]

    async with Raw(cut) as raw, room(raw.url) as made:
        response = await made.upstream.open(ask("/x"))
        if response.pours():  # else the library knows of the end already, and says so
            with pytest.raises(Unavailable, match="broke off"):
                await pour(response)
        else:
            with pytest.raises(Unavailable, match="broke off"):
                assert [piece async for piece in response.pieces()]
        await response.close()


async def test_a_silence_within_a_body_ends_it() -> None:
    async def silent(_: str) -> AsyncIterator[bytes]:
        yield HEAD + BODY[: SIZE // 2]
        await asyncio.Event().wait()

    limits = replace(SWIFT, read_timeout=0.2)
    async with Raw(silent) as raw, room(raw.url, limits=limits) as made:
        response = await made.upstream.open(ask("/x"))
        async with asyncio.timeout(LIMIT):
            with pytest.raises(Unavailable, match="broke off"):
                await pour(response)
        await response.close()


async def test_a_drip_is_ended_as_one() -> None:
    async def steady(_: str) -> AsyncIterator[bytes]:
        yield HEAD + BODY

    limits = replace(SWIFT, min_rate=float(1 << 40), rate_window=0.0)
    async with Raw(steady) as raw, room(raw.url, limits=limits) as made:
        response = await made.upstream.open(ask("/x"))
        with pytest.raises(Unavailable, match="too slowly"):
            await pour(response)
        await response.close()
        assert made.seen.limits == ["min_rate"]


async def test_a_reader_that_is_cancelled_leaves_a_connection_that_can_be_closed() -> None:
    async def silent(_: str) -> AsyncIterator[bytes]:
        yield HEAD
        await asyncio.Event().wait()

    async with Raw(silent) as raw, room(raw.url) as made:
        response = await made.upstream.open(ask("/x"))
        reading = asyncio.ensure_future(pour(response))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await response.close()


SMALL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


@pytest.mark.parametrize("answer", [SMALL, CHUNKED])
async def test_a_small_body_and_one_of_unknown_length_come_in_pieces(answer: bytes) -> None:
    async with Raw(lambda _: answer) as raw, room(raw.url) as made:
        for _ in range(2):
            response = await made.upstream.open(ask("/x"))
            assert not response.pours()
            assert [piece async for piece in response.pieces()] == [b"ok"]
            await response.close()
        if answer is SMALL:  # the server ends the other one's
            assert raw.connections == 1  # it is still the library's, and used again


async def test_a_rest_that_is_asked_for_is_poured_from_its_first_byte() -> None:
    start = 3 << 20
    whole = SIZE + start
    head = (
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: %d\r\n"
        b"Content-Range: bytes %d-%d/%d\r\n\r\n" % (SIZE, start, whole - 1, whole)
    )
    async with Raw(lambda _: head + BODY) as raw, room(raw.url) as made:
        response = await made.upstream.open(ask("/x", start=start))
        assert (response.head.start, response.head.size) == (start, whole)
        assert await pour(response) == BODY
        await response.close()
