"""Answers that were just given, ready to be given again: the hot path.

Purpose: a build farm asks the same few pages again and again. Whoever asks with the same path and
the very same header lines, from the same address, within a second of an answer from the fresh
cache gets the same bytes, straight from behind the parser: one dictionary look-up, no task, no
header building. The key holds *everything* an answer may depend on, so nothing about protocols,
rights or conditions is decided here; the second is the longest that a right, a purge or a new
document can be late, and `clear` ends it at once.

What changes from answer to answer (Date, X-Request-Id, Age) is put in; each answer is counted and
logged like any other.

Reading: performance notes in the README. Non-goals: streams, ranges, anything that was not a hit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import final

from aiohttp import web

LIFE = 1.0  # seconds
BUDGET = 64 << 20  # bytes of bodies
MAX_ANSWERS = 20_000
JOIN_BELOW = 64 << 10
_PER_ANSWER = frozenset({"date", "x-request-id", "age"})

RawHeaders = tuple[tuple[bytes, bytes], ...]
Key = tuple[str, str, RawHeaders, str]  # method, path as sent, header lines as sent, address


@dataclass(frozen=True, slots=True)
class Noted:
    """What the access log and the metrics want to know of an answer."""

    principal: str
    peer: str
    method: str
    path: str
    ecosystem: str
    cache: str
    user_agent: str
    status: int


@dataclass(frozen=True, slots=True)
class _Answer:
    head: bytes
    body: bytes
    born: float
    age: int
    noted: Noted


# Told of every answer: what, request id, bytes sent, seconds it took.
Note = Callable[[Noted, str, int, float], None]


@final
class HotSet:
    """The answers of the last second. `next_id`: makes request ids."""

    def __init__(self, next_id: Callable[[], str], note: Note) -> None:
        self._next_id = next_id
        self._note = note
        self._answers: dict[Key, _Answer] = {}
        self._used = 0
        self._swept = 0.0
        self._date = (0, b"")

    def clear(self) -> None:
        """Forget everything now: rights have changed."""
        self._answers.clear()
        self._used = 0

    def keep(self, key: Key, response: web.Response, noted: Noted) -> None:
        """Keep an answer that has just been sent: a hit, or a 304 of one."""
        body = response.body if response.status != 304 else b""
        if not isinstance(body, bytes):
            return
        now = time.monotonic()
        if now - self._swept > LIFE:
            self._sweep(now)
        if self._used + len(body) > BUDGET or len(self._answers) >= MAX_ANSWERS:
            return
        lines = [f"HTTP/1.1 {response.status} {response.reason}\r\n"]
        lines += [
            f"{name}: {value}\r\n"
            for name, value in response.headers.items()
            if name.lower() not in _PER_ANSWER
        ]
        age = int(response.headers.get("Age", "0"))
        head = "".join(lines).encode("ascii", "replace")
        self._answers[key] = _Answer(head, body, now, age, noted)
        self._used += len(body)

    def find(self, key: Key) -> _Answer | None:
        """The answer to the very same question, if it is younger than a second."""
        answer = self._answers.get(key)
        if answer is None or time.monotonic() - answer.born > LIFE:
            return None
        return answer

    def pieces(self, answer: _Answer) -> tuple[bytes, ...]:
        """The bytes to send, each in one piece where that is worth a copy. Notes the answer."""
        started = time.perf_counter()
        request_id = self._next_id()
        head = b"%sDate: %s\r\nX-Request-Id: %s\r\nAge: %d\r\n\r\n" % (
            answer.head,
            self._now(),
            request_id.encode("ascii"),
            answer.age,
        )
        size = len(head) + len(answer.body)
        self._note(answer.noted, request_id, size, time.perf_counter() - started)
        if len(answer.body) < JOIN_BELOW:
            return (head + answer.body,)
        return (head, answer.body)

    def _now(self) -> bytes:
        second = int(time.time())
        if second != self._date[0]:
            self._date = (second, formatdate(second, usegmt=True).encode("ascii"))
        return self._date[1]

    def _sweep(self, now: float) -> None:
        self._answers = {
            key: answer for key, answer in self._answers.items() if now - answer.born <= LIFE
        }
        self._used = sum(len(answer.body) for answer in self._answers.values())
        self._swept = now
