"""Bad requests, each through a real socket against a real proxy.

Whatever the row: one answer, of an expected status, in words of ours; nothing behind a 400 is
answered; no upstream hears of it, nothing is stored, no traceback and only the one access line is
logged.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from tests.origin import Origin
from tests.running import Answer, Running, answers, client, running, token
from tests.unit import server_bad_inputs as table
from tests.unit.server_bad_inputs import HOST, SECOND, Row, request

ALL = (*table.PATHS, *table.FRAMING, *table.FORWARDED, *table.CREDENTIALS)
CLIENTS = {"clients": [client("farm", "python"), client("other", "java")]}


async def talk(proxy: Running, row: Row) -> list[Answer]:
    """Send a row with a second request behind it; every answer until the connection ends."""
    if not row.then:
        raw = await proxy.send(row.raw + SECOND, end=True)
        return answers(raw)
    reader, writer = await proxy.connect()
    try:
        async with asyncio.timeout(10):
            writer.write(row.raw)
            # The answer to the head is there before the body is sent.
            raw = await reader.readuntil(b"\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                writer.write(row.then + SECOND)
                raw += await reader.read()
    finally:
        writer.transport.abort()
    proxy.received.append(raw)
    return answers(raw)


def judge(proxy: Running, origin: Origin, row: Row, found: list[Answer]) -> None:
    """What holds after every row."""
    assert found[0].status in row.statuses, found[0]
    assert found[0].complete
    if found[0].status in {401, 403, 404} and not row.has_body:
        assert [answer.status for answer in found[1:]] == [200]
    else:
        assert len(found) == 1, [answer.status for answer in found]
        assert found[0].version == 10 or found[0].header("Connection") == "close"
    if found[0].status == 405:
        assert found[0].header("Allow") == "GET, HEAD"
    for answer in found:
        assert answer.version in {10, 11}
        assert answer.header("Server") == "cgr-proxy"
        assert answer.header("X-Content-Type-Options") == "nosniff"
        assert answer.header("Cache-Control") == "no-store"
    request_id = found[0].header("X-Request-Id")
    assert request_id is not None
    assert request_id.encode() in found[0].body
    # Nothing that was sent comes back: no echo of headers, no injected field.
    assert all(name.lower() != "x-evil" for answer in found for name, _ in answer.headers)
    assert b"echo-me" not in found[0].body
    assert b"evil.example" not in found[0].body
    assert origin.log == []
    assert proxy.stored() == []
    lines = proxy.access()
    assert [line["status"] for line in lines] == [answer.status for answer in found]
    assert lines[0]["request_id"] == request_id
    said = [entry for entry in proxy.messages() if entry["level"] != "debug"]
    assert [entry["message"][:28] for entry in said] == ["[upstream] allow_insecure is"]


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.id)
async def test_a_bad_request_is_refused_and_nothing_else_happens(row: Row, tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        judge(proxy, origin, row, await talk(proxy, row))


@pytest.mark.parametrize(
    "row", [row for row in table.PATHS if row.id.endswith("-0")], ids=lambda row: row.id
)
async def test_a_bad_path_is_401_to_who_shows_no_token(row: Row, tmp_path: Path) -> None:
    # What the HTTP parser refuses (B13, B18) never comes to the question of who asks.
    statuses = (401, 400) if row.id.startswith(("B13", "B18")) else (401,)
    async with Origin() as origin, running(tmp_path, origin, CLIENTS) as proxy:
        found = answers(await proxy.send(row.raw + SECOND, end=True))
        assert found[0].status in statuses
        assert origin.log == []


@pytest.mark.parametrize("row", table.CREDENTIALS, ids=lambda row: row.id)
async def test_a_credential_that_is_none_is_401_with_a_challenge(row: Row, tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin, CLIENTS) as proxy:
        found = await talk(proxy, row)
        judge(proxy, origin, row, found)
        assert found[0].header("WWW-Authenticate") == 'Basic realm="cgr-proxy"'
        assert found[0].cache == "cgr-proxy; detail=denied"
        assert found[0].header("Content-Type") == "application/problem+json"


async def test_b60_an_authorization_of_64_kib_is_refused_by_the_parser(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin, CLIENTS) as proxy:
        raw = request("/python/simple/alpha/", b"Authorization: Basic " + b"A" * 65_536)
        (answer,) = answers(await proxy.send(raw + SECOND, end=True))
        assert answer.status == 400


async def test_b61_every_wrong_credential_gets_the_same_words(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin, CLIENTS) as proxy:
        bodies = set()
        for wrong in ("nobody", token("farm")[:-1], token("farm").upper(), token("farm") + "a"):
            answer = await proxy.get("/python/simple/alpha/", authorization=f"Bearer {wrong}")
            assert answer.status == 401
            body = answer.json()
            assert body.pop("request_id") == answer.header("X-Request-Id")
            bodies.add(str(body))
        assert len(bodies) == 1
        assert origin.log == []


async def test_b18_a_long_line_in_many_small_pieces_is_refused(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        line = request("/" + "a" * 16_384)
        pieces = [line[start : start + 1] for start in range(len(line))]
        (answer,) = answers(await proxy.send(*pieces))
        assert answer.status == 400
        assert len(proxy.access()) == 1


async def test_b57_what_stands_behind_a_bad_request_in_one_packet_is_not_answered(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        good = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
        bad = b"GET / HTTP/1.1\r\n" + HOST + b"Bad : x\r\n\r\n"
        found = answers(await proxy.send(good + bad + good * 3, end=True))
        # The parser gives up on the packet: the good one before may be lost with it.
        assert [answer.status for answer in found] in ([200, 400], [400])


async def test_b80_a_half_closed_client_still_gets_its_answer(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        raw = await proxy.send(b"GET /healthz HTTP/1.0\r\n\r\n", end=True)
        (answer,) = answers(raw)
        assert (answer.status, answer.json()) == (200, {"status": "ok"})


async def test_b80_a_body_that_drips_into_a_refusal_does_not_hold_the_connection(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        head = request("/python/", b"Content-Length: 1000000", method=b"PUT")
        async with asyncio.timeout(5):
            (answer,) = answers(await proxy.send(head, b"a", b"b"))
        assert answer.status == 405


# Numbers of the list that no row here has, and where they are looked at.
ELSEWHERE = {
    "test_server_odd_requests": "27 30 36 37 38 39 50 53 57 59 62 64 66 67 70 71 75",
    "test_server_admin": "73",
    "tests/matrix": "29 63",
    "this file, below the tables": "61 80",
    "with the ecosystem that has such names (npm)": "21 24 25",
    "with the parsers of documents and the upstream": "76 77 78 79",
}


def test_every_number_of_the_list_has_a_place() -> None:
    here = {int(row.id[1:3]) for row in ALL}
    elsewhere = {int(number) for numbers in ELSEWHERE.values() for number in numbers.split()}
    assert here | elsewhere == set(range(1, 81))
