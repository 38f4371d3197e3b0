"""The leader's books: what may go on, what is right, and who is too slow."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cache import transfer as module
from proxy.cache.transfer import MAX_BREAKS, Next, Rate, Transfer
from proxy.errors import DigestMismatch, Malformed, Unavailable
from proxy.model import Digest, Source
from proxy.upstream.base import Head

BODY = b"0123456789" * 10
URL = "http://registry.example/x"
SHA = Digest("sha256", hashlib.sha256(BODY).hexdigest())
KNOWN = Source("/x", "p", "1", SHA, len(BODY))
UNKNOWN = Source("/x", "p", "1")


def headed(**what: Any) -> Head:
    usual = {"media_type": "application/octet-stream", "size": len(BODY), "etag": '"e"'}
    return Head(**{"status": 200, "url": URL, **usual, **what})


HEAD = headed()


def begun(source: Source, received: bytes = b"", head: Head = HEAD) -> Transfer:
    transfer = Transfer(source)
    assert transfer.accept(head) == 0
    if received:
        transfer.update(received)
    return transfer


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha384", "sha512"])
def test_the_whole_is_right_when_its_digest_is(algorithm: str) -> None:
    digest = Digest.of(algorithm, hashlib.new(algorithm, BODY).hexdigest())
    transfer = begun(KNOWN._replace(digest=digest), BODY)
    transfer.check()
    assert transfer.proven
    assert transfer.sha256 == SHA.hex
    wrong = begun(KNOWN._replace(digest=digest), BODY[:-1] + b"x")
    assert not wrong.proven
    with pytest.raises(DigestMismatch):
        wrong.check()


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
def test_what_is_learnt_on_the_way_counts_for_all_that_was_received(algorithm: str) -> None:
    right = Digest.of(algorithm, hashlib.new(algorithm, BODY).hexdigest())
    wrong = Digest.of(algorithm, hashlib.new(algorithm, b"other").hexdigest())
    transfer = Transfer(UNKNOWN, digests=("md5", "sha1", "sha512"))
    transfer.accept(headed(size=None, framed=False))
    transfer.update(BODY)
    known = [transfer.resumable, transfer.provable, transfer.proven]
    assert known == [False, False, False]
    transfer.learn((right,))
    transfer.check()
    known = [transfer.resumable, transfer.provable, transfer.proven]
    assert known == [True, True, True]
    for learnt in ((wrong,), (right, wrong), (wrong, right)):
        transfer.learn(learnt)
        with pytest.raises(DigestMismatch):
            transfer.check()
    transfer.learn(())
    assert not transfer.resumable


def test_what_is_learnt_never_replaces_what_the_listing_promises() -> None:
    transfer = begun(KNOWN, BODY[:-1] + b"x")
    transfer.learn((Digest("sha256", hashlib.sha256(BODY[:-1] + b"x").hexdigest()),))
    with pytest.raises(DigestMismatch):
        transfer.check()


def test_digests_are_computed_of_the_last_try_only() -> None:
    transfer = Transfer(UNKNOWN, digests=("sha1",))
    transfer.update(b"rubbish")
    transfer.restart()
    transfer.update(BODY)
    assert transfer.digests == (Digest("sha1", hashlib.sha1(BODY).hexdigest()),)


@given(cuts=st.lists(st.integers(0, len(BODY)), max_size=6))
def test_pieces_of_any_size_make_the_same_whole(cuts: list[int]) -> None:
    transfer = begun(KNOWN)
    edges = [0, *sorted(cuts), len(BODY)]
    for start, end in pairwise(edges):
        transfer.expect(end)
        transfer.update(BODY[start:end])
    transfer.check()
    assert transfer.proven


class Even:
    """A judge: all bytes are of the one kind, and there is an even number of them."""

    def __init__(self) -> None:
        self.fed = b""

    def feed(self, piece: bytes) -> None:
        """Keep them."""
        self.fed += piece

    def holds(self) -> bool:
        """Look at them."""
        return len(self.fed) % 2 == 0 and len(set(self.fed)) == 1


@pytest.mark.parametrize("size", [None, 6])
def test_what_is_sealed_is_right_when_its_judge_says_so(size: int | None) -> None:
    source = Source("/x", "p", "1", size=size, seal="even")
    assert source.verifiable
    transfer = Transfer(source, verifier=Even)
    transfer.accept(headed(size=None, framed=False, media_type="text/html"))
    assert (transfer.resumable, transfer.provable) == (True, True)
    transfer.update(b"aaa")
    assert not transfer.proven
    with pytest.raises((Unavailable, DigestMismatch)):
        transfer.check()
    transfer.update(b"aaa")
    transfer.check()
    assert transfer.proven


def test_a_seal_does_not_make_up_for_a_digest_and_each_try_has_a_judge_of_its_own() -> None:
    body = b"ab" * 5
    digest = Digest("sha256", hashlib.sha256(body).hexdigest())
    transfer = Transfer(KNOWN._replace(digest=digest, size=10, seal="even"), verifier=Even)
    transfer.update(body)
    with pytest.raises(DigestMismatch):
        transfer.check()
    transfer.restart()
    transfer.update(b"a" * 10)
    with pytest.raises(DigestMismatch):
        transfer.check()
    sealed = Transfer(Source("/x", "p", size=10, seal="even"), verifier=Even)
    sealed.update(body)
    sealed.restart()
    sealed.update(b"a" * 10)
    sealed.check()


def test_less_than_belongs_is_a_cut_and_more_is_refused_before_it_is_written() -> None:
    with pytest.raises(Unavailable):
        begun(KNOWN, BODY[:-1]).check()
    with pytest.raises(DigestMismatch):
        begun(KNOWN, BODY).expect(len(BODY) + 1)
    begun(UNKNOWN, BODY, headed(size=None)).expect(1 << 40)


def test_nothing_in_place_of_a_file_is_refused_unless_the_digest_says_so() -> None:
    nothing = headed(size=0)
    with pytest.raises(Malformed):
        begun(UNKNOWN, head=nothing).check()
    empty = Digest("sha256", hashlib.sha256(b"").hexdigest())
    begun(KNOWN._replace(digest=empty, size=0), head=nothing).check()


def test_a_page_in_place_of_a_file_is_refused_unless_a_digest_will_tell() -> None:
    page = headed(media_type="text/html; charset=utf-8")
    with pytest.raises(Malformed):
        Transfer(UNKNOWN).accept(page)
    Transfer(KNOWN).accept(page)


def test_a_size_that_cannot_be_right_is_refused_at_the_head() -> None:
    with pytest.raises(DigestMismatch):
        Transfer(KNOWN).accept(headed(size=len(BODY) + 1))
    transfer = begun(UNKNOWN, BODY[:5])
    with pytest.raises(DigestMismatch):
        transfer.accept(headed(status=206, start=5, size=len(BODY) + 1))


def test_with_a_digest_any_answer_may_be_gone_on_with() -> None:
    transfer = begun(KNOWN, BODY[:30])
    assert transfer.accept(headed(status=206, start=30, etag='"other"')) == 0
    assert transfer.accept(HEAD) == 30  # the whole, of which 30 bytes are here
    assert transfer.start == 30
    transfer.refuse_range()
    assert transfer.start == 0


@pytest.mark.parametrize(
    ("source", "received", "headed", "then"),
    [
        (KNOWN, 30, True, Next.RESUME),
        (KNOWN, 30, False, Next.RESUME),
        (UNKNOWN, 30, True, Next.STOP),
        (UNKNOWN, 30, False, Next.RESTART),
        (UNKNOWN, 0, True, Next.RESUME),
    ],
)
def test_after_a_break(source: Source, received: int, then: Next, *, headed: bool) -> None:
    assert begun(source, BODY[:received]).broke_off(headed=headed) is then


def test_a_transfer_that_does_not_go_forward_ends() -> None:
    transfer = begun(KNOWN, BODY[:30])
    assert [transfer.broke_off(headed=True) for _ in range(3)] == [
        Next.RESUME,
        Next.RESUME,
        Next.STOP,
    ]


def test_a_transfer_that_goes_forward_ends_all_the_same_after_some_breaks() -> None:
    transfer = begun(KNOWN)
    steps = []
    for _ in range(MAX_BREAKS + 1):
        transfer.update(BODY[transfer.received : transfer.received + 1])
        steps.append(transfer.broke_off(headed=True))
    assert steps == [Next.RESUME] * MAX_BREAKS + [Next.STOP]


def test_beginning_again_forgets_the_bytes_but_not_the_breaks() -> None:
    transfer = begun(UNKNOWN, BODY[:30])
    assert transfer.broke_off(headed=False) is Next.RESTART
    transfer.restart()
    assert (transfer.received, transfer.start, transfer.size) == (0, 0, None)
    transfer.update(BODY[:30])
    assert transfer.broke_off(headed=False) is Next.RESTART
    transfer.restart()
    transfer.update(BODY[:30])
    assert transfer.broke_off(headed=False) is Next.STOP


def test_only_what_has_a_digest_or_a_visible_end_may_be_stored() -> None:
    blurred = headed(size=None, framed=False)
    assert begun(KNOWN, head=blurred).provable
    assert begun(UNKNOWN).provable
    assert not begun(UNKNOWN, head=blurred).provable


# --- the minimum rate ------------------------------------------------------------------------


def test_a_window_that_was_too_slow_is_told_and_a_new_one_begins() -> None:
    rate = Rate(100)
    assert rate.keeps(1, module.RATE_WINDOW - 1)
    assert not rate.keeps(1, 2)
    assert not rate.sound
    assert rate.keeps(10**6, 0)
    assert rate.keeps(0, module.RATE_WINDOW - 1)


def test_time_that_was_not_waited_does_not_count() -> None:
    rate = Rate(100)
    assert all(rate.keeps(1, 0.0) for _ in range(1000))
    assert rate.sound


def test_without_a_minimum_everything_keeps_it() -> None:
    rate = Rate(0)
    assert rate.keeps(0, 1e9)
    assert rate.sound


def test_a_sudden_silence_is_no_drip() -> None:
    rate = Rate(100)
    assert rate.keeps(10**6, 1)
    assert not rate.keeps(0, module.RATE_WINDOW) or rate.sound
    assert rate.sound
