"""Large bodies are taken in beside the event loop: in order, bounded, and never left half-way."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading

import pytest

from proxy.cache.flight import Flight
from proxy.cache.intake import AT_ONCE, BACKLOG, BLOCK, Intake
from proxy.cache.leader import Leader
from proxy.cache.transfer import Transfer
from proxy.errors import DigestMismatch, StorageFailed
from proxy.model import Digest, Source
from proxy.storage.base import Writer
from proxy.storage.memory import MemoryStorage
from proxy.upstream.base import Head
from tests.running import LIMIT

PIECE = 256 << 10
SIZE = 12 << 20
BODY = os.urandom(SIZE)
PIECES = [BODY[at : at + PIECE] for at in range(0, SIZE, PIECE)]


class SlowWriter:
    """A real writer whose disk waits for a sign, and fails from a byte on if it is told to."""

    def __init__(self, real: Writer, fails_at: int = SIZE + 1) -> None:
        self.go = threading.Event()
        self._real = real
        self._fails_at = fails_at

    def write(self, piece: bytes) -> None:
        assert self.go.wait(LIMIT)
        if self._real.size + len(piece) > self._fails_at:
            raise StorageFailed("the disk fails, as the test wants it")
        self._real.write(piece)

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


def leading(*, size: int | None = SIZE, fails_at: int = SIZE + 1) -> tuple[Leader, SlowWriter]:
    digest = Digest("sha256", hashlib.sha256(BODY).hexdigest())
    transfer = Transfer(Source("/x", "x", digest=digest, size=size))
    transfer.accept(Head(200, "http://upstream.example/x", size=size))
    writer = SlowWriter(MemoryStorage().create("key"), fails_at)
    leader = Leader(Flight(size), writer, transfer)  # type: ignore[arg-type]
    leader.show()
    return leader, writer


def refuse(_: Leader, error: StorageFailed) -> None:
    raise error


async def test_a_large_body_is_whole_and_in_order_once_its_intake_has_ended() -> None:
    leader, writer = leading()
    writer.go.set()
    intake = Intake(leader, refuse)
    for piece in PIECES:
        await intake.put(piece)
    await intake.end()
    assert leader.transfer.proven
    assert leader.flight.copy(0, SIZE) == BODY


async def test_what_a_slow_disk_has_not_taken_yet_is_bounded() -> None:
    leader, writer = leading()
    intake = Intake(leader, refuse)
    put = 0

    async def put_all() -> None:
        nonlocal put
        for piece in PIECES:
            await intake.put(piece)
            put += len(piece)

    putting = asyncio.ensure_future(put_all())
    done, _ = await asyncio.wait([putting], timeout=0.2)  # as much as it ever will
    assert not done
    assert put <= BACKLOG
    writer.go.set()
    await putting
    await intake.end()
    assert leader.transfer.proven


async def test_nothing_is_shown_that_the_disk_has_not_taken() -> None:
    leader, writer = leading()
    intake = Intake(leader, refuse)
    await intake.put(PIECES[0])
    await intake.put(PIECES[1])
    assert leader.flight.received == 0
    writer.go.set()
    await intake.end()
    assert leader.flight.received == 2 * PIECE


async def test_the_end_of_an_intake_is_waited_for_even_by_who_is_cancelled() -> None:
    leader, writer = leading()
    intake = Intake(leader, refuse)
    await intake.put(PIECES[0])
    ending = asyncio.ensure_future(intake.end())
    await asyncio.sleep(0)
    ending.cancel()
    await asyncio.sleep(0)
    assert not ending.done()  # else its caller would close the file under the thread
    writer.go.set()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert leader.writer.size == PIECE


async def test_a_disk_that_fails_under_it_leaves_every_byte_in_order_in_memory() -> None:
    leader, writer = leading(fails_at=5 * PIECE)
    writer.go.set()
    told: list[StorageFailed] = []

    def leave(leader: Leader, error: StorageFailed) -> None:
        told.append(error)
        leader.leave_disk()

    follower = leader.flight.attach()
    intake = Intake(leader, leave)
    for piece in PIECES:
        await intake.put(piece)
    await intake.end()
    assert len(told) == 1
    assert leader.transfer.proven
    got = bytearray()
    while piece := leader.flight.copy(len(got), PIECE):
        got += piece
    assert got == BODY
    follower.leave()


async def test_a_disk_that_fails_with_nothing_to_go_on_in_is_told() -> None:
    leader, writer = leading(fails_at=0)
    writer.go.set()
    intake = Intake(leader, refuse)
    await intake.put(PIECES[0])
    with pytest.raises(StorageFailed):
        await intake.end()


@pytest.mark.parametrize("size", [AT_ONCE, SIZE])
async def test_more_than_belongs_is_refused_before_it_is_taken(size: int) -> None:
    leader, writer = leading(size=size)
    writer.go.set()
    intake = Intake(leader, refuse)
    for at in range(0, size, PIECE):
        await intake.put(BODY[at : at + PIECE])
    with pytest.raises(DigestMismatch):
        await intake.put(b"x")
    await intake.end()
    assert leader.transfer.received == size


async def test_followers_have_the_last_byte_before_the_body_is_stored() -> None:
    leader, writer = leading()
    writer.go.set()
    intake = Intake(leader, refuse)
    for piece in PIECES:
        await intake.put(piece)
    await intake.end()
    follower = leader.flight.attach()
    assert leader.flight.visible < SIZE  # held back until it is verified
    leader.flight.release()
    assert await follower.more()
    assert (leader.flight.visible, leader.flight.done) == (SIZE, False)
    follower.leave()


class Spring:
    """An answer that pours (see `UpstreamResponse.read_into`): some bytes of `BODY` at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._at = 0

    async def read_into(self, view: memoryview) -> int:
        piece = BODY[self._at : self._at + min(self._most, len(view))]
        view[: len(piece)] = piece
        self._at += len(piece)
        await asyncio.sleep(0)  # the thread may be done with a block meanwhile
        return len(piece)


