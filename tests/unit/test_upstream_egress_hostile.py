"""A proxy on the way out that answers with anything: an error, in time, no secret in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.egress import Egress
from proxy.errors import ProxyError
from proxy.secret import Secret
from proxy.upstream.pairs import Pair
from tests.unit.upstream_room import Room, room

PASSWORD = "open-sesame-42"  # made up
LIMIT = 10.0
CONNECT = {
    "nothing": b"",
    "no HTTP": b"220 mail.example ESMTP\r\n\r\n",
    "no end": b"x" * 200_000,
    "many fields": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 50_000 + b"\r\n",
    "then nothing": b"HTTP/1.1 200 OK\r\n\r\n",
    "then rubbish": b"HTTP/1.1 200 OK\r\n\r\nrubbish that is no TLS at all, and some more of it",
    "a body": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
    "switched": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "odd status": b"HTTP/1.1 999 \x1b[2J\r\n\r\n",
    "no status": b"HTTP/1.1 abc OK\r\n\r\n",
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n",
    "refused": b"HTTP/1.1 407 Wanted\r\nProxy-Authenticate: Basic\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\n\r\n",
}


@asynccontextmanager
async def saying(said: bytes, *, close: bool = True) -> AsyncIterator[str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(said)
            await writer.drain()
            if not close:
                await reader.read()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.8", 0)
    async with listening:
        yield f"http://127.0.0.8:{listening.sockets[0].getsockname()[1]}"


async def outcome(made: Room) -> bytes | ProxyError:
    try:
        return await made.get("/x")
    except ProxyError as error:
        return error


@pytest.mark.parametrize("close", [True, False], ids=["closes", "stays"])
@pytest.mark.parametrize("said", CONNECT.values(), ids=CONNECT)
async def test_rubbish_in_place_of_a_tunnel_is_an_error_in_time_without_a_secret(
    said: bytes,
    close: bool,  # a parameter of the test
) -> None:
    async with saying(said, close=close) as url, asyncio.timeout(LIMIT):
        egress = Egress(url, Secret(Pair("build", Secret(PASSWORD)).authorization))
        async with room("https://upstream.example", egress=egress) as made:
            found = await outcome(made)
    assert isinstance(found, ProxyError)
    assert found.__cause__ is None
    assert PASSWORD not in repr(found) + found.detail
    assert found.detail.isprintable()
