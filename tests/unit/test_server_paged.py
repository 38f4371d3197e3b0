"""Bodies that lie in pages of the kernel's: what is sent, what is shared, what it leaves behind."""

from __future__ import annotations

import errno
import gc
import os
import random
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.server.paged import LEAST, Paged, PagedBodies

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of one TCP connection; the first does not block."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        reader = socket.create_connection(server.getsockname())
        writer, _ = server.accept()
    with reader, writer:
        writer.setblocking(False)
        reader.settimeout(10)
        yield writer, reader


def received(reader: socket.socket, count: int) -> bytes:
    found = bytearray()
    while len(found) < count and (more := reader.recv(count - len(found))):
        found += more
    return bytes(found)


def files_in_memory() -> int:
    """Descriptors of this process that are files in memory, without what nobody holds any more."""
    gc.collect()
    shown = (path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink())
    return sum(str(name).startswith("/memfd:body") for name in shown)


@pytest.mark.parametrize("size", [LEAST, LEAST + 1, 60_001, 200_000])
def test_head_and_body_arrive_as_they_are(
    pair: tuple[socket.socket, socket.socket], size: int
) -> None:
    writer, reader = pair
    body = random.Random(size).randbytes(size)
    paged = Paged(body)
    for number in range(3):
        head = HEAD + b"%d" % number
        sent = paged.send(head, writer)
        assert received(reader, sent) == (head + body)[:sent]
        assert sent == len(head) + size


def test_a_full_socket_takes_what_it_takes(pair: tuple[socket.socket, socket.socket]) -> None:
    writer, reader = pair
    body = random.Random(1).randbytes(1 << 20)
    paged = Paged(body)
    counts: list[int] = []
    while not counts or counts[-1] == len(HEAD) + len(body):
        counts.append(paged.send(HEAD, writer))
    with pytest.raises(BlockingIOError):
        paged.send(HEAD, writer)
    for count in counts:
        assert received(reader, count) == (HEAD + body)[:count]


@pytest.mark.parametrize("missing", [True, False], ids=["another system", "no descriptors"])
def test_without_files_in_memory_it_is_copied(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch, missing: bool
) -> None:
    def refuse(_: str) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    if missing:
        monkeypatch.delattr(os, "memfd_create")
    else:
        monkeypatch.setattr(os, "memfd_create", refuse)
    writer, reader = pair
    body = random.Random(2).randbytes(50_000)
    before, paged = files_in_memory(), Paged(body)
    for _ in range(2):
        assert paged.send(HEAD, writer) == len(HEAD + body)
        assert received(reader, len(HEAD + body)) == HEAD + body
    assert files_in_memory() == before


def test_a_body_that_is_sent_often_is_laid_out_once_and_let_go_of(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    writer, reader = pair
    bodies, body = PagedBodies(), random.Random(3).randbytes(40_000)
    before = files_in_memory()
    first, again = bodies.of(body), bodies.of(body)
    assert isinstance(first, Paged)
    assert first is again
    assert files_in_memory() == before  # it may never be asked for again
    for _ in range(3):
        received(reader, first.send(HEAD, writer))
    assert files_in_memory() == before + 1
    assert bodies.of(bytes(bytearray(body))) is not first
    del first, again
    assert files_in_memory() == before


def test_what_is_on_its_way_outlives_the_file(pair: tuple[socket.socket, socket.socket]) -> None:
    writer, reader = pair
    body = random.Random(4).randbytes(100_000)
    before, paged = files_in_memory(), Paged(body)
    sent = paged.send(HEAD, writer)
    del paged
    gc.collect()
    others = [Paged(bytes(100_000)) for _ in range(8)]
    for other in others:
        other.send(b"", writer)
    assert files_in_memory() == before + 8
    assert received(reader, sent) == (HEAD + body)[:sent]
    del other
    others.clear()
    assert files_in_memory() == before


def test_a_small_body_stays_as_it_is() -> None:
    body = bytes(LEAST - 1)
    assert PagedBodies().of(body) is body


def test_descriptors_are_left_for_connections() -> None:
    kept = [bytes(bytearray(LEAST)) for _ in range(5)]
    bodies = PagedBodies(3)
    laid = [bodies.of(body) for body in kept]
    assert [isinstance(one, Paged) for one in laid] == [True, True, True, False, False]
    assert bodies.of(kept[0]) is laid[0]
    assert laid[3] is kept[3]
    del laid[1]
    gc.collect()
    assert isinstance(bodies.of(kept[4]), Paged)


@pytest.mark.parametrize(("soft", "share"), [(256, 16), (1024, 64), (1 << 20, 256)])
def test_a_small_share_of_what_the_process_may_have(
    monkeypatch: pytest.MonkeyPatch, soft: int, share: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
    kept = [bytes(bytearray(LEAST)) for _ in range(share + 1)]
    bodies = PagedBodies()
    laid = [bodies.of(body) for body in kept]
    assert sum(isinstance(one, Paged) for one in laid) == share
