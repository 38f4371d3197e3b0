"""Short flights: one question where all is well, and the general way's answer where it is not.

Each is flown twice: led by a task from the beginning, and begun without one (`untended`), as far as
that goes. What comes of it is the same.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import os
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from proxy.cache.download import Download, DownloadLimits
from proxy.cache.entry import ArtifactFacts
from proxy.cache.extracts import Extracts
from proxy.cache.flight import SMALL, Flight
from proxy.cache.order import Order
from proxy.cache.relay import TICK
from proxy.cache.untended import Begun, Untended
from proxy.errors import DigestMismatch, NotFound, ProxyError, Unavailable
from proxy.model import Algorithm, Digest, Source
from proxy.observe.metrics import Metrics
from proxy.storage.base import is_foreign
from proxy.storage.disk import DiskStorage
from proxy.storage.memory import MemoryStorage
from proxy.upstream.base import Head, Told, UpstreamRequest
from tests.failing import FailingStorage
from tests.unit.stored import get

SIZE = 100_000
BODY = os.urandom(SIZE)
SHA256 = Digest("sha256", hashlib.sha256(BODY).hexdigest())
SOURCE = Source("/x", "p", "1", SHA256, SIZE)
BREAK = Unavailable("The upstream's answer broke off; try again.", retry_after=1)


@dataclass
class Answer:
    """An answer of the upstream: a body, in pieces, that may end in a failure. `size`: as its head
    tells it. `wait`: called before each piece, and before its end. `poured`: bytes that were given
    by `read_into`; None: it does not pour."""

    body: bytes
    error: ProxyError | None = None
    size: int | None = None
    start: int = 0
    wait: Callable[[], object] = lambda: None
    more: asyncio.Event = field(default_factory=asyncio.Event)
    piece: int = 30_000
    poured: int | None = None
    held: bool = False
    arrived: bool = False
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False

    @property
    def head(self) -> Head:
        """As `UpstreamResponse` has it."""
        status = 206 if self.start else 200
        return Head(status, "http://upstream.example/x", size=self.size, start=self.start)

    async def pieces(self) -> AsyncIterator[bytes]:
        """As `UpstreamResponse` has them; held up before the last one, if it is `held`."""
        assert not self.closed
        for at in range(0, len(self.body), self.piece):
            self.wait()
            if self.held and at + self.piece >= len(self.body):
                self.reached.set()
                await self.more.wait()
            yield self.body[at : at + self.piece]
        self.wait()
        if self.error is not None:
            raise self.error

    def here(self) -> bytes:
        """As `UpstreamResponse` has it: all of it, where it `arrived` before anybody read it."""
        if not self.arrived:
            return b""
        rest, self.body = self.body, b""
        return rest

    def pours(self) -> bool:
        """As `UpstreamResponse` has it."""
        return self.poured is not None

    async def read_into(self, view: memoryview) -> int:
        """As `UpstreamResponse` has it."""
        assert self.poured is not None
        piece = self.body[self.poured : self.poured + len(view)]
        view[: len(piece)] = piece
        self.poured += len(piece)
        return len(piece)

    async def close(self) -> None:
        """As `UpstreamResponse` has it."""
        self.closed = True


class Question:
    """Implements `Asked`: a question that was put. It is answered at once where the answer is all
    there, and nothing is odd about it."""

    def __init__(self, answer: Answer | ProxyError, told: Told) -> None:
        self.answer = answer
        self.told = told
        self.left = False
        self.distrusted = False
        asyncio.get_running_loop().call_soon(self.come)

    def come(self) -> None:
        """Tell what has come."""
        answer = self.answer
        if self.left:
            return
        if (
            isinstance(answer, ProxyError)
            or not (answer.arrived and answer.body)
            or answer.start
            or answer.size not in (None, len(answer.body))
        ):
            taken = self.told(None)
        else:
            taken = self.told(memoryview(answer.body))
            answer.closed = taken
        assert not taken or isinstance(answer, Answer)

    def leave(self) -> None:
        """As `Asked` has it."""
        self.left = True
        self.told(None)

    def distrust(self) -> None:
        """As `Asked` has it."""
        self.distrusted = True

    def drop(self) -> None:
        """As `Asked` has it."""
        assert isinstance(self.answer, Answer)
        self.answer.closed = True

    async def go_on(self) -> Answer:
        """As `Asked` has it."""
        if self.left:
            raise asyncio.CancelledError
        if isinstance(self.answer, ProxyError):
            raise self.answer
        return self.answer


class World:
    """An upstream that gives prepared answers, a store in memory, and what runs flights. `swift`:
    questions can be put at once. `shared`: other processes use the store."""

    swift = False
    shared = False

    def __init__(self, *answers: Answer | ProxyError) -> None:
        self.answers = list(answers)
        self.asked: list[UpstreamRequest] = []
        self.questions: list[Question] = []
        self.real = MemoryStorage()
        self.storage = FailingStorage(self.real)
        self.storage.is_alone = not self.shared
        self.metrics = Metrics(("python",))
        self.now = 0.0

    def put(self, request: UpstreamRequest, told: Told) -> Question | None:
        """As `PromptUpstream` has it."""
        if not self.swift:
            return None
        self.asked.append(request)
        self.questions.append(Question(self.answers[len(self.asked) - 1], told))
        return self.questions[-1]

    async def open(self, request: UpstreamRequest) -> Answer:
        """As `Upstream` has it."""
        self.asked.append(request)
        answer = self.answers[len(self.asked) - 1]
        if isinstance(answer, ProxyError):
            raise answer
        return answer

    @property
    def ranges(self) -> list[tuple[int, bool]]:
        """Of each question: from which byte, and whether past caches."""
        return [(request.start, request.no_cache) for request in self.asked]

    @property
    def stored(self) -> bytes | None:
        """The body in the store."""
        return get(self.real, "key")

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    async def fly(
        self,
        source: Source = SOURCE,
        *,
        most: int = 1 << 30,
        flight: Flight | None = None,
        facts: Callable[[], ArtifactFacts] | None = None,
        shared: bool = False,
    ) -> Flight:
        """Run a flight to its end; it may be watched."""
        flight = flight or Flight(source.size)
        known = ArtifactFacts("/x", "p", "1", source.digest, 0, 0)
        order = Order(*("python", "key", "name", source, facts or (lambda: known)), shared=shared)
        download = Download(
            self.storage,
            self,
            self.metrics,
            DownloadLimits(most),
            Extracts(self.storage, self, {}),
            clock=lambda: self.now,
        )
        over: asyncio.Future[Begun | None] = asyncio.get_running_loop().create_future()
        begun = download.begin(flight, order, over.set_result)
        if isinstance(begun, Untended):
            assert self.swift
            flight.stoppable(begun.stop)
            begun = await over
            if begun is None:
                return flight
        await download.run(flight, order, begun)
        return flight


@pytest.fixture(params=["led", "untended", "untended beside others"], autouse=True)
def _swift(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "swift", request.param != "led")
    monkeypatch.setattr(World, "shared", request.param.endswith("others"))


@contextmanager
def no_collector() -> Iterator[None]:
    """Have nothing freed but what nobody holds any more."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "sha1"])
