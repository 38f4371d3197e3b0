"""Which connections are kept, which of them is used next, and when they are closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from time import monotonic
from typing import Self

import pytest
from yarl import URL

from proxy.errors import Unavailable
from proxy.upstream.addresses import Address
from proxy.upstream.kept import Kept
from proxy.upstream.questions import MAX_ORIGINS, Questions
from proxy.upstream.response import HttpResponse
from proxy.upstream.session import make_session
from tests.running import trusting
from tests.unit.upstream_room import OK, SWIFT, Raw, ask, room

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"


def at(text: str) -> Address:
    return Address.of(URL(text), own=True)


async def read(response: HttpResponse, pieces: list[bytes]) -> None:
    """Read to the end, or to the error."""
    async for piece in response.pieces():
        pieces.append(piece)  # noqa: PERF401  # what came before the error counts


class Asked:
    """A `Questions` and a server that always answers."""

    def __init__(self) -> None:
        self.questions = Questions(make_session(trusting(None), connect_timeout=1.0), 1.0)
        self.raw = Raw(lambda _: OK)

    async def __aenter__(self) -> Self:
        await self.raw.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.questions.close()
        await self.raw.__aexit__(None, None, None)

    async def open(self, count: int) -> None:
        """Have so many connections kept."""
        answers = await asyncio.gather(
            *(self.questions.ask(at(f"{self.raw.url}/x"), {}) for _ in range(count))
        )
        for answer in answers:
            assert await answer.content.read(9) == b"ok"

    @property
    def kept(self) -> Kept:
        (origin,) = self.questions._origins.values()
        return origin.kept


async def test_the_connection_that_was_used_last_is_the_first_to_be_used_again() -> None:
    async with Asked() as asked:
        await asked.open(3)
        last = asked.kept._idle[-1][0]
        taken = asked.kept.take()
        assert taken is last
        asked.kept.put(taken)
        await asked.open(1)
        assert (asked.raw.connections, len(asked.kept._idle)) == (3, 3)


async def test_one_that_was_closed_or_kept_too_long_or_has_heard_something_is_not_used() -> None:
    async with Asked() as asked:
        await asked.open(3)
        idle = asked.kept._idle
        idle[0] = (*idle[0][:2], monotonic() - 3600.0)
        idle[1][1].close()
        idle[2][1].data_received(b"H")
        assert asked.kept.take() is None
        await asked.open(1)
        assert asked.raw.connections == 4


async def test_a_sweep_closes_what_nobody_can_use_and_nothing_else() -> None:
    async with Asked() as asked:
        await asked.open(3)
        idle = asked.kept._idle
        (_, old, _), (_, gone, _), (_, good, _) = idle
        idle[0] = (*idle[0][:2], monotonic() - 3600.0)
        gone.close()
        asked.questions._sweep()
        assert (len(asked.kept._idle), old.transport, good.is_ready) == (1, None, True)


async def test_the_connections_of_an_origin_that_is_forgotten_are_closed() -> None:
    async with Asked() as asked:
        await asked.open(2)
        kept, busy = asked.kept, asked.kept.take()
        assert busy is not None
        for number in range(MAX_ORIGINS):
            asked.questions._meet(at(f"http://h{number}.example/"))
        assert (len(kept._idle), asked.questions.origins) == (0, MAX_ORIGINS)
        kept.put(busy)
        assert (len(kept._idle), busy.protocol) == (0, None)


async def test_what_is_kept_is_closed_with_its_session() -> None:
    async with Asked() as asked:
        await asked.open(2)
        wires = [wire for _, wire, _ in asked.kept._idle]
        await asked.questions.close()
        assert [wire.transport for wire in wires] == [None, None]
        assert len(asked.kept._idle) == 0


# --- limits of time ----------------------------------------------------------------------------


async def test_a_head_that_does_not_come_is_overdue_also_on_a_connection_that_was_kept() -> None:
    answers = [OK, None]

    async def late(_: str) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    limits = replace(SWIFT, first_byte_timeout=0.2)
    async with (
        Raw(lambda target: answers.pop(0) or late(target)) as raw,
        room(raw.url, limits=limits) as made,
    ):
        assert await made.get("/x") == b"ok"
        async with asyncio.timeout(10):
            with pytest.raises(Unavailable, match="in time"):
                await made.get("/x")
        assert (made.seen.limits, raw.connections) == (["first_byte_timeout"], 1)


@pytest.mark.parametrize("came", [b"", b"ab"])
async def test_a_plain_body_that_falls_silent_is_an_error(came: bytes) -> None:
    async def silent(_: str) -> AsyncIterator[bytes]:
        yield HEAD + came
        await asyncio.Event().wait()

    limits = replace(SWIFT, read_timeout=0.2)
    async with Raw(silent) as raw, room(raw.url, limits=limits) as made:
        response = await made.upstream.open(ask("/x"))
        pieces: list[bytes] = []
        async with asyncio.timeout(10):
            with pytest.raises(Unavailable, match="broke off"):
                await read(response, pieces)
        await response.close()
        assert (b"".join(pieces), made.seen.received) == (came, len(came))


async def test_a_plain_body_that_drips_is_too_slow() -> None:
    heard = asyncio.Event()

    async def drip(_: str) -> AsyncIterator[bytes]:
        yield HEAD + b"a"
        for piece in (b"b", b"c", b"d"):
            await heard.wait()
            heard.clear()
            made.clock.ahead += 40.0
            yield piece

    async with Raw(drip) as raw, room(raw.url) as made:
        made.seen.upstream_bytes = lambda *_: heard.set()  # type: ignore[method-assign]
        async with asyncio.timeout(10):
            with pytest.raises(Unavailable, match="too slowly"):
                await made.get("/x")
        assert made.seen.limits == ["min_rate"]


async def test_what_came_of_a_plain_body_before_it_broke_is_given_before_the_error() -> None:
    async def broken(_: str) -> AsyncIterator[bytes]:
        yield HEAD + b"abc"

    async with Raw(broken) as raw, room(raw.url) as made:
        response = await made.upstream.open(ask("/x"))
        while response._response.content.exception() is None:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0)  # it is cut before anybody reads it
        assert response.here() == b""
        pieces = response.pieces()
        assert await anext(pieces) == b"abc"
        with pytest.raises(Unavailable, match="broke off"):
            await anext(pieces)
        await response.close()
