"""Faults of the upstream, over all ecosystems.

Each row strikes the document, and then the artifact, of every ecosystem, cold and cached. What must
hold of each is one of three: the upstream's news are passed on (and withhold the copy), its silence
and its rubbish are not (the copy is served, marked; without one 503 or 502, never 404), a body that
is not what it must be is never completed. Afterwards, with the fault over, everything is right.

More of it stands with the room that it is about:

=============================  ==================================================================
one try in ten seconds         unit/test_upstream_refusals
withheld through silence       unit/test_engine_rights, test_state_machine
how long a pause lasts         unit/test_upstream_answers, test_upstream_breaker
tries, deadlines, drips        unit/test_upstream_client, test_upstream_line
every size and framing         unit/test_engine_integrity, test_engine_truncations, test_transfer
redirects, names, TLS          unit/test_upstream_redirects, test_upstream_addresses, _tls
resumed transfers              unit/test_engine_resume
a day without upstream         test_outage_of_a_day
=============================  ==================================================================

CGR_PROXY_TEST_LONG=1 strikes with every row; else with a random choice, whose seed is printed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy.ecosystems import ECOSYSTEMS
from tests.engine import Got, fetch
from tests.faults.aftermath import aftermath
from tests.faults.chance import LONG, seeded
from tests.faults.revisions import Subject, subject_of
from tests.origin import (
    FaultHandle,
    Origin,
    empty,
    garbage,
    header_bomb,
    html_page,
    interim_flood,
    redirect,
    status,
    wrong_bytes,
)
from tests.running import Running

TTL = 301
REASON = b'{"reason": "MALWARE", "errors": [{"code": "DENIED", "message": "MALWARE"}]}'
LIMITS = {"limits": {"first_byte_timeout": "2s", "connect_timeout": "2s"}}
NEWS, SILENCE = "news", "silence"


def said(code: int) -> dict[str, Any]:
    return status(code, REASON, Content_Type="application/json")


@dataclass(frozen=True, slots=True)
class Row:
    """One fault. `cold`: what may be answered when nothing is cached; `kind` of it: see above.

    `body`: it is about the bytes, so that it strikes where they are sent.
    """

    what: Mapping[str, Any]
    cold: tuple[int, ...]
    kind: str = SILENCE
    body: bool = False


ROWS: dict[str, Row] = {
    "401": Row(status(401), (503,)),
    "403": Row(said(403), (403,), NEWS),
    "403 page in between": Row(status(403, b"<html>", Content_Type="text/html"), (503,)),
    "409": Row(said(409), (409,), NEWS),
    "404": Row(said(404), (404,), NEWS),
    "410": Row(said(410), (410,), NEWS),
    "429": Row(status(429, Retry_After="5"), (429,)),
    "429 for ever": Row(status(429, Retry_After="999999999"), (429,)),
    "429 before now": Row(status(429, Retry_After="-1"), (429,)),
    "500": Row(status(500), (503,)),
    "502": Row(status(502, b"<html>"), (503,)),
    "503": Row(status(503), (503,)),
    "504": Row(status(504), (503,)),
    "closed": Row({"close": True}, (503,)),
    "no answer": Row({"hold": True}, (503,)),
    "reset": Row({"cut_at": 5}, (200, 502, 503), body=True),
    "cut": Row({"cut_at": 5, "cut": "fin"}, (200, 502, 503), body=True),
    "cut, to the end of the connection": Row(
        {"cut_at": 5, "cut": "fin", "framing": "close"}, (200, 502, 503), body=True
    ),
    "cut, chunked": Row({"cut_at": 5, "framing": "chunked"}, (200, 502, 503), body=True),
    "a wrong bit": Row({"flip_at": 0}, (502, 503), body=True),
    "a wrong bit and a lie": Row(wrong_bytes(), (502, 503), body=True),
    "a page": Row(html_page(), (502, 503), body=True),
    "nothing": Row(empty(), (502, 503), body=True),
    "a circle": Row(redirect("?again"), (502,)),
    "another host": Row(redirect("http://evil.example/x"), (502,)),
    "the cloud's own": Row(redirect("http://169.254.169.254/latest"), (502,)),
    "in disguise": Row(redirect("http://[::ffff:10.0.0.1]/x"), (502,)),
    "a number": Row(redirect("http://2130706433/x"), (502,)),
    "a file": Row(redirect("file:///etc/passwd"), (502,)),
    "another scheme": Row(redirect("ftp://127.0.0.1/x"), (502,)),
    "user and password": Row(redirect("http://a:b@127.0.0.1/x"), (502,)),
    "F29f header bomb": Row(header_bomb(), (502, 503)),
    "F29i flood": Row(interim_flood(), (502, 503, 200)),
    "no HTTP": Row(garbage(), (502, 503)),
}
AT_ONCE = 2  # ecosystems that a row strikes when not all of them are wanted
# A module without versions has an empty list.
LEGAL = {("go", "document", "nothing")}


def chosen(what: str, name: str) -> list[str]:
    """The ecosystems that are struck this time."""
    found = [
        ecosystem.name
        for ecosystem in ECOSYSTEMS
        if (ecosystem.name, what, name) not in LEGAL
        and (what == "document" or ecosystem.name != "openvex")  # which lists none
    ]
    if LONG:
        return found
    found = seeded().sample(found, AT_ONCE)
    print(f"struck: {', '.join(found)}")
    return found


class Struck:
    """One thing of one ecosystem behind a fault."""

    def __init__(self, subject: Subject, origin: Origin, proxy: Running, what: str) -> None:
        self.subject = subject
        self.origin = origin
        self.proxy = proxy
        self.what = what
        samples = subject.samples
        self.path = samples.document if what == "document" else samples.artifact(origin)
        self.sha256 = samples.sha256(origin) if what == "artifact" else ""

    def strike(self, row: Row) -> FaultHandle:
        """Put the fault to work: on the bytes of an artifact where the object store sends them."""
        if row.body and self.what == "artifact":
            name = "data" if self.subject.of_package else self.path.rpartition("/")[2]
            return self.origin.fault("store", rf"/{re.escape(name)}\?", times=None, **row.what)
        path = self.subject.refused_path("document", self.path)
        server = self.subject.server
        return self.origin.fault(server, path.removesuffix("(?![^?])"), times=None, **row.what)

    async def ask(self) -> Got:
        """Ask for it; whatever comes whole with 200 is right."""
        got = await fetch(self.proxy, self.path, accept=self.subject.samples.accept)
        if self.sha256 and got.status == 200 and got.complete:
            assert got.sha256 == self.sha256
        assert got.status not in (429, 503) or "retry-after" in got.headers
        assert "set-cookie" not in got.headers
        assert "alt-svc" not in got.headers
        return got

    async def cold(self, row: Row) -> None:
        got = await self.ask()
        assert got.status in row.cold, (got.status, got.body[:300])
        if row.kind == NEWS:
            assert got.cache == "" or "stale" not in got.cache

    async def mended(self) -> bytes:
        """With the fault over, and what is remembered of it, it is there."""
        for _ in range(3):  # what was asked besides may end, and be remembered, a moment later
            self.proxy.clock.advance(TTL)
            let_pauses_end(self.proxy)
            got = await self.ask()
            if got.status == 200 and "stale" not in got.cache:
                break
        got = await self.ask()
        assert (got.status, got.complete) == (200, True), got.body[:300]
        again = await self.ask()
        assert again.cache == "cgr-proxy; hit"
        return got.body

    async def cached(self, row: Row, body: bytes) -> None:
        self.proxy.clock.advance(TTL)
        got = await self.ask()
        if row.kind == NEWS:
            assert got.status in row.cold
            return
        assert (got.status, got.body) == (200, body), (got.status, got.body[:300])


def let_pauses_end(proxy: Running) -> None:
    """Some minutes pass for who asks upstreams: breakers, refused tokens, requests for quiet."""
    before = proxy.app.upstream._clock
    proxy.drive_upstream(lambda: before() + 400.0)


async def through(struck: Struck, row: Row) -> None:
    """Cold, mended, cached, mended."""
    fault = struck.strike(row)
    await struck.cold(row)
    fault.clear()
    body = await struck.mended()
    fault = struck.strike(row)
    await struck.cached(row, body)
    fault.clear()
    assert await struck.mended() == body


@pytest.mark.parametrize("what", ["document", "artifact"])
@pytest.mark.parametrize("name", list(ROWS))
async def test_a_fault_of_the_upstream_is_neither_news_nor_bytes(
    tmp_path: Path, name: str, what: str
) -> None:
    for ecosystem in chosen(what, name):
        folder = tmp_path / ecosystem
        async with Origin() as origin, aftermath(folder, origin, LIMITS) as proxy:
            await through(Struck(subject_of(ecosystem), origin, proxy, what), ROWS[name])
