"""The test origin's own test: its traps bite, seen through a raw socket.

Purpose: a look-alike that forgives would make every proxy look good. Non-goals: faults, content
and the program (see the neighbours `test_origin_faults`, `test_origin_content`); the proxy.
"""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import AsyncIterator

import pytest

from tests.origin import (
    COOKIE_CANARY,
    Origin,
)
from tests.origin.credentials import Credentials
from tests.origin.raw import IDENTITY, ask, basic, located
from tests.origin.wire import Connection, Listener, Request

WHEEL = "alpha-1.0-py3-none-any.whl"


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


async def test_no_answer_on_a_kept_connection_waits_for_an_acknowledgement() -> None:
    undelayed: list[int] = []

    async def answer(connection: Connection, _: Request) -> bool:
        sock = connection._writer.get_extra_info("socket")
        undelayed.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        await connection.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        return False

    listener = Listener("127.0.0.1", 0, answer)
    await listener.open()
    got = await ask(listener.url, "/")
    await listener.close(keep_port=False)
    assert got.status == 204
    assert undelayed == [1]


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
    target = await located(origin, WHEEL)
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
    got = await ask(origin.store_url, await located(origin, WHEEL), {**IDENTITY, header: "x"})
    assert (got.status, got.header("content-type")) == (400, "application/xml")
    assert len(origin.violations) == 1


async def test_the_store_refuses_head(origin: Origin) -> None:
    got = await ask(origin.store_url, await located(origin, WHEEL), IDENTITY, "HEAD")
    assert got.status == 403
    assert len(origin.violations) == 1


async def test_a_presigned_target_expires() -> None:
    clock = Clock()
    async with Origin() as origin:
        origin.settings.clock = clock
        target = await located(origin, WHEEL)
        clock.now += 299
        assert (await ask(origin.store_url, target, IDENTITY)).status == 200
        clock.now += 1
        got = await ask(origin.store_url, target, IDENTITY)
        assert (got.status, b"Request has expired" in got.body) == (403, True)
        assert origin.journal.counters["presigned_expired"] == 1


async def test_the_store_serves_ranges_and_honours_if_range(origin: Origin) -> None:
    blob = origin.content.find(WHEEL).blob
    target = await located(origin, WHEEL)
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
