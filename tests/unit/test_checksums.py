"""Sidecars are asked for at once, each once, remembered for a minute; failures are no absence."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from proxy.cache.checksums import MAX_SIDECAR, REMEMBERED, Checksums
from proxy.cache.comparison import Comparison, ComparisonFailed
from proxy.cache.entry import Compared
from proxy.cache.transfer import Transfer
from proxy.ecosystems.java import Java
from proxy.errors import Blocked, Malformed, NotFound, ProxyError, Unavailable
from proxy.model import ArtifactTarget, Digest, Source
from proxy.server.canonical import canonicalise
from proxy.upstream.base import Head, UpstreamRequest
from tests.engine import until
from tests.unit.in_pieces import InPieces

BODY = b"a jar"
SHA1 = Digest("sha1", hashlib.sha1(BODY).hexdigest())
SHA256 = Digest("sha256", hashlib.sha256(BODY).hexdigest())


def target() -> ArtifactTarget:
    path = "/java/org/example/demo/1.0/demo-1.0.jar"
    found = Java().classify(canonicalise("GET", path, host="proxy.test", accept=()))
    assert isinstance(found, ArtifactTarget)
    return found


class Answer(InPieces):
    def __init__(self, head: Head, body: bytes) -> None:
        self.head = head
        self.closed = False
        self._body = body

    async def pieces(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), 1000):
            yield self._body[start : start + 1000]

    async def close(self) -> None:
        self.closed = True


class Repository:
    """An upstream of sidecars: by ending a body or a failure; `gate` holds every answer."""

    def __init__(self, **sidecars: bytes | ProxyError) -> None:
        self.sidecars = sidecars
        self.asked: Counter[str] = Counter()
        self.no_cache: list[bool] = []
        self.answers: list[Answer] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def open(self, request: UpstreamRequest) -> Answer:
        ending = request.location.rpartition(".")[2]
        self.asked[ending] += 1
        self.no_cache.append(request.no_cache)
        await self.gate.wait()
        found = self.sidecars.get(ending, NotFound("none"))
        if isinstance(found, ProxyError):
            raise found
        head = Head(200, f"https://registry.example{request.location}", "text/plain")
        self.answers.append(Answer(head, found))
        return self.answers[-1]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_all_sidecars_are_asked_for_at_once_and_those_there_are_count() -> None:
    upstream = Repository(sha1=SHA1.hex.encode())
    upstream.gate.clear()
    checksums = Checksums(upstream, clock=Clock())
    asking = asyncio.create_task(checksums.every(Java(), target()))
    await until(lambda: upstream.asked == {"sha1": 1, "sha256": 1})
    upstream.gate.set()
    assert await asking == Compared((SHA1,), f"{target().path}.sha1")
    assert all(answer.closed for answer in upstream.answers)
    await checksums.close()


async def test_none_at_all_is_an_answer_too() -> None:
    checksums = Checksums(Repository(), clock=Clock())
    assert await checksums.every(Java(), target()) == Compared((), "none")
    await checksums.close()


@pytest.mark.parametrize(
    "failure",
    [
        Unavailable("down"),
        Blocked("malware"),
        b"",
        b"<html>",
        b"0" * (MAX_SIDECAR + 1),
        SHA1.hex.encode()[:-1],
    ],
)
async def test_one_that_cannot_be_had_or_understood_is_no_absence(
    failure: bytes | ProxyError,
) -> None:
    upstream = Repository(sha1=failure, sha256=SHA256.hex.encode())
    checksums = Checksums(upstream, clock=Clock())
    wanted = type(failure) if isinstance(failure, ProxyError) else Malformed
    with pytest.raises(wanted):
        await checksums.every(Java(), target())
    upstream.sidecars["sha1"] = SHA1.hex.encode()
    found = await checksums.every(Java(), target())
    assert set(found.digests) == {SHA1, SHA256}
    assert all(answer.closed for answer in upstream.answers)
    await checksums.close()


async def test_an_answer_is_remembered_for_a_minute_unless_it_is_to_be_new() -> None:
    upstream, clock = Repository(sha1=SHA1.hex.encode()), Clock()
    checksums = Checksums(upstream, clock=clock)
    for _ in range(3):
        await checksums.every(Java(), target())
    assert upstream.asked == {"sha1": 1, "sha256": 1}
    await checksums.every(Java(), target(), no_cache=True)
    assert upstream.asked == {"sha1": 2, "sha256": 2}
    assert upstream.no_cache == [False, False, True, True]
    clock.now += REMEMBERED
    await checksums.every(Java(), target())
    assert upstream.asked == {"sha1": 3, "sha256": 3}
    await checksums.close()


async def test_many_who_ask_for_one_sidecar_ask_once() -> None:
    upstream = Repository(sha1=SHA1.hex.encode())
    upstream.gate.clear()
    checksums, wanted = Checksums(upstream, clock=Clock()), target()
    sidecar = wanted.checksum_of[-1]
    asking = [asyncio.create_task(checksums.one(Java(), wanted, sidecar)) for _ in range(20)]
    await until(lambda: upstream.asked["sha1"] > 0)
    asking[0].cancel()
    upstream.gate.set()
    found = await asyncio.gather(*asking[1:])
    assert (set(found), upstream.asked["sha1"]) == ({SHA1}, 1)
    await checksums.close()


async def test_of_what_was_compared_the_strongest_is_asked_again_else_the_most_usual() -> None:
    upstream = Repository(sha1=SHA1.hex.encode(), sha256=SHA256.hex.encode())
    checksums, wanted = Checksums(upstream, clock=Clock()), target()
    every = await checksums.every(Java(), wanted)
    upstream.asked.clear()
    assert await checksums.current(Java(), wanted, every.paths) == SHA256
    assert await checksums.current(Java(), wanted, "none") == SHA1
    assert upstream.asked == {"sha256": 1, "sha1": 1}
    await checksums.close()


async def test_the_verdict_waits_for_the_answer_and_an_early_failure_is_told_early() -> None:
    gate = asyncio.Event()

    async def ask(_: bool) -> Compared:
        await gate.wait()
        raise Unavailable("down")

    comparison = Comparison(ask, Transfer(Source("/x", "p"), digests=("sha1",)))
    comparison.begin()
    comparison.look()
    gate.set()
    await until(lambda: comparison._task is not None and comparison._task.done())
    with pytest.raises(ComparisonFailed):
        comparison.look()
    with pytest.raises(ComparisonFailed):
        await comparison.settle()
    comparison.forget()


async def test_what_was_forgotten_is_asked_anew_past_caches() -> None:
    asked = []

    async def ask(no_cache: bool) -> Compared:
        asked.append(no_cache)
        return Compared((SHA1,), "/x.sha1")

    transfer = Transfer(Source("/x", "p"), digests=("sha1",))
    comparison = Comparison(ask, transfer)
    comparison.begin()
    comparison.begin()
    await comparison.settle()
    held = [transfer.resumable]
    comparison.forget()
    held.append(transfer.resumable)
    assert held == [True, False]
    transfer.no_cache = True
    comparison.begin()
    await comparison.settle()
    assert (asked, comparison.paths) == ([False, True], "/x.sha1")
    comparison.forget()
