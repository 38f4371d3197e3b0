"""The doctor in front of a host whose TLS is looked into: it says who signs what it is shown."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from proxy.doctor.hosts import Lookout, Sight
from proxy.upstream.tls import client_context
from tests.certificates import Authority

LIMIT = 5.0


@asynccontextmanager
async def server(
    authority: Authority, name: str = "127.0.0.1"
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A host with a certificate of that authority; what it was sent."""
    pair = authority.server(name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}", seen


async def look(url: str, trusted: Path | None = None) -> Sight:
    return await Lookout(client_context(trusted), LIMIT, LIMIT, time.time).look(url)


async def test_an_authority_in_between_is_called_by_its_name_and_told_nothing(
    tmp_path: Path,
) -> None:
    async with server(Authority("Filter Inc", tmp_path)) as (url, seen):
        sight = await look(url)
    assert sight.check == "tls"
    assert "Filter Inc" in sight.detail
    assert "not trusted" in sight.detail
    assert "ca_bundle" in sight.fix
    assert seen == []


async def test_the_authority_once_named_is_believed(tmp_path: Path) -> None:
    authority = Authority("Filter Inc", tmp_path)
    async with server(authority) as (url, seen):
        sight = await look(url, authority.file)
    assert sight == Sight(url)
    assert seen[0].startswith(b"GET / ")
    assert b"authorization" not in seen[0].lower()


async def test_a_certificate_for_another_name_is_a_matter_of_tls(tmp_path: Path) -> None:
    authority = Authority("farm", tmp_path)
    async with server(authority, "127.0.0.9") as (url, _):
        sight = await look(url, authority.file)
    assert sight.check == "tls"
    assert "mismatch" in sight.detail


async def test_a_host_that_speaks_no_tls_is_told(tmp_path: Path) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening:
        sight = await look(f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    assert sight.check == "tls"
    assert "no TLS connection" in sight.detail


async def test_a_host_that_hangs_up_is_told() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening:
        sight = await look(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    assert (sight.check, sight.detail) == ("host", "it connects, but gives no answer")
