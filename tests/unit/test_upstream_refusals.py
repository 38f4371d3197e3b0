"""The upstream refuses our token: how often it is asked, and what lifts it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.errors import (
    CredentialRefused,
)
from proxy.upstream.pairs import PairSource
from tests.origin import Origin, status
from tests.unit.upstream_room import (
    room,
    room_of,
)

PAGE = "/python/simple/alpha/"


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as running:
        yield running


def write(path: Path, username: str, password: str) -> PairSource:
    path.write_text(f"{username}\n{password}\n")
    return PairSource(pair_file=path)


async def test_a_refused_token_is_ours_to_mend_and_never_the_clients(origin: Origin) -> None:
    origin.credentials.retire(origin.pair)
    async with room_of(origin) as made:
        with pytest.raises(CredentialRefused) as caught:
            await made.get(PAGE)
        assert (caught.value.status, caught.value.retry_after) == (503, 10)
        assert made.upstream.open_breakers == ()
        assert made.credentials.unusable == ("python",)
    assert origin.count() == 1


async def test_an_upstream_that_wants_a_credential_where_none_is_configured_says_so(
    origin: Origin,
) -> None:
    async with room(origin.url) as made:
        with pytest.raises(CredentialRefused) as caught:
            await made.get(PAGE)
    assert "the proxy has none for it" in str(caught.value)


async def test_a_refused_token_is_tried_once_in_ten_seconds_however_many_ask(
    origin: Origin,
) -> None:
    origin.credentials.retire(origin.pair)
    async with room_of(origin) as made:
        for second in range(40):
            for _ in range(5):
                with pytest.raises(CredentialRefused):
                    await made.get(PAGE)
            made.clock.ahead += 1
            assert origin.count() <= 1 + (second + 1) // 10
        assert origin.count() >= 4


async def test_a_crowd_after_the_pause_makes_one_try(origin: Origin) -> None:
    origin.credentials.retire(origin.pair)
    async with room_of(origin) as made:
        with pytest.raises(CredentialRefused):
            await made.get(PAGE)
        made.clock.ahead += 11
        answers = await asyncio.gather(
            *(made.get(PAGE) for _ in range(100)), return_exceptions=True
        )
    assert all(isinstance(error, CredentialRefused) for error in answers)
    assert origin.count() == 2


async def test_a_token_that_is_good_again_is_used_again(origin: Origin) -> None:
    origin.fault("origin", **status(401))
    async with room_of(origin) as made:
        with pytest.raises(CredentialRefused):
            await made.get(PAGE)
        made.clock.ahead += 11
        assert await made.get(PAGE)
        assert await made.get(PAGE)
        assert made.credentials.unusable == ()


async def test_a_token_that_was_renewed_on_disk_is_found_by_the_request_that_needs_it(
    origin: Origin, tmp_path: Path
) -> None:
    file = tmp_path / "pair"
    source = write(file, origin.username, origin.password)
    async with room(origin.url, source) as made:
        fresh = origin.credentials.issue()
        origin.credentials.retire(origin.pair)
        write(file, fresh.username, fresh.password)
        bodies = await asyncio.gather(*(made.get(PAGE) for _ in range(10)))
    assert len(bodies) == 10
    # Each of them was refused at most once: one reload, one more try.
    assert origin.count() <= 20
    assert origin.violations == []


async def test_only_one_more_try_is_made_with_a_renewed_token(
    origin: Origin, tmp_path: Path
) -> None:
    file = tmp_path / "pair"
    source = write(file, origin.username, origin.password)
    async with room(origin.url, source) as made:
        origin.credentials.retire(origin.pair)
        other = origin.credentials.issue()
        origin.credentials.retire(other)
        write(file, other.username, other.password)
        with pytest.raises(CredentialRefused):
            await made.get(PAGE)
    assert origin.count() == 2


async def test_a_changed_file_lifts_the_pause(origin: Origin, tmp_path: Path) -> None:
    file = tmp_path / "pair"
    source = write(file, origin.username, origin.password)
    origin.credentials.retire(origin.pair)
    async with room(origin.url, source) as made:
        with pytest.raises(CredentialRefused):
            await made.get(PAGE)
        fresh = origin.credentials.issue()
        write(file, fresh.username, fresh.password)
        await made.credentials.poll()
        await made.credentials.poll()
        assert await made.get(PAGE)


async def test_a_late_refusal_of_the_old_token_does_not_pause_the_new_one(
    origin: Origin, tmp_path: Path
) -> None:
    file = tmp_path / "pair"
    source = write(file, origin.username, origin.password)
    held = origin.fault("origin", hold=True, **status(401))
    async with room(origin.url, source) as made:
        late = asyncio.create_task(made.get(PAGE))
        await held.reached()
        fresh = origin.credentials.issue()
        write(file, fresh.username, fresh.password)
        await made.credentials.poll()
        await made.credentials.poll()
        held.release()
        assert await late
        assert made.credentials.unusable == ()
    assert origin.count() == 2


async def test_a_token_that_cannot_be_read_is_said_without_asking(
    origin: Origin, tmp_path: Path
) -> None:
    async with room(origin.url, PairSource(pair_file=tmp_path / "none")) as made:
        with pytest.raises(CredentialRefused) as caught:
            await made.get(PAGE)
    assert not caught.value.asked
    assert origin.log == []


async def test_without_a_credential_the_upstream_is_asked_without_one(origin: Origin) -> None:
    async with room(origin.url) as made:
        assert b"openvex" in await made.get("/openvex/v1/all.json")
        with pytest.raises(CredentialRefused):
            await made.get(PAGE)
    assert all(entry.header("authorization") is None for entry in origin.log)
