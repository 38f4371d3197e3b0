"""The pull tokens: read from where the operator put them, re-read when they change.

Purpose: a pair (user name and password) per ecosystem, taken only when both halves are complete and
unchanged for one poll, the last good one kept while a file is half-written, empty or odd. A pair
that the upstream refused is not tried again for ten seconds, unless it changed.

This module is the one place that reveals a secret. Reading: systemd `LoadCredential=`, Kubernetes
secret volumes (detect change by reading, not by inotify). Non-goals: knowing when a token ends.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import aiofiles

from proxy.secret import Secret

LOG = logging.getLogger(__name__)
MAX_BYTES = 64 * 1024
REFUSED_PAUSE = 10.0


@dataclass(frozen=True, slots=True)
class PairSource:
    """Where one pair comes from. Exactly one of each half, or `pair_file` with both lines."""

    username: str = ""
    username_file: Path | None = None
    password: Secret | None = None
    password_file: Path | None = None
    pair_file: Path | None = None


@dataclass(frozen=True, slots=True)
class _Pair:
    username: str
    password: Secret

    def authorization(self) -> str:
        raw = f"{self.username}:{self.password.reveal()}".encode()
        return "Basic " + base64.b64encode(raw).decode("ascii")


@final
class _Slot:
    """The state of one ecosystem's pair."""

    def __init__(self, source: PairSource) -> None:
        self.source = source
        self.current: _Pair | None = None
        self.candidate: _Pair | None = None
        self.header: str | None = None
        self.refused_until = 0.0
        self.complained = False

    def take(self, pair: _Pair) -> None:
        self.current = pair
        self.header = pair.authorization()
        self.refused_until = 0.0
        self.complained = False


@final
class Credentials:  # implements proxy.model.TokenSource
    """All configured pairs. `authorization` is what the data path calls; the rest runs beside it.

    `redact` is told every secret value that becomes known, so that logs can mask it.
    """

    def __init__(
        self, sources: Mapping[str, PairSource], redact: Callable[[str], None] | None = None
    ) -> None:
        self._slots = {name: _Slot(source) for name, source in sources.items()}
        self._redact = redact

    def authorization(self, ecosystem: str) -> str | None:
        """The Authorization value for an ecosystem, or None where nothing usable is configured."""
        slot = self._slots.get(ecosystem)
        return slot.header if slot is not None else None

    def configured(self, ecosystem: str) -> bool:
        """Tell whether a source is configured, readable or not."""
        return ecosystem in self._slots

    def pause(self, ecosystem: str, now: float) -> float:
        """Seconds for which the current pair is not to be tried: the upstream refused it."""
        slot = self._slots.get(ecosystem)
        return max(0.0, slot.refused_until - now) if slot is not None else 0.0

    def refused(self, ecosystem: str, header: str | None, now: float) -> None:
        """Note that the upstream answered 401 to `header`."""
        slot = self._slots.get(ecosystem)
        if slot is not None and slot.header == header:
            slot.refused_until = now + REFUSED_PAUSE

    async def load(self) -> None:
        """First reading, at start: complete pairs are taken at once."""
        for name, slot in self._slots.items():
            pair = await self._read(name, slot)
            if pair is not None:
                slot.take(pair)

    async def poll(self) -> None:
        """Read again: a changed pair is taken when it was the same at two polls in a row."""
        for name, slot in self._slots.items():
            pair = await self._read(name, slot)
            if pair is None or pair == slot.current:
                slot.candidate = None
            elif pair == slot.candidate:
                slot.take(pair)
                slot.candidate = None
                LOG.info("the pull token for %s was replaced", name)
            else:
                slot.candidate = pair

    async def _read(self, name: str, slot: _Slot) -> _Pair | None:
        try:
            pair = await _read_pair(slot.source)
        except (OSError, ValueError) as error:
            if not slot.complained:
                slot.complained = True
                LOG.warning(
                    "the pull token for %s cannot be used (%s); %s",
                    name,
                    error.strerror if isinstance(error, OSError) else error,
                    "the last good one stays" if slot.current else "there is none yet",
                )
            return None
        if self._redact is not None:
            self._redact(pair.password.reveal())
            self._redact(pair.authorization().removeprefix("Basic "))
        return pair


async def _read_pair(source: PairSource) -> _Pair:
    if source.pair_file is not None:
        lines = (await _read_text(source.pair_file)).splitlines()
        if len(lines) != 2:
            raise ValueError("a pair file holds two lines: user name, password")
        return _Pair(_checked(lines[0]), Secret(_checked(lines[1])))
    username = source.username
    if source.username_file is not None:
        username = await _read_text(source.username_file)
    if source.password is not None:
        return _Pair(_checked(username), source.password)
    if source.password_file is None:
        raise ValueError("no password is configured")
    return _Pair(_checked(username), Secret(_checked(await _read_text(source.password_file))))


async def _read_text(path: Path) -> str:
    async with aiofiles.open(path, "rb") as file:
        raw = await file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise ValueError("the file is larger than 64 KiB")
    text = raw.decode("utf-8-sig", "strict") if raw.isascii() or raw[:3] == b"\xef\xbb\xbf" else ""
    return text.removesuffix("\n").removesuffix("\r")


def _checked(half: str) -> str:
    if not half:
        raise ValueError("the file is empty or not plain text")
    if not half.isascii() or not half.isprintable() or " " in half:
        raise ValueError("it holds spaces or control characters")
    return half
