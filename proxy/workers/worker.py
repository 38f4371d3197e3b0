"""One worker as its supervisor sees it: a process, a line to it, and what it said last.

Purpose: start it without anything secret in its arguments or environment, take its reports, know
how it ended. Reading: subprocess (what of ours a child inherits). Non-goals: starting it again
(`crew`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import site
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, final

import proxy
from proxy.observe.totals import Family
from proxy.workers.channel import Channel, Message, open_channel
from proxy.workers.terms import Terms

LAST_WORDS = 1.0
"""Seconds for what a dead worker has still said."""


@final
class Worker:
    """One that runs. Made by `start_worker`; `run` takes what it says, to its end."""

    def __init__(
        self, number: int, child: asyncio.subprocess.Process, channel: Channel, now: float
    ) -> None:
        self.number = number
        self.pid = child.pid
        self.url = ""
        self.numbers: list[Family] = []
        self.troubles: list[str] = []
        self.views: dict[str, Any] = {}
        self.failed: tuple[str, int] | None = None
        """Why it could not start, and its exit code."""
        self.started = self.heard = now
        self.ready_at: float | None = None
        self._child = child
        self._channel = channel
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._serial = 0

    async def run(self, hear: Callable[[Worker, Message], None]) -> int:
        """Take what it says until it has ended. `hear` gets what is not about itself, and the word
        that it is ready. Returns the exit code, negative for a signal."""
        listening = asyncio.ensure_future(self._listen(hear))
        code = await self._child.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                await listening
        listening.cancel()
        self._channel.close()
        for waiting in self._waiting.values():
            waiting.cancel()
        return code

    def send(self, message: Message, *, spare: bool = False) -> None:
        """Send it something. Never raises."""
        self._channel.send(message, spare=spare)

    async def ask(self, what: str) -> None:
        """Ask for a report, or a renewal, and wait for it. Raises CancelledError at its end."""
        self._serial += 1
        number = self._serial
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self.send({what: number})
            await waiting
        finally:
            del self._waiting[number]

    def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessLookupError):
            self._child.send_signal(signal.SIGKILL)

    async def _listen(self, hear: Callable[[Worker, Message], None]) -> None:
        loop = asyncio.get_running_loop()
        while (message := await self._channel.receive()) is not None:
            self.heard = loop.time()
            match message:
                case {"report": int(number), "numbers": numbers, "troubles": troubles}:
                    self.numbers, self.troubles = numbers, troubles
                    self.views = message.get("views", {})
                    self._answered(number)
                case {"renewed": int(number)}:
                    self._answered(number)
                case {"failed": str(why), "code": int(code)}:
                    self.failed = (why, code)
                case {"ready": str(line)}:
                    self.url, self.ready_at = line.split()[2], loop.time()
                    hear(self, message)
                case _:
                    hear(self, message)

    def _answered(self, number: int) -> None:
        waiting = self._waiting.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)


async def start_worker(terms: Terms) -> Worker:
    """Start a worker and tell it its terms. Raises OSError."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            child = await asyncio.create_subprocess_exec(
                *_command(theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # the supervisor's has one line, for scripts
                pass_fds=[theirs.fileno()],
                env=_environment(),
                process_group=0,  # a Ctrl-C is the supervisor's to act on
            )
        except BaseException:
            ours.close()
            raise
    channel = await open_channel(ours)
    channel.send(terms.message())
    return Worker(terms.number, child, channel, asyncio.get_running_loop().time())


def _command(descriptor: int) -> list[str]:
    """This program again; what lies in the folder that we happen to be in is not taken for it."""
    flag = "-I" if sys.flags.isolated else "-P"
    return [sys.executable, flag, "-m", "proxy", "serve", f"--worker-channel={descriptor}"]


def _environment() -> dict[str, str]:
    """Ours, and where the program is if it was not installed (a checkout)."""
    found = dict(os.environ)
    home = Path(proxy.__file__).resolve().parent.parent
    installed = (*site.getsitepackages(), site.getusersitepackages())
    if home not in (Path(folder).resolve() for folder in installed):
        # Behind what stands there: it must not come before anything.
        before = found.get("PYTHONPATH")
        found["PYTHONPATH"] = f"{before}{os.pathsep}{home}" if before else str(home)
    return found
