"""What tests of the storage have in common: put an entry, read a body, run Python elsewhere."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from proxy.storage.base import Body, Field, Record, Storage

TOP = Path(__file__).parents[2]
LIMIT = 20.0  # seconds that any single wait may take


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(storage: Storage, key: str, data: bytes, **fields: Field) -> Record:
    writer = storage.create(key)
    try:
        writer.write(data)
        return writer.commit(sha256(data), fields)
    finally:
        writer.close()


def put_whole(storage: Storage, key: str, data: bytes, **fields: Field) -> Record:
    """The same in one piece, which the storage may keep in another way."""
    writer = storage.create(key)
    try:
        return writer.commit_whole(data, sha256(data), fields)
    finally:
        writer.close()


def read(body: Body | None) -> bytes:
    """All of a body in the making, which is closed then."""
    assert body is not None
    try:
        return os.pread(body.fileno(), 1 << 24, 0)
    finally:
        body.close()


def read_stored(body: Body | None) -> bytes:
    """All of a stored body, which is closed then."""
    assert body is not None
    try:
        return os.pread(body.fileno(), body.size, 0)
    finally:
        body.close()


def get(storage: Storage, key: str) -> bytes | None:
    """The body of a key; None for a miss."""
    record = storage.lookup(key)
    body = storage.open(record) if record is not None else None
    return None if body is None else read_stored(body)


def until(condition: Callable[[], object]) -> None:
    """Wait for what another thread or process does."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)  # a bounded poll


def leave_half_done(folder: Path, *begun: str) -> None:
    """Have a process begin bodies, each as `claim("key", "name")` of its storage, and be killed."""
    lines = f"""
        storage = DiskStorage(folder)
        writers = [{", ".join(f"storage.{one}" for one in begun)}]
        for writer in writers:
            writer.write(b"x")
        say("in")
        hear()
    """
    with Elsewhere(lines, folder) as other:
        assert other.hear() == "in"


class Elsewhere:
    """A process of its own that runs lines of Python, `folder` being the given one.

    `tell` and `hear` exchange lines with it: it has `say(text)` and `hear()`.
    """

    def __init__(self, lines: str, folder: Path, *, prefix: tuple[str, ...] = ()) -> None:
        head = (
            "import sys\nfrom pathlib import Path\nfrom proxy.storage.disk import DiskStorage\n"
            "from proxy.storage.base import *\nfrom tests.unit.stored import *\n"
            "folder = Path(sys.argv[1])\n"
            "def say(text): print(text, flush=True)\n"
            "def hear(): return sys.stdin.readline().strip()\n"
        )
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-c", head + textwrap.dedent(lines), str(folder)],
            cwd=TOP,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def tell(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self._process.kill()
        self._process.wait(LIMIT)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and not stream.closed:
                stream.close()

    def wait(self) -> int:
        """Wait for its own end; the exit code."""
        return self._process.wait(LIMIT)
