r"""Bad requests as a table: what is sent, what may come back, whether the connection goes on.

Purpose: one row for each way in which a request can be wrong; the numbers are those of the list of
bad inputs that the tests keep to (B01 to B80). Rows are bytes, because no client library sends
them. Non-goals: sending them (see `test_server_bad_requests`).
"""

from __future__ import annotations

from dataclasses import dataclass

HOST = b"Host: proxy.localhost\r\n"
# Sent behind every bad request: whoever answers it after a 400 can be smuggled to.
SECOND = b"GET /healthz HTTP/1.1\r\nHost: second.localhost\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Row:
    """One bad request. `statuses`: what may be answered; empty: nothing at all.

    `then`: sent once the first answer is there.
    """

    id: str
    raw: bytes
    statuses: tuple[int, ...]
    then: bytes = b""

    @property
    def has_body(self) -> bool:
        """Whether it announces a body: the connection ends after any answer then."""
        return b"Content-Length" in self.raw or b"Transfer-Encoding" in self.raw


def request(
    target: str | bytes, *fields: bytes, method: bytes = b"GET", body: bytes = b""
) -> bytes:
    """A request with a Host and these fields."""
    line = target if isinstance(target, bytes) else target.encode("latin-1")
    head = b"".join(field + b"\r\n" for field in fields)
    return method + b" " + line + b" HTTP/1.1\r\n" + HOST + head + b"\r\n" + body


def _paths(number: str, statuses: tuple[int, ...], *targets: str) -> list[Row]:
    return [
        Row(f"{number}-{index}", request(target), statuses) for index, target in enumerate(targets)
    ]


def _raws(number: str, *raws: bytes, statuses: tuple[int, ...] = (400,)) -> list[Row]:
    return [Row(f"{number}-{index}", raw, statuses) for index, raw in enumerate(raws)]


_HEX = "0" * 64

