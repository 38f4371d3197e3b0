"""What requests say besides their line: read once for a burst, and never taken for another's."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import cast

import pytest
from aiohttp import web

from proxy.access.claims import Job
from proxy.access.clients import Client, Clients
from proxy.access.gate import Gate
from proxy.access.oidc import Oidc
from proxy.errors import ProxyError
from proxy.server import heading as heading_module
from proxy.server.answer import Answer
from proxy.server.front import Network, check_framing
from proxy.server.heading import LONGEST, Heading, Headings
from proxy.server.listener import Listener
from proxy.server.own_names import OwnNames
from proxy.server.tls import Certificates
from proxy.server.walk import Walk
from proxy.server.wire import Server
from tests.engine import quick, until
from tests.origin import Origin
from tests.origin.oidc import AUDIENCE, JobIssuer, SigningKey
from tests.running import answers, running
from tests.unit.test_server_hot import line

PYTHON = frozenset({"python"})
NOW = 1_800_000_000.0
TOKEN = "a-token-of-a-client"
HASH = "sha256:" + hashlib.sha256(TOKEN.encode()).hexdigest()
MINE = Client("mine", token_hashes=(HASH,), ecosystems=PYTHON)
HERE = Client("here", networks=(ip_network("127.0.0.1/32"),), ecosystems=PYTHON)
BY_TOKEN = f"Authorization: Bearer {TOKEN}\r\n"


class Shown:
    """Every connection shows the same certificate."""

    def subjects(self, _: web.BaseRequest) -> tuple[str, ...]:
        return ("CN=b",)


class Room:
    """A server that reads the heading of each request, and notes whether it was known."""

    def __init__(
        self,
        *clients: Client,
        trusted: tuple[Network, ...] = (),
        certificates: Shown | None = None,
    ) -> None:
        self.issuer = JobIssuer(SigningKey.make("key-1", "ES256"), lambda: NOW)
        job = Job("ci", self.issuer.url, AUDIENCE, (("repository", "my-org/*"),), PYTHON)
        self.oidc = Oidc([job], self.fetch, wall=lambda: NOW, clock=lambda: NOW)
        self.gate = Gate(Clients(clients, loopback_default=not clients), self.oidc)
        shown = cast("Certificates", certificates) if certificates is not None else None
        self.headings = Headings(self.gate, OwnNames(""), trusted, shown)
        self.known: list[bool] = []
        self.told: list[Heading | ProxyError] = []
        self.server = Server(self._handle, self._refuse, recall=lambda *_: None)
        self.listener = Listener(self.server, "127.0.0.1", 0)

    async def fetch(self, url: str, issuer: str) -> object:
        if url.endswith("openid-configuration"):
            return {"issuer": issuer, "jwks_uri": f"{issuer}/jwks"}
        return {"keys": [self.issuer.key.jwk()]}

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        found = self.headings.find(request)
        self.known.append(found is not None)
        try:
            if found is None:
                check_framing(request)
                found = await self.headings.read(Walk(request, "id", 0.0), request.raw_path)
            self.told.append(found)
        except ProxyError as error:
            self.told.append(error)
        return Answer(body=b"x")

    @staticmethod
    def _refuse(_: web.BaseRequest, status: int) -> web.StreamResponse:
        return Answer(status=status, body=b"refused")

    @property
    def names(self) -> list[str]:
        """Who each request was from; or the status of its refusal."""
        return [
            str(one.status) if isinstance(one, ProxyError) else one.principal.name
            for one in self.told
        ]

    @asynccontextmanager
    async def line(self, source: str = "127.0.0.1") -> AsyncIterator[Line]:
        port = int(self.listener.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        try:
            yield Line(reader, writer)
        finally:
            writer.transport.abort()


class Line:
    """One open connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(
        self, path: str = "/a", fields: str = "", *, line: str = "GET {} HTTP/1.1"
    ) -> None:
        """Ask, and wait for the answer."""
        self.writer.write(f"{line.format(path)}\r\nHost: localhost\r\n{fields}\r\n".encode())
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(b"\r\n\r\n")
            (bare,) = answers(head)
            if not line.startswith("HEAD"):
                await self.reader.readexactly(int(bare.header("Content-Length") or 0))


@asynccontextmanager
async def opened(room: Room) -> AsyncIterator[Line]:
    await room.listener.start()
    try:
        async with room.line() as one:
            yield one
    finally:
        await room.listener.close()
        await room.oidc.close()


@pytest.mark.parametrize("fields", ["", "Range: bytes=1-2\r\n", "X-Real-IP: 10.0.0.1\r\n"])
async def test_requests_that_differ_in_their_path_only_have_one_heading(fields: str) -> None:
    room = Room(HERE)
    async with opened(room) as one:
        for path in ("/a", "/b/c?d=e", "/v2/"):
            await one.ask(path, fields)
    assert room.known == [False, True, True]
    assert room.told[0] == room.told[1] == room.told[2]


@pytest.mark.parametrize(
    "fields", ["Range: bytes=1-2\r\n", "If-None-Match: *\r\n", "Accept: a/b\r\n", "Via: x\r\n"]
)
async def test_other_fields_are_another_heading(fields: str) -> None:
    room = Room(HERE)
    async with opened(room) as one:
        await one.ask()
        await one.ask(fields=fields)
    assert room.known == [False, False]
    assert room.told[0] != room.told[1]


async def test_another_version_is_another_heading() -> None:
    room = Room(HERE)
    async with opened(room) as one:
        await one.ask()
        await one.ask(line="GET {} HTTP/1.0")
    assert room.known == [False, False]