@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("arrived", [True, False])
async def test_a_small_body_lands_by_one_question_though_no_view_of_it_can_be_opened(
    algorithm: Algorithm, *, listed: bool, arrived: bool
) -> None:
    size = None if listed else SIZE
    world = World(answer := Answer(BODY, size=size, arrived=arrived))
    world.storage.fail("view")
    promised = Digest(algorithm, hashlib.new(algorithm, BODY).hexdigest())
    flight = await world.fly(SOURCE._replace(digest=promised, size=SIZE if listed else None))
    assert (flight.error, flight.content, flight.size, flight.visible) == (None, BODY, SIZE, SIZE)
    assert flight.record is not None
    assert (flight.record.sha256, world.stored) == (SHA256.hex, BODY)
    assert (world.ranges, answer.closed) == ([(0, False)], True)


async def test_an_empty_body_lands_where_its_digest_promises_that() -> None:
    world = World(Answer(b"", size=0))
    nothing = Digest("sha256", hashlib.sha256(b"").hexdigest())
    flight = await world.fly(SOURCE._replace(digest=nothing, size=0))
    assert (flight.error, flight.content, world.stored) == (None, b"", b"")


async def test_what_broke_off_is_gone_on_with_at_the_byte_where_it_was() -> None:
    world = World(
        first := Answer(BODY[:40_000], BREAK, SIZE), Answer(BODY[40_000:], None, SIZE, 40_000)
    )
    flight = await world.fly()
    assert (world.ranges, world.stored) == ([(0, False), (40_000, False)], BODY)
    assert (flight.error, flight.content, first.closed) == (None, BODY, True)