PATHS: tuple[Row, ...] = (
    *_paths("B01", (400,), "/java/../../etc/passwd", "/python/simple/../../x", "/.."),
    *_paths("B02", (400,), "/java/%2e%2e/%2e%2e/etc/passwd", "/python/%2E%2e/x"),
    *_paths("B03", (400,), "/java/..%2f..%2fetc/passwd", "/files/..%2F..%2Fx-1.0-py3-none-any.whl"),
    *_paths("B04", (400,), "/%2F%2F%2F..%2F..%2Fetc%2Fpasswd", "//etc/passwd", "///"),
    *_paths("B05", (400,), "/python/simple/..%2f..%2fx/", "/python/simple/%2e%2e/"),
    *_paths("B06", (400,), f"/v2/../../x/blobs/sha256:{_HEX}", "/v2/%2e%2e%2f%2e%2e/x/manifests/1"),
    *_paths("B07", (400,), r"/python/..\..\etc", "/python/simple/..%5c..%5cetc/", "/a%5Cb"),
    *_paths("B08", (400,), "/python/%c0%ae%c0%ae/x", "/python/simple/%e0%80%af/", "/%ff"),
    *_paths("B09", (400, 404), "/python/%252e%252e%252f/x", "/files/a%25%32%66b", "/%25"),
    *_paths("B10", (400,), "/java//etc/passwd", "/java/%2fetc/passwd", "/python/simple//alpha/"),
    *_paths("B11", (400,), "/java/a;b=c/../d", "/python/simple/a;/../b/"),
    *_paths("B11-literal", (400, 404), "/python/simple/a;b=c/", "/python/simple/alpha/;.js"),
    *_paths("B12", (400,), "/python/simple/a%00b/", "/%00", "/files/x%00.whl"),
    *_raws(
        "B13", request(b"/a\x00b"), request(b"/a\xffb"), request("/é".encode()), request(b"/a\x7fb")
    ),
    *_paths("B14", (400,), "/python/%zz/", "/python/simple/100%/", "/%", "/%4", "/?a=%zz"),
    *_paths("B15", (400,), "/python/%0d%0aX-Evil:1/", "/%0aX-Evil:%201", "/?a=%0d%0aX-Evil:1"),
    *_paths("B16", (400,), "/python/./x", "/python/simple/./", "/python/simple/../", "/a//"),
    *_paths(
        "B16-names",
        (400, 404),
        "/python/simple/alpha./",
        "/python/simple/alpha%20/",
        "/python/simple/CON%3a/",
        "/~/x",
    ),
    *_paths(
        "B17", (400, 404, 414), "/" + "a" * 4000, "/a" * 200, "/" + "b" * 7900, "/" + "%41" * 2000
    ),
    *_raws(
        "B18",
        request("/" + "a" * 9_000),
        request("/" + "a" * 200_000),
        request("/?" + "a" * 16_384),
    ),
    *_paths("B19", (400,), "/python/simple/alpha/#frag", "/#"),
    *_paths(
        "B20",
        (400, 404),
        "/python/simple/%F0%9F%98%80/",
        "/python/simple/%E2%80%AEabc/",
        "/python/simple/e%CC%81/",
        "/python/simple/%D0%B0lpha/",
        "/python/simple/%EF%BB%BFalpha/",
    ),
    *_paths("B22", (400, 404), "/javascript/@babel%252fcore"),
    *_paths("B23", (400, 404), "/javascript/@/x", "/javascript/%2fx", "/javascript/@a/b/c/d"),
    *_paths("B26", (404,), "/javascript/-/all", "/-/npm/v1/security/audits", "/-/v1/search"),
    *_paths(
        "B28",
        (400, 404),
        "/python/simple/-bad-/",
        "/python/simple/a%20b/",
        "/python/simple/%C3%A9/",
    ),
    *_paths(
        "B31",
        (400, 404),
        "/java/a/b/java-metadata.xml/..",
        "/java/org//demo/",
        "/java/..%2farchetype-catalog.xml",
    ),
    *_paths(
        "B32",
        (400, 404),
        "/v2/a/blobs/sha256:abc",
        f"/v2/a/blobs/md5:{_HEX[:32]}",
        f"/v2/a/blobs/sha256:{_HEX}/..",
        f"/v2/a/blobs/SHA256:{_HEX}",
    ),
    *_paths(
        "B33", (400, 404), "/v2/A/b/manifests/1", "/v2/a//b/manifests/1", "/v2/a/_b/manifests/1"
    ),
    *_paths(
        "B34",
        (400, 404),
        "/v2/a/manifests/" + "t" * 129,
        "/v2/a/manifests/.x",
        "/v2/a/manifests/x%0ab",
    ),
    *_paths("B35", (400, 404), "/v1/", "/v2/_catalog", "/v2/_catalog?last=%00"),
    *_paths("B72", (404,), "/metrics", "/METRICS", "/metrics/", "/metrics%2f", "/api/v1"),
    *_paths("B72-double", (400,), "//metrics", "/./metrics"),
    *_paths(
        "B74", (404,), "/favicon.ico", "/robots.txt", "/.git/config", "/.env", "/wp-login.php", "/"
    ),
    *_paths(
        "B69", (400,), "/python/simple/alpha/?" + "a" * 2001, "/python/simple/alpha/?" + "a&" * 30
    ),
)

_CHUNKED = b"Transfer-Encoding: chunked"
_GET = "/python/simple/alpha/"

