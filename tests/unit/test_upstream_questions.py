"""GETs without the library's request objects: what goes out, and what becomes of the connection."""

from __future__ import annotations

import aiohttp
import pytest
from yarl import URL

from proxy.errors import Malformed
from proxy.upstream.addresses import Address
from proxy.upstream.questions import MAX_ORIGINS, Questions
from proxy.upstream.session import NotHttp, make_session
from tests.running import trusting
from tests.unit.upstream_room import OK, Raw, ask, room

EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"


def at(url: URL) -> Address:
    return Address.of(url, own=True)


async def test_an_address_and_its_fields_go_out_byte_for_byte_and_in_one_head() -> None:
    async with Raw(lambda _: OK) as raw:
        questions = Questions(make_session(trusting(None), connect_timeout=1.0), 1.0)
        url = URL(f"{raw.url}/a%2Fb%20c?sig=%2B/x%3D&n", encoded=True)
        answer = await questions.ask(at(url), {"Accept": "text/html", "User-Agent": "me"})
        assert (answer.status, await answer.content.read(9)) == (200, b"ok")
        await questions.close()
    (head,) = raw.heads
    assert head.split("\r\n") == [
        "GET /a%2Fb%20c?sig=%2B/x%3D&n HTTP/1.1",
        f"Host: {raw.place}",
        "Accept: text/html",
        "User-Agent: me",
        "",
        "",
    ]


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nX: y", "a\rb", "a\0b"])
async def test_a_value_that_would_end_its_line_goes_nowhere(value: str) -> None:
    async with Raw(lambda _: OK) as raw:
        questions = Questions(make_session(trusting(None), connect_timeout=1.0), 1.0)
        with pytest.raises(ValueError, match="line break"):
            await questions.ask(at(URL(raw.url)), {"If-None-Match": value})
        await questions.close()
        assert raw.connections == 0


async def test_hints_before_the_answer_are_passed_over() -> None:
    async with Raw(lambda _: EARLY + EARLY + OK) as raw, room(raw.url) as made:
        assert await made.get("/x") == b"ok"


async def test_a_connection_is_used_again_once_its_body_was_received() -> None:
    async with Raw(lambda _: OK) as raw, room(raw.url) as made:
        for _ in range(3):
            assert await made.get("/x") == b"ok"
        assert raw.connections == 1


async def test_a_connection_whose_body_nobody_wants_is_not_used_again() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n"
    async with Raw(lambda _: head) as raw, room(raw.url) as made:
        for count in (1, 2):
            response = await made.upstream.open(ask("/x"))
            await response.close()
            await response.close()
            assert raw.connections == count


async def test_what_is_no_http_is_said_to_be_none() -> None:
    async with Raw(lambda _: b"SSH-2.0-OpenSSH_9.2\r\n\r\n") as raw:
        questions = Questions(make_session(trusting(None), connect_timeout=1.0), 1.0)
        with pytest.raises(NotHttp):
            await questions.ask(at(URL(raw.url)), {})
        await questions.close()
        async with room(raw.url) as made:
            with pytest.raises(Malformed, match="not valid HTTP"):
                await made.get("/x")


async def test_what_is_known_of_origins_is_bounded() -> None:
    async with Raw(lambda _: OK) as raw:
        questions = Questions(make_session(trusting(None), connect_timeout=1.0), 1.0)
        for number in range(MAX_ORIGINS + 10):
            url = URL(f"http://127.0.{number // 200}.{number % 200 + 1}:{raw.port}/")
            if url.host != raw.host:
                with pytest.raises(aiohttp.ClientConnectorError):
                    await questions.ask(at(url), {})
        assert questions.origins <= MAX_ORIGINS
        await questions.close()
