"""Which heads are beyond doubt, and what is read of them."""

from __future__ import annotations

import random

import pytest

from proxy.upstream.answers import plain_head, read_head
from proxy.upstream.base import UpstreamRequest
from proxy.upstream.plain import LONGEST, MOST, SMALL, read_plain
from proxy.upstream.scrubber import Scrubber

LINES = [
    b"HTTP/1.1 200 OK",
    b"Server: nginx",
    b"Content-Type: application/octet-stream",
    b"Content-Length: 4",
    b'ETag: "a: b"',
    b"Connection: Keep-Alive",
]


def head(*lines: bytes, first: bytes = LINES[0]) -> bytes:
    return b"\r\n".join([first, *lines, b"", b""])


def test_a_plain_head_is_read_with_its_length_and_that_of_its_body() -> None:
    sent = b"\r\n".join([*LINES, b"", b""])
    found = read_plain(sent + b"body")
    assert found is not None
    fields = found.fields
    assert list(fields.items()) == [
        ("Server", "nginx"),
        ("Content-Type", "application/octet-stream"),
        ("Content-Length", "4"),
        ("ETag", '"a: b"'),
        ("Connection", "Keep-Alive"),
    ]
    assert found.fields is fields
    assert (fields["etag"], found.end, found.size) == ('"a: b"', len(sent), 4)


@pytest.mark.parametrize(
    "sent",
    [
        head(b"Content-Length: 1"),
        head(b"content-length: 1"),
        head(f"Content-Length: {SMALL}".encode()),
        head(b"Content-Length: 1", first=b"HTTP/1.1 200 "),
        head(b"Content-Length: 1", b"Set-Cookie: a", b"Set-Cookie: b"),
        head(b"Content-Length: 1", *[b"A: b"] * (MOST - 1)),
        head(b"Content-Length: 1", b"A: " + b"b" * (LONGEST - 60)),
    ],
)
def test_plain_is_what_no_reader_could_take_for_anything_else(sent: bytes) -> None:
    assert read_plain(sent) is not None
    assert read_plain(sent + b"\0\r\n\r\n") is not None


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        head(),
        head(b"Content-Length: 1")[:-1],
        head(b"Content-Length: 1", first=b"HTTP/1.0 200 OK"),
        head(b"Content-Length: 1", first=b"HTTP/1.1 200"),
        head(b"Content-Length: 1", first=b"HTTP/1.1  200 OK"),
        head(b"Content-Length: 1", first=b"HTTP/1.1 2000 OK"),
        head(b"Content-Length: 1", first=b"HTTP/1.1 206 OK"),
        head(b"Content-Length: 1", first=b"HTTP/1.1 304 OK"),
        head(b"Content-Length: 1", first=b"http/1.1 200 OK"),
        head(b"Content-Length: 1", first=b"\r\nHTTP/1.1 200 OK"),
        head(b"Content-Length: 1", first=b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 200 OK"),
        head(b"Content-Length: 1", first=b"HTTP/1.1 200 \xc3\xb6"),
        head(b"Content-Length: 0"),
        head(b"Content-Length: -1"),
        head(b"Content-Length: +1"),
        head(b"Content-Length: 1 "),
        head(b"Content-Length: 1_0"),
        head(b"Content-Length: 1, 1"),
        head(b"Content-Length:1"),
        head(b"Content-Length:  1"),
        head(b"Content-Length : 1"),
        head(b" Content-Length: 1"),
        head(f"Content-Length: {SMALL + 1}".encode()),
        head(b"Content-Length: 1" + b"0" * 30),
        head(b"Content-Length: 1", b"Content-Length: 1"),
        head(b"Content-Length: 1", b"content-length: 2"),
        head(b"Content-Length: 1", b"Transfer-Encoding: chunked"),
        head(b"Content-Length: 1", b"transfer-encoding: identity"),
        head(b"Content-Length: 1", b"Content-Encoding: gzip"),
        head(b"Content-Length: 1", b"Content-Range: bytes 0-0/1"),
        head(b"Content-Length: 1", b"Upgrade: h2c"),
        head(b"Content-Length: 1", b"Trailer: X"),
        head(b"Content-Length: 1", b"Connection: close"),
        head(b"Content-Length: 1", b"Connection: keep-alive, close"),
        head(b"Content-Length: 1", b"Connection: keep-alive", b"Connection: close"),
        head(b"Content-Length: 1", b"Proxy-Connection: close"),
        head(b"Content-Length: 1", b"Sec-WebSocket-Key1: x"),
        head(b"Content-Length: 1", b"A: b\r\n c"),
        head(b"Content-Length: 1", b"A: b\nB: c"),
        head(b"Content-Length: 1", b"A: b\rB: c"),
        head(b"Content-Length: 1", b"A: b\0"),
        head(b"Content-Length: 1", b"A: b\tc"),
        head(b"Content-Length: 1", b"A: \xe9"),
        head(b"Content-Length: 1", b"A: "),
        head(b"Content-Length: 1", b"A"),
        head(b"Content-Length: 1", b": b"),
        head(b"Content-Length: 1", b"A B: c"),
        head(b"Content-Length: 1", b"A\xe9: c"),
        head(b"Content-Length: 1").replace(b"\r\n", b"\n"),
        head(b"Content-Length: 1", *[b"A: b"] * MOST),
        head(b"Content-Length: 1", b"A: " + b"b" * LONGEST),
    ],
)
def test_what_could_be_read_in_two_ways_is_not_plain(sent: bytes) -> None:
    assert read_plain(sent + b"x") is None


