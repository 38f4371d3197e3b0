"""The process around the rooms: why it cannot start, when it is ready, how it is told to stop.

Purpose: whatever is wrong at start becomes one line and an exit code (sysexits.h), never a
traceback; the first SIGTERM or SIGINT begins the drain, the second ends it, SIGHUP reloads.

Reading: sysexits.h, signal(7). Non-goals: what starting, draining and reloading mean: that is the
service's.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import resource
import signal
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, final

from aiohttp import connector, http_parser

from proxy.server.notify import Notifier

LOG = logging.getLogger(__name__)
GARBAGE = 20_000
"""Objects that are made between two looks for circles among them."""
_HEAP = {-8: 1, -1: 2 << 20, -3: 1 << 20}  # malloc.h: M_ARENA_MAX, _TRIM_ and _MMAP_THRESHOLD
_CONTEXTS = ("_SSL_CONTEXT_VERIFIED", "_SSL_CONTEXT_UNVERIFIED")
EX_UNAVAILABLE = 69
EX_CONFIG = 78


class CannotStart(Exception):
    """One line for the operator. `code`: the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Service(Protocol):
    """What runs. Made inside the loop; CannotStart may come from its making and its start."""

    async def start(self) -> None:
        """Begin to serve."""
        ...

    @property
    def ready_line(self) -> str:
        """What to say on standard output once it serves."""
        ...

    async def reload(self) -> None:
        """Read again what may have been replaced."""
        ...

    async def stop(self, hurry: asyncio.Event) -> None:
        """Finish what is under way, at once when `hurry` is set. MUST cope with half a start."""
        ...


class Superior(Protocol):
    """Who says when a service reloads and stops, and hears when it is ready. Made in the loop.

    `stopping`: the drain begins; `hurry`: it ends at once.
    """

    stopping: asyncio.Event
    hurry: asyncio.Event

    def on_reload(self, reload: Callable[[], Awaitable[None]]) -> None:
        """Call `reload` each time that it is wanted, from now on."""
        ...

    def ready(self, line: str) -> None:
        """It serves. `line`: its addresses, in words."""
        ...


@contextmanager
def using(key: str, path: Path | None = None) -> Iterator[None]:
    """Blame a configuration key for a file or folder that it names and that cannot be used.

    `path`: which one, where that may be told: a folder is no secret's place, and has a default.
    Raises CannotStart in place of OSError (TLS errors are some) and ValueError (no text).
    """
    which = f" ({path})" if path is not None else ""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CannotStart(f"{key}{which} names what cannot be used: {reason}", EX_CONFIG) from error
    except ValueError as error:
        raise CannotStart(f"{key}{which} names what holds nothing usable", EX_CONFIG) from error


def run(
    make: Callable[[], Service],
    notifier: Notifier | None = None,
    superior: Callable[[], Superior] | None = None,
    complain: Callable[[CannotStart], None] | None = None,
) -> int:
    """Run one service until it is told to stop; the exit code. `notifier`: who is told of it.

    `superior`: None for signals and standard output; `complain` for a line in the log.
    """
    try:
        _harden()
        _share_heap()
        asyncio.run(_serve(make, superior or _Signals, notifier or Notifier()))
    except CannotStart as error:
        (complain or _complain)(error)
        return error.code
    return 0


def _complain(error: CannotStart) -> None:
    LOG.error("cannot start: %s", error)


def _harden() -> None:
    if not hasattr(http_parser, "HttpRequestParserC"):
        # The parser in Python accepts what the one in C refuses (CVE-2023-47627 and others).
        raise CannotStart("aiohttp's C parser is missing; reinstall aiohttp", EX_UNAVAILABLE)
    # Each connection is given a context of ours. The library's own, made when it is imported, trust
    # whom the environment names (SSL_CERT_FILE), and are 2 MiB of authorities: none there instead.
    for name in _CONTEXTS:
        if hasattr(connector, name):
            setattr(connector, name, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    # A crash must not write the pull token to disk.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _share_heap() -> None:
    """Have all threads take memory from one heap, and that one not shrink and grow all the time.

    glibc makes a heap for each thread that finds another at it, and what is freed in one is of no
    use in the others. Threads that hold the interpreter's lock by turns rarely meet there
    (measured: 1.2 MiB less after large bodies, no difference in time). It gives back what is free
    at the end of the heap from 128 KiB on: at each turn in which a few small bodies came and went,
    to be asked for again at the next (measured: 3 % of a small miss).
    """
    with suppress(OSError, AttributeError):  # another libc
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in _HEAP.items():
            mallopt(option, value)


def _settle_down() -> None:
    """Tell the garbage collector what is here for good, and that little is made in circles.

    Measured: 6 % of a hit's cost. What goes in circles (failures, mostly) waits a little longer.
    """
    gc.freeze()
    gc.set_threshold(GARBAGE)


async def _serve(
    make: Callable[[], Service], obey: Callable[[], Superior], notifier: Notifier
) -> None:
    superior = obey()
    service = make()
    try:
        await service.start()
    except CannotStart:
        superior.hurry.set()
        await service.stop(superior.hurry)
        raise
    _settle_down()

    async def reload() -> None:
        await notifier.reloading()
        try:
            await service.reload()
        finally:
            await notifier.ready(service.ready_line)

    superior.on_reload(reload)
    superior.ready(service.ready_line)
    await notifier.ready(service.ready_line)
    await superior.stopping.wait()
    await notifier.stopping()
    LOG.info("draining")
    await service.stop(superior.hurry)
    LOG.info("stopped")


@final
class _Signals:
    """Listens from its making on. `stopping`: the drain begins; `hurry`: it ends at once."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self.hurry = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._reloads: set[asyncio.Future[None]] = set()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop)
        # Without a handler a SIGHUP that comes before all is ready would end the process.
        self._loop.add_signal_handler(signal.SIGHUP, int)

    def on_reload(self, reload: Callable[[], Awaitable[None]]) -> None:
        """Call `reload` at each SIGHUP."""

        def start() -> None:
            task = asyncio.ensure_future(reload())
            self._reloads.add(task)
            task.add_done_callback(self._reloads.discard)

        self._loop.add_signal_handler(signal.SIGHUP, start)

    def ready(self, line: str) -> None:
        """Say so on standard output."""
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def _stop(self) -> None:
        (self.hurry if self.stopping.is_set() else self.stopping).set()
