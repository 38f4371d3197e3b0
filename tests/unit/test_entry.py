"""What the engine knows about a stored body: written and read back, and never trusted blindly."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cache.entry import ArtifactFacts, DocumentFacts
from proxy.cache.verdicts import from_text, to_text
from proxy.errors import Blocked, DigestMismatch, NotFound, ProxyError, RateLimited, Unavailable
from proxy.model import Digest
from proxy.storage.base import Fields, Record
from proxy.upstream.base import Head

SHA = "ab" * 32
ARTIFACT = ArtifactFacts(
    "/files/x", "p", "1.0", Digest("sha512", "cd" * 64), 1.5, 2.5, "/python/simple/p/", SHA, "{}"
)
DOCUMENT = DocumentFacts(
    "http://registry.example/p/", "text/html", '"e"', "", 60, 3.5, (("link", "<x>; rel=y"),)
)


def record(fields: Fields) -> Record:
    return Record("key", SHA, 10, json.loads(json.dumps(dict(fields))))


def test_facts_are_read_back_as_they_were_written() -> None:
    assert ArtifactFacts.of_record(record(ARTIFACT.fields())) == ARTIFACT
    assert DocumentFacts.of_record(record(DOCUMENT.fields())) == DOCUMENT
    bare = ARTIFACT._replace(digest=None, withheld="")
    assert ArtifactFacts.of_record(record(bare.fields())) == bare
    told = bare._replace(digests=f"sha1:{'ab' * 20} md5:{'cd' * 16}", compared="none")
    assert ArtifactFacts.of_record(record(told.fields())) == told


def test_digests_are_told_by_algorithm_and_never_made_up() -> None:
    facts = ARTIFACT._replace(digests=f"sha1:{'ab' * 20} md5:{'cd' * 16} sha512:broken")
    assert facts.digest_by("sha1", SHA) == Digest("sha1", "ab" * 20)
    assert facts.digest_by("md5", SHA) == Digest("md5", "cd" * 16)
    assert facts.digest_by("sha256", SHA) == Digest("sha256", SHA)
    assert facts.digest_by("sha384", SHA) is None
    assert facts.digest_by("sha512", SHA) is None


def test_what_has_been_superseded_fulfils_nothing_until_it_is_fetched_anew() -> None:
    superseded = ARTIFACT._replace(superseded=f"sha1:{'ab' * 20}")
    again = ArtifactFacts.of_record(record(superseded.fields()))
    assert again == superseded
    for promised in (None, ARTIFACT.digest, Digest("sha256", SHA)):
        assert not superseded.fulfils(promised, SHA)


JUNK = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)


@given(
    name=st.sampled_from([*ARTIFACT.fields(), *DOCUMENT.fields()]),
    value=JUNK,
    gone=st.booleans(),
)
def test_fields_that_are_not_ours_are_a_miss_and_never_an_error(
    name: str, value: Any, *, gone: bool
) -> None:
    for kind, facts in ((ArtifactFacts, ARTIFACT), (DocumentFacts, DOCUMENT)):
        fields = dict(facts.fields())
        fields[name] = value
        if gone:
            del fields[name]
        found = kind.of_record(Record("key", SHA, 10, fields))
        assert found is None or isinstance(found, kind)


@pytest.mark.parametrize(
    ("stored", "promised", "fulfils"),
    [
        (Digest("sha512", "cd" * 64), Digest("sha512", "cd" * 64), True),
        (Digest("sha512", "cd" * 64), Digest("sha512", "ce" * 64), False),
        (Digest("sha512", "cd" * 64), Digest("sha256", SHA), True),
        (None, Digest("sha256", SHA), True),
        (None, Digest("sha256", "00" * 32), False),
        (None, Digest("sha1", "00" * 20), False),
        (Digest("sha256", SHA), None, True),
        (None, None, True),
    ],
)
def test_a_stored_body_is_held_against_what_is_promised_now(
    stored: Digest | None, promised: Digest | None, *, fulfils: bool
) -> None:
    assert ARTIFACT._replace(digest=stored).fulfils(promised, SHA) is fulfils


def test_a_stored_body_is_held_against_the_seal_that_is_promised_now() -> None:
    sealed = ARTIFACT._replace(digest=None, seal="one")
    known = ArtifactFacts.of_record(Record("key", SHA, 10, sealed.fields()))
    assert known == sealed
    assert [sealed.fulfils(None, SHA, seal) for seal in ("one", "two", "")] == [True, False, True]
    assert not ARTIFACT.fulfils(None, SHA, "one")


def test_a_confirmation_keeps_what_it_does_not_renew() -> None:
    again = DOCUMENT.confirmed(Head(304, DOCUMENT.url), 9.0)
    assert again == replace(DOCUMENT, checked_at=9.0)
    newer = DOCUMENT.confirmed(Head(304, DOCUMENT.url, etag='"f"', max_age=0), 9.0)
    assert (newer.etag, newer.max_age) == ('"f"', 0)


@pytest.mark.parametrize(
    "error",
    [
        NotFound("a"),
        NotFound("b", gone=True),
        Blocked("c"),
        Blocked("d", conflict=True),
        DigestMismatch("e"),
        RateLimited("f", retry_after=9),
        Unavailable("g", retry_after=1),
    ],
    ids=repr,
)
def test_a_verdict_that_was_written_down_is_the_same_when_it_is_read(error: ProxyError) -> None:
    again = from_text(to_text(error))
    assert type(again) is type(error)
    assert (again.status, again.detail, again.retry_after) == (
        error.status,
        error.detail,
        error.retry_after,
    )


@given(st.text(max_size=60) | st.from_type(dict).map(str))
def test_a_verdict_that_cannot_be_read_is_an_unavailable(text: str) -> None:
    assert isinstance(from_text(text), Unavailable)
