"""What no upstream should send and every network does: wire-level rubbish, and the environment."""

from __future__ import annotations

import gzip
import random
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.cache.whole import receive
from proxy.errors import Blocked, Malformed, ProxyError, Unavailable
from proxy.upstream.base import UpstreamRequest
from proxy.upstream.client import MAX_TRIES
from tests.origin import (
    Origin,
    garbage,
    header_bomb,
    interim_flood,
    wrong_content_range,
)
from tests.unit.upstream_room import (
    OK,
    SWIFT,
    Raw,
    answer,
    ask,
    redirect_to,
    room,
    room_of,
    token_of,
)

PAGE = "/python/simple/alpha/"
WHEEL = "alpha-1.0-py3-none-any.whl"
RUBBISH: dict[str, bytes] = {
    "no HTTP": b"\x00\x16\x03\x01 this is not HTTP\r\n\r\n",
    "another protocol": b"220 mail.example ESMTP\r\n",
    "HTTP/0.9": b"<html>hello</html>",
    "a status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "version 9": b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "NUL in a value": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "NUL in a name": b"HTTP/1.1 200 OK\r\nX\x00Y: ab\r\nContent-Length: 0\r\n\r\n",
    "a line without a colon": b"HTTP/1.1 200 OK\r\nBad Header\r\nContent-Length: 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
    "a length of letters": b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "20 000 fields": header_bomb()["raw"],
    "a field of 1 MB": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n",
    "a status line of 1 MB": b"HTTP/1.1 200 " + b"x" * 1_000_000 + b"\r\n\r\n",
}


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as running:
        yield running


@pytest.mark.parametrize("sent", RUBBISH.values(), ids=RUBBISH)
async def test_what_is_no_http_is_rubbish_and_not_asked_for_again(sent: bytes) -> None:
    async with Raw(lambda _: sent) as raw, room(raw.url) as made:
        with pytest.raises(Malformed) as caught:
            await made.get("/x")
        assert caught.value.status == 502
        assert len(raw.heads) == 1


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-Le"])
async def test_a_head_that_breaks_off_is_silence(sent: bytes) -> None:
    async with Raw(lambda _: sent or None) as raw, room(raw.url) as made:
        with pytest.raises(Unavailable):
            await made.get("/x")
        assert len(raw.heads) == MAX_TRIES


