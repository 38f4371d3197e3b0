"""A client that forgives nothing and hides nothing: one request over a fresh socket.

Purpose: tests see the bytes of an answer and how the connection ended, which a client library
would tidy up. Non-goals: keep-alive, redirects, decoding of transfer codings.
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.origin.origin import Origin
from tests.origin.thread import OriginThread

IDENTITY = {"Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Got:
    """An answer as it was on the wire.

    `status`: 0 when there was none. `body`: undecoded. `ended`: `fin` or `rst`.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    ended: str

    def header(self, name: str) -> str | None:
        """Give the first value of a header, or None."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


async def ask(
    url: str,
    target: str,
    headers: dict[str, str] | None = None,
    method: str = "GET",
    body: bytes = b"",
) -> Got:
    """Send one request over a fresh socket; read to the end of the connection."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    fields = {"Host": where.netloc, "Connection": "close", **(headers or {})}
    if body:
        fields["Content-Length"] = str(len(body))
    lines = [f"{method} {target} HTTP/1.1", *(f"{key}: {value}" for key, value in fields.items())]
    writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
    received, ended = bytearray(), "fin"
    try:
        while piece := await reader.read(65536):
            received += piece
    except ConnectionResetError:
        ended = "rst"
    finally:
        writer.transport.abort()
    head, _, rest = bytes(received).partition(b"\r\n\r\n")
    first, *others = head.decode("latin-1").split("\r\n")
    pairs = [line.partition(": ")[::2] for line in others]
    return Got(int(first.split()[1]) if first else 0, list(pairs), rest, ended)


def basic(origin: Origin | OriginThread, username: str | None = None) -> dict[str, str]:
    """Give the headers of a well-behaved upstream request for an artifact."""
    pair = f"{username or origin.username}:{origin.password}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}", **IDENTITY}


async def located(origin: Origin, filename: str) -> str:
    """Ask for an artifact; give the raw target of its pre-signed URL."""
    got = await ask(origin.url, origin.content.find(filename).link, basic(origin))
    location = got.header("location")
    assert got.status == 302
    assert location is not None
    assert location.startswith(origin.store_url + "/")
    return location.removeprefix(origin.store_url)
