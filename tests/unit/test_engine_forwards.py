"""Calls that are passed on: bounded, in our own words, to the upstream alone, never kept."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from aiohttp.web import BaseRequest

from proxy.cache.forwards import Forwards
from proxy.ecosystems.python import Python
from proxy.errors import ForbiddenAddress, Malformed, NotFound, ProxyError, Unavailable
from proxy.model import Document, ForwardTarget, Grant, Links, Principal
from proxy.server.errors import render
from proxy.server.front import check_framing, read_body
from proxy.server.listener import Listener
from proxy.server.passing import pass_on
from proxy.server.walk import Walk
from proxy.server.wire import Server
from proxy.upstream.base import Head, UpstreamRequest
from proxy.upstream.breaker import FAILURES_TO_OPEN
from tests.running import answers
from tests.unit.in_pieces import InPieces
from tests.unit.upstream_room import Raw, answer, redirect_to, room

TARGET = ForwardTarget("/python/search?text=x", "python")
GRANT = Grant("farm", "python", frozenset({"python"}))
QUESTION = b'{"alpha":["1.0"]}'


@dataclass
class Fixed(InPieces):
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


# --- what becomes of the answer ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Worded(Python):
    """An ecosystem that words answers: a list of packages, each with a link."""

    def answer(
        self, target: ForwardTarget, answer: Document, links: Links, may: Callable[[str, str], bool]
    ) -> Document:
        kept = [name for name in json.loads(answer.body) if may(name, "1.0")]
        body = json.dumps([f"{links.base}{target.path}#{name}" for name in kept])
        return replace(answer, body=body.encode())


async def passed_on(ecosystem: Python, *packages: str, sifted: bool = True) -> Any:
    """What a client that is limited to some packages is told of two of them."""
    web_request = cast("BaseRequest", object())  # a call without a body is not looked at again
    who = Principal("farm", "token", None, packages)
    answer = await pass_on(
        *(Walk(web_request, "id", 0.0), who, ecosystem, replace(TARGET, sifted=sifted)),
        grant=GRANT,
        forwards=Forwards(Fixed(b'["alpha", "beta"]')),
        links=Links("https://proxy.example"),
    )
    return json.loads(cast("bytes", answer.body))


async def test_the_answer_is_worded_by_the_ecosystem_that_words_them() -> None:
    at = f"https://proxy.example{TARGET.path}"
    assert await passed_on(Worded()) == [f"{at}#alpha", f"{at}#beta"]
    assert await passed_on(Worded(), "pkg:pypi/beta@1.0") == [f"{at}#beta"]
    assert await passed_on(Worded(), "pkg:pypi/gamma") == []
    assert await passed_on(Python(), sifted=False) == ["alpha", "beta"]


async def test_an_answer_that_nobody_sifts_is_not_given_to_whom_it_is_to_be_sifted_for() -> None:
    with pytest.raises(AssertionError):
        await passed_on(Python(), "pkg:pypi/beta")


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