async def test_a_path_that_ends_like_a_version_has_no_heading_of_that_version() -> None:
    room = Room(HERE)
    async with opened(room) as one:
        await one.ask()
        await one.ask("/aHTTP/1.1", line="GET {}")
    assert room.known == [False, False]
    assert room.names == ["here", "505"]


async def test_what_is_no_get_in_one_piece_is_read_each_time() -> None:
    room = Room(HERE)
    async with opened(room) as one:
        await one.ask()
        await one.ask(line="HEAD {} HTTP/1.1")
        await one.ask(line="OPTIONS {} HTTP/1.1")
        await one.ask(fields="Content-Length: 0\r\n", line="POST {} HTTP/1.1")
        await one.ask()
    assert room.known == [False, False, False, False, True]


async def test_the_same_bytes_from_another_address_are_anothers() -> None:
    room = Room(HERE)
    async with opened(room) as one, room.line("127.0.0.2") as other:
        await one.ask()
        await other.ask()
        await one.ask()
    assert room.names == ["here", "401", "here"]


async def test_who_is_behind_a_front_is_who_it_names_each_time() -> None:
    room = Room(HERE, trusted=(ip_network("127.0.0.2/32"),))
    async with opened(room), room.line("127.0.0.2") as front:
        await front.ask(fields="X-Forwarded-For: 127.0.0.1\r\n")
        await front.ask(fields="X-Forwarded-For: 127.0.0.3\r\n")
        await front.ask()
    assert room.names == ["here", "401", "401"]


async def test_a_client_that_is_removed_is_refused_on_its_next_request() -> None:
    room = Room(MINE)
    async with opened(room) as one:
        await one.ask("/a", BY_TOKEN)
        await one.ask("/b", BY_TOKEN)
        room.gate.clients = Clients([HERE], loopback_default=False)
        await one.ask("/c", BY_TOKEN)
    assert room.known == [False, True, False]
    assert room.names == ["mine", "mine", "401"]


async def test_who_is_let_in_on_a_lenient_path_is_let_in_nowhere_else() -> None:
    room = Room(HERE)
    foreign = "Authorization: Bearer of-another-registry\r\n"
    async with opened(room) as one:
        await one.ask("/v2/", foreign)
        await one.ask("/python/simple/a/", foreign)
    assert room.names == ["here", "401"]


async def test_a_job_is_judged_each_time() -> None:
    room = Room(HERE)
    fields = f"Authorization: Bearer {room.issuer.mint()}\r\n"
    async with opened(room) as one:
        await one.ask("/a", fields)
        await one.ask("/b", fields)
    assert [name[:2] for name in room.names] == ["ci", "ci"]
    assert room.known == [False, False]


async def test_where_certificates_are_asked_for_everybody_is_judged_each_time() -> None:
    room = Room(Client("build", subjects=("CN=b",), ecosystems=PYTHON), MINE, certificates=Shown())
    async with opened(room) as one:
        for fields in ("", "", BY_TOKEN, BY_TOKEN):
            await one.ask(fields=fields)
    assert room.names == ["build", "build", "mine", "mine"]
    assert not any(room.known)


async def test_what_is_refused_is_refused_anew_each_time() -> None:
    room = Room()
    async with opened(room) as one:
        for fields in ("Expect: x\r\n", "Expect: x\r\n", "Via: x\r\n", "Via: x\r\n"):
            await one.ask(fields=fields)
    assert room.names == ["417", "417", "403", "403"]
    assert not any(room.known)


async def test_nothing_is_kept_for_longer_than_a_second() -> None:
    room = Room(MINE)
    with quick(heading_module, LIFE=0.05):
        async with opened(room) as one:
            await one.ask("/a", BY_TOKEN)
            await one.ask("/b", BY_TOKEN)
            assert len(room.headings) == 1
            await until(lambda: not len(room.headings))
            await one.ask("/c", BY_TOKEN)
    assert room.known == [False, True, False]


async def test_what_is_kept_is_bounded_in_length_and_number() -> None:
    room = Room(HERE)
    with quick(heading_module, MAX_KNOWN=3, LIFE=60):
        async with opened(room) as one:
            await one.ask(fields=f"X-A: {'x' * LONGEST}\r\n")
            assert len(room.headings) == 0
            for number in range(9):
                await one.ask(fields=f"X-A: {number}\r\n")
    assert len(room.headings) == 3


async def test_a_body_that_is_announced_is_told() -> None:
    room = Room(HERE)
    async with opened(room) as one:
        for fields in ("", "Content-Encoding: gzip\r\n"):
            await one.ask(fields=fields)
    assert [one.bare for one in room.told if isinstance(one, Heading)] == [True, False]


@pytest.mark.parametrize("path", ["/python/simple/a%00/", "/javascript/a%5cb", "/nothing/%2e%2e/"])
async def test_a_path_that_no_one_reads_is_refused_in_the_same_words_behind_a_known_heading(
    tmp_path: Path, path: str
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        refusals = []
        for first in ("/healthz?", "/python/simple/alpha/"):  # nobody is identified for a probe
            async with line(proxy) as one:
                await one.ask(one.question(first))
                refusals.append(await one.ask(one.question(path)))
        told = [(one.status, one.header("Content-Type"), len(one.body)) for one in refusals]
        assert told[0] == told[1]
        assert told[0][0] == 400
        ecosystem = path.split("/")[1] if "nothing" not in path else "none"
        body, _ = proxy.app.metrics.render()
        labels = f'cache="none",ecosystem="{ecosystem}",status="400"'
        assert f"cgr_proxy_requests_total{{{labels}}} 2.0" in body.decode()
