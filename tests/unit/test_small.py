"""Small bodies in memory: verified, bounded, and only of what is asked for again."""

from __future__ import annotations

import hashlib

from proxy.cache.small import SMALL, Small
from proxy.storage.base import Record
from proxy.storage.memory import MemoryStorage


def stored(storage: MemoryStorage, content: bytes, sha256: str = "") -> Record:
    writer = storage.create(sha256 or "k")
    writer.write(content)
    record = writer.commit(sha256 or hashlib.sha256(content).hexdigest(), {})
    writer.close()
    return record


async def asked(small: Small, storage: MemoryStorage, record: Record) -> bytes | None:
    body = storage.open(record)
    assert body is not None
    try:
        return await small.content(record, body)
    finally:
        body.close()


async def test_a_body_is_kept_from_its_second_use_on() -> None:
    storage, small = MemoryStorage(), Small()
    record = stored(storage, b"content")
    assert await asked(small, storage, record) is None
    content = await asked(small, storage, record)
    assert content == b"content"
    assert await asked(small, storage, record) is content


async def test_a_body_that_is_not_what_its_name_says_is_never_kept() -> None:
    storage, small = MemoryStorage(), Small()
    record = stored(storage, b"content", "0" * 64)
    for _ in range(3):
        assert await asked(small, storage, record) is None


async def test_a_large_body_is_not_kept() -> None:
    storage, small = MemoryStorage(), Small()
    record = stored(storage, bytes(SMALL + 1))
    for _ in range(3):
        assert await asked(small, storage, record) is None


async def test_no_more_is_held_than_the_budget() -> None:
    storage, small = MemoryStorage(), Small(budget=4000)
    for number in range(10):
        record = stored(storage, bytes([number]) * 1000)
        await asked(small, storage, record)
        assert await asked(small, storage, record) is not None
        assert small.used <= 4000
