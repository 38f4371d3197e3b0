"""Misbehaviour of the test origin, one request at a time.

Purpose: a `Fault` says which requests it strikes (server, path, method, `after`, `times`) and what
goes wrong; the `FaultBook` picks the one for a request. All fields combine: a close-delimited body
that drips and is reset at byte 1000 is one fault. Nothing here needs a sleep in a test: wait for
`FaultHandle.reached`, let go with `release`.

Reading: RFC 9112 section 6 (framing), section 8 (incomplete messages).
Non-goals: doing it (see `transmit`).
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """One misbehaviour.

    Which requests: `server` (`origin`, `store`, None = both), `path` (regular expression searched
    in the raw target), `method`, the first `after` matches spared, then `times` struck (None = for
    ever).

    In place of the answer: `close` (no answer at all), `raw` (exactly these bytes, then closed),
    `status` with `body` and `headers` (a whole other answer).

    The head: `preamble` (raw bytes before it), `headers` (replace those of the same name;
    `{sha256}` in a value becomes the true digest of the true body), `drop_headers` (names, lower
    case), `delay` in seconds before it, `hold` (until released), `ignore_range`.

    The body: `framing` (`close`: no Content-Length, ends with the connection; `chunked`),
    `flip_at` (one bit of that byte), `extra` (bytes beyond Content-Length), `rate` (bytes a
    second), `stall_at` (after that many bytes wait until released), `cut_at` (after that many
    bytes end the connection, by `cut` = `rst` or `fin`; chunked: without the last chunk).
    """

    server: str | None = None
    path: str = ""
    method: str | None = None
    times: int | None = 1
    after: int = 0
    close: bool = False
    raw: bytes | None = None
    status: int | None = None
    body: bytes = b""
    preamble: bytes = b""
    headers: Headers = ()
    drop_headers: tuple[str, ...] = ()
    delay: float = 0.0
    hold: bool = False
    ignore_range: bool = False
    framing: Literal["length", "close", "chunked"] = "length"
    flip_at: int | None = None
    extra: bytes = b""
    rate: float | None = None
    stall_at: int | None = None
    cut_at: int | None = None
    cut: Literal["rst", "fin"] = "rst"

    def matches(self, server: str, method: str, target: str) -> bool:
        """Tell whether a request is one that this fault is about."""
        return (
            self.server in (None, server)
            and self.method in (None, method)
            and re.search(self.path, target) is not None
        )


class FaultHandle:
    """A fault at work. `hits`: requests struck so far."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.hits = 0
        self.cleared = False
        self.released = asyncio.Event()
        self._seen = 0
        self._progress = asyncio.Condition()
        self._arrived = 0

    def take(self) -> bool:
        """Count a matching request; tell whether it is struck."""
        self._seen += 1
        spared = self._seen <= self.fault.after
        used_up = self.fault.times is not None and self.hits >= self.fault.times
        if self.cleared or spared or used_up:
            return False
        self.hits += 1
        return True

    async def arrive(self) -> None:
        """Say that a request has come to the point where it waits or breaks."""
        async with self._progress:
            self._arrived += 1
            self._progress.notify_all()

    async def reached(self, requests: int = 1) -> None:
        """Wait until that many requests wait at (or have been broken by) this fault."""
        async with self._progress:
            await self._progress.wait_for(lambda: self._arrived >= requests)

    def release(self) -> None:
        """Let go everything that waits, now and later."""
        self.released.set()

    def clear(self) -> None:
        """End the fault: later requests are answered well, waiting ones are let go."""
        self.cleared = True
        self.released.set()


@dataclass(slots=True)
class FaultBook:
    """All faults of one origin, asked in the order they were added."""

    handles: list[FaultHandle] = field(default_factory=list)

    def add(self, fault: Fault) -> FaultHandle:
        """Put a fault to work."""
        handle = FaultHandle(fault)
        self.handles.append(handle)
        return handle

    def pick(self, server: str, method: str, target: str) -> FaultHandle | None:
        """Find the fault that strikes this request, if any."""
        for handle in self.handles:
            if handle.fault.matches(server, method, target) and handle.take():
                return handle
        return None

    def clear(self) -> None:
        """End all faults."""
        for handle in self.handles:
            handle.clear()
        self.handles.clear()


# --- ready-made ones: `origin.fault("store", r"\.whl", **html_page())` ---------------------------


def status(code: int, body: bytes = b"", **headers: str) -> dict[str, Any]:
    """Answer something else: `status(429, Retry_After="5")`."""
    pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return {"status": code, "body": body, "headers": pairs}


def redirect(location: str) -> dict[str, Any]:
    """Redirect to any Location, sent as it is."""
    return {"status": 302, "headers": (("Location", location),)}


def html_page() -> dict[str, Any]:
    """Answer 200 with the login page of something in between."""
    page = b"<!DOCTYPE html><html><body><form action=/login>Sign in</form></body></html>"
    return {"status": 200, "body": page, "headers": (("Content-Type", "text/html"),)}


def empty() -> dict[str, Any]:
    """Answer 200 with nothing."""
    return {"status": 200}


def wrong_bytes() -> dict[str, Any]:
    """Flip the first bit, with headers that claim the right digest."""
    lies = ("X-Checksum-Sha256", "{sha256}"), ("Docker-Content-Digest", "sha256:{sha256}")
    return {"flip_at": 0, "headers": lies}


def wrong_content_range() -> dict[str, Any]:
    """Answer 206 with a Content-Range about other bytes."""
    return {"headers": (("Content-Range", "bytes 7-8/9"),)}


def garbage() -> dict[str, Any]:
    """Answer what is no HTTP at all."""
    return {"raw": b"\x00\x16\x03\x01 this is not HTTP\r\n\r\n"}


def header_bomb(count: int = 20_000) -> dict[str, Any]:
    """Answer with that many header fields."""
    bomb = b"".join(b"X-Bomb-%d: %d\r\n" % (number, number) for number in range(count))
    return {"raw": b"HTTP/1.1 200 OK\r\n" + bomb + b"Content-Length: 0\r\n\r\n"}


def interim_flood(count: int = 10_000) -> dict[str, Any]:
    """Send that many 103 answers before the real one."""
    return {"preamble": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * count}


PRESETS = {
    "html_page": html_page,
    "empty": empty,
    "wrong_bytes": wrong_bytes,
    "wrong_content_range": wrong_content_range,
    "garbage": garbage,
    "header_bomb": header_bomb,
    "interim_flood": interim_flood,
}


def fault_from_json(document: Mapping[str, Any]) -> Fault:
    """Read a fault from the control port's JSON; bytes are text (latin-1) or `{"base64": ...}`.

    `"preset"` names a ready-made one. Raises ValueError for what it does not know.
    """
    given = dict(document)
    preset = given.pop("preset", None)
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}")
    known = {entry.name for entry in fields(Fault)}
    if unknown := set(given) - known:
        raise ValueError(f"unknown keys {sorted(unknown)}")
    for name in ("raw", "body", "preamble", "extra"):
        if name in given:
            given[name] = _bytes(given[name])
    if "headers" in given:
        given["headers"] = tuple((str(key), str(value)) for key, value in given["headers"])
    if "drop_headers" in given:
        given["drop_headers"] = tuple(given["drop_headers"])
    return Fault(**{**(PRESETS[preset]() if preset else {}), **given})


def _bytes(value: str | dict[str, str]) -> bytes:
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else value.encode("latin-1")
