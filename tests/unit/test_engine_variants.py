"""Ready bodies: large documents in another process, one body per representation and coding."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from proxy.cache import worker as worker_module
from proxy.cache.coding import CODINGS, compress
from proxy.cache.variants import LARGE, Variants
from proxy.cache.worker import MAX_WAITING, Worker
from proxy.ecosystems.python import Python
from proxy.ecosystems.simple_index import JSON, TEXT_HTML
from proxy.errors import Malformed, NotListed, Unavailable
from proxy.model import Document, DocumentTarget, HostRules, Links, RequestLine
from tests.origin import Origin
from tests.running import Answer, Running, running

PAGE = "/python/simple/alpha/"
T = TypeVar("T")


def big_page(size: int, origin: str = "https://libraries.example") -> bytes:
    """An index page of about `size` bytes."""
    files = [
        {
            "filename": f"alpha-{n}.0-py3-none-any.whl",
            "url": f"{origin}/files/{n:08x}/ab/alpha/alpha-{n}.0-py3-none-any.whl",
            "hashes": {"sha256": hashlib.sha256(b"%d" % n).hexdigest()},
            "requires-python": ">=3.8",
            "size": n,
            "upload-time": "2026-03-01T07:08:09.123456Z",
        }
        for n in range(size // 320)
    ]
    versions = [f"{n}.0" for n in range(len(files))]
    page = {"meta": {"api-version": "1.1"}, "name": "alpha", "files": files, "versions": versions}
    return json.dumps(page).encode()


def serve(origin: Origin, body: bytes) -> None:
    headers = (("Content-Type", JSON), ("ETag", f'"{len(body)}"'))
    origin.fault("origin", PAGE, status=200, body=body, headers=headers, times=None)


@dataclass
class Stalls:
    """The longest time in which the loop did nothing else, and what was waited for meanwhile."""

    longest: float = 0.0
    ticks: int = field(default=0)

    async def watch(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            self.longest = max(self.longest, now - last)
            self.ticks += 1
            last = now


@asynccontextmanager
async def watched() -> AsyncIterator[Stalls]:
    stalls = Stalls()
    task = asyncio.create_task(stalls.watch())
    try:
        yield stalls
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def drain(proxy: Running, target: str, **fields: str) -> int:
    """Get something and throw it away as it comes; the number of bytes."""
    reader, writer = await proxy.connect()
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    writer.write(
        f"GET {target} HTTP/1.1\r\nHost: proxy.test\r\nConnection: close\r\n{lines}\r\n".encode()
    )
    count = 0
    while piece := await reader.read(1 << 16):
        assert count or piece.startswith(b"HTTP/1.1 200"), piece[:200]
        count += len(piece)
    writer.close()
    return count


async def test_a_page_of_10_mb_does_not_hold_up_the_loop(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        body = big_page(10 << 20, origin.url)
        assert len(body) > 10_000_000
        serve(origin, body)
        async with watched() as stalls:
            assert await drain(proxy, PAGE, Accept=JSON) > 8_000_000
            assert await drain(proxy, PAGE, Accept=TEXT_HTML) > 5_000_000
            assert await drain(proxy, PAGE, Accept=JSON, Accept_Encoding="gzip") < 4_000_000
            file = f"{PAGE.replace('simple/alpha/', '')}"
            answer = await proxy.head("/files/00000007/ab/alpha/alpha-7.0-py3-none-any.whl")
            assert answer.status in (200, 404), file
            proxy.clock.advance(301)
            assert await drain(proxy, PAGE, Accept=JSON) > 8_000_000
        # Inline it takes more than a second; how long a slice is depends on the machine.
        print(f"longest stall {stalls.longest * 1000:.1f} ms over {stalls.ticks} ticks")
        assert stalls.longest < 0.1
