"""The prompt way: that it is taken, gives what the general way gives, and each way out of it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp.test_utils import make_mocked_request

from proxy.cache.artifacts import Stored
from proxy.cache.flight import SMALL
from proxy.cache.status import COLLAPSED, STORED, CacheStatus
from proxy.model import ArtifactTarget
from proxy.server import heading as heading_module
from proxy.server import responses
from proxy.server.answer import Answer, head_of
from proxy.server.conditional import UNCONDITIONAL
from proxy.server.errand import Errand, ErrandHandler
from proxy.server.prompt import PromptWay
from proxy.server.stalled import reset
from proxy.storage.base import Record
from proxy.storage.memory import MemoryWriter
from tests.certificates import Authority
from tests.engine import KIB, bodies, data_of, noise, pattern, quick, until
from tests.failing import failing
from tests.origin import Artifact, Origin, status, wrong_bytes
from tests.origin.blobs import SyntheticBlob
from tests.origin.images import PUBLIC, layers_of
from tests.origin.jars import JAVA, MavenFile
from tests.running import Running, basic, client, request_bytes, running, token
from tests.unit.test_engine_begin import listed

PAGE = "/python/simple/bigblob/"
TARBALL = "/javascript/alpha-js/-/alpha-js-1.0.0.tgz"
MINE = basic(token("mine"))
Setup = Callable[[Origin], str]


class Room:
    """A proxy, one connection to it, and the eye on its prompt way. `on` False: there is none."""

    def __init__(self, origin: Origin, proxy: Running, *, on: bool) -> None:
        self.origin = origin
        self.proxy = proxy
        self.taken = self.refused = 0
        server = proxy.app.listener._server
        recall, self._prompt = server._ready
        server._ready = (recall, self._set_out if on else None)

    def _set_out(self, question: bytes, peer: str, connection: ErrandHandler) -> Errand | None:
        assert self._prompt is not None
        errand = self._prompt(question, peer, connection)
        if errand is None:
            self.refused += 1
        else:
            self.taken += 1
        return errand

    @asynccontextmanager
    async def line(self) -> AsyncIterator[Line]:
        reader, writer = await self.proxy.connect()
        try:
            yield Line(self, reader, writer)
        finally:
            writer.transport.abort()

    def records(self) -> list[dict[str, Any]]:
        """What access log and audit log say, but for what is each time's own."""
        assert self.proxy.app.metrics is not None
        audit = self.proxy.folder / "cache" / "audit.jsonl"
        lines = [*self.proxy.access(), *map(json.loads, audit.read_text().splitlines())]
        own = ("time", "request_id", "duration_ms")
        return [{key: one[key] for key in one if key not in own} for one in lines]

    async def numbers(self) -> dict[str, float]:
        """What has been counted so far."""
        every = await self.proxy.metrics()
        counts = re.compile(r"cgr_proxy_\w+_total\b|cgr_proxy_in_flight")
        return {name: value for name, value in every.items() if counts.match(name)}