def test_how_the_fields_stand_is_told_anew_for_each_order_of_them() -> None:
    for lines, size in (
        ([b"A: 3", b"Content-Length: 1", b"Connection: keep-alive"], 1),
        ([b"Content-Length: 2", b"A: 3"], 2),
        ([b"A: 3", b"Content-Length: 4", b"Connection: close"], None),
        ([b"A: 3", b"Content-Length: 5", b"Connection: keep-alive"], 5),
        ([b"A: 3", b"Content-Range: 5"], None),
    ):
        for _ in range(2):
            found = read_plain(head(*lines) + b"x")
            assert (found and found.size) == size


@pytest.mark.parametrize(
    "lines",
    [
        LINES[1:],
        [b"Content-Length: 1"],
        [b"content-length: 7", b"Cache-Control: max-age=9", b"Age: 2", b"Link: <a>", b"Link: <b>"],
        [b"Content-Length: 7", b'ETag: "s3cr3t/pull-token+0123456789"', b"Content-Type: a/b"],
        [b"Content-Length: 7", b"ETag: " + b"x" * 3000, b"Last-Modified: yesterday"],
    ],
)
def test_what_a_plain_head_says_is_what_is_read_of_any_head(lines: list[bytes]) -> None:
    scrubber = Scrubber()
    scrubber.sent("Bearer s3cr3t/pull-token+0123456789")
    plain = read_plain(head(*lines) + b"body")
    assert plain is not None
    for document in (False, True):
        request = UpstreamRequest("python", "/x", document=document)
        found = plain_head("https://libraries.example/x", plain, scrubber)
        assert found == read_head(
            request, "https://libraries.example/x", 200, plain.fields, scrubber
        )


def test_a_broken_head_is_plain_only_if_the_change_did_no_harm() -> None:
    """Any byte of it changed: what is still taken has one length, and nothing odd anywhere."""
    sent = b"\r\n".join([*LINES, b"", b""])
    dice = random.Random(7)
    for at in range(len(sent)):
        for byte in {0, 9, 10, 13, 32, 58, 127, 255, dice.randrange(256)} - {sent[at]}:
            broken = sent[:at] + bytes([byte]) + sent[at + 1 :]
            found = read_plain(broken + b"body")
            if found is None:
                continue
            fields, end, size = found.fields, found.end, found.size
            assert broken.startswith(b"HTTP/1.1 200 ")
            assert broken[:end].isascii()
            assert broken[:end].decode().replace("\r\n", "").isprintable()
            assert fields.getall("Content-Length") == [str(size)]
