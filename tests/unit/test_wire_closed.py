"""Connections that are closed already when the proxy stops."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from proxy.server.stalled import reset, unsent
from tests.certificates import Authority


async def test_a_tls_connection_that_was_closed_twice_is_reset_without_a_word(
    tmp_path: Path,
) -> None:
    farm = Authority("farm", tmp_path)
    pair = farm.server("127.0.0.1")
    context = farm.context()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair.certificate, pair.key)
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(
        lambda _, writer: held.append(writer), "127.0.0.1", 0, ssl=tls
    )
    port = server.sockets[0].getsockname()[1]
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    transport = writer.transport
    assert isinstance(transport, asyncio.Transport)

    transport.close()
    transport.close()
    reset(transport)

    assert unsent(transport) == 0
    server.close()
    for other in held:
        other.transport.abort()
