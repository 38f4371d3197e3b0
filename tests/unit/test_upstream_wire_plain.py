"""What a connection takes in itself comes to what the library's parser makes of it, cut as it may.

Each script is an answer's bytes and how the connection goes on; it is cut in two at every place,
and in many at some. The library's own protocol is asked in the same words.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, Self

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from proxy.upstream.addresses import Address
from proxy.upstream.arriving import Arriving
from proxy.upstream.plain import SMALL
from proxy.upstream.questions import Questions
from proxy.upstream.session import FACTORY, FAILURES, make_session
from proxy.upstream.wire import READ, READ_BUFFER, Wire
from tests.running import trusting

BODY = b"0123456789abcdef"
PLAIN = b"HTTP/1.1 200 OK\r\nETag: x\r\nContent-Length: 16\r\n\r\n"
ENDLESS = PLAIN.replace(b"Content-Length: 16\r\n", b"")
CHUNKED = ENDLESS.replace(b"ETag: x", b"Transfer-Encoding: chunked")
AT: Any = Address.of(URL("http://h.example/x"), own=True)


class Script(NamedTuple):
    """The bytes of an answer; whether the connection is then ended (`fin`), cut (`rst`), or stays
    open for another one."""

    sent: bytes
    end: str = ""


SCRIPTS = {
    "plain": Script(PLAIN + BODY),
    "plain and ended": Script(PLAIN + BODY, "fin"),
    "one byte": Script(PLAIN.replace(b"16", b"1") + b"x"),
    "cut in the body": Script(PLAIN + BODY[:-1], "rst"),
    "ended in the body": Script(PLAIN + BODY[:-1], "fin"),
    "ended before the body": Script(PLAIN, "fin"),
    "ended in the head": Script(PLAIN[:-2], "fin"),
    "nothing": Script(b"", "fin"),
    "another one behind it": Script(PLAIN + BODY + PLAIN + BODY),
    "rubbish behind it": Script(PLAIN + BODY + b"rubbish\r\n"),
    "a line end behind it": Script(PLAIN + BODY + b"\r\n"),
    "no body": Script(PLAIN.replace(b"16", b"0")),
    "two lengths": Script(PLAIN.replace(b"ETag: x", b"Content-Length: 15") + BODY),
    "the same length twice": Script(PLAIN.replace(b"ETag: x", b"Content-Length: 16") + BODY),
    "a length of letters": Script(PLAIN.replace(b"16", b"0x10") + BODY),
    "no length": Script(ENDLESS + BODY, "fin"),
    "chunks": Script(CHUNKED + b"10\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunks and a length": Script(
        CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 16\r\n\r\n")
        + b"10\r\n"
        + BODY
        + b"\r\n0\r\n\r\n"
    ),
    "close": Script(PLAIN.replace(b"ETag: x", b"Connection: close") + BODY, "fin"),
    "kept by name": Script(PLAIN.replace(b"ETag: x", b"connection: Keep-Alive") + BODY),
    "HTTP/1.0": Script(PLAIN.replace(b"/1.1", b"/1.0") + BODY, "fin"),
    "a hint before it": Script(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + PLAIN + BODY),
    "go on before it": Script(b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN + BODY),
    "not modified": Script(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n"),
    "a part": Script(PLAIN.replace(b"200 OK", b"206 Partial Content") + BODY),
    "a redirect": Script(PLAIN.replace(b"200 OK\r\nETag:", b"302 Found\r\nLocation:") + BODY),
    "gzip": Script(PLAIN.replace(b"ETag: x", b"Content-Encoding: gzip") + BODY),
    "another protocol": Script(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "bare line ends": Script(PLAIN.replace(b"\r\n", b"\n") + BODY),
    "a folded line": Script(PLAIN.replace(b"x\r\n", b"x\r\n y\r\n") + BODY),
    "a NUL": Script(PLAIN.replace(b"x\r\n", b"x\0y\r\n") + BODY),
    "a tab": Script(PLAIN.replace(b"x\r\n", b"x\ty\r\n") + BODY),
    "not ASCII": Script(PLAIN.replace(b"x\r\n", b"\xc3\xb6\r\n") + BODY),
    "an upgrade": Script(PLAIN.replace(b"ETag: x", b"Upgrade: h2c") + BODY),
}

BEHIND = ("another one behind it", "a line end behind it")


class Line(asyncio.Transport):
    """A transport that brings a script, a cut at a time, when it is asked; then a good answer."""

    max_size = READ_BUFFER

    def __init__(self, script: Script, cuts: Sequence[int]) -> None:
        super().__init__()
        self.protocol: Any = None
        self.asked = 0
        self.sizes: list[int] = []
        self._closing = False
        places = (0, *cuts, len(script.sent))
        self._pieces = [script.sent[a:b] for a, b in pairwise(places)]
        self._end = script.end

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.asked += 1
        self.sizes.append(self.max_size)
        if self.asked > 1:
            self._pieces, self._end = [PLAIN + BODY], ""
        asyncio.get_running_loop().call_soon(self._bring)

    def _bring(self) -> None:
        loop = asyncio.get_running_loop()
        if self._closing:
            return
        if self._pieces:
            self.protocol.data_received(self._pieces.pop(0))
            loop.call_soon(self._bring)
        elif self._end:
            if self._end == "fin":
                self.protocol.eof_received()
            self._lose(ConnectionResetError() if self._end == "rst" else None)

    def _lose(self, error: Exception | None) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, error)

    def close(self) -> None:
        self._lose(None)

    def is_closing(self) -> bool:
        return self._closing

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default

    def pause_reading(self) -> None:
        raise AssertionError("these are small")

    def resume_reading(self) -> None:
        pass


class Lines(aiohttp.BaseConnector):
    """The library's connector, whose connections are scripts."""

    def __init__(self, make: Callable[[], ResponseHandler], *lines: Line) -> None:
        super().__init__(limit=0)
        self._make = make
        self.lines = list(lines)
        self.used: list[Line] = []

    async def _create_connection(self, *_: object) -> ResponseHandler:
        line = self.lines.pop(0)
        self.used.append(line)
        line.protocol = protocol = self._make()
        protocol.connection_made(line)
        return protocol


