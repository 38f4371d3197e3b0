"""A connection is used again only if nothing came on it that nobody asked for."""

from __future__ import annotations

import asyncio

import pytest

from proxy.egress import Egress
from tests.running import LIMIT
from tests.unit.upstream_room import Conversations, ask, room

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
UNASKED = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong",
    b"HTTP/1.1 408 Request Time-out\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 408 Request Time-out\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\n\r\n",
    b"rubbish",
]


@pytest.mark.parametrize("unasked", UNASKED, ids=["other", "408", "408 and close", "103", "none"])
@pytest.mark.parametrize("way_out", [False, True])
async def test_what_came_unasked_behind_a_body_does_not_answer_the_next_question(
    unasked: bytes, *, way_out: bool
) -> None:
    reading = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            target = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
            writer.write(HEAD)
            await reading.wait()  # else the library has it before the connection is let go
            writer.write(target[-2:] + unasked)

    conversations = Conversations(converse)
    server = await asyncio.start_server(conversations.begin, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    egress = Egress(url) if way_out else None
    try:
        async with asyncio.timeout(LIMIT), room(url, egress=egress) as made:
            for name in ("a1", "a2", "a3"):
                reading.clear()
                response = await made.upstream.open(ask(f"/{name}"))
                reading.set()
                assert [piece async for piece in response.pieces()] == [name.encode()]
                await response.close()
            assert made.seen.outcomes == ["200", "200", "200"]
    finally:
        await conversations.end(server)