class Line:
    """One open connection."""

    def __init__(
        self, room: Room, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.room = room
        self.reader = reader
        self.writer = writer

    def question(self, target: str, method: str = "GET", **fields: str) -> bytes:
        host = urlsplit(self.room.proxy.url).netloc
        return request_bytes(method, target, host, fields, close=False)

    async def prime(self, **fields: str) -> None:
        """Have the heading known that these fields make."""
        await self.ask(self.question("/python/simple/alpha/", **fields))

    async def ask(self, question: bytes) -> bytes:
        """Say it, and read one answer, whole or up to where the connection ended."""
        self.writer.write(question)
        return await self.read(bare=question.startswith(b"HEAD"))

    async def read(self, *, bare: bool = False) -> bytes:
        found = b""
        try:
            async with asyncio.timeout(10):
                found = await self.reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", found)
                if bare or b" 304 " in found[:20]:
                    pass
                elif length:
                    found += await self.reader.readexactly(int(length[1]))
                else:
                    found += await self.reader.read(-1)
        except asyncio.IncompleteReadError as cut:
            found += cut.partial
        except ConnectionError:
            found += b"reset"
        return found

    def reset(self) -> None:
        """Go away, so that the other end sees it at once."""
        assert isinstance(self.writer.transport, asyncio.Transport)
        reset(self.writer.transport)


@asynccontextmanager
async def room_in(
    folder: Path, *, on: bool = True, tracebacks: bool = False, **tables: Any
) -> AsyncIterator[Room]:
    with quick(heading_module, LIFE=60.0):
        async with (
            Origin() as origin,
            running(folder / str(on), origin, tables or None, tracebacks=tracebacks) as proxy,
        ):
            yield Room(origin, proxy, on=on)


def masked(answer: bytes) -> bytes:
    """An answer without what is each time's own."""
    head, end, body = answer.partition(b"\r\n\r\n")
    head = re.sub(rb"(?m)^(X-Request-Id|Date): .*\r?$", rb"\1: ...", head)
    head = re.sub(rb'(?m)^ETag: "f-.*\r?$', rb"ETag: of a flight", head)
    body = re.sub(rb"[a-z2-7]{16}", b"...", body) if not head.startswith(b"HTTP/1.1 2") else body
    return head + end + body


# --- both ways ------------------------------------------------------------------------------------


def wheel(size: int) -> Setup:
    return lambda origin: noise(origin.content, size).link


def broken(**fault: Any) -> Setup:
    def setup(origin: Origin) -> str:
        artifact = noise(origin.content, 40 * KIB)
        origin.fault("store", pattern(artifact), **fault)
        return artifact.link

    return setup


def refused(code: int) -> Setup:
    def setup(origin: Origin) -> str:
        artifact = noise(origin.content, 40 * KIB)
        origin.fault("origin", pattern(artifact), **status(code))
        return artifact.link

    return setup


def blocked(origin: Origin) -> str:
    artifact = noise(origin.content, 40 * KIB)
    origin.block("bigblob", "1.0")
    return artifact.link


def jar(origin: Origin) -> str:
    file = MavenFile("j-1.0.jar", "org.example:j", "1.0", SyntheticBlob(9 * KIB), JAVA)
    origin.content.add(file)
    return file.link


def layer(origin: Origin) -> str:
    digest = layers_of(origin.images.repository(PUBLIC), origin.images.tagged())[0]
    return f"/v2/{PUBLIC}/blobs/{digest}"


@dataclass(frozen=True)
class Case:
    """`taken`: whether somebody sets out for it. `page`: what is to be in memory before."""

    setup: Setup
    taken: bool
    page: str = PAGE
    method: str = "GET"
    version: str = "1.1"
    fields: dict[str, str] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)


