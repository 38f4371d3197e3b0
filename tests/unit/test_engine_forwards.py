"""Calls that are passed on: bounded, in our own words, to the upstream alone, never kept."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from aiohttp.web import BaseRequest

from proxy.cache.forwards import Forwards
from proxy.ecosystems.python import Python
from proxy.errors import ForbiddenAddress, Malformed, NotFound, ProxyError, Unavailable
from proxy.model import ForwardTarget, Grant
from proxy.server.errors import render
from proxy.server.front import check_framing, read_body
from proxy.server.listener import Listener
from proxy.server.wire import Server
from proxy.upstream.base import Head, UpstreamRequest
from proxy.upstream.breaker import FAILURES_TO_OPEN
from tests.running import answers
from tests.unit.upstream_room import Raw, answer, redirect_to, room

TARGET = ForwardTarget("/python/search?text=x", "python")
GRANT = Grant("farm", "python", frozenset({"python"}))
QUESTION = b'{"alpha":["1.0"]}'


@dataclass
class Fixed:
    """An upstream with one answer. `requests`: what it was asked; `closed`: answers given back."""

    body: bytes
    requests: list[UpstreamRequest] = field(default_factory=list)
    closed: int = 0

    @property
    def head(self) -> Head:
        return Head(200, "https://libraries.example/python/search", "text/html")

    async def open(self, request: UpstreamRequest) -> Fixed:
        self.requests.append(request)
        return self

    async def pieces(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self.body), 10):
            yield self.body[at : at + 10]

    async def close(self) -> None:
        self.closed += 1


# --- to the upstream and back ------------------------------------------------------------------


async def test_every_call_asks_the_upstream_anew() -> None:
    upstream = Fixed(b'{"objects":[]}')
    forwards = Forwards(upstream)
    for _ in range(2):
        found = await forwards.ask(Python(), TARGET, GRANT, b"")
        assert (found.body, found.media_type) == (upstream.body, "application/json")
    assert [one.location for one in upstream.requests] == [TARGET.path] * 2
    assert upstream.closed == 2


@pytest.mark.parametrize(
    "body",
    [b"<html>portal</html>", b'{"objects":[', b"", b"[" * 100_000],
    ids=["page", "cut", "nothing", "deep"],
)
async def test_an_answer_that_is_no_json_is_rubbish(body: bytes) -> None:
    upstream = Fixed(body)
    with pytest.raises(Malformed):
        await Forwards(upstream).ask(Python(), TARGET, GRANT, b"")
    assert upstream.closed == 1


async def test_an_answer_that_is_too_large_is_not_read_to_its_end() -> None:
    upstream = Fixed(b'"' + b"x" * 1000 + b'"')
    with pytest.raises(Malformed, match="too large"):
        await Forwards(upstream, max_answer=100).ask(Python(), TARGET, GRANT, b"")
    assert upstream.closed == 1


async def test_a_grant_for_something_else_opens_nothing() -> None:
    upstream = Fixed(b"{}")
    with pytest.raises(AssertionError):
        await Forwards(upstream).ask(
            Python(), TARGET, Grant("farm", "python", frozenset({"other"})), b""
        )
    assert upstream.requests == []


async def test_a_body_is_posted_as_json_with_our_own_fields_only() -> None:
    async with Raw(lambda _: answer(200, b"{}")) as raw, room(raw.url) as ours:
        assert await ours.get("/python/audit", body=QUESTION) == b"{}"
        first, *fields = raw.heads[0].split("\r\n")
        names = {line.partition(":")[0].lower() for line in fields if line}
    assert first == "POST /python/audit HTTP/1.1"
    assert names == {
        *("host", "accept", "accept-encoding", "user-agent", "content-type", "content-length")
    }


async def test_a_body_goes_nowhere_but_to_the_upstream_itself() -> None:
    async with (
        Raw(lambda _: answer(200, b"{}"), host="127.0.0.4") as elsewhere,
        Raw(lambda _: redirect_to(f"{elsewhere.url}/audit", 307)) as raw,
        room(raw.url, hosts=(elsewhere.place,)) as ours,
    ):
        with pytest.raises(ForbiddenAddress):
            await ours.get("/python/audit", body=QUESTION)
        assert elsewhere.connections == 0


@pytest.mark.parametrize("status", [400, 404, 405, 415, 501])
async def test_a_call_that_the_upstream_does_not_offer_is_no_outage(status: int) -> None:
    async with Raw(lambda _: answer(status)) as raw, room(raw.url) as ours:
        for _ in range(FAILURES_TO_OPEN + 1):
            with pytest.raises(NotFound):
                await ours.get("/python/audit", body=QUESTION)
        assert ours.upstream.open_breakers == ()


async def test_a_body_is_sent_once_whatever_comes_of_it() -> None:
    async with Raw(lambda _: answer(500)) as raw, room(raw.url) as ours:
        with pytest.raises(Unavailable):
            await ours.get("/python/audit", body=QUESTION)
        assert len(raw.heads) == 1


# --- from the client ---------------------------------------------------------------------------

LIMIT = 1000


async def echo(request: BaseRequest) -> web.StreamResponse:
    """Answer with the body as it was read, or with why it was not."""
    try:
        check_framing(request)
        return web.Response(body=await read_body(request, LIMIT))
    except ProxyError as error:
        return render(error, None, "id", web.Response().headers)


def refuse(request: BaseRequest, status: int) -> web.StreamResponse:
    """What the parser does not take."""
    return web.Response(status=status)


async def posted(body: bytes, **fields: str) -> tuple[int, bytes]:
    """What became of a body."""
    listener = Listener(Server(echo, refuse), "127.0.0.1", 0)
    await listener.start()
    names = {"host": "x", "connection": "close", "content_length": str(len(body)), **fields}
    head = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in names.items() if v)
    reader, writer = await asyncio.open_connection(*urlsplit(listener.url).netloc.split(":"))
    try:
        writer.write(f"POST / HTTP/1.1\r\n{head}\r\n".encode() + body)
        raw = await reader.read()
    finally:
        writer.transport.abort()
        await listener.close()
    found = answers(raw.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n"))[0]
    return found.status, found.body


async def test_a_body_is_read_as_it_is_or_unpacked() -> None:
    assert await posted(QUESTION) == (200, QUESTION)
    assert await posted(gzip.compress(QUESTION), content_encoding="gzip") == (200, QUESTION)
    assert await posted(b"") == (200, b"")


async def test_a_body_over_its_limit_is_refused_packed_or_not() -> None:
    assert await posted(b"x" * LIMIT) == (200, b"x" * LIMIT)
    assert (await posted(b"x" * (LIMIT + 1)))[0] == 413
    assert (await posted(gzip.compress(b"x" * LIMIT), content_encoding="gzip"))[0] == 200
    assert (await posted(gzip.compress(b"x" * (LIMIT + 1)), content_encoding="gzip"))[0] == 413
    bomb = gzip.compress(bytes(100_000))
    assert len(bomb) < LIMIT
    assert (await posted(bomb, content_encoding="gzip"))[0] == 413


async def test_a_body_without_a_length_has_the_same_limit() -> None:
    fields = {"content_length": "", "transfer_encoding": "chunked"}
    pieces = b"%x\r\n%s\r\n" % (600, b"x" * 600)
    assert await posted(pieces + b"0\r\n\r\n", **fields) == (200, b"x" * 600)
    assert (await posted(pieces * 2 + b"0\r\n\r\n", **fields))[0] == 413


@pytest.mark.parametrize(
    ("body", "coding", "status"),
    [
        (QUESTION, "br", 415),
        (QUESTION, "gzip, gzip", 415),
        (QUESTION, "gzip", 400),
        (gzip.compress(QUESTION)[:-3], "gzip", 400),
        (gzip.compress(QUESTION) + b"more", "gzip", 400),
        (b"", "gzip", 400),
    ],
    ids=["another coding", "two of them", "not packed", "cut", "more behind it", "nothing"],
)
async def test_a_body_that_cannot_be_unpacked_is_refused(
    body: bytes, coding: str, status: int
) -> None:
    assert (await posted(body, content_encoding=coding))[0] == status


async def test_who_asks_first_is_told_to_go_on() -> None:
    assert await posted(QUESTION, expect="100-continue") == (200, QUESTION)