@pytest.mark.parametrize("most", [100_000, BLOCK, SIZE])
async def test_a_body_that_is_poured_is_whole_and_in_order(most: int) -> None:
    leader, writer = leading()
    writer.go.set()
    intake, spring = Intake(leader, refuse), Spring(most)
    while piece := await intake.draw(spring.read_into):
        await intake.put(piece)
    await intake.end()
    assert leader.transfer.proven
    assert leader.flight.copy(0, SIZE) == BODY


async def test_a_body_that_is_poured_waits_for_a_slow_disk_with_its_blocks() -> None:
    leader, writer = leading()
    intake, spring = Intake(leader, refuse), Spring(1000)

    async def pour() -> None:
        while piece := await intake.draw(spring.read_into):
            await intake.put(piece)

    pouring = asyncio.ensure_future(pour())
    done, _ = await asyncio.wait([pouring], timeout=0.2)  # as much as it ever will
    assert not done
    assert intake.blocks <= BACKLOG // BLOCK
    writer.go.set()
    await pouring
    await intake.end()
    assert leader.transfer.proven
    assert intake.blocks <= BACKLOG // BLOCK


async def test_a_disk_that_fails_under_a_body_that_is_poured_leaves_every_byte_in_order() -> None:
    leader, writer = leading(fails_at=5 * PIECE)
    writer.go.set()
    follower = leader.flight.attach()
    intake, spring = Intake(leader, lambda leader, _: leader.leave_disk()), Spring(BLOCK)
    while piece := await intake.draw(spring.read_into):
        await intake.put(piece)
    await intake.end()
    assert leader.transfer.proven
    got = bytearray()
    while copied := leader.flight.copy(len(got), PIECE):
        got += copied
    assert got == BODY
    follower.leave()


async def test_bytes_that_are_here_already_are_passed_over_and_their_block_used_again() -> None:
    leader, writer = leading()
    writer.go.set()
    intake, spring = Intake(leader, refuse), Spring(BLOCK)
    for _ in range(3):
        assert await intake.draw(spring.read_into)
    assert intake.blocks == 1
    await intake.end()