LIMITED = {**client("mine", "python"), "packages": ["pkg:pypi/bigblob"]}
OTHERS = {**client("mine", "python"), "packages": ["pkg:pypi/other"]}
AUTHORIZED = {"authorization": MINE}
CASES = {
    "one byte": Case(wheel(1), taken=True),
    "small": Case(wheel(50 * KIB), taken=True),
    "the largest": Case(wheel(SMALL), taken=True),
    "empty": Case(wheel(0), taken=True),
    "a package of another ecosystem": Case(
        lambda _: TARBALL, taken=True, page="/javascript/alpha-js"
    ),
    "with names and conditions on nothing": Case(
        wheel(KIB), taken=True, fields={"user_agent": "pip/25", "accept_encoding": "identity"}
    ),
    "of a client with a token": Case(
        wheel(KIB), taken=True, fields=AUTHORIZED, tables={"clients": [client("mine", "python")]}
    ),
    "of a client that is limited to it": Case(
        wheel(KIB), taken=True, fields=AUTHORIZED, tables={"clients": [LIMITED]}
    ),
    "wrong bytes": Case(broken(**wrong_bytes(), times=9), taken=True),
    "cut short": Case(broken(cut_at=1000, times=99), taken=True),
    "not there": Case(refused(404), taken=True),
    "an upstream in trouble": Case(broken(**status(503), times=99), taken=True),
    "blocked": Case(blocked, taken=True),
    "large": Case(wheel(SMALL + 1), taken=False),
    "a jar": Case(jar, taken=False),
    "a layer": Case(layer, taken=False),
    "core metadata": Case(lambda o: f"{noise(o.content, KIB).link}.metadata", taken=False),
    "a page": Case(lambda o: (noise(o.content, KIB), PAGE)[1], taken=False),
    "not listed": Case(lambda _: "/files/aa/bb/bigblob/bigblob-9.0.tar.gz", taken=False),
    "a path of nobody": Case(lambda _: "/nobody/here", taken=False),
    "a path that is none": Case(lambda _: "/files/../bigblob", taken=False),
    "bytes that are no path": Case(lambda _: "/files/\xff/bigblob-1.0.tar.gz", taken=False),
    "a probe": Case(lambda _: "/healthz", taken=False),
    "a host of its own": Case(lambda _: "http://elsewhere/files/x", taken=False),
    "of a client that is limited to others": Case(
        wheel(KIB), taken=False, fields=AUTHORIZED, tables={"clients": [OTHERS]}
    ),
    "of a client of another ecosystem": Case(
        wheel(KIB), taken=False, fields=AUTHORIZED, tables={"clients": [client("mine", "java")]}
    ),
    "of nobody": Case(
        wheel(KIB),
        taken=False,
        fields={"authorization": basic("wrong")},
        tables={"clients": [client("mine", "python")]},
    ),
    "a HEAD": Case(wheel(KIB), taken=False, method="HEAD"),
    "a POST": Case(wheel(KIB), taken=False, method="POST"),
    "HTTP/1.0": Case(wheel(KIB), taken=False, version="1.0"),
    "HTTP/1.2": Case(wheel(KIB), taken=False, version="1.2"),
    "a part": Case(wheel(KIB), taken=False, fields={"range": "bytes=5-9"}),
    "a condition": Case(wheel(KIB), taken=False, fields={"if_none_match": "*"}),
    "a condition of a part": Case(wheel(KIB), taken=False, fields={"if_range": '"x"'}),
    "the last one": Case(wheel(KIB), taken=False, fields={"connection": "close"}),
    "an expectation": Case(wheel(KIB), taken=False, fields={"expect": "100-continue"}),
    "an upgrade": Case(
        wheel(KIB), taken=False, fields={"connection": "upgrade", "upgrade": "websocket"}
    ),
}


async def outcome(case: Case, folder: Path, *, on: bool) -> tuple[bytes, Any, Any]:
    """Everything that can be seen of an answer: its bytes, what is noted of it, and counted."""
    async with room_in(folder, on=on, **case.tables) as room:
        noise(room.origin.content, 3 * KIB)  # for those that do not put anything there
        target = case.setup(room.origin)
        if not case.tables:
            await listed(room.proxy, case.page)
        async with room.line() as line:
            question = line.question(target, case.method, **case.fields)
            question = question.replace(b" HTTP/1.1\r\n", f" HTTP/{case.version}\r\n".encode())
            await line.prime(**case.fields)
            if case.tables and case.taken:
                await line.ask(line.question(PAGE, **case.fields))
                await asyncio.sleep(0.02)  # what is known of a file this young has to be looked up
                await line.ask(line.question(PAGE, **case.fields))
        taken, logged, counted = room.taken, len(room.records()), await room.numbers()
        async with room.line() as line:
            answer = await line.ask(question)
        assert room.taken - taken == (case.taken and on)
        await until(lambda: room.proxy.app.health.running == 0)
        numbers = await room.numbers()
        changed = {name: numbers[name] - counted.get(name, 0) for name in numbers}
        answer = answer.replace(urlsplit(room.proxy.url).netloc.encode(), b"")
        return masked(answer), room.records()[logged:], changed


@pytest.mark.parametrize("name", CASES)
async def test_both_ways_give_the_same(tmp_path: Path, name: str) -> None:
    prompt = await outcome(CASES[name], tmp_path, on=True)
    general = await outcome(CASES[name], tmp_path, on=False)
    assert prompt == general
    assert prompt[0].startswith(b"HTTP/1.")


