"""An artifact without a digest is looked at by its ecosystem, which may ask for any part of it."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping

import pytest

from proxy.cache.flight import Flight
from proxy.cache.judging import BUDGET, compare_stored, judge_of, look
from proxy.ecosystems.base import Span
from proxy.ecosystems.java import Java
from proxy.errors import DigestMismatch, Malformed
from proxy.model import Source
from proxy.storage.memory import MemoryStorage, MemoryWriter

BODY = bytes(range(256)) * 40
KEY = "x\0p\0001\0/x/p/1.zip\0artifact\0http://registry.example"
NEIGHBOUR = KEY.replace(".zip", ".mod")


class Wanting:
    """Asks for some spans and returns what it was sent."""

    def __init__(self, *spans: Span) -> None:
        self.spans = spans
        self.sent: list[bytes] = []

    def __call__(self, size: int) -> Generator[Span, bytes, Mapping[str, str]]:
        assert size == len(BODY)
        for span in self.spans:
            self.sent.append((yield span))
        return {"/x": "y"}


def landed(*pieces: bytes) -> Flight:
    """A flight whose body lies in as many files as there are pieces."""
    flight = Flight(None)
    for number, piece in enumerate(pieces):
        writer = MemoryWriter()
        writer.write(piece)
        if number:
            flight.extend(writer.open())
        else:
            flight.begin(writer.open(), None)
        flight.advance(flight.received + len(piece))
        writer.close()
    return flight


def test_what_is_asked_for_is_what_is_sent_also_over_the_border_of_two_files() -> None:
    flight, judge = landed(BODY[:1000], BODY[1000:]), Wanting((0, 4), (990, 1020), (10239, 10240))
    assert look(flight, len(BODY), judge) == {"/x": "y"}
    assert judge.sent == [BODY[:4], BODY[990:1020], BODY[-1:]]


def test_what_the_ecosystem_does_not_recognise_has_wrong_bytes() -> None:
    def judge(_: int) -> Generator[Span, bytes, Mapping[str, str]]:
        yield (0, 1)
        raise Malformed("It is something else.")

    with pytest.raises(DigestMismatch, match=r"It is something else\. Nothing was kept\."):
        look(landed(BODY), len(BODY), judge)


def test_asking_for_too_much_is_refused_before_it_is_read() -> None:
    judge = Wanting((0, len(BODY)), (0, BUDGET))
    with pytest.raises(DigestMismatch, match="sensible"):
        look(landed(BODY), len(BODY), judge)
    assert judge.sent == [BODY]


@pytest.mark.parametrize("same", [True, False])
def test_a_stored_neighbour_that_contradicts_is_dropped_and_the_newcomer_refused(
    same: bool,
) -> None:
    storage = MemoryStorage()
    writer = storage.create(NEIGHBOUR)
    writer.write(BODY)
    stored = writer.commit(hashlib.sha256(BODY).hexdigest(), {})
    if same:
        compare_stored(storage, KEY, {"/x/p/1.mod": stored.sha256, "/x/p/1.info": "0" * 64})
    else:
        with pytest.raises(DigestMismatch, match="Neither was kept"):
            compare_stored(storage, KEY, {"/x/p/1.mod": "0" * 64})
    assert (storage.lookup(NEIGHBOUR) is not None) is same


def test_an_ecosystem_that_looks_at_nothing_judges_nothing() -> None:
    assert judge_of(Java(), Source("/java/x", "p", "1")) is None
