"""A client for large bodies and for many files: `python -m tests.bench.fetcher`, one epoll loop.

Purpose: a loader in a process of its own, on the core that it is given. It reads a `Plan` (JSON)
on standard input, says `ready` once every connection stands, begins when it gets a line, and prints
a `Report` (JSON). Bodies are read into one buffer and forgotten, or hashed where the plan says so.

Non-goals: small hits at full speed (wrk does that); chunked bodies, redirects, TLS.
"""

from __future__ import annotations

import hashlib
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Self, final
from urllib.parse import urlsplit

BUFFER = 1 << 20


@dataclass(frozen=True)
class Plan:
    """What to ask. `urls`: one base a connection, taken in turn. Every path is asked once, or, with
    `seconds`, all of them over and over for so long. `core`: -1 for any; `nice`: of the process;
    `hashed`: bodies are hashed, outside of anything that is timed."""

    urls: tuple[str, ...]
    paths: tuple[str, ...]
    connections: int = 1
    seconds: float = 0.0
    accept: str = "*/*"
    core: int = -1
    nice: int = 0
    hashed: bool = False


@dataclass
class Report:
    """What came. Times in seconds from the beginning of an answer's request.

    `received`: bytes of body; `first`: until the first byte of a body; `whole`: until the last one;
    `sha256`: of the bodies, by path, where they were hashed.
    """

    received: int = 0
    elapsed: float = 0.0
    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    sha256: dict[str, str] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.received / self.elapsed


@final
class Fetcher:
    """A running loader. Use as a context manager; `begin` and then `report`."""

    def __init__(self, plan: Plan) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.fetcher"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._say(json.dumps(asdict(plan)))
        if "error" in (first := self._hear()):
            raise SystemExit(f"a loader cannot begin: {first}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def begin(self) -> None:
        """Send the first requests now."""
        self._say("go")

    def report(self) -> Report:
        """Wait for the end. Raises SystemExit where an answer was no 200."""
        found = json.loads(self._hear())
        if "error" in found:
            raise SystemExit(f"a loader failed: {found['error']}")
        return Report(**found)

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a loader ended without a word")
        return line


def fetch(plan: Plan) -> Report:
    """Run one loader from its beginning to its end."""
    with Fetcher(plan) as fetcher:
        fetcher.begin()
        return fetcher.report()


# --- the other side: the process itself -----------------------------------------------------------


@final
class _Connection:
    """One connection and the answer that is coming in on it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.netloc
        self.socket = socket.create_connection((parts.hostname or "", parts.port or 80), 30)
        self.socket.setblocking(False)
        self.head = b""
        self.left = -1  # bytes of the body; -1: the head is not whole
        self.asked = 0.0
        self.path = ""
        self.fresh = True  # no byte of the body has come
        self.digest: Any = None

    def ask(self, path: str, plan: Plan) -> None:
        """Send a request; it fits into any socket's buffer."""
        self.path, self.head, self.left, self.fresh = path, b"", -1, True
        self.digest = hashlib.sha256() if plan.hashed else None
        text = f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\nAccept: {plan.accept}\r\n\r\n"
        self.asked = time.perf_counter()
        self.socket.send(text.encode("ascii"))


@final
class _Run:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.report = Report()
        self.selector = selectors.EpollSelector()
        self.paths = iter(plan.paths)
        self.until = float("inf")
        self.buffer = bytearray(BUFFER)
        self.view = memoryview(self.buffer)
        self.connections = [
            _Connection(plan.urls[number % len(plan.urls)]) for number in range(plan.connections)
        ]
        self.open = 0

    def run(self) -> Report:
        started = time.perf_counter()
        if self.plan.seconds:
            self.until = started + self.plan.seconds
        for connection in self.connections:
            if (path := self.next()) is not None:
                self.selector.register(connection.socket, selectors.EVENT_READ, connection)
                self.open += 1
                connection.ask(path, self.plan)
        while self.open and (left := self.until - time.perf_counter()) > 0:
            for key, _ in self.selector.select(min(left, 60)):
                self.read(key.data)
        self.report.elapsed = time.perf_counter() - started
        return self.report

    def next(self) -> str | None:
        path = next(self.paths, None)
        if path is None and self.plan.seconds:
            self.paths = iter(self.plan.paths)
            path = next(self.paths)
        return path

    def read(self, connection: _Connection) -> None:
        try:
            count = connection.socket.recv_into(self.buffer)
        except BlockingIOError:
            return
        if count == 0:
            raise ConnectionError(f"{connection.path} was cut")
        at = 0
        if connection.left < 0:
            at = self.read_head(connection, count)
            if connection.left < 0:
                return
        body = min(count - at, connection.left)
        if connection.fresh and body:
            connection.fresh = False
            self.report.first.append(time.perf_counter() - connection.asked)
        self.report.received += body
        connection.left -= body
        if connection.digest is not None:
            connection.digest.update(self.view[at : at + body])
        if connection.left == 0:
            self.end(connection)

    def read_head(self, connection: _Connection, count: int) -> int:
        """Take in what there is of a head; where in the buffer the body begins."""
        before = len(connection.head)
        connection.head += self.view[:count]
        end = connection.head.find(b"\r\n\r\n")
        if end < 0:
            return count
        lines = connection.head[:end].decode("latin-1").lower().split("\r\n")
        if not lines[0].startswith("http/1.1 200"):
            raise ConnectionError(f"{connection.path}: {lines[0]}")
        lengths = [line for line in lines if line.startswith("content-length:")]
        connection.left = int(lengths[0].partition(":")[2])
        return end + 4 - before

    def end(self, connection: _Connection) -> None:
        self.report.whole.append(time.perf_counter() - connection.asked)
        if connection.digest is not None:
            self.report.sha256[connection.path] = connection.digest.hexdigest()
        path = self.next()
        if path is None:
            self.selector.unregister(connection.socket)
            self.open -= 1
        else:
            connection.ask(path, self.plan)


def main() -> int:
    """Be a loader; see the module."""
    given = json.loads(sys.stdin.readline())
    plan = Plan(**{**given, "urls": tuple(given["urls"]), "paths": tuple(given["paths"])})
    if plan.core >= 0:
        os.sched_setaffinity(0, {plan.core})
    else:
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    if plan.nice:
        os.nice(plan.nice)
    try:
        run = _Run(plan)
        print("ready", flush=True)
        sys.stdin.readline()
        print(json.dumps(asdict(run.run())), flush=True)
    except (OSError, LookupError, ValueError) as error:
        print(json.dumps({"error": str(error) or type(error).__name__}), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