async def test_what_a_path_means_is_kept_when_it_is_asked_for_again(tmp_path: Path) -> None:
    async with room_in(tmp_path) as room, room.line() as line:
        artifact = noise(room.origin.content, 40 * KIB)
        await listed(room.proxy)
        await line.prime()
        assert isinstance(room._prompt, PromptWay)
        known = room._prompt._understanding
        before = len(known)
        await line.ask(line.question(artifact.link))
        assert (room.taken, len(known)) == (1, before)
        for _ in range(2):  # it is stored by now
            await line.ask(line.question(artifact.link))
            assert (room.taken, len(known)) == (1, before + 1)


@pytest.mark.parametrize("on", [True, False])
async def test_what_the_disk_does_not_take_is_sent_all_the_same(
    tmp_path: Path, *, on: bool
) -> None:
    async with room_in(tmp_path, on=on) as room, room.line() as line:
        artifact = noise(room.origin.content, 40 * KIB)
        await listed(room.proxy)
        await line.prime()
        failing(room.proxy).fail("claim")
        answer = await line.ask(line.question(artifact.link))
        assert answer.endswith(data_of(artifact))
        assert b"\r\nCache-Status: cgr-proxy; fwd=miss\r\n" in answer
        assert (room.taken, bodies(room.origin, artifact)) == (on, 1)


@pytest.mark.parametrize("on", [True, False])
async def test_what_turns_out_to_be_large_is_sent_while_it_comes(
    tmp_path: Path, *, on: bool
) -> None:
    async with room_in(tmp_path, on=on) as room, room.line() as line:
        room.origin.settings.sizes = False
        artifact = noise(room.origin.content, 4 * SMALL)
        await listed(room.proxy)
        await line.prime()
        stalled = room.origin.fault("store", pattern(artifact), stall_at=3 * SMALL)
        line.writer.write(line.question(artifact.link))
        head = await line.reader.readuntil(b"\r\n\r\n")
        first = await line.reader.readexactly(SMALL)
        assert b"\r\nCache-Status: cgr-proxy; fwd=miss; stored\r\n" in head
        stalled.release()
        rest = await line.reader.readexactly(3 * SMALL)
        assert first + rest == data_of(artifact)
        assert room.taken == on


@pytest.mark.parametrize("on", [True, False])
async def test_of_who_goes_away_it_is_noted_and_the_flight_goes_on(
    tmp_path: Path, *, on: bool
) -> None:
    async with room_in(tmp_path, on=on) as room:
        artifact = noise(room.origin.content, 40 * KIB)
        await listed(room.proxy)
        held = room.origin.fault("store", pattern(artifact), hold=True)
        async with room.line() as line:
            await line.prime()
            before = await room.numbers()
            line.writer.write(line.question(artifact.link))
            await held.reached()
            assert (await room.numbers())["cgr_proxy_in_flight"] == 1
            line.reset()
        await until(lambda: room.proxy.app.health.running == 0)
        await until(lambda: room.records()[-1]["status"] == 499)
        shown = {key: room.records()[-1].get(key) for key in ("path", "bytes", "cache", "error")}
        assert shown == {"path": artifact.link, "bytes": 0, "cache": "", "error": None}
        name = 'cgr_proxy_requests_total{cache="none",ecosystem="python",status="499"}'
        assert (await room.numbers())[name] - before.get(name, 0) == 1
        held.release()
        async with room.line() as line:
            answer = await line.ask(line.question(artifact.link))
            assert answer.endswith(data_of(artifact))
        assert (room.taken > 0, bodies(room.origin, artifact)) == (on, 1)


# --- when it is taken -----------------------------------------------------------------------------


async def ready(room: Room, line: Line, size: int = 40 * KIB) -> Artifact:
    """An artifact that can be set out for on that connection."""
    artifact = noise(room.origin.content, size)
    await listed(room.proxy)
    await line.prime()
    return artifact


