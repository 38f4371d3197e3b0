"""A proxy of several workers, for tests: what they all say, who said it, what they add up to."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.origin import OriginThread
from tests.origin.content import Artifact
from tests.running import LIMIT, Answer, Process, process, until

SIZE = 3 << 20
HALF = 1 << 20
PAGE = "/python/simple/alpha/"
EACH = 4
SOON = 3.0
"""Seconds: what has to be known within one second, on a machine that is busy with other tests."""


def tables(count: int = 2, **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"server": {}, "log": {"format": "json", "level": "info"}, **more}
    listening = {"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0", "workers": count}
    given["server"] = {**listening, **given["server"]}
    return given


@contextlib.contextmanager
def crew(folder: Path, origin: OriginThread, count: int = 2, **more: Any) -> Iterator[Process]:
    with process(folder, origin, tables(count, **more)) as proxy:
        yield proxy


def everywhere(proxy: Process, target: str, workers: int = 2, **fields: str) -> list[Answer]:
    """The same question on one connection after the other, until every worker had some."""
    found: list[Answer] = []
    asked: Counter[str] = Counter()
    deadline = time.monotonic() + LIMIT
    while len(asked) < workers or min(asked.values()) < EACH:
        assert time.monotonic() < deadline
        found.append(proxy.get(target, **fields))
        asked[who(found[-1])] += 1
    assert len(asked) == workers
    return found


def who(answer: Answer) -> str:
    """Which process has answered: its part of the request's id."""
    return (answer.header("X-Request-Id") or "")[:8]


def served(proxy: Process) -> float:
    """How many answers the workers have counted, those that are no more among them."""
    found = proxy.metrics()
    return sum(value for name, value in found.items() if "_requests_total{cache" in name)


def state(proxy: Process) -> tuple[int, Any]:
    answer = proxy.get("/readyz", url=proxy.admin_url)
    return answer.status, answer.json()


def big(origin: OriginThread) -> Artifact:
    return origin.origin.content.find("bigblob-1.0-py3-none-any.whl")


def alpha(origin: OriginThread) -> Artifact:
    return origin.origin.content.find("alpha-1.0-py3-none-any.whl")


def lines(proxy: Process, part: str) -> list[str]:
    return [str(line["message"]) for line in proxy.messages() if part in str(line["message"])]


def replace(proxy: Process) -> None:
    """Kill a worker, and wait until another one serves in its place."""
    started = proxy.metrics()["cgr_proxy_worker_restarts_total"]
    os.kill(proxy.workers()[0], signal.SIGKILL)
    until(lambda: proxy.metrics()["cgr_proxy_worker_restarts_total"] > started)
    until(lambda: state(proxy) == (200, {"status": "ok"}))


class Load:
    """Clients in threads that ask all the time, each on connections of its own."""

    def __init__(self, proxy: Process, target: str, count: int = 2) -> None:
        self.wrong: list[object] = []
        self.right = self.reset = 0
        self._proxy, self._target = proxy, target
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        while not self._ending.is_set():
            try:
                answer = self._proxy.get(self._target, accept="text/html")
            except (ConnectionError, AssertionError):
                self.reset += 1  # it was at the one that was killed
                continue
            if answer.status == 200 and answer.complete:
                self.right += 1
            else:
                self.wrong.append(answer)

    def goes_on(self) -> None:
        """Wait until some more have got what they asked for."""
        right = self.right
        until(lambda: self.right > right + 20)

    def end(self) -> None:
        """Let the last ones have theirs."""
        self._ending.set()
        for thread in self._threads:
            thread.join(LIMIT)
