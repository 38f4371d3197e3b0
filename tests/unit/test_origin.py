"""The test origin's own test: its traps bite, seen through a raw socket.

Purpose: a look-alike that forgives would make every proxy look good. Non-goals: the real package
client (see `tests.origin.download`), the proxy.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
import signal
import stat
import sys
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.origin import (
    COOKIE_CANARY,
    Content,
    Origin,
    OriginThread,
    html_page,
    interim_flood,
    redirect,
    status,
    wrong_bytes,
    wrong_content_range,
)
from tests.origin.blobs import SyntheticBlob
from tests.origin.credentials import Credentials
from tests.origin.download import Filler
from tests.origin.faults import fault_from_json
from tests.origin.store import serve_blob
from tests.origin.wheels import make_wheel, rebuild
from tests.origin.wire import Request

WHEEL = "alpha-1.0-py3-none-any.whl"
IDENTITY = {"Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Got:
    """An answer as it was on the wire. `ended`: how the connection was left."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    ended: str

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


async def ask(
    url: str,
    target: str,
    headers: dict[str, str] | None = None,
    method: str = "GET",
    body: bytes = b"",
) -> Got:
    """Send one request over a fresh socket; read to the end of the connection."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    fields = {"Host": where.netloc, "Connection": "close", **(headers or {})}
    if body:
        fields["Content-Length"] = str(len(body))
    lines = [f"{method} {target} HTTP/1.1", *(f"{key}: {value}" for key, value in fields.items())]
    writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
    received, ended = bytearray(), "fin"
    try:
        while piece := await reader.read(65536):
            received += piece
    except ConnectionResetError:
        ended = "rst"
    finally:
        writer.transport.abort()
    head, _, rest = bytes(received).partition(b"\r\n\r\n")
    first, *others = head.decode("latin-1").split("\r\n")
    pairs = [line.partition(": ")[::2] for line in others]
    return Got(int(first.split()[1]) if first else 0, list(pairs), rest, ended)


def basic(origin: Origin | OriginThread, username: str | None = None) -> dict[str, str]:
    """Give the headers of a well-behaved upstream request for an artifact."""
    pair = f"{username or origin.username}:{origin.password}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}", **IDENTITY}


async def located(origin: Origin, filename: str = WHEEL) -> str:
    """Ask for an artifact; give the raw target of its pre-signed URL."""
    got = await ask(origin.url, origin.content.find(filename).link, basic(origin))
    location = got.header("location")
    assert got.status == 302
    assert location is not None
    assert location.startswith(origin.store_url + "/")
    return location.removeprefix(origin.store_url)


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as running:
        yield running


class Clock:
    """A clock that tests move."""

    def __init__(self, now: float = 1_780_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


# --- the libraries host ------------------------------------------------------------------------


async def test_a_page_links_absolutely_to_files_outside_the_index(origin: Origin) -> None:
    got = await ask(origin.url, "/python/simple/alpha/", basic(origin))
    artifact = origin.content.find(WHEEL)
    assert f'href="{origin.url}{artifact.link}#sha256={artifact.blob.sha256}"' in got.body.decode()
    assert 'data-yanked="bad &quot;build&quot; &lt;&amp;&gt;"' in got.body.decode()
    assert got.header("content-type") == "text/html; charset=utf-8"


async def test_json_is_spoken_only_where_it_is_asked_for_and_switched_on(origin: Origin) -> None:
    accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.01"
    headers = {**basic(origin), "Accept": accept}
    page = json.loads((await ask(origin.url, "/python/simple/beta-pkg/", headers)).body)
    assert page["meta"] == {"api-version": "1.1"}
    assert page["versions"] == ["2.0"]
    assert page["files"][0]["requires-python"] == ">=3.8,<4"
    assert page["files"][0]["size"] == origin.content.find(page["files"][0]["filename"]).blob.size
    origin.settings.json_index = False
    got = await ask(origin.url, "/python/simple/beta-pkg/", headers)
    assert got.header("content-type") == "text/html; charset=utf-8"


async def test_redirects_of_the_index_follow_the_specification(origin: Origin) -> None:
    cases = {
        "/python/": (302, "/python/simple/"),
        "/python/simple": (301, "/python/simple/"),
        "/python/simple/Beta_Pkg/": (301, "/python/simple/beta-pkg/"),
        "/cu126/simple/beta-pkg": (301, "/cu126/simple/beta-pkg/"),
    }
    for target, (code, location) in cases.items():
        got = await ask(origin.url, target, basic(origin))
        assert (got.status, got.header("location")) == (code, location), target


async def test_each_index_holds_its_own_builds(origin: Origin) -> None:
    remediated = await ask(origin.url, "/python-remediated/simple/alpha/", basic(origin))
    assert b"alpha-1.0%2Bcgr.1-py3-none-any.whl#sha256=" in remediated.body
    cuda = await ask(origin.url, "/cu126/simple/beta-pkg/", basic(origin))
    assert b"beta_pkg-2.0+cu126-py3-none-any.whl</a>" in cuda.body
    assert (await ask(origin.url, "/cu128/simple/beta-pkg/", basic(origin))).status == 404
    fallback = await ask(origin.url, "/python/simple/fallback-only/", basic(origin))
    assert f"{origin.url}/python-upstream/" in fallback.body.decode()


async def test_an_artifact_is_a_redirect_whose_own_body_is_a_page(origin: Origin) -> None:
    got = await ask(origin.url, origin.content.find(WHEEL).link, basic(origin))
    assert got.status == 302
    assert got.header("content-type") == "text/html; charset=utf-8"
    assert got.body.startswith(b"<a href=")
    origin.settings.direct = True
    got = await ask(origin.url, origin.content.find(WHEEL).link, basic(origin))
    assert got.status == 200
    assert hashlib.sha256(got.body).hexdigest() == origin.content.find(WHEEL).blob.sha256


async def test_every_spelling_of_the_pull_token_opens_and_nothing_else(origin: Origin) -> None:
    flat = origin.username.replace("/", "_")
    bearer = {"Authorization": f"Bearer {origin.password}"}
    for headers in (basic(origin), basic(origin, flat), bearer):
        assert (await ask(origin.url, "/python/simple/", headers)).status == 200
    assert origin.violations == []
    assert (await ask(origin.url, "/python/simple/")).status == 401
    assert origin.journal.counters["credentials_missing"] == 1
    stranger = {"Authorization": "Bearer cgrp_abcdefghijklmnopqrstuvwxyz"}
    assert (await ask(origin.url, "/python/simple/", stranger)).status == 401
    assert (await ask(origin.url, "/python/simple/", basic(origin, "someone"))).status == 401
    assert [what.split(":")[1] for what in origin.violations] == [
        " a credential that was never issued here"
    ] * 2
    assert (await ask(origin.url, "/openvex/v1/all.json")).status == 200


async def test_a_retired_or_expired_token_is_401_and_no_violation(origin: Origin) -> None:
    clock = Clock()
    tokens = Credentials(clock)
    pair = tokens.issue(lifetime=60)
    assert tokens.judge(f"Bearer {pair.password}") == "good"
    clock.now += 61
    assert tokens.judge(f"Bearer {pair.password}") == "retired"
    old = basic(origin)
    origin.credentials.retire(origin.pair)
    assert (await ask(origin.url, "/python/simple/", old)).status == 401
    assert origin.journal.counters["credentials_retired"] == 1
    assert origin.violations == []


async def test_refusals_carry_status_and_reason(origin: Origin) -> None:
    link = origin.content.find(WHEEL).link
    origin.block("alpha", "1.0")
    got = await ask(origin.url, link, basic(origin))
    assert (got.status, json.loads(got.body)["reason"]) == (403, "MALWARE_DETECTED")
    origin.unblock("alpha", "1.0")
    origin.block("alpha")
    assert (await ask(origin.url, "/python/simple/alpha/", basic(origin))).status == 409
    origin.unblock("alpha")
    origin.settings.entitled = frozenset({"python"})
    got = await ask(origin.url, "/python-remediated/simple/alpha/", basic(origin))
    assert (got.status, json.loads(got.body)["reason"]) == (403, "NOT_ENTITLED")
    assert (await ask(origin.url, link, basic(origin))).status == 302


async def test_head_cookies_and_codings_are_violations(origin: Origin) -> None:
    link = origin.content.find(WHEEL).link
    got = await ask(origin.url, link, basic(origin), "HEAD")
    assert got.body == b""
    await ask(origin.url, link, {**basic(origin), "Accept-Encoding": "gzip"})
    await ask(origin.url, "/python/simple/", {**basic(origin), "Cookie": "a=b"})
    assert len(origin.violations) == 3
    origin.reset()
    assert (origin.violations, origin.log) == ([], [])


async def test_every_answer_carries_headers_that_must_not_travel(origin: Origin) -> None:
    for got in (
        await ask(origin.url, "/python/simple/", basic(origin)),
        await ask(origin.url, "/nothing"),
        await ask(origin.store_url, "/nothing", IDENTITY),
    ):
        assert COOKIE_CANARY in (got.header("set-cookie") or "")
        assert got.header("strict-transport-security")
        assert got.header("alt-svc")


async def test_a_page_is_revalidated_by_its_etag_until_it_changes(origin: Origin) -> None:
    first = await ask(origin.url, "/python/simple/alpha/", basic(origin))
    known = {**basic(origin), "If-None-Match": first.header("etag") or ""}
    again = await ask(origin.url, "/python/simple/alpha/", known)
    assert (again.status, again.body) == (304, b"")
    replaced = origin.content.replace_bytes(WHEEL, b"other bytes")
    changed = await ask(origin.url, "/python/simple/alpha/", known)
    assert changed.status == 200
    assert replaced.blob.sha256 in changed.body.decode()
    origin.content.drop(WHEEL)
    dropped = await ask(origin.url, "/python/simple/alpha/", known)
    assert WHEEL.encode() not in dropped.body


async def test_core_metadata_is_announced_and_served_only_when_on(origin: Origin) -> None:
    link = origin.content.find(WHEEL).link + ".metadata"
    assert (await ask(origin.url, link, basic(origin))).status == 404
    origin.settings.core_metadata = True
    page = (await ask(origin.url, "/python/simple/alpha/", basic(origin))).body
    assert b"data-core-metadata" in page
    assert (await ask(origin.url, link, basic(origin))).status == 302


# --- the object store --------------------------------------------------------------------------


async def test_the_presigned_target_gives_the_bytes_and_is_hostile_to_normalisers(
    origin: Origin,
) -> None:
    target = await located(origin, "alpha-1.0+cgr.1-py3-none-any.whl")
    odd = ("%2d", "%40", "%3a", "%2B", "%7E", "%2F", "%2f", "%2Bcgr")
    assert [part for part in odd if part not in target] == []
    names = [pair.partition("=")[0] for pair in target.partition("?")[2].split("&")]
    assert names != sorted(names)
    got = await ask(origin.store_url, target, IDENTITY)
    assert got.status == 200
    blob = origin.content.find("alpha-1.0+cgr.1-py3-none-any.whl").blob
    assert (hashlib.sha256(got.body).hexdigest(), got.header("etag")) == (blob.sha256, blob.etag)
    assert origin.violations == []
    assert origin.body_bytes_sent == blob.size + origin.journal.body_bytes["origin"]


async def test_any_other_spelling_of_the_presigned_target_is_refused(origin: Origin) -> None:
    target = await located(origin)
    path, _, query = target.partition("?")
    for changed in (
        target.replace("%40", "@"),
        target.replace("%2d", "-"),
        target.replace("%3a", "%3A"),
        target.replace("%2f", "%2F"),
        target.replace("%7E", "~"),
        target.removesuffix("&versionId="),
        f"{path}?{'&'.join(sorted(query.split('&')))}",
        path,
    ):
        assert changed != target
        got = await ask(origin.store_url, changed, IDENTITY)
        assert (got.status, b"SignatureDoesNotMatch" in got.body) == (403, True), changed


@pytest.mark.parametrize("header", ["Authorization", "Cookie", "X-Api-Key", "x-request-id"])
async def test_the_store_refuses_any_second_authentication(origin: Origin, header: str) -> None:
    got = await ask(origin.store_url, await located(origin), {**IDENTITY, header: "x"})
    assert (got.status, got.header("content-type")) == (400, "application/xml")
    assert len(origin.violations) == 1


async def test_the_store_refuses_head(origin: Origin) -> None:
    got = await ask(origin.store_url, await located(origin), IDENTITY, "HEAD")
    assert got.status == 403
    assert len(origin.violations) == 1


async def test_a_presigned_target_expires() -> None:
    clock = Clock()
    async with Origin() as origin:
        origin.settings.clock = clock
        target = await located(origin)
        clock.now += 299
        assert (await ask(origin.store_url, target, IDENTITY)).status == 200
        clock.now += 1
        got = await ask(origin.store_url, target, IDENTITY)
        assert (got.status, b"Request has expired" in got.body) == (403, True)
        assert origin.journal.counters["presigned_expired"] == 1


async def test_the_store_serves_ranges_and_honours_if_range(origin: Origin) -> None:
    blob = origin.content.find(WHEEL).blob
    target = await located(origin)
    full = (await ask(origin.store_url, target, IDENTITY)).body
    part = await ask(origin.store_url, target, {**IDENTITY, "Range": "bytes=5-"})
    assert (part.status, part.body) == (206, full[5:])
    assert part.header("content-range") == f"bytes 5-{blob.size - 1}/{blob.size}"
    tail = await ask(origin.store_url, target, {**IDENTITY, "Range": "bytes=-3"})
    assert tail.body == full[-3:]
    stale = {**IDENTITY, "Range": "bytes=5-", "If-Range": '"other"'}
    assert (await ask(origin.store_url, target, stale)).status == 200
    beyond = {**IDENTITY, "Range": f"bytes={blob.size}-"}
    assert (await ask(origin.store_url, target, beyond)).status == 416


# --- faults ------------------------------------------------------------------------------------


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
    target = await located(origin)
    full = (await ask(origin.store_url, target, IDENTITY)).body
    origin.fault("store", "alpha", **wrong_bytes())
    got = await ask(origin.store_url, target, IDENTITY)
    assert got.header("x-checksum-sha256") == blob.sha256
    assert (got.body[0] ^ full[0], got.body[1:]) == (1, full[1:])


async def test_a_stalled_body_waits_until_it_is_released(origin: Origin) -> None:
    blob = origin.content.find(WHEEL).blob
    target = await located(origin)
    stall = origin.fault("store", "alpha", stall_at=100)
    asking = asyncio.create_task(ask(origin.store_url, target, IDENTITY))
    await asyncio.wait_for(stall.reached(), 5)
    assert origin.journal.body_bytes["store"] == 100
    assert not asking.done()
    stall.release()
    assert len((await asyncio.wait_for(asking, 5)).body) == blob.size


async def test_a_stalled_answer_notices_that_its_client_left(origin: Origin) -> None:
    target = await located(origin)
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
    target = await located(origin)
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
    target = await located(origin)
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


# --- content -----------------------------------------------------------------------------------


def test_a_rebuilt_wheel_is_a_whole_wheel_of_the_new_version() -> None:
    name, data = rebuild(make_wheel("alpha", "1.0"), WHEEL, "cgr.1")
    assert name == "alpha-1.0+cgr.1-py3-none-any.whl"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        metadata = archive.read("alpha-1.0+cgr.1.dist-info/METADATA")
        record = archive.read("alpha-1.0+cgr.1.dist-info/RECORD").decode()
        assert b"\nVersion: 1.0+cgr.1\n" in metadata
        for row in record.splitlines():
            member, digest, size = row.rsplit(",", 2)
            content = archive.read(member)
            if digest:
                raw = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
                assert (digest, size) == (f"sha256={raw.decode().rstrip('=')}", str(len(content)))
        assert len(record.splitlines()) == len(archive.namelist())


async def test_synthetic_bytes_are_the_same_from_any_offset() -> None:
    blob = SyntheticBlob(200_000, seed=7)
    full = b"".join(blob.pieces())
    assert (len(full), hashlib.sha256(full).hexdigest()) == (200_000, blob.sha256)
    assert b"".join([piece async for piece in blob.chunks(65_000, 140_001)]) == full[65_000:140_001]
    assert SyntheticBlob(200_000, seed=8).sha256 != blob.sha256


def test_a_big_wheel_on_disk_is_an_honest_wheel(tmp_path: Path) -> None:
    content = Content()
    artifact = content.big_wheel(tmp_path, size=300_000)
    assert content.page("python", "bigblob") == [artifact]
    with zipfile.ZipFile(tmp_path / artifact.filename) as archive:
        assert archive.testzip() is None
        noise = archive.read("bigblob/noise.bin")
        record = archive.read("bigblob-1.0.dist-info/RECORD").decode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(noise).digest()).decode().rstrip("=")
    assert f"bigblob/noise.bin,sha256={digest},300000" in record


async def test_a_file_on_disk_is_served_whole(tmp_path: Path) -> None:
    content = Content()
    artifact = content.big_wheel(tmp_path, size=600_000)
    async with Origin(content=content) as origin:
        got = await ask(origin.store_url, await located(origin, artifact.filename), IDENTITY)
    assert hashlib.sha256(got.body).hexdigest() == artifact.blob.sha256


def test_names_that_are_no_package_names_never_reach_the_package_client(tmp_path: Path) -> None:
    async def fill_all() -> None:
        filler = Filler(tmp_path)
        for name in ("--index-url=x", "-r", "a b", "../x", "", "a;b", "a\n"):
            await filler.fill(name)

    asyncio.run(fill_all())
    assert list(tmp_path.iterdir()) == []


def test_a_range_beyond_the_end_is_clipped() -> None:
    blob = SyntheticBlob(10)
    request = Request("GET", "/", "HTTP/1.1", (("Range", "bytes=5-99"),))
    assert serve_blob(request, blob, "x/y").body.size == 5


# --- other ways to run it ----------------------------------------------------------------------


def test_the_origin_runs_in_a_thread_of_its_own() -> None:
    with OriginThread() as origin:
        fault = origin.fault("origin", "openvex", times=None, **status(503))
        assert asyncio.run(ask(origin.url, "/openvex/v1/all.json")).status == 503
        fault.reached()
        fault.clear()
        origin.close_listener()
        origin.reopen()
        assert asyncio.run(ask(origin.url, "/python/simple/alpha/", basic(origin))).status == 200
        assert origin.count("GET", server="origin") == 2
        assert origin.violations == []


async def test_the_program_prints_one_line_is_steered_and_ends_on_sigterm(tmp_path: Path) -> None:
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.origin", "--tiny", "--credentials-out", str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert program.stdout is not None
    words = (await asyncio.wait_for(program.stdout.readline(), 20)).decode().split()
    assert words[:2] + words[3:4] + words[5:6] == ["origin", "ready", "store", "control"]
    url, control = words[2], words[6]
    username, password = ((tmp_path / name).read_text() for name in ("username", "password"))
    assert stat.S_IMODE((tmp_path / "password").stat().st_mode) == 0o600
    token = {
        "Authorization": f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"
    }
    body = b'{"project": "alpha"}'
    assert (await ask(control, "/block", method="POST", body=body)).status == 200
    assert (await ask(url, "/python/simple/alpha/", token)).status == 409
    assert (await ask(control, "/fault", method="POST", body=b'{"status": 503}')).status == 200
    assert (await ask(url, "/python/simple/", token)).status == 503
    counters = json.loads((await ask(control, "/counters")).body)
    assert counters["requests"]["origin"] == {"GET": 2, "HEAD": 0, "POST": 0}
    assert (await ask(control, "/nonsense")).status == 400
    await ask(control, "/stop-listening", method="POST")
    with pytest.raises(ConnectionRefusedError):
        await ask(url, "/")
    program.send_signal(signal.SIGTERM)
    rest = await asyncio.wait_for(program.stdout.read(), 10)
    assert (rest, await program.wait()) == (b"", 0)
