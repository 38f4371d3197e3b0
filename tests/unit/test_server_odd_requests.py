"""Odd requests that are answered: each against a warm proxy, each compared with a plain one.

Two promises: what is odd changes nothing but what it says it changes, for this client; and it
changes nothing at all for the next client (no unkeyed input).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.origin import Origin
from tests.running import (
    Answer,
    Running,
    answers,
    bearer,
    client,
    request_bytes,
    running,
    token,
)

PAGE = "/python/simple/alpha/"
WHEEL = "alpha-1.0-py3-none-any.whl"
HTML = "application/vnd.pypi.simple.v1+html"
JSON = "application/vnd.pypi.simple.v1+json"
# Of an answer, what may differ between two equal ones.
FLEETING = {"x-request-id", "date", "age", "cache-status", "connection"}


@dataclass(frozen=True, slots=True)
class Odd:
    """One request. `to`: page, wheel, or a path. `whole`: the same answer as a plain GET."""

    id: str
    to: str
    fields: dict[str, str] = field(default_factory=dict)
    status: int = 200
    method: str = "GET"
    whole: bool = True
    body: slice | None = None


def plain(answer: Answer) -> tuple[int, str, bytes, frozenset[tuple[str, str]]]:
    """What has to be equal."""
    kept = frozenset((k.lower(), v) for k, v in answer.headers if k.lower() not in FLEETING)
    return answer.status, answer.reason, answer.body, kept


def part(number: str, value: str, body: slice) -> Odd:
    return Odd(number, "wheel", {"range": value}, 206, whole=False, body=body)


def ignored(number: str, value: str, **more: str) -> Odd:
    return Odd(number, "wheel", {"range": value, **more})


def refused(number: str, value: str) -> Odd:
    return Odd(number, "wheel", {"range": value}, 416, whole=False)


CONDITIONAL = (
    part("B37", "bytes=0-3", slice(0, 4)),
    part("B37-suffix", "bytes=-3", slice(-3, None)),
    part("B37-open", "bytes=5-", slice(5, None)),
    part("B37-long", "bytes=5-99999999", slice(5, None)),
    part("B37-suffix-long", "bytes=-99999999", slice(0, None)),
    part("B37-one", "bytes=0-0", slice(0, 1)),
    refused("B38", "bytes=99999-100000"),
    refused("B38-open", "bytes=99999-"),
    refused("B39-zero", "bytes=-0"),
    refused("B39-19", "bytes=9999999999999999999-"),
    ignored("B39-multi", "bytes=0-1,2-3"),
    ignored("B39-bomb", "bytes=" + ",".join(f"{n}-" for n in range(1000))),
    ignored("B39-unit", "items=0-1"),
    ignored("B39-word", "bytes=abc"),
    ignored("B39-order", "bytes=5-2"),
    ignored("B39-digits", "bytes=\xb2-\xb3"),
    ignored("B39-20", "bytes=" + "9" * 20 + "-"),
    ignored("B39-blank", "bytes= 0-1"),
    ignored("B39-minus", "bytes=--1"),
    ignored("B39-none", "bytes="),
    ignored("B39-if-other", "bytes=0-1", if_range='"other"'),
    ignored("B39-if-weak", "bytes=0-1", if_range="W/ETAG"),
    ignored("B39-if-date", "bytes=0-1", if_range="Wed, 21 Oct 2026 07:28:00 GMT"),
    Odd(
        "B39-if-same",
        "wheel",
        {"range": "bytes=0-1", "if_range": "ETAG"},
        206,
        whole=False,
        body=slice(0, 2),
    ),
    Odd("B66-star", "wheel", {"if_none_match": "*"}, 304, whole=False),
    Odd("B66-same", "wheel", {"if_none_match": "ETAG"}, 304, whole=False),
    Odd("B66-weak", "wheel", {"if_none_match": "W/ETAG"}, 304, whole=False),
    Odd("B66-list", "wheel", {"if_none_match": '"a", "b" , ETAG'}, 304, whole=False),
    Odd("B66-page", "page", {"if_none_match": "ETAG"}, 304, whole=False),
    Odd("B66-page-star", "page", {"if_none_match": "*"}, 304, whole=False),
    Odd("B66-other", "wheel", {"if_none_match": '"other"'}),
    Odd("B66-unquoted", "wheel", {"if_none_match": "sha256"}),
    Odd("B66-many", "wheel", {"if_none_match": ", ".join(f'"{n}"' for n in range(900))}),
    Odd("B66-match", "wheel", {"if_match": "ETAG"}),
    Odd("B66-match-star", "wheel", {"if_match": "*"}),
    Odd("B66-match-other", "wheel", {"if_match": '"other"'}, 412, whole=False),
    Odd("B66-match-weak", "wheel", {"if_match": "W/ETAG"}, 412, whole=False),
    Odd("B66-future", "wheel", {"if_modified_since": "Fri, 31 Dec 9999 23:59:59 GMT"}),
    Odd("B66-past", "wheel", {"if_modified_since": "Mon, 01 Jan 1601 00:00:00 GMT"}),
    Odd("B66-garbage", "wheel", {"if_modified_since": "garbage"}),
    Odd("B66-unmodified", "wheel", {"if_unmodified_since": "garbage"}),
)

# Fields that say nothing here: the answer is the plain one, now and for whoever comes next.
UNKEYED = (
    Odd("B53-method", "page", {"x_http_method_override": "DELETE", "x_method_override": "PUT"}),
    Odd("B53-query", f"{PAGE}?_method=DELETE", {"accept": JSON}),
    Odd("B54-host", "page", {"host": "other.localhost"}),
    Odd("B54-host-port", "page", {"host": "proxy.localhost:1"}),
    Odd("B54-host-six", "page", {"host": "[::1]:80"}),
    Odd("B55-h2c", "page", {"connection": "Upgrade, HTTP2-Settings, close", "upgrade": "h2c"}),
    Odd("B58-websocket", "page", {"connection": "Upgrade, close", "upgrade": "websocket"}),
    Odd("B59-hop", "page", {"connection": "close, Host, X-Request-Id, Authorization"}),
    Odd("B59-keep", "page", {"keep_alive": "timeout=9999", "proxy_connection": "keep-alive"}),
    Odd("B59-te", "page", {"te": "trailers"}),
    Odd("B62-token", f"{PAGE}?token=hunter2hunter2&access_token=hunter3hunter3", {"accept": JSON}),
    Odd("B64-cookie", "page", {"cookie": "a=" + "b" * 8000}),
    Odd("B64-cookies", "page", {"cookie": ";".join("=[}\xff" for _ in range(1500))}),
    Odd("B67-gzip", "wheel", {"accept_encoding": "gzip, br, zstd"}),
    Odd("B67-none", "wheel", {"accept_encoding": "*;q=0"}),
    Odd("B67-identity", "wheel", {"accept_encoding": "identity;q=0"}),
    Odd("B69-query", f"{PAGE}?x=1", {"accept": JSON}),
    Odd("B69-empty", f"{PAGE}?", {"accept": JSON}),
    Odd("B69-path", f"{PAGE}?v=../&v=..%2f&;", {"accept": JSON}),
    Odd("B70-bytes", "page", {"user_agent": "\xff\xfe\x9b31m"}),
    Odd("B70-escape", "page", {"user_agent": "${jndi:ldap://a}%n%s{0}", "x_any": "\xe2\x80\xa8"}),
    Odd("B71-agent", "page", {"user_agent": "a" * 8000}),
    Odd("B71-pip", "page", {"user_agent": 'pip/26.3 {"ci":null,"cpu":"x86_64"}'}),
    Odd("B71-referer", "page", {"referer": "install"}),
    Odd("U-url", "page", {"x_original_url": "/admin", "x_rewrite_url": "/admin"}),
    Odd("U-language", "page", {"accept_language": "xx", "accept_charset": "utf-7"}),
    Odd(
        "U-cache", "page", {"cache_control": "no-cache, no-store, max-age=0", "pragma": "no-cache"}
    ),
    Odd("U-only", "page", {"cache_control": "only-if-cached"}),
    Odd("U-range", "page", {"range": "bytes=0-1"}),
    Odd("U-priority", "page", {"priority": "u=0", "dnt": "1", "origin": "http://evil.example"}),
    Odd("U-prefix", "page", {"x_script_name": "/x", "x_forwarded": "for=1"}),
    Odd("U-underscore", "page", {"x__forwarded": "1", "content_type": "text/html"}),
)


async def ask(proxy: Running, origin: Origin, odd: Odd) -> Answer:
    """Send one, ETAG replaced by the real one."""
    wheel = origin.content.find(WHEEL)
    target = {"page": PAGE, "wheel": wheel.link}.get(odd.to, odd.to)
    fields = dict(odd.fields)
    if "accept" not in fields:
        fields["accept"] = JSON
    if any("ETAG" in value for value in fields.values()):
        etag = (await proxy.head(target, accept=JSON)).header("ETag")
        assert etag is not None
        fields = {name: value.replace("ETAG", etag) for name, value in fields.items()}
    raw = await proxy.send(request_bytes(odd.method, target, "proxy.localhost", fields))
    (answer,) = answers(raw, [odd.method])
    return answer


@pytest.mark.parametrize("odd", CONDITIONAL, ids=lambda odd: odd.id)
async def test_a_condition_or_range_gets_what_the_rfc_says(odd: Odd, tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        wheel = origin.content.find(WHEEL)
        data = b"".join([piece async for piece in wheel.blob.chunks(0, wheel.blob.size)])
        for target in (PAGE, wheel.link):
            await proxy.get(target, accept=JSON)
        before = len(origin.log)
        answer = await ask(proxy, origin, odd)
        assert answer.status == odd.status
        size = len(data)
        if odd.whole:
            assert answer.body == data
            assert answer.header("Content-Range") is None
        elif odd.status == 206 and odd.body is not None:
            start, end, _ = odd.body.indices(size)
            assert answer.body == data[odd.body]
            assert answer.header("Content-Range") == f"bytes {start}-{end - 1}/{size}"
        elif odd.status == 416:
            assert answer.header("Content-Range") == f"bytes */{size}"
        elif odd.status == 304:
            assert answer.body == b""
            assert answer.header("ETag") is not None
            assert answer.header("Content-Length") is None
        assert len(origin.log) == before


@pytest.mark.parametrize("odd", UNKEYED, ids=lambda odd: odd.id)
async def test_what_is_no_part_of_the_key_changes_nothing_for_anybody(
    odd: Odd, tmp_path: Path
) -> None:
    async with Origin() as origin:
        async with running(tmp_path / "clean", origin) as clean:
            usual = plain(await ask(clean, origin, Odd("", odd.to.partition("?")[0])))
        async with running(tmp_path / "primed", origin) as proxy:
            assert plain(await ask(proxy, origin, odd)) == usual
            primed = await ask(proxy, origin, Odd("", odd.to.partition("?")[0]))
            assert plain(primed) == usual
            assert primed.cache == "cgr-proxy; hit"
            log = proxy.log_bytes()
            assert b"hunter" not in log
            assert len(proxy.access()) == 2
            assert all(byte in range(0x20, 0x7F) or byte == 0x0A for byte in log)
        assert origin.violations == []


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("text/html", 200),
        ("*/*", 200),
        (f"{JSON};q=0.1, {HTML}", 200),
        ("application/vnd.pypi.simple.v2+json", 406),
        ("image/png", 406),
        (f"{JSON};q=0", 406),
        ("x/" + "y" * 8000, 200),
        (",".join(["a/b;q=0.1"] * 700), 200),
    ],
    ids=["html", "any", "q", "v2", "png", "zero", "long", "many"],
)
async def test_b30_the_representation_is_the_one_that_is_accepted_or_406(
    accept: str, status: int, tmp_path: Path
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        answer = await proxy.get(PAGE, accept=accept)
        assert answer.status == status
        if status == 200:
            assert answer.header("Vary") == "Accept, Accept-Encoding"
            # Another representation of the same document: from the cache, with another ETag.
            other = await proxy.get(PAGE, accept=JSON)
            assert other.cache == "cgr-proxy; hit"
            assert other.header("ETag") != answer.header("ETag")


@pytest.mark.parametrize(
    ("sent", "location"),
    [
        ("/python/simple/Alpha/", "../alpha/"),
        ("/python/simple/alpha", "alpha/"),
        ("/python/simple/a__B--c/", "../a-b-c/"),
        ("/python/simple/zope.interface", "zope-interface/"),
        ("/python/simple%2fAlpha", "/python/simple/alpha/"),
        ("/python/simple", "simple/"),
    ],
)
async def test_b27_a_name_that_is_not_normal_is_redirected_without_naming_a_host(
    sent: str, location: str, tmp_path: Path
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        for host in ("proxy.localhost", "evil.localhost"):
            answer = await proxy.get(sent, host=host)
            assert (answer.status, answer.header("Location")) == (301, location)
        assert origin.log == []


@pytest.mark.parametrize("target", ["*", PAGE, "/nowhere", "/files/x"])
async def test_b50_options_is_204_with_what_is_allowed_and_no_cors(
    target: str, tmp_path: Path
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        answer = await proxy.request("OPTIONS", target, origin="http://evil.example")
        assert (answer.status, answer.body) == (204, b"")
        assert answer.header("Allow") == "GET, HEAD"
        assert not any(name.lower().startswith("access-control") for name, _ in answer.headers)
        assert origin.log == []


@pytest.mark.parametrize("target", ["*", PAGE, "/nowhere"])
async def test_options_is_for_clients_only(target: str, tmp_path: Path) -> None:
    tables = {"clients": [client("right", "python")]}
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        for authorization, status in (("", 401), ("wrong", 401), (token("right"), 204)):
            fields = {"authorization": bearer(authorization)} if authorization else {}
            answer = await proxy.request("OPTIONS", target, **fields)
            assert answer.status == status
            challenge = 'Basic realm="cgr-proxy"' if status == 401 else None
            assert answer.header("WWW-Authenticate") == challenge
            assert (answer.header("Allow") is None) is (status == 401)


async def test_b55_http_1_0_gets_a_whole_answer_without_chunks(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        wheel = origin.content.find(WHEEL)
        for _ in range(2):
            raw = await proxy.send(f"GET {wheel.link} HTTP/1.0\r\n\r\n".encode())
            (answer,) = answers(raw)
            assert (answer.status, answer.version) == (200, 10)
            assert answer.header("Transfer-Encoding") is None
            assert answer.sha256 == wheel.blob.sha256


async def test_b48_absolute_form_with_our_own_host_is_the_same_request(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        usual = await proxy.get(PAGE, accept=JSON)
        for target in (f"http://proxy.localhost{PAGE}", f"HTTP://PROXY.localhost:80{PAGE}"):
            answer = await proxy.get(target, accept=JSON, host="proxy.localhost")
            assert plain(answer) == plain(usual)
        assert origin.count("GET", "/simple/") == 1


@pytest.mark.parametrize(
    "target",
    [
        PAGE,
        "/python/simple/",
        "WHEEL",
        "/python/simple/Alpha/",
        "/healthz",
        "/readyz",
        "/nowhere",
        "/a/../b",
        "/python/simple/unknown-project/",
        "/files/a/b/alpha/alpha-9-py3-none-any.whl",
        "/metrics",
        "/",
    ],
)
async def test_b36_head_is_the_head_of_get(target: str, tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        target = origin.content.find(WHEEL).link if target == "WHEEL" else target
        await proxy.get(target)
        get, head = await proxy.get(target), await proxy.head(target)
        assert head.body == b""
        assert plain(head)[:2] == plain(get)[:2]
        # aiohttp leaves out a length of nothing.
        assert plain(get)[3] - plain(head)[3] <= {("content-length", "0")}
        assert plain(head)[3] <= plain(get)[3]
        assert get.header("Content-Length") == str(len(get.body))


async def test_a_cold_head_of_an_artifact_costs_no_body(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        wheel = origin.content.find(WHEEL)
        head = await proxy.head(wheel.link)
        assert (head.status, head.header("Content-Length")) == (200, str(wheel.blob.size))
        assert origin.count(server="store") == 0
        assert origin.violations == []


async def test_b75_two_thousand_spellings_make_one_entry(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        reader, writer = await proxy.connect()
        wheel = origin.content.find(WHEEL)
        letters = [at for at, char in enumerate(wheel.link) if char.isalnum()]
        seen = set()
        for number in range(2000):
            link = list(wheel.link)
            for bit, at in enumerate(letters[-11:]):
                if number >> bit & 1:
                    link[at] = f"%{ord(link[at]):02X}" if number & 1 else f"%{ord(link[at]):02x}"
            raw = request_bytes("HEAD", "".join(link), "proxy.localhost", {}, close=False)
            writer.write(raw)
            head = await reader.readuntil(b"\r\n\r\n")
            seen.add(head.split(b"\r\n")[0])
            if not number:
                await proxy.get(wheel.link)
        writer.close()
        assert seen == {b"HTTP/1.1 200 OK"}
        # The page and the wheel.
        assert len(proxy.stored()) == 2
        assert origin.count("GET", server="store") == 1


async def test_b57_ten_thousand_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin, {"log": {"access": False}}) as proxy:
        reader, writer = await proxy.connect()
        one = request_bytes("GET", "/healthz", "proxy.localhost", {}, close=False)
        last = request_bytes("GET", "/nowhere", "proxy.localhost", {})

        async def write() -> None:
            writer.write(one * 10_000 + last)
            await writer.drain()

        sending = asyncio.ensure_future(write())
        async with asyncio.timeout(60):
            raw = await reader.read(-1)
            await sending
        writer.close()
        found = answers(raw)
        assert [answer.status for answer in found] == [200] * 10_000 + [404]
        assert len({answer.header("X-Request-Id") for answer in found}) == 10_001


@pytest.mark.parametrize("protocol", ["websocket", "h2c", "TLS/1.0"])
async def test_r20_nothing_behind_a_declined_upgrade_is_answered(
    protocol: str, tmp_path: Path
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        fields = {"connection": "Upgrade", "upgrade": protocol}
        upgrade = request_bytes("GET", "/healthz", "proxy.localhost", fields, close=False)
        behind = request_bytes("GET", "/nowhere", "proxy.localhost", {})
        (answer,) = answers(await proxy.send(upgrade + behind))
        assert (answer.status, answer.header("Connection")) == (200, "close")
        assert answer.header("Upgrade") is None
