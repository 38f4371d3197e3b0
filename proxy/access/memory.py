"""The platform's last answer, on disk, so that a restart in an outage changes nothing.

Purpose: one small file, 0600, replaced whole. It says when the answer was given by two clocks: the
one that runs since the machine was started (no step of the wall clock makes an answer younger) and
the wall clock, for a machine that was started again. What cannot be dated is infinitely old: its
refusals still hold, its permissions do not.

Reading: clock_gettime(2), CLOCK_BOOTTIME; proc(5), boot_id. Non-goals: what an answer means.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

from proxy.access.known import Answer, read_items
from proxy.errors import PlatformSilent

LOG = logging.getLogger(__name__)
FILE_NAME = "entitlements.json"
VERSION = 1
MAX_BYTES = 1 << 20
MAX_TIERED = 32  # organisations; there is one, or a second one during a move
SKEW = 300.0  # seconds that a wall clock may be put right by
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UIDP = re.compile(r"[0-9a-f/]{0,400}")


def steady_seconds() -> float:
    """Seconds since the machine was started, those that it slept through included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def read_boot_id() -> str:
    """What tells this run of the machine from every other; empty: not to be had."""
    with suppress(OSError):
        return _BOOT_ID.read_text("ascii").strip()
    return ""


@dataclass(frozen=True, slots=True)
class Clocks:
    """`steady`: seconds that only go forward, of this `boot`. `wall`: seconds since the epoch."""

    steady: Callable[[], float]
    wall: Callable[[], float]
    boot: str = ""


@dataclass(frozen=True, slots=True)
class Learnt:
    """An answer and when it was asked for. `steady` in the clock of this process, -inf: unknown;
    `wall` in seconds since the epoch, for people only. `tiered`: the organisations of which a tier
    was ever named, by this answer or an earlier one; the last named ones at the end."""

    answer: Answer
    steady: float
    wall: float
    tiered: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        organisation = self.answer.organisation
        if self.answer.names_tiers or organisation in self.tiered:
            others = (other for other in self.tiered if other != organisation)
            object.__setattr__(self, "tiered", (*others, organisation)[-MAX_TIERED:])

    @property
    def is_tiered(self) -> bool:
        """Whether a tier was ever named of the organisation that this answer is of."""
        return self.answer.organisation in self.tiered


@final
class Memory:
    """The file of one cache directory. `api`: whose answers count. All methods block."""

    def __init__(self, directory: Path, api: str, clocks: Clocks) -> None:
        self._file = directory / FILE_NAME
        self._api = api
        self._clocks = clocks
        self._seen = (0, 0)

    def write(self, learnt: Learnt) -> bool:
        """Keep an answer in place of the last; False when the disk refuses."""
        data = json.dumps(
            {
                "version": VERSION,
                "api": self._api,
                "organisation": learnt.answer.organisation,
                "may_ask": learnt.answer.may_ask,
                "items": [asdict(item) for item in learnt.answer.items],
                "tiered": learnt.tiered,
                "boot": self._clocks.boot,
                "steady": learnt.steady,
                "learnt": learnt.wall,
            }
        ).encode()
        # Of this process alone: workers share the directory.
        temporary = self._file.with_name(f"{FILE_NAME}.{os.getpid()}.part")
        try:
            temporary.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(temporary, flags, 0o600), "wb") as file:  # noqa: PTH123  # a descriptor
                file.write(data)
            temporary.replace(self._file)
        except OSError as error:
            LOG.debug("the entitlements could not be kept: %s", error.strerror)
            with suppress(OSError):
                temporary.unlink()
            return False
        return True

    def read(self) -> Learnt | None:
        """The answer of an earlier run; None where there is none that can be trusted."""
        try:
            data, changed = self._read_file()
            record = json.loads(data)
            return self._learnt(record, changed)
        except FileNotFoundError:
            return None
        except (
            OSError,
            ValueError,
            RecursionError,
            LookupError,
            TypeError,
            PlatformSilent,
        ) as error:
            LOG.warning("the kept entitlements cannot be used: %s", type(error).__name__)
            return None

    def newer(self, known: Learnt | None) -> Learnt | None:
        """The answer that another process has kept since, if it is newer than what is known."""
        try:
            status = self._file.stat(follow_symlinks=False)
        except OSError:
            return None
        seen = (status.st_ino, status.st_mtime_ns)
        if seen == self._seen:
            return None
        self._seen = seen
        found = self.read()
        # The very same one, read again, may differ by what a float cannot hold.
        return found if known is None or (found and found.steady > known.steady + 0.001) else None

    def _read_file(self) -> tuple[bytes, float]:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(self._file, flags), "rb") as file:  # noqa: PTH123  # a descriptor
            status = os.fstat(file.fileno())
            ours = status.st_uid == os.geteuid() and not status.st_mode & 0o022
            if not stat.S_ISREG(status.st_mode) or not ours or status.st_size > MAX_BYTES:
                raise ValueError("not a file of ours")
            return file.read(MAX_BYTES), status.st_mtime

    def _learnt(self, record: dict[str, object], changed: float) -> Learnt | None:
        if record["version"] != VERSION or record["api"] != self._api:
            return None
        organisation, may_ask = record["organisation"], record["may_ask"]
        if not isinstance(organisation, str) or not _UIDP.fullmatch(organisation):
            raise ValueError("organisation")
        if not isinstance(may_ask, bool):
            raise TypeError("may_ask")
        items = read_items({"items": record["items"]})
        steady, wall = _seconds(record["steady"]), _seconds(record["learnt"])
        now = self._clocks.steady()
        age = self._age(record["boot"], now - steady, wall, changed)
        tiered = _organisations(record.get("tiered", []))
        return Learnt(Answer(organisation, items, may_ask), now - age, wall, tiered)

    def _age(self, boot: object, steady_age: float, wall: float, changed: float) -> float:
        """Seconds; infinite where no clock can tell."""
        if boot and boot == self._clocks.boot:
            return steady_age if steady_age >= 0 else math.inf
        # The file cannot be older than what it says.
        age = self._clocks.wall() - min(wall, changed)
        if age < -SKEW:
            LOG.warning("the kept entitlements are from the future: the clock was put back")
            return math.inf
        return max(age, 0.0)


def _organisations(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_TIERED:
        raise TypeError("tiered")
    if not all(isinstance(item, str) and _UIDP.fullmatch(item) for item in value):
        raise ValueError("tiered")
    return tuple(value)


def _seconds(value: object) -> float:
    # Compared first: an integer may be larger than any float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15:
        raise ValueError("no time")
    return float(value)
