"""Questions asked again in the very same words: what is repeated, and what never is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from proxy.access.learning import PlatformEntitlements
from proxy.cache.keys import SEPARATOR
from proxy.ecosystems.python import Python
from proxy.model import DocumentTarget
from proxy.server.canonical import canonicalise
from proxy.storage.desk import open_desk
from tests.certificates import Authority
from tests.origin import Origin
from tests.origin.oidc import JobIssuer
from tests.running import (
    Answer,
    Running,
    answers,
    basic,
    bearer,
    client,
    process,
    request_bytes,
    running,
    token,
)
from tests.unit.test_entitlements_served import platform

PAGE = "/python/simple/alpha/"
PYTHON = Python()
MINE = basic(token("mine"))
OFTEN = 3000


class Line:
    """One open connection, asked one question after the other."""

    def __init__(
        self, proxy: Running, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.proxy = proxy
        self.reader = reader
        self.writer = writer

    def question(self, target: str = PAGE, **fields: str) -> bytes:
        host = urlsplit(self.proxy.url).netloc
        return request_bytes("GET", target, host, fields, close=False)

    async def read(self) -> Answer:
        """The next answer to a GET."""
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(b"\r\n\r\n")
            (bare,) = answers(head)
            length = 0 if bare.status in (204, 304) else int(bare.header("Content-Length") or 0)
            body = await self.reader.readexactly(length)
        (answer,) = answers(head + body)
        return answer

    async def ask(self, question: bytes) -> Answer:
        self.writer.write(question)
        return await self.read()

    async def warm(self, question: bytes) -> Answer:
        """Ask until the answer is a repetition; that one."""
        hot = self.proxy.app.hot
        for _ in range(OFTEN):
            before = hot.repeats
            answer = await self.ask(question)
            if hot.repeats > before:
                return answer
        raise AssertionError("never repeated")

    async def is_walked(self, question: bytes) -> Answer:
        """Ask once; the answer, which is no repetition."""
        before = self.proxy.app.hot.repeats
        answer = await self.ask(question)
        assert self.proxy.app.hot.repeats == before
        return answer


@asynccontextmanager
async def line(proxy: Running) -> AsyncIterator[Line]:
    reader, writer = await proxy.connect()
    try:
        yield Line(proxy, reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def proxied(folder: Path, **tables: Any) -> AsyncIterator[tuple[Origin, Running, Line]]:
    async with (
        Origin() as origin,
        running(folder, origin, tables or None) as proxy,
        line(proxy) as open_line,
    ):
        yield origin, proxy, open_line


def purge(folder: Path) -> int:
    """What the command does: the number of entries."""
    desk = open_desk(folder, time.time)
    try:
        return desk.purge(SEPARATOR.join(("python", "alpha", "")), lambda _: True)[0]
    finally:
        desk.close()


# --- what a repetition is -----------------------------------------------------------------------


async def test_a_repetition_is_the_same_answer_with_its_own_id_date_and_age(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (_, proxy, one):
        await one.ask(one.question())
        walked = await one.ask(one.question())
        repeated = await one.warm(one.question())
        assert (repeated.status, repeated.body) == (200, walked.body)
        own = {"X-Request-Id", "Date", "Age"}
        same = [field for field in walked.headers if field[0] not in own]
        assert [field for field in repeated.headers if field[0] not in own] == same
        assert {name for name, _ in repeated.headers} == {name for name, _ in walked.headers}
        assert repeated.cache == "cgr-proxy; hit"
        assert repeated.header("X-Request-Id") != walked.header("X-Request-Id")
        proxy.clock.advance(7)
        older = await one.warm(one.question())
        assert int(older.header("Age") or 0) >= 7


async def test_a_304_is_repeated_too(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (_, _, one):
        etag = (await one.ask(one.question())).header("ETag") or ""
        repeated = await one.warm(one.question(if_none_match=etag))
        assert (repeated.status, repeated.body) == (304, b"")
        assert repeated.header("ETag") == etag


async def test_each_repetition_is_logged_and_counted(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (_, proxy, one):
        ids, size = [], 0
        for _ in range(300):
            answer = await one.ask(one.question(user_agent="farm/1"))
            ids.append(answer.header("X-Request-Id"))
            size += len(answer.body)
        repeats = proxy.app.hot.repeats
        assert repeats > 0
        lines = proxy.access()
        assert [record["request_id"] for record in lines] == ids
        hits = [record for record in lines if record["cache"] == "hit"]
        parts = ("principal", "peer", "method", "path", "ecosystem", "status", "user_agent")
        assert {tuple(record[part] for part in parts) for record in hits} == {
            ("loopback", "127.0.0.1", "GET", PAGE, "python", 200, "farm/1")
        }
        assert sum(record["bytes"] for record in lines) == size
        numbers = await proxy.metrics()
        labels = '{cache="hit",ecosystem="python",status="200"}'
        assert numbers[f"cgr_proxy_requests_total{labels}"] == 299
        assert numbers['cgr_proxy_bytes_sent_total{ecosystem="python"}'] == size
        assert numbers['cgr_proxy_request_seconds_count{ecosystem="python"}'] == 300
        assert numbers["cgr_proxy_answers_repeated_total"] == repeats


# --- what it never outlives -----------------------------------------------------------------------


async def test_a_client_that_is_removed_is_refused_on_its_next_question(tmp_path: Path) -> None:
    async with proxied(tmp_path, clients=[client("mine", "python")]) as (origin, proxy, one):
        question = one.question(authorization=MINE)
        await one.warm(question)
        await proxy.reconfigure(origin, {"clients": [client("another", "python")]})
        assert (await one.is_walked(question)).status == 401


async def test_an_entitlement_that_is_withdrawn_is_refused_on_the_next_question(
    tmp_path: Path,
) -> None:
    async with (
        Origin() as origin,
        running(tmp_path, origin, platform(origin)) as proxy,
        line(proxy) as one,
    ):
        proxy.keep_secret(*origin.platform.issued)
        await one.warm(one.question())
        origin.platform.withdraw(origin.pair)
        assert isinstance(proxy.app.entitlements, PlatformEntitlements)
        await proxy.app.entitlements.refresh()
        assert (await one.is_walked(one.question())).status == 403


async def test_the_grace_of_entitlements_ends_for_repetitions_too(tmp_path: Path) -> None:
    async with (
        Origin() as origin,
        running(tmp_path, origin, platform(origin)) as proxy,
        line(proxy) as one,
    ):
        proxy.keep_secret(*origin.platform.issued)
        await one.warm(one.question())
        proxy.steady.advance(86400 * 365)
        assert (await one.is_walked(one.question())).status == 503


async def test_a_document_that_is_stale_is_asked_for_again(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (_, proxy, one):
        await one.warm(one.question())
        proxy.clock.advance(301)
        answer = await one.is_walked(one.question())
        assert answer.cache == "cgr-proxy; fwd=stale; fwd-status=304"


async def test_a_clock_that_is_set_back_brings_no_age_below_nothing(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (_, proxy, one):
        await one.warm(one.question())
        proxy.clock.advance(-30)
        assert (await one.is_walked(one.question())).header("Age") == "0"


def key_of_alpha(proxy: Running) -> str:
    """The key of the one page that was asked for."""
    documents = proxy.app.documents
    target = PYTHON.classify(canonicalise("GET", PAGE, host="a"))
    assert isinstance(target, DocumentTarget)
    return documents._key(PYTHON, target)


async def test_what_another_process_purges_is_gone(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (_, proxy, one):
        await one.warm(one.question())
        assert await asyncio.to_thread(purge, proxy.folder / "cache") > 0
        assert (await one.is_walked(one.question())).cache == "cgr-proxy; fwd=miss; stored"


async def test_what_this_process_removes_or_replaces_is_gone(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (_, proxy, one):
        storage = proxy.app.storage
        await one.warm(one.question())
        key = key_of_alpha(proxy)
        record = storage.lookup(key)
        assert record is not None
        storage.update(record, {**record.fields, "etag": '"another"'})
        assert (await one.is_walked(one.question())).cache == "cgr-proxy; hit"
        await one.warm(one.question())
        storage.remove(key)
        assert (await one.is_walked(one.question())).cache == "cgr-proxy; fwd=miss; stored"


async def test_a_document_that_is_doubted_is_asked_for_again(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (_, proxy, one):
        await one.warm(one.question())
        proxy.clock.advance(60)
        await one.warm(one.question())
        documents = proxy.app.documents
        key = key_of_alpha(proxy)
        held = await documents._shelf.load(key)
        assert held is not None
        documents._doubted.remember(key, held.sha256, proxy.clock(), 300)
        assert (await one.is_walked(one.question())).cache == "cgr-proxy; fwd=stale; fwd-status=304"


# --- who gets it ----------------------------------------------------------------------------------


async def test_the_same_words_from_another_address_are_another_question(tmp_path: Path) -> None:
    mine = client("mine", "python", networks=["127.0.0.1/32"])
    async with proxied(tmp_path, clients=[mine]) as (_, proxy, one):
        question = one.question()
        await one.warm(question)
        proxy.source = ("127.0.0.2", 0)
        async with line(proxy) as other:
            assert (await other.is_walked(question)).status == 401
        assert (await one.warm(question)).status == 200


async def test_other_words_are_another_question(tmp_path: Path) -> None:
    async with proxied(tmp_path, clients=[client("mine", "python")]) as (_, _, one):
        await one.warm(one.question(authorization=MINE))
        assert (await one.is_walked(one.question())).status == 401
        wrong = basic(token("wrong"))
        assert (await one.is_walked(one.question(authorization=wrong))).status == 401
        json = "application/vnd.pypi.simple.v1+json"
        answer = await one.is_walked(one.question(authorization=MINE, accept=json))
        assert answer.header("Content-Type") == json


@pytest.mark.parametrize(
    "question",
    [
        b"GET /python/simple/alpha/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /python/simple/alpha/ HTTP/1.0\r\nHost: a\r\n\r\n",
        b"HEAD /python/simple/alpha/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /python/simple/alpha/?x=1 HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n",
        b"GET /python/simple/never/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /python/simple/Alpha HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /python/simple/alpha/ HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 5000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_plain_hit_is_not_kept(tmp_path: Path, question: bytes) -> None:
    async with proxied(tmp_path) as (_, proxy, one):
        # Its entry is old enough by now to be known.
        await one.warm(one.question())
        kept = len(proxy.app.hot)
        for _ in range(3):
            async with line(proxy) as other:
                other.writer.write(question)
                await other.reader.readuntil(b"\r\n\r\n")
        assert len(proxy.app.hot) == kept


async def test_nothing_is_kept_for_longer_than_twice_a_second(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (_, proxy, one):
        await one.warm(one.question())
        hot = proxy.app.hot
        assert len(hot) == 1
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            while len(hot):
                ended = loop.create_future()
                loop.call_later(0.05, ended.set_result, None)
                await ended
        assert (await one.is_walked(one.question())).cache == "cgr-proxy; hit"


async def test_an_id_token_is_judged_each_time(tmp_path: Path) -> None:
    async with (
        JobIssuer() as issuer,
        Origin() as origin,
        running(tmp_path, origin, {"oidc": [issuer.stanza("python")]}) as proxy,
        line(proxy) as one,
    ):
        question = one.question(authorization=bearer(issuer.mint()))
        await one.ask(question)
        for _ in range(300):
            assert (await one.is_walked(question)).status == 200


async def test_over_tls_questions_are_repeated_unless_certificates_are_asked_for(
    tmp_path: Path,
) -> None:
    farm = Authority("farm", tmp_path)
    pair = farm.server("127.0.0.1")
    server: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "admin_listen": "127.0.0.1:0",
        "tls_certificate": str(pair.certificate),
        "tls_key": str(pair.key),
    }
    async with Origin() as origin:
        async with running(tmp_path, origin, {"server": server}) as proxy:
            proxy.tls = farm.context()
            async with line(proxy) as one:
                walked = await one.ask(one.question())
                assert (await one.warm(one.question())).body == walked.body
        server["client_ca"] = str(farm.file)
        mine = {"name": "build", "subjects": ["CN=build"], "ecosystems": ["python"]}
        tables = {"server": server, "clients": [mine]}
        async with running(tmp_path, origin, tables) as proxy:
            proxy.tls = farm.context(farm.client("CN=build"))
            async with line(proxy) as one:
                for _ in range(300):
                    assert (await one.is_walked(one.question())).status == 200


async def test_after_an_unclean_stop_a_page_is_repeated_once_it_was_hashed(tmp_path: Path) -> None:
    async with Origin() as origin:
        with process(tmp_path, origin) as killed:
            assert (await asyncio.to_thread(killed.get, PAGE)).status == 200
            killed.kill()
        async with running(tmp_path, origin) as proxy, line(proxy) as one:
            assert (await one.is_walked(one.question())).cache == "cgr-proxy; hit"
            assert (await one.warm(one.question())).status == 200