async def test_what_is_here_and_is_too_little_is_gone_on_with_as_well() -> None:
    world = World(Answer(BODY[:40_000], arrived=True), Answer(BODY[40_000:], None, SIZE, 40_000))
    await world.fly()
    assert (world.ranges, world.stored) == ([(0, False), (40_000, False)], BODY)


async def test_what_ended_early_without_a_word_is_gone_on_with_too() -> None:
    world = World(Answer(BODY[:40_000]), Answer(BODY[40_000:], None, SIZE, 40_000))
    await world.fly()
    assert (world.ranges, world.stored) == ([(0, False), (40_000, False)], BODY)


async def test_a_drip_that_broke_off_is_not_asked_to_go_on() -> None:
    world = World()
    drip = Answer(BODY[:20], BREAK, SIZE, wait=lambda: world.advance(10), piece=5)
    world.answers.append(drip)
    flight = await world.fly()
    assert (world.ranges, flight.error) == ([(0, False)], BREAK)


@pytest.mark.parametrize(
    "wrong",
    [
        Answer(bytes(SIZE), size=SIZE),
        Answer(BODY + b"x"),
        Answer(BODY + bytes(SIZE)),
        Answer(BODY, size=SIZE + 1),
        Answer(BODY[:-1], size=SIZE - 1),
    ],
    ids=["other bytes", "one more", "many more", "a larger size", "a smaller size"],
)
@pytest.mark.parametrize("arrived", [True, False])
async def test_a_wrong_body_is_asked_for_once_more_past_caches(
    wrong: Answer, caplog: pytest.LogCaptureFixture, *, arrived: bool
) -> None:
    caplog.set_level(logging.WARNING)
    world = World(replace(wrong, arrived=arrived), Answer(BODY, size=SIZE))
    await world.fly()
    assert (world.ranges, world.stored) == ([(0, False), (0, True)], BODY)
    assert [record.message.rpartition("; ")[2] for record in caplog.records] == [
        "asking once more past caches"
    ]
    assert b'digest_mismatch_total{ecosystem="python"} 1.0' in world.metrics.render()[0]


async def test_a_body_that_is_wrong_twice_is_refused_and_not_kept() -> None:
    world = World(Answer(bytes(SIZE), size=SIZE), Answer(bytes(SIZE), size=SIZE))
    flight = await world.fly()
    assert isinstance(flight.error, DigestMismatch)
    assert (len(world.asked), world.stored) == (2, None)


async def test_what_the_upstream_refuses_is_the_flight_s_failure() -> None:
    refusal = NotFound("It is gone.", gone=True)
    world = World(refusal)
    assert (await world.fly()).error is refusal
    assert len(world.asked) == 1


@pytest.mark.parametrize("what", ["write", "commit"])
@pytest.mark.parametrize("arrived", [True, False])
async def test_what_the_store_does_not_take_is_passed_on_without_a_second_question(
    what: str, caplog: pytest.LogCaptureFixture, *, arrived: bool
) -> None:
    world = World(Answer(BODY, size=SIZE, arrived=arrived))
    world.storage.fail(what)
    flight = Flight(SIZE)
    follower = flight.attach()
    await world.fly(flight=flight)
    assert (flight.error, flight.record, flight.spooling) == (None, None, True)
    assert (await follower.more(), flight.copy(0, SIZE)) == (True, BODY)
    follower.leave()
    assert (len(world.asked), world.stored) == (1, None)
    assert b"cache_write_errors_total 1.0" in world.metrics.render()[0]
    assert sum("passing through" in record.message for record in caplog.records) == 1