async def test_nobody_sets_out_for_who_is_not_known_yet(tmp_path: Path) -> None:
    async with room_in(tmp_path) as room, room.line() as line:
        artifact = await ready(room, line)
        question = line.question(artifact.link, user_agent="another")
        assert (await line.ask(question)).endswith(data_of(artifact))
        assert room.taken == 0


async def test_whoever_has_just_got_a_page_gets_its_files_by_it(tmp_path: Path) -> None:
    async with room_in(tmp_path) as room, AsyncExitStack() as stack:
        content = room.origin.content
        files = [content.synthetic(size=40 * KIB, version=f"{at}.0") for at in range(8)]
        lines = [await stack.enter_async_context(room.line()) for _ in files]
        for line in lines:
            await line.prime()
        page = await lines[0].ask(lines[0].question(PAGE))
        for line, file in zip(lines, files, strict=True):
            assert file.filename.encode() in page
            line.writer.write(line.question(file.link))
        for line, file in zip(lines, files, strict=True):
            assert (await line.read()).endswith(data_of(file))
        assert room.taken == len(files)


async def test_who_wants_the_same_meanwhile_joins_and_is_told_so(tmp_path: Path) -> None:
    async with room_in(tmp_path) as room, room.line() as one, room.line() as other:
        artifact = await ready(room, one)
        held = room.origin.fault("store", pattern(artifact), hold=True)
        one.writer.write(one.question(artifact.link))
        await held.reached()
        other.writer.write(other.question(artifact.link))
        await until(lambda: room.taken == 2)
        held.release()
        assert b"; fwd=miss; stored\r\n" in await one.read()
        assert b"; fwd=miss; collapsed\r\n" in await other.read()
        assert bodies(room.origin, artifact) == 1
        assert [record["cache"] for record in room.proxy.access()[-2:]] == ["miss", "collapsed"]


@pytest.mark.parametrize("fails", [False, True])
async def test_an_answer_has_the_id_that_the_logs_know_it_by(
    tmp_path: Path, *, fails: bool
) -> None:
    async with room_in(tmp_path) as room, room.line() as line:
        artifact = await ready(room, line)
        if fails:
            room.origin.fault("origin", pattern(artifact), **status(404))
        head, _, _ = (await line.ask(line.question(artifact.link))).partition(b"\r\n\r\n")
        (request_id,) = re.findall(rb"X-Request-Id: (\w+)", head)
        assert room.taken == 1
        assert room.proxy.access()[-1]["request_id"] == request_id.decode()


async def test_what_comes_behind_the_question_is_answered_behind_it(tmp_path: Path) -> None:
    async with room_in(tmp_path) as room, room.line() as line:
        artifact = await ready(room, line)
        held = room.origin.fault("store", pattern(artifact), hold=True)
        line.writer.write(line.question(artifact.link))
        await held.reached()
        line.writer.write(line.question("/healthz") + line.question(PAGE))
        held.release()
        assert (await line.read()).endswith(data_of(artifact))
        assert (await line.read()).endswith(b'{"status": "ok"}')
        assert b"bigblob" in await line.read()


async def test_it_is_gone_by_over_tls_too(tmp_path: Path) -> None:
    farm = Authority("farm", tmp_path)
    pair = farm.server("127.0.0.1")
    server = {
        "listen": "127.0.0.1:0",
        "admin_listen": "127.0.0.1:0",
        "tls_certificate": str(pair.certificate),
        "tls_key": str(pair.key),
    }
    async with room_in(tmp_path, server=server) as room:
        room.proxy.tls = farm.context()
        async with room.line() as line:
            artifact = await ready(room, line, SMALL)
            assert (await line.ask(line.question(artifact.link))).endswith(data_of(artifact))
            assert room.taken == 1


# --- what changes meanwhile -----------------------------------------------------------------------


