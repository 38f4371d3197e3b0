"""Faults of the test origin strike the very byte, and only what they name.

Purpose: a fault that misses would make every proxy look robust. Non-goals: the proxy.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from tests.origin import (
    Origin,
    html_page,
    interim_flood,
    redirect,
    status,
    wrong_bytes,
    wrong_content_range,
)
from tests.origin.faults import fault_from_json
from tests.origin.raw import IDENTITY, ask, basic, located

WHEEL = "alpha-1.0-py3-none-any.whl"


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as running:
        yield running


@pytest.mark.parametrize("cut", ["rst", "fin"])
@pytest.mark.parametrize("framing", ["length", "close", "chunked"])
async def test_a_body_is_cut_at_the_very_byte(origin: Origin, framing: str, cut: str) -> None:
    origin.content.synthetic("bigblob", size=300_000)
    target = await located(origin, "bigblob-1.0-py3-none-any.whl")
    full = (await ask(origin.store_url, target, IDENTITY)).body
    origin.fault("store", "bigblob", cut_at=70_001, cut=cut, framing=framing)
    got = await ask(origin.store_url, target, IDENTITY)
    assert got.ended == cut
    expected = {"length": ("300000", None), "close": (None, None), "chunked": (None, "chunked")}
    framed = (got.header("content-length"), got.header("transfer-encoding"))
    assert framed == expected[framing]
    if framing == "chunked":
        assert b"\r\n0\r\n\r\n" not in got.body[-16:]
    else:
        assert got.body == full[:70_001]


async def test_one_bit_flips_under_headers_that_claim_the_right_digest(origin: Origin) -> None:
    blob = origin.content.find(WHEEL).blob
    target = await located(origin, WHEEL)
    full = (await ask(origin.store_url, target, IDENTITY)).body
    origin.fault("store", "alpha", **wrong_bytes())
    got = await ask(origin.store_url, target, IDENTITY)
    assert got.header("x-checksum-sha256") == blob.sha256
    assert (got.body[0] ^ full[0], got.body[1:]) == (1, full[1:])


async def test_a_stalled_body_waits_until_it_is_released(origin: Origin) -> None:
    blob = origin.content.find(WHEEL).blob
    target = await located(origin, WHEEL)
    stall = origin.fault("store", "alpha", stall_at=100)
    asking = asyncio.create_task(ask(origin.store_url, target, IDENTITY))
    await asyncio.wait_for(stall.reached(), 5)
    assert origin.journal.body_bytes["store"] == 100
    assert not asking.done()
    stall.release()
    assert len((await asyncio.wait_for(asking, 5)).body) == blob.size


async def test_a_stalled_answer_notices_that_its_client_left(origin: Origin) -> None:
    target = await located(origin, WHEEL)
    stall = origin.fault("store", "alpha", hold=True)
    asking = asyncio.create_task(ask(origin.store_url, target, IDENTITY))
    await asyncio.wait_for(stall.reached(), 5)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await asyncio.wait_for(origin.journal.idle.wait(), 5)
    assert origin.journal.peak["store"] == 1


async def test_faults_strike_only_what_they_name_and_as_often_as_they_say(origin: Origin) -> None:
    fault = origin.fault(
        "origin", "simple", method="GET", after=1, times=2, **status(429, Retry_After="soon")
    )
    codes = [(await ask(origin.url, "/python/simple/", basic(origin))).status for _ in range(4)]
    assert codes == [200, 429, 429, 200]
    assert fault.hits == 2
    forever = origin.fault("origin", times=None, **redirect("//evil.example:1/%zz"))
    got = await ask(origin.url, "/python/simple/", basic(origin))
    assert got.header("location") == "//evil.example:1/%zz"
    forever.clear()
    assert (await ask(origin.url, "/python/simple/", basic(origin))).status == 200


async def test_other_answers_and_broken_heads(origin: Origin) -> None:
    target = await located(origin, WHEEL)
    origin.fault("store", **html_page())
    assert (await ask(origin.store_url, target, IDENTITY)).header("content-type") == "text/html"
    ranged = {**IDENTITY, "Range": "bytes=5-"}
    origin.fault("store", **wrong_content_range())
    got = await ask(origin.store_url, target, ranged)
    assert (got.status, got.header("content-range")) == (206, "bytes 7-8/9")
    origin.fault("store", ignore_range=True)
    assert (await ask(origin.store_url, target, ranged)).status == 200
    origin.fault("store", **interim_flood(3))
    assert (await ask(origin.store_url, target, IDENTITY)).status == 103
    origin.fault("store", close=True)
    assert (await ask(origin.store_url, target, IDENTITY)).status == 0
    origin.fault("store", extra=b"surplus")
    assert (await ask(origin.store_url, target, IDENTITY)).body.endswith(b"surplus")


async def test_a_rate_slows_one_body_or_all_of_them(origin: Origin) -> None:
    target = await located(origin, WHEEL)
    size = origin.content.find(WHEEL).blob.size
    now = asyncio.get_running_loop().time
    origin.fault("store", rate=size * 5.0)
    before = now()
    assert len((await ask(origin.store_url, target, IDENTITY)).body) == size
    assert now() - before >= 0.15
    origin.throttle.rate = size * 10.0
    before = now()
    await asyncio.gather(*(ask(origin.store_url, target, IDENTITY) for _ in range(3)))
    assert now() - before >= 0.25


async def test_a_connection_is_kept_alive(origin: Origin) -> None:
    where = urlsplit(origin.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    for _ in range(2):
        writer.write(b"GET /openvex/v1/all.json HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
    writer.close()
    await writer.wait_closed()


async def test_a_stopped_origin_refuses_and_comes_back_on_the_same_port(origin: Origin) -> None:
    url, store_url = origin.url, origin.store_url
    await origin.close_listener()
    for stopped in (url, store_url):
        with pytest.raises(ConnectionRefusedError):
            await ask(stopped, "/")
    await origin.reopen()
    assert (origin.url, origin.store_url) == (url, store_url)
    assert (await ask(url, "/python/simple/", basic(origin))).status == 200


def test_a_fault_reads_from_json_and_unknown_keys_are_errors() -> None:
    fault = fault_from_json({"preset": "wrong_bytes", "server": "store", "times": None})
    assert (fault.server, fault.flip_at, fault.times) == ("store", 0, None)
    assert fault_from_json({"body": {"base64": "AAE="}}).body == b"\0\1"
    with pytest.raises(ValueError, match="unknown keys"):
        fault_from_json({"cutat": 1})