class Came(NamedTuple):
    """What became of a question and of the next one. `body` of the first, whose failure `failed`
    names; `asked`: how often each connection was."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes
    failed: str
    asked: tuple[int, ...]


class Asking:
    """A `Questions` on scripts."""

    def __init__(self, make: Callable[[], ResponseHandler], *lines: Line) -> None:
        self.lines = Lines(make, *lines)
        self.questions = Questions(aiohttp.ClientSession(connector=self.lines), 1.0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.questions.close()

    async def ask(self) -> tuple[int, tuple[tuple[str, str], ...], bytes, str]:
        """Status, fields, body, and the kind of failure."""
        try:
            answer = await self.questions.ask(AT, {"Accept": "*/*"})
        except FAILURES as error:
            return 0, (), b"", type(error).__name__
        body, failed = b"", ""
        try:
            while not answer.content.at_eof() and (piece := (await answer.content.readchunk())[0]):
                body += piece
        except FAILURES as error:
            failed = type(error).__name__
        answer.close()
        fields = [(name.lower(), value) for name, value in answer.headers.items()]
        return answer.status, tuple(fields), body, failed


async def come(kind: type[ResponseHandler], script: Script, cuts: Sequence[int]) -> Came:
    """Ask twice, on as many connections as it takes."""
    loop = asyncio.get_running_loop()
    lines = Line(script, cuts), Line(Script(PLAIN + BODY), ())
    async with Asking(partial(kind, loop), *lines) as asking:
        first = await asking.ask()
        for _ in range(4 + len(cuts)):
            await asyncio.sleep(0)  # what comes behind it comes now
        second = await asking.ask()
        assert second[:3:2] == (200, BODY)
    return Came(*first, tuple(line.asked for line in asking.lines.used))


def cuts_of(sent: bytes) -> list[tuple[int, ...]]:
    """At every place, and at some places at once."""
    dice = random.Random(sent)
    places = range(1, len(sent))
    once: list[tuple[int, ...]] = [(), *((place,) for place in places)]
    some = [dice.sample(places, min(len(places), dice.randint(2, 9))) for _ in range(20)]
    return [*once, *(tuple(sorted(cuts)) for cuts in some)]


@pytest.mark.parametrize("name", SCRIPTS)
async def test_an_answer_cut_anywhere_comes_to_what_the_library_makes_of_it(name: str) -> None:
    script = SCRIPTS[name]
    for cuts in cuts_of(script.sent):
        ours = await come(Wire, script, cuts)
        theirs = await come(ResponseHandler, script, cuts)
        if theirs.failed:
            # A stream of the library drops what nobody has read when the connection is cut.
            assert ours.body.startswith(theirs.body)
            ours = ours._replace(body=theirs.body)
        if name in BEHIND and ours.asked == (1, 1):
            theirs = theirs._replace(asked=ours.asked)  # its pool looks less closely
        assert ours == theirs, (name, cuts)


async def test_a_plain_answer_is_taken_in_without_the_library() -> None:
    line = Line(Script(PLAIN + BODY), (len(PLAIN), len(PLAIN) + 4))
    async with Asking(partial(Wire, asyncio.get_running_loop()), line) as asking:
        answer = await asking.questions.ask(AT, {})
        assert isinstance(answer.content, Arriving)
        assert not answer.content.is_eof()
        assert line.protocol._parser is None
        answer.close()
        assert line.is_closing()


async def test_the_largest_small_body_comes_in_any_number_of_pieces() -> None:
    dice = random.Random(5)
    body = dice.randbytes(SMALL)
    head = PLAIN.replace(b"16", str(SMALL).encode())
    cuts = sorted(dice.sample(range(len(head), len(head) + SMALL), 40))
    line = Line(Script(head + body), cuts)
    async with Asking(partial(Wire, asyncio.get_running_loop()), line) as asking:
        assert (await asking.ask())[2] == body
        assert (await asking.ask())[2] == BODY
    assert line.asked == 2


async def test_little_is_read_at_once_of_what_may_be_small_and_much_of_the_rest() -> None:
    large = PLAIN.replace(b"16", str(SMALL + 1).encode()) + bytes(SMALL + 1)
    line = Line(Script(large), ())
    async with Asking(partial(Wire, asyncio.get_running_loop()), line) as asking:
        assert (await asking.ask())[3] == ""
        assert (line.sizes, line.max_size) == ([READ], READ_BUFFER)
        assert (await asking.ask())[2] == BODY
        assert (line.sizes, line.max_size) == ([READ, READ], READ)


async def test_what_came_is_read_before_what_went_wrong_and_no_more_than_is_wanted() -> None:
    body = Arriving(asyncio.get_running_loop(), b"..abc", 2, 7)
    body.feed(b"de")
    assert (await body.read(0), await body.read(2), await body.read(9)) == (b"ab"[:0], b"ab", b"c")
    body.set_exception(aiohttp.ClientPayloadError("cut"))
    body.set_exception(TimeoutError())
    assert (body.is_eof(), body.at_eof()) == (False, False)
    assert await body.readchunk() == (b"de", False)
    for _ in range(2):
        with pytest.raises(aiohttp.ClientPayloadError):
            await body.readchunk()


async def test_who_waits_for_a_body_hears_of_each_piece_and_of_its_end_once() -> None:
    ended: list[str] = []
    body = Arriving(asyncio.get_running_loop(), b"..", 2, 3)
    body.on_eof(lambda: ended.append("then"))
    waiting = asyncio.ensure_future(body.readchunk())
    await asyncio.sleep(0)
    body.feed(b"ab")
    assert (await waiting, ended) == ((b"ab", False), [])
    body.feed(b"c")
    body.on_eof(lambda: ended.append("at once"))
    assert (ended, body.is_eof(), body.at_eof()) == (["then", "at once"], True, False)
    assert (body.read_nowait(), body.at_eof()) == (b"c", True)
    assert await body.readchunk() == (b"", False)


async def test_what_comes_behind_an_answer_that_nobody_has_looked_at_yet_ends_the_connection() -> (
    None
):
    line = Line(Script(CHUNKED + b"0\r\n\r\n"), ()), Line(Script(PLAIN + BODY), ())
    async with Asking(partial(Wire, asyncio.get_running_loop()), *line) as asking:
        assert (await asking.ask())[0] == 200  # there is a parser that would take it
        asked = asyncio.ensure_future(asking.questions.ask(AT, {}))
        while not line[0].protocol.is_idle or line[0].asked < 2:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0)
        line[0].protocol.data_received(b"HTTP/1.1 2")
        assert await (await asked).content.read(99) == BODY
        assert (await asking.ask())[2] == BODY
    assert [one.asked for one in line] == [2, 1]


async def test_whoever_left_before_an_answer_came_is_not_told_and_the_connection_is_closed() -> (
    None
):
    line = Line(Script(b""), ())
    async with Asking(partial(Wire, asyncio.get_running_loop()), line) as asking:
        asked = asyncio.ensure_future(asking.questions.ask(AT, {}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert line.is_closing()
        line.protocol.data_received(PLAIN)  # as if it had been on its way through the loop


async def test_a_connection_that_was_lost_before_it_is_asked_on_is_an_error_like_any_other() -> (
    None
):
    wire = Wire(asyncio.get_running_loop())
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await wire.ask(b"GET / HTTP/1.1\r\n\r\n")


async def test_the_library_makes_its_connections_with_what_it_is_thought_to() -> None:
    """Where another version does not, all answers are the parser's, and this has to be mended."""
    session = make_session(trusting(None), connect_timeout=1.0)
    connector = session.connector
    plain = aiohttp.TCPConnector()
    assert isinstance(getattr(plain, FACTORY)(), ResponseHandler)
    assert isinstance(getattr(connector, FACTORY)(), Wire)
    await plain.close()
    await session.close()