async def test_what_turns_out_to_be_large_is_shown_while_it_comes() -> None:
    large = os.urandom(SMALL * 2)
    digest = Digest("sha256", hashlib.sha256(large).hexdigest())
    world = World(answer := Answer(large, size=len(large), held=True))
    flight = Flight(None)
    follower = flight.attach()
    running = asyncio.create_task(
        world.fly(SOURCE._replace(digest=digest, size=None), flight=flight)
    )
    assert await follower.more()
    assert not flight.done
    answer.more.set()
    await running
    follower.leave()
    assert (flight.error, world.stored, len(world.asked)) == (None, large, 1)


async def test_what_turns_out_to_be_large_pours_if_it_can() -> None:
    large = os.urandom(SMALL * 2)
    digest = Digest("sha256", hashlib.sha256(large).hexdigest())
    world = World(answer := Answer(large, size=len(large), poured=0))
    await world.fly(SOURCE._replace(digest=digest, size=None))
    assert (answer.poured, world.stored, len(world.asked)) == (len(large), large, 1)


async def test_what_is_larger_than_the_whole_store_is_passed_on() -> None:
    world = World(Answer(BODY, size=SIZE))
    flight = await world.fly(most=SIZE - 1)
    assert (flight.error, flight.content, world.stored) == (None, BODY, None)
    assert b"cache_write_errors_total 0.0" in world.metrics.render()[0]


async def test_who_stops_a_short_flight_lets_go_of_answer_and_claim() -> None:
    world = World(answer := Answer(BODY, size=SIZE, held=True))
    flight = Flight(SIZE)
    running = asyncio.create_task(world.fly(flight=flight))
    await answer.reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (answer.closed, world.stored) == (True, None)
    assert isinstance(flight.error, Unavailable)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("body", [BODY, b""])
async def test_bytes_that_other_packages_may_have_get_a_file_of_their_own(
    tmp_path: Path, body: bytes, *, shared: bool
) -> None:
    world, storage = World(Answer(body, size=len(body), arrived=bool(body))), DiskStorage(tmp_path)
    world.storage = FailingStorage(storage)
    sha256 = hashlib.sha256(body).hexdigest()
    flight = await world.fly(
        SOURCE._replace(digest=Digest("sha256", sha256), size=len(body)), shared=shared
    )
    assert flight.record is not None
    assert storage.holds(sha256) is shared
    assert flight.record == storage.lookup("key")
    assert flight.record.inside is not shared
    assert get(storage, "key") == flight.content == body
    assert not list(storage.folder.names("flights"))
    storage.close()


async def test_a_claim_is_given_back_also_where_storing_fails_for_another_reason(
    tmp_path: Path,
) -> None:
    def facts() -> ArtifactFacts:
        raise MemoryError

    world, flight = World(answer := Answer(BODY, size=SIZE)), Flight(SIZE)
    storage = DiskStorage(tmp_path)
    world.storage = FailingStorage(storage)
    with pytest.raises(MemoryError):
        await world.fly(flight=flight, facts=facts)
    assert (answer.closed, isinstance(flight.error, Unavailable)) == (True, True)
    claimed = storage.claim("key", "name")
    assert not is_foreign(claimed)  # else whoever asks next would wait for nobody
    claimed.close()
    storage.close()