FRAMING: tuple[Row, ...] = (
    *_raws(
        "B40",
        request(_GET, b"Content-Length: 5", _CHUNKED, body=b"0\r\n\r\n"),
        request(_GET, _CHUNKED, b"Content-Length: 5", method=b"POST", body=b"0\r\n\r\n"),
    ),
    *_raws(
        "B41",
        request(_GET, b"Content-Length: 3", b"Content-Length: 3", body=b"abc"),
        request(_GET, b"Content-Length: 3", b"Content-Length: 5", body=b"abcde"),
    ),
    *_raws(
        "B42",
        *(
            request(_GET, b"Content-Length: " + value, body=b"ab")
            for value in (b"+2", b"-2", b"1_0", b"0x2", b"2, 2", b"", b"9" * 20, b"2 2", b"\xb2")
        ),
    ),
    *_raws(
        "B43",
        request(_GET, b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
        request(_GET, b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"),
        request(_GET, b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
        request(_GET, b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
        request(_GET, b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
        statuses=(400, 413),
    ),
    *_raws(
        "B43-old",
        b"GET " + _GET.encode() + b" HTTP/1.0\r\n" + _CHUNKED + b"\r\n\r\n0\r\n\r\n",
        statuses=(400, 413),
    ),
    *_raws(
        "B44",
        b"GET / HTTP/1.1\nHost: localhost\n\n",
        b"GET / HTTP/1.1\r\nHost: localhost\rX: b\r\n\r\n",
        request(_GET, b"X-A: b\r\n folded"),
        request(_GET, b"X-A : b"),
        request(_GET, b": b"),
        request(_GET, b"X-A: b\x00c"),
        request(_GET, b"X\x00A: b"),
        request(_GET, b"no colon"),
        b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b" GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ),
    *_raws("B44-spaces", b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n", statuses=(400, 404)),
    *_raws(
        "B45",
        request(_GET, _CHUNKED, body=b"1;a=\nb\r\nx\r\n0\r\n\r\n"),
        request(_GET, _CHUNKED, body=b"zz\r\nx\r\n0\r\n\r\n"),
        request(_GET, _CHUNKED, body=b"FFFFFFFFFFFFFFFFF\r\nx\r\n0\r\n\r\n"),
        request(_GET, _CHUNKED, body=b"1\r\nxy0\r\n\r\n"),
        request(_GET, _CHUNKED, body=b"0\r\n" + b"X-T: 1\r\n" * 1000 + b"\r\n"),
        statuses=(400, 413),
    ),
    # The same, the body in a packet of its own: the head is being answered by then.
    *(
        Row(f"B45-late-{index}", request(_GET, _CHUNKED, method=method), (400, 405, 413), then=body)
        for method in (b"GET", b"POST")
        for index, body in enumerate(
            (b"zz\r\nx\r\n0\r\n\r\n", b"1;a=\nb\r\n", b"-1\r\n\r\n", b"1\r\nxyz\r\n0\r\n\r\n"),
            start=0 if method == b"GET" else 10,
        )
    ),
    *_raws("B46", request(_GET, b"Content-Length: %d" % len(SECOND), body=SECOND), statuses=(413,)),
    *_raws(
        "B48",
        *(
            b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n"
            for target in (
                b"http://169.254.169.254/latest/meta-data",
                b"http://evil.example/python/simple/alpha/",
                b"https://proxy.localhost@evil.example/",
                b"http://proxy.localhost:81/",
                b"http:///x",
                b"http://[::1/",
                b"http://[::1%25lo]/",
                b"http://a:99999/",
                b"http://a:b/",
                b"ftp://a/",
                b"file:///etc/passwd",
                b"*",
                b"proxy.localhost:80",
                b"python/simple/alpha/",
                b"?x",
                b"http://",
                b"http://\xff/",
                b"http://[v1.x]/",
                b"//evil.example/x",
                b"http://:80/",
            )
        ),
    ),
    *_raws(
        "B49",
        b"CONNECT evil.example:443 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"CONNECT [::1 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"CONNECT evil.example:99999 HTTP/1.1\r\n" + HOST + b"\r\n",
        statuses=(400, 405),
    ),
    *_raws(
        "B51",
        *(
            request(_GET, b"X-Secret: echo-me", method=method)
            for method in (
                b"TRACE",
                b"PROPFIND",
                b"TRACK",
                b"FOO",
                b"get",
                b"M" * 1000,
                b"G\xc9T",
                b"G T",
            )
        ),
        statuses=(400, 405, 501),
    ),
    *_raws(
        "B52",
        *(
            request(target, b"Content-Length: 5", method=method, body=b"hello")
            for method, target in (
                (b"PUT", _GET),
                (b"POST", _GET),
                (b"PATCH", _GET),
                (b"DELETE", _GET),
                (b"POST", "/python/"),
                (b"PUT", "/javascript/a"),
                (b"POST", "/v2/x/blobs/uploads/"),
                (b"PUT", "/java/a/b/1/b-1.jar"),
                (b"POST", "/files/a/b/alpha/alpha-1.0-py3-none-any.whl"),
            )
        ),
        statuses=(404, 405),
    ),
    *_raws(
        "B54",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        *(
            b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
            for host in (
                b"",
                b"u:p@a",
                b"a b",
                b"a:b",
                b"a:0",
                b"a:70000",
                b"[::1",
                b"::1",
                b"a/b",
                b"a?b",
                b"a#b",
                b"a,b",
                b"\xc3\xa9",
                b"-a-.",
                b"a..b",
                b"[::1]x",
                b"1.2.3.4.5",
                b"a%20b",
                b"$(id)",
                b"'",
            )
        ),
    ),
    *_raws(
        "B55",
        b"GET /healthz\r\n",
        b"GET /healthz HTTP/9.9\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.\r\n\r\n",
    ),
    *_raws("B55-two", b"GET /healthz HTTP/2.0\r\n" + HOST + b"\r\n", statuses=(400, 505)),
    *_raws("B55-old", b"GET /healthz HTTP/0.9\r\n" + HOST + b"\r\n", statuses=(400, 505)),
    *_raws("B55-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", statuses=(400, 405, 505)),
    *_raws("B55-tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256))),
    *_raws(
        "B56",
        request(_GET, *(b"X-%d: 1" % number for number in range(200))),
        request(_GET, *(b"X-%d: 1" % number for number in range(40_000))),
        request(_GET, b"X-Long: " + b"a" * 9_000),
        request(_GET, *(b"X-%d: " % number + b"a" * 8_000 for number in range(128))),
        statuses=(400, 431),
    ),
    *_raws(
        "B58",
        request(
            _GET,
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Version: 13",
            b"Content-Length: %d" % len(SECOND),
            body=SECOND,
        ),
        statuses=(400, 413),
    ),
    *_raws(
        "B47",
        request(_GET, b"Expect: 100-continue", b"Content-Length: 5", method=b"POST"),
        statuses=(400, 405),
    ),
    *_raws(
        "B47-odd",
        request(_GET, b"Expect: x"),
        request(_GET, b"Expect: 100-continue, x"),
        statuses=(417,),
    ),
    *_raws("B60-two", request(_GET, b"Authorization: Bearer a", b"Authorization: Bearer a")),
    *_raws(
        "B68",
        request(
            _GET,
            b"Content-Encoding: gzip",
            b"Content-Length: 5",
            method=b"POST",
            body=b"\x1f\x8b\x08\0\0",
        ),
        request(_GET, b"Content-Encoding: gzip"),
        statuses=(405, 413, 415),
    ),
)

# With the default of loopback: everybody local, so whoever was passed on by a front is refused.
FORWARDED: tuple[Row, ...] = tuple(
    Row(f"B65-{index}", request(_GET, field), (403,))
    for index, field in enumerate(
        (
            b"X-Forwarded-For: 10.0.0.1",
            b"X-Forwarded-For: " + b"1.2.3.4, " * 800 + b"1.2.3.4",
            b"X-Forwarded-For: garbage\xff",
            b"X-Forwarded-Host: evil.example",
            b"X-Forwarded-Proto: https",
            b"X-Forwarded-Prefix: /x",
            b"Forwarded: for=10.0.0.1;host=evil.example",
            b"Via: 1.1 front",
            b"x-forwarded-port: 1",
            b"X-Forwarded-For:",
        )
    )
)

# A credential where no client is configured, or that is none: 401, and the connection goes on.
CREDENTIALS: tuple[Row, ...] = tuple(
    Row(f"B60-{index}", request(_GET, b"Authorization: " + value), (401,))
    for index, value in enumerate(
        (
            b"Basic ####",
            b"Basic",
            b"Basic ",
            b"",
            b"Basic dXNlcg==",
            b"Basic dXNlcjo=",
            b"Basic /w==",
            b"Basic dXNlcjphYmM",
            b"Basic dXNlcjphYmM=x",
            b"basic dXNlcjphYmM=",
            b"BASIC dXNlcjphYmM=",
            b"Bearer",
            b"Bearer ",
            b"Bearer a b",
            b"Bearer \xff\xfe",
            b"bearer abc",
            b"Digest username=x",
            b"Negotiate abc",
            b"Basic dXNlcjoAYQ==",
            b"Basic " + b"A" * 8_000,
            b"Token abc",
            b"\xff",
        )
    )
)