async def test_any_bytes_at_all_end_in_one_of_our_errors_or_an_answer() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    dice = random.Random(seed)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n"
    good = head + b"2\r\nok\r\n0\r\n\r\n"

    def broken(_: str) -> bytes:
        data = bytearray(good)
        for _change in range(dice.randrange(1, 5)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        return bytes(data[: dice.randrange(1, len(data) + 1)])

    limits = replace(SWIFT, first_byte_timeout=0.2, read_timeout=0.2)
    async with Raw(broken) as raw, room(raw.url, limits=limits) as made:
        for _ in range(150):
            made.clock.ahead += 60  # past any breaker
            with suppress(ProxyError):
                await made.get("/x")


async def test_a_flood_of_interim_answers_is_bounded_in_time_and_memory() -> None:
    flood = interim_flood()["preamble"] * 20
    async with (
        Raw(lambda _: flood) as raw,
        room(raw.url, limits=replace(SWIFT, first_byte_timeout=1.0)) as made,
    ):
        tracemalloc.start()
        with pytest.raises(ProxyError) as caught:
            await made.get("/x")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert caught.value.status in (502, 503)
    assert peak < 64 << 20


async def test_interim_answers_before_a_good_one_do_no_harm(origin: Origin) -> None:
    origin.fault("origin", **interim_flood(10))
    async with room_of(origin) as made:
        assert b"alpha-1.0" in await made.get(PAGE)
        assert b"alpha-1.0" in await made.get(PAGE)


async def test_a_change_of_protocol_that_nobody_asked_for_is_no_answer() -> None:
    sent = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + OK
    async with Raw(lambda _: sent) as raw, room(raw.url) as made:
        with pytest.raises(ProxyError):
            await made.get("/x")


async def test_garbage_of_one_request_is_not_the_answer_of_the_next(origin: Origin) -> None:
    origin.fault("origin", **garbage())
    async with room_of(origin) as made:
        with pytest.raises(Malformed):
            await made.get(PAGE)
        assert b"alpha-1.0" in await made.get(PAGE)


async def test_bytes_beyond_the_length_are_neither_body_nor_next_answer() -> None:
    surplus = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    async with Raw(lambda _: OK + surplus) as raw, room(raw.url) as made:
        bodies = []
        for _ in range(5):
            with suppress(Malformed, Unavailable):
                bodies.append(await made.get("/x"))
    assert set(bodies) <= {b"ok"}


@pytest.mark.parametrize("cut", ["fin", "rst"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_body_that_breaks_off_before_its_visible_end_is_an_error(
    origin: Origin, framing: str, cut: str
) -> None:
    origin.fault("store", cut_at=100, cut=cut, framing=framing)
    async with room_of(origin) as made:
        with pytest.raises(Unavailable):
            await made.get(origin.content.find(WHEEL).link)


async def test_a_body_whose_end_cannot_be_seen_is_said_not_to_be_framed(origin: Origin) -> None:
    origin.fault("store", cut_at=100, cut="fin", framing="close")
    async with room_of(origin) as made:
        response = await made.upstream.open(ask(origin.content.find(WHEEL).link))
        body = b"".join([piece async for piece in response.pieces()])
        await response.close()
    assert len(body) == 100
    assert not response.head.framed
    assert response.head.size is None


async def test_a_206_about_other_bytes_is_rubbish(origin: Origin) -> None:
    origin.fault("store", **wrong_content_range())
    async with room_of(origin) as made:
        with pytest.raises(Malformed):
            await made.get(origin.content.find(WHEEL).link, start=10)


async def test_a_body_is_handed_on_as_it_came_undecoded() -> None:
    packed = b"\x1f\x8b\x08\x00 no gzip at all"
    sent = b"HTTP/1.1 200 OK\r\nContent-Encoding: aws-chunked\r\nContent-Length: %d\r\n\r\n%b" % (
        len(packed),
        packed,
    )
    async with Raw(lambda _: sent) as raw, room(raw.url) as made:
        assert await made.get("/x") == packed


async def packed(body: bytes, *, most: int = 1 << 20) -> bytes:
    """What is read of a document that comes so, in gzip as it says."""
    sent = answer(200, body, Content_Encoding="gzip")
    async with Raw(lambda _: sent) as raw, room(raw.url) as made:
        response = await made.upstream.open(UpstreamRequest("python", "/x", document=True))
        try:
            return await receive(response, most, "too large")
        finally:
            await response.close()


async def test_a_document_that_comes_packed_unasked_is_unpacked() -> None:
    text = b'{"items": []}' * 100_000
    assert await packed(gzip.compress(text), most=len(text)) == text
    assert await packed(gzip.compress(b"")) == b""


async def test_a_packed_document_that_is_none_or_has_more_behind_it_is_rubbish() -> None:
    for body in (b"{}", gzip.compress(b"{}") + b"more", gzip.compress(b"{}") * 2):
        with pytest.raises(Malformed):
            await packed(body)


async def test_a_packed_document_that_was_cut_is_not_taken_for_the_whole() -> None:
    with pytest.raises(Unavailable):
        await packed(gzip.compress(b"{}" * 1000)[:-5])


async def test_a_packed_document_is_not_unpacked_beyond_its_limit() -> None:
    bomb = gzip.compress(bytes(64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(Malformed, match="too large"):
            await packed(bomb)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


async def test_the_page_of_a_refusal_is_never_decoded() -> None:
    page = gzip.compress(b'{"reason":"canary"}')
    kind = {"Content_Type": "application/json", "Content_Encoding": "gzip"}
    async with Raw(lambda _: answer(403, page, **kind)) as raw, room(raw.url) as made:
        with pytest.raises(Blocked) as caught:
            await made.get("/x")
    assert "canary" not in caught.value.detail


# --- the request -------------------------------------------------------------------------------


async def test_a_request_is_built_from_few_fields_and_a_raw_target() -> None:
    async with Raw(lambda _: OK) as raw, room(raw.url) as made:
        await made.get("/a%2fb/%7Ec?x=%2F+y", accept="application/json")
    assert raw.heads[0].split("\r\n") == [
        "GET /a%2fb/%7Ec?x=%2F+y HTTP/1.1",
        f"Host: {raw.place}",
        "Accept: application/json",
        "Accept-Encoding: identity",
        "User-Agent: cgr-proxy",
        "",
        "",
    ]


@pytest.mark.parametrize(
    "location", ["/a b", "/a\r\nX-Evil: 1", "/a\x00", "/é", "/" + "x" * 9000, "a", "", "//\\x"]
)
async def test_a_location_that_is_no_path_is_not_sent(location: str) -> None:
    async with Raw(lambda _: OK) as raw, room(raw.url) as made:
        with pytest.raises(ProxyError) as caught:
            await made.get(location)
        assert caught.value.status == 502
        assert raw.connections == 0


async def test_a_path_cannot_change_the_host() -> None:
    async with Raw(lambda _: OK) as sink, Raw(lambda _: OK, "127.0.0.4") as raw:
        async with room(raw.url) as made:
            for location in (f"//{sink.place}/x", f"/@{sink.place}/x", f"/http://{sink.place}/x"):
                assert await made.get(location) == b"ok"
        assert raw.targets[0] == f"//{sink.place}/x"
        assert sink.connections == 0


# --- the environment ---------------------------------------------------------------------------


async def test_a_hostile_environment_changes_nothing(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login evil password canary-netrc\n")
    netrc.chmod(0o600)
    (tmp_path / ".netrc").write_text(netrc.read_text())
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    async with Raw(lambda _: OK) as sink, Raw(lambda _: redirect_to(store)) as raw:
        store = f"{origin.store_url}/x"
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, sink.url)
            monkeypatch.setenv(name.lower(), sink.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with room_of(origin) as made:
            await made.get(origin.content.find(WHEEL).link)
        async with room(raw.url, hosts=(origin.store_url.removeprefix("http://"),)) as made:
            with pytest.raises(Unavailable):
                await made.get("/x")
        assert sink.connections == 0
    assert origin.violations == []
    assert "authorization" not in "".join(raw.heads).lower()


async def test_a_machine_of_netrc_is_not_asked_for_where_no_credential_is_configured(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login {origin.username} password {origin.password}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with room(origin.url) as made:
        with pytest.raises(ProxyError):
            await made.get(PAGE)
    assert origin.log[0].header("authorization") is None


async def test_the_token_of_the_configured_origin_goes_to_no_other_port(origin: Origin) -> None:
    async with Raw(lambda _: OK, "127.0.0.1") as other:
        origin.fault("origin", status=302, headers=(("Location", f"{other.url}/x"),), times=None)
        async with room(origin.url, token_of(origin), hosts=(other.place,)) as made:
            assert await made.get(PAGE) == b"ok"
    assert "authorization" not in other.heads[0].lower()