async def test_what_fails_inside_us_when_all_is_here_is_passed_on_if_no_task_had_to_wait(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def facts() -> ArtifactFacts:
        raise MemoryError

    world, flight = World(answer := Answer(BODY, size=SIZE, arrived=True)), Flight(SIZE)
    follower = flight.attach()
    world.swift = True
    storage = DiskStorage(tmp_path)
    world.storage = FailingStorage(storage)
    await world.fly(flight=flight, facts=facts)
    assert (flight.error, flight.record, answer.closed) == (None, None, True)
    assert (await follower.more(), flight.copy(0, SIZE), len(world.asked)) == (True, BODY, 1)
    follower.leave()
    assert "could not be stored for a reason inside the proxy" in caplog.text
    claimed = storage.claim("key", "name")
    assert not is_foreign(claimed)
    claimed.close()
    storage.close()


async def test_one_that_is_stopped_before_anything_has_come_gives_its_claim_back(
    tmp_path: Path,
) -> None:
    world, flight = World(Answer(BODY, size=SIZE, arrived=True)), Flight(SIZE)
    world.swift = True
    storage = DiskStorage(tmp_path)
    world.storage = FailingStorage(storage)
    running = asyncio.create_task(world.fly(flight=flight))
    await asyncio.sleep(0)
    assert len(world.asked) == 1
    assert flight._stop is not None
    flight._stop()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert isinstance(flight.error, Unavailable)
    claimed = storage.claim("key", "name")
    assert not is_foreign(claimed)
    claimed.close()
    storage.close()


async def test_what_another_one_has_stored_meanwhile_is_not_asked_for() -> None:
    world = World(Answer(BODY, size=SIZE), Answer(BODY, size=SIZE))
    world.storage.is_alone = False
    await world.fly()
    again = await world.fly()
    assert again.record == world.real.lookup("key")
    assert len(world.asked) == 1


def begun(folder: Path) -> list[Path]:
    """What a store has of bodies in the making."""
    return list(folder.glob("v2/flights/*"))


@pytest.mark.parametrize("odd", [True, False])
async def test_alone_nothing_is_in_the_store_before_the_body_is_here(
    tmp_path: Path, *, odd: bool
) -> None:
    world = World(Answer(BODY, size=SIZE, arrived=not odd))
    world.swift = True
    storage = DiskStorage(tmp_path)
    world.storage = FailingStorage(storage)
    running = asyncio.create_task(world.fly())
    await asyncio.sleep(0)
    assert len(world.asked) == 1
    assert not begun(tmp_path)
    flight = await running
    assert (get(storage, "key"), flight.error, len(world.asked)) == (BODY, None, 1)
    assert not begun(tmp_path)
    storage.close()


async def test_who_is_not_alone_any_more_follows_whoever_claims_first(tmp_path: Path) -> None:
    world = World(answer := Answer(BODY, size=SIZE))
    world.swift = True
    storage, other = DiskStorage(tmp_path), DiskStorage(tmp_path)
    world.storage = FailingStorage(storage)
    world.storage.is_alone = True  # as it was a moment ago
    running = asyncio.create_task(world.fly())
    await asyncio.sleep(0)
    assert len(world.asked) == 1
    claimed = other.claim("key", "name")
    assert not is_foreign(claimed)
    done, _ = await asyncio.wait([running], timeout=5 * TICK)
    assert (done, answer.closed) == (set(), True)
    known = ArtifactFacts("/x", "p", "1", SHA256, 0, 0)
    claimed.commit_whole(BODY, SHA256.hex, known.fields())
    claimed.close()
    flight = await running
    assert flight.record is not None
    assert (flight.record.sha256, len(world.asked)) == (SHA256.hex, 1)
    storage.close()
    other.close()


async def test_one_that_has_landed_leaves_nothing_for_the_collector_to_find() -> None:
    world = World(Answer(BODY, size=SIZE, arrived=True))
    world.swift = True
    with no_collector():
        gone = weakref.ref(await world.fly())
        assert world.stored == BODY
        world.questions.clear()
        await asyncio.sleep(0)
        assert gone() is None


@pytest.mark.parametrize("right", [True, False])
async def test_nothing_more_is_asked_where_another_body_came_from(*, right: bool) -> None:
    body = BODY if right else bytes(SIZE)
    world = World(Answer(body, size=SIZE, arrived=True), Answer(BODY, size=SIZE))
    world.swift = True
    await world.fly()
    assert [question.distrusted for question in world.questions] == [not right]
    assert world.stored == BODY