async def test_a_client_that_is_removed_hears_of_no_failure_but_that(tmp_path: Path) -> None:
    async with room_in(tmp_path, clients=[client("mine", "python")]) as room, room.line() as line:
        artifact = noise(room.origin.content, 40 * KIB)
        for _ in range(2):
            await line.ask(line.question(PAGE, authorization=MINE))
            await asyncio.sleep(0.02)  # a file this young is looked up anew
        failed = room.origin.fault("origin", pattern(artifact), hold=True, **status(404))
        line.writer.write(line.question(artifact.link, authorization=MINE))
        await failed.reached()
        await room.proxy.reconfigure(room.origin, {"clients": [client("another", "python")]})
        failed.release()
        assert (await line.read()).startswith(b"HTTP/1.1 401 ")
        assert room.taken == 1
        assert room.proxy.app.health.running == 0


async def test_a_drain_waits_for_what_is_under_way(tmp_path: Path) -> None:
    async with room_in(tmp_path) as room, room.line() as line:
        artifact = await ready(room, line)
        held = room.origin.fault("store", pattern(artifact), hold=True)
        line.writer.write(line.question(artifact.link))
        await held.reached()
        drain = asyncio.ensure_future(room.proxy.app.listener.drain(asyncio.Event(), 10))
        await asyncio.sleep(0.12)
        assert not drain.done()
        held.release()
        assert (await line.read()).endswith(data_of(artifact))
        assert await line.reader.read(-1) == b""
        await drain


@pytest.mark.parametrize("media_type", ["application/zip", "text/html", "a/b; c=%s"])
@pytest.mark.parametrize("headers", [(), (("X-One", "100 %"), ("X-Two", "\u00e4"))])
@pytest.mark.parametrize("status", [STORED, COLLAPSED])
async def test_its_head_is_the_general_one(
    media_type: str, headers: tuple[tuple[str, str], ...], status: CacheStatus
) -> None:
    target = ArtifactTarget("/a", "s", "p", "f", media_type=media_type, headers=headers)
    record = Record("key", "ab" * 32, 3, {})
    found = Stored(record, MemoryWriter().open(), status, 0, content=b"abc")
    request = make_mocked_request("GET", "/a")
    fields = responses.base_headers("an id")
    answer = await responses.stored(request, UNCONDITIONAL, target, found, fields, 0)
    assert isinstance(answer, Answer)
    answer.headers["Content-Length"] = "3"
    answer.headers["Date"] = "now"
    head = responses.landed(target, "an id", record, str(status))
    head = re.sub(rb"\r\nDate: [^\r]*GMT\r\n", b"\r\nDate: now\r\n", head)
    assert head == head_of(answer) + b"\r\n"
    found.close()


async def test_a_head_that_cannot_be_made_is_left_to_the_general_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with room_in(tmp_path, tracebacks=True) as room, room.line() as line:
        artifact = await ready(room, line)

        def broken(*_: object) -> bytes:
            raise ValueError("as the test wants it")

        monkeypatch.setattr(responses, "landed", broken)
        assert (await line.ask(line.question(artifact.link))).endswith(data_of(artifact))
        assert (room.taken, room.proxy.app.health.running) == (1, 0)


async def test_a_defect_of_it_costs_nobody_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with room_in(tmp_path, tracebacks=True) as room, room.line() as line:
        artifact = await ready(room, line)

        def broken(*_: object) -> None:
            raise RuntimeError("as the test wants it")

        monkeypatch.setattr(room.proxy.app.artifacts, "begin", broken)
        assert (await line.ask(line.question(artifact.link))).endswith(data_of(artifact))
        assert (room.taken, room.proxy.app.health.running) == (0, 0)


async def test_a_defect_of_the_notes_does_not_hold_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with room_in(tmp_path, tracebacks=True) as room, room.line() as line:
        artifact = await ready(room, line)

        def broken(*_: object) -> None:
            raise RuntimeError("as the test wants it")

        monkeypatch.setattr("proxy.server.prompt.note_errand", broken)
        question = line.question(artifact.link)
        assert (await line.ask(question)).endswith(data_of(artifact))
        assert (room.taken, room.proxy.app.health.running) == (1, 0)
        assert (await line.ask(question)).endswith(data_of(artifact))
