"""One worker: the whole proxy, at the end of a supervisor's line.

Purpose: what differs from a process of its own. The settings come from the supervisor; so do the
orders to reload, to drain and to hurry; readiness, numbers and troubles go back, and what is
learnt of the upstream goes to the other workers. When the line is cut the supervisor is dead, and
the worker drains and ends: nobody else would ever stop it.

SIGTERM to a worker alone drains it, and the supervisor starts another. Reading: the package's own
docstring. Non-goals: the proxy (`proxy.app`), spawning (`crew`).
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import final

from proxy.app import App
from proxy.config import ConfigError
from proxy.observe.logs import start_logs
from proxy.observe.totals import Family
from proxy.server import process
from proxy.server.process import EX_CONFIG, CannotStart
from proxy.server.rounds import repeat
from proxy.storage.generation import LOOK
from proxy.workers.channel import Channel, Message, framed, open_channel, receive_blocking
from proxy.workers.news import News
from proxy.workers.terms import Terms, terms_of, to_content

EX_USAGE = 2
LOG = logging.getLogger(__name__)
LAST_WORDS = 1.0
"""Seconds that a supervisor has to take them."""
REPORT = 1.0
"""Seconds between two reports: what a worker that is killed had counted since is lost."""


def run_worker(descriptor: int) -> int:
    """Run one worker at the other end of a supervisor's socket; the exit code."""
    try:
        sock = socket.socket(fileno=descriptor)
        sock.set_inheritable(False)  # the library's
    except OSError:
        sys.stderr.write("cgr-proxy: only a supervisor starts workers: use --workers\n")
        return EX_USAGE
    # A Ctrl-C, or a terminal's end, is the supervisor's to act on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        terms = terms_of(receive_blocking(sock))
        settings = terms.settings()
    except EOFError:
        return 0
    except ConfigError as error:
        # It was read before; a file that it names may be another one by now.
        _say(sock, {"failed": "; ".join(error.mistakes), "code": EX_CONFIG})
        return EX_CONFIG
    given = settings.log
    logs = start_logs(given.level, given.format, access=given.access, worker=str(terms.number))
    line = _Line(sock.dup(), terms)

    def make() -> App:
        app = App(settings, logs, opens=terms.opens, disorder=terms.disorder)
        line.app = app
        return app

    def complain(error: CannotStart) -> None:
        _say(sock, {"failed": str(error), "code": error.code})

    try:
        code = process.run(make, superior=line.begin, complain=complain)
        line.end(sock)
    finally:
        logs.stop()
    return code


def _say(sock: socket.socket, message: Message) -> None:
    """Say something outside of a loop. Never raises: the supervisor may be gone."""
    sock.settimeout(LAST_WORDS)
    with suppress(OSError):
        sock.sendall(framed(message))


def report_of(app: App, numbers: list[Family], number: int = 0) -> Message:
    """How it goes."""
    return {
        "report": number,
        "numbers": numbers,
        "troubles": app.health.troubles(),
        "views": {path: describe() for path, describe in app.admin_endpoint.views.items()},
    }


@final
class _Line:
    """Implements `Superior`: what the supervisor says, and what it is told. `begin` it in the
    loop."""

    def __init__(self, sock: socket.socket, terms: Terms) -> None:
        self.app: App | None = None
        self._sock = sock
        self._terms = terms
        self._channel: Channel | None = None
        self._news: News | None = None
        self._tasks: set[asyncio.Future[None]] = set()

    def begin(self) -> _Line:
        """Listen from now on."""
        self.stopping = asyncio.Event()
        self.hurry = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stopping.set)
        self._start(self._listen())
        return self

    def on_reload(self, reload: Callable[[], Awaitable[None]]) -> None:
        """See `Superior`. Not that: what is to be read again is told apart (`_renew`), and the word
        about it is the supervisor's."""

    def ready(self, line: str) -> None:
        """Tell the supervisor."""
        if self.app is None or self._channel is None:
            raise AssertionError("it is ready and was not made")
        self._news = News(self.app, lambda said: self._send(said, spare=True))
        self._send({"ready": line})
        self._start(repeat(REPORT, self._report, "reporting to the supervisor"))
        self._start(repeat(LOOK, self._look, "looking at the store's generation"))

    def end(self, sock: socket.socket) -> None:
        """After the loop: what was counted to the last. `sock`: another hold of the line."""
        whole = self._channel is None or not self._channel.waiting
        if self.app is not None and whole:
            _say(sock, report_of(self.app, self.app.metrics.dump()))

    # --- inside ------------------------------------------------------------------------------

    def _start(self, what: Awaitable[None]) -> None:
        task = asyncio.ensure_future(what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _send(self, message: Message, *, spare: bool = False) -> None:
        if self._channel is not None:
            self._channel.send(message, spare=spare)

    async def _listen(self) -> None:
        self._channel = await open_channel(self._sock)
        while (message := await self._channel.receive()) is not None:
            try:
                self._obey(message)
            except Exception:
                # The next one may be the order to stop.
                LOG.exception("what the supervisor said could not be done")
        if not self.stopping.is_set():
            LOG.error("the supervisor is gone; this worker drains and ends")
        self.stopping.set()

    def _obey(self, message: Message) -> None:
        match message:
            case {"news": str(topic), "said": said}:
                if self._news is not None:
                    self._news.hear(topic, said)
            case {"report": number}:
                self._start(self._report(number))
            case {"settings": str(text)}:
                self._take(text)
            case {"reload": number}:
                self._start(self._renew(number))
            case {"stop": _}:
                self.stopping.set()
            case {"hurry": _}:
                self.stopping.set()
                self.hurry.set()
            case _:
                LOG.error("the supervisor said what is not known here")

    def _take(self, text: str) -> None:
        """Take the clients of another text of the configuration."""
        try:
            found = self._terms.loading.load_from(to_content(text))
        except ConfigError:
            LOG.exception("the supervisor's configuration cannot be taken")
            return
        if self.app is not None:
            self.app.live.apply(found)

    async def _renew(self, number: int) -> None:
        if self.app is not None:
            await self.app.renew()
        self._send({"renewed": number})

    async def _report(self, number: int = 0) -> None:
        """Tell how it goes. `number`: of the question that this answers."""
        if self.app is not None:
            numbers = await asyncio.to_thread(self.app.metrics.dump)
            self._send(report_of(self.app, numbers, number), spare=not number)

    async def _look(self) -> None:
        app = self.app
        if app is not None and app.storage.generation.changed():
            app.documents.refusals.forget_all()
            app.documents.packages.forget_all()
            app.artifacts.forget_all()
            app.bulk.refusals.forget_all()
            app.hot.forget_all()
            LOG.info("the store was changed from outside: what was remembered counts no more")
