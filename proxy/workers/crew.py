"""All workers: started, started again when they die, told what one of them has learnt.

Purpose: a worker that dies is replaced, one that dies at once again and again ever more slowly, and
the log says each time how it ended. While any is missing the others serve: a dead one's listening
socket goes with it, so no client waits for it.

Reading: gunicorn's arbiter, Erlang's supervisors (restart intensity). Non-goals: what a worker is
(`member`), the operator's side (`supervisor`).
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Any, final

from proxy.observe.totals import Family, Totals
from proxy.server.process import EX_UNAVAILABLE, CannotStart
from proxy.workers.channel import Message
from proxy.workers.terms import Terms
from proxy.workers.worker import Worker, start_worker

LOG = logging.getLogger(__name__)
START = 120.0
"""Seconds that all of them have at first, on a machine that is busy with other things, and later
each that is started again."""
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 30.0
SETTLED = 5.0
"""Seconds after which a worker that is ready is well: when it dies then, that is no crash loop."""
ANSWER = 1.5
"""Seconds that a question to all workers waits for the slowest."""
RENEWAL = 15.0
SILENT = 10.0
"""Seconds without a report after which a worker is not well."""
HANGS = 60.0
"""The same, after which it is taken for dead."""
LOOK = 5.0
"""Seconds between two looks for such."""
HURRY = 4.0
"""Seconds that workers have to end when they are to hurry; then they are killed."""
MARGIN = 5.0
"""The same, after the grace of a drain."""
MAX_KNOWN = 256


@final
class Crew:
    """`count` workers. `terms`: of one, by its number and whether there is disorder."""

    def __init__(self, count: int, terms: Callable[[int, bool], Terms]) -> None:
        self.totals = Totals(self._living)
        self.restarts = 0
        self._count = count
        self._terms = terms
        self._workers: dict[int, Worker] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._all_ready = asyncio.Event()
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stopping = asyncio.Event()
        self._known: dict[tuple[str, ...], Message] = {}
        self._settings: Message | None = None
        self.own: Callable[[], list[Family]] = list
        """The supervisor's own numbers."""

    # --- how they are ------------------------------------------------------------------------

    @property
    def ready(self) -> list[Worker]:
        """Those that serve, by their number."""
        return [one for _, one in sorted(self._workers.items()) if one.ready_at is not None]

    @property
    def starting(self) -> list[Worker]:
        """Those that run and do not serve yet, by their number."""
        return [one for _, one in sorted(self._workers.items()) if one.ready_at is None]

    def troubles(self) -> list[str]:
        """Why less than everything works: theirs, each once, and their absence."""
        ready, now = self.ready, asyncio.get_running_loop().time()
        found = dict.fromkeys(trouble for one in ready for trouble in one.troubles)
        silent = [str(one.number) for one in ready if now - one.heard > SILENT]
        if silent:
            found[f"workers that do not say how they are: {', '.join(silent)}"] = None
        if len(ready) < self._count:
            found[f"{len(ready)} of {self._count} workers run"] = None
        return list(found)

    def _living(self) -> list[list[Family]]:
        return [self.own(), *(one.numbers for _, one in sorted(self._workers.items()))]

    async def ask(self, what: str, patience: float = ANSWER) -> None:
        """Ask all that are ready, and wait for those that answer in time."""
        asking = [asyncio.ensure_future(one.ask(what)) for one in self.ready]
        if asking:
            _, late = await asyncio.wait(asking, timeout=patience)
            for one in late:
                one.cancel()

    # --- their lives -------------------------------------------------------------------------

    async def start(self) -> None:
        """Start all and wait until they are ready. Raises CannotStart where one cannot."""
        loop = asyncio.get_running_loop()
        self._keepers = [
            loop.create_task(self._keep(number)) for number in range(1, self._count + 1)
        ]
        ready = loop.create_task(self._all_ready.wait())
        either: list[asyncio.Future[Any]] = [ready, self._failure]
        try:
            await asyncio.wait(either, timeout=START, return_when=asyncio.FIRST_COMPLETED)
            if self._failure.done():
                self._failure.result()
            if not ready.done():
                raise CannotStart(f"not all workers are ready after {START:g} s", EX_UNAVAILABLE)
        finally:
            ready.cancel()

    async def look(self) -> None:
        """End a worker that has not said anything for long: clients who come to it would wait for
        ever, while others would answer them."""
        now = asyncio.get_running_loop().time()
        serving, starting = [(one, HANGS) for one in self.ready], self.starting
        for worker, patience in (*serving, *((one, START) for one in starting)):
            if now - worker.heard > patience:
                number, pid = worker.number, worker.pid
                text = "worker %d (process %d) hangs for %g s; it is killed"
                LOG.error(text, number, pid, patience)
                worker.kill()

    async def stop(self, hurry: asyncio.Event, grace: float) -> None:
        """Drain all; returns when the last one has ended."""
        self._stopping.set()
        self.send({"stop": True})
        if not self._keepers:
            return
        ending = asyncio.ensure_future(asyncio.wait(self._keepers, timeout=grace + MARGIN))
        hurrying = asyncio.ensure_future(hurry.wait())
        await asyncio.wait({ending, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            self.send({"hurry": True})
            await asyncio.wait({ending}, timeout=HURRY)
        hurrying.cancel()
        ending.cancel()
        for worker in self._workers.values():
            LOG.error(
                "worker %d (process %d) does not end; it is killed", worker.number, worker.pid
            )
            worker.kill()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    def take(self, text: str) -> None:
        """Have all take the clients of this text of the configuration."""
        self._settings = {"settings": text}
        self.send(self._settings)

    def send(self, message: Message) -> None:
        """Tell all."""
        for worker in self._workers.values():
            worker.send(message)

    async def _keep(self, number: int) -> None:
        """Keep one worker running."""
        pause, disorder = 0.0, False
        while not self._stopping.is_set():
            try:
                worker = await start_worker(self._terms(number, disorder))
            except OSError as error:
                ended, well, code = f"cannot be started: {error.strerror}", False, EX_UNAVAILABLE
            else:
                code = await self._run(worker)
                ended = f"(process {worker.pid}) {_ended(code)}"
                well, disorder = _was_well(worker), code != 0
                if worker.failed is not None:
                    ended, code = f"cannot start: {worker.failed[0]}", worker.failed[1]
            if self._stopping.is_set():
                return
            if not self._all_ready.is_set():
                if not self._failure.done():
                    code = code if code > 0 else EX_UNAVAILABLE
                    self._failure.set_exception(CannotStart(_alone(ended, number), code))
                return
            self.restarts += 1
            pause = FIRST_PAUSE if well else min(LONGEST_PAUSE, max(FIRST_PAUSE, 2 * pause))
            level = logging.ERROR if code else logging.WARNING
            LOG.log(level, "worker %d %s; it is started again in %.1f s", number, ended, pause)
            await self._pause(pause)

    async def _run(self, worker: Worker) -> int:
        self._workers[worker.number] = worker
        if self._settings is not None:
            worker.send(self._settings)  # they may be newer than its terms
        if self._stopping.is_set():
            worker.send({"stop": True})
        try:
            return await worker.run(self._hear)
        finally:
            self.totals.ended(worker.numbers, lambda: self._workers.pop(worker.number))

    async def _pause(self, seconds: float) -> None:
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({stopping}, timeout=seconds)
        stopping.cancel()

    # --- what they say -----------------------------------------------------------------------

    def _hear(self, worker: Worker, message: Message) -> None:
        match message:
            case {"ready": _}:
                for known in self._known.values():
                    worker.send(known)
                level = logging.INFO if self._all_ready.is_set() else logging.DEBUG
                LOG.log(level, "worker %d (process %d) is ready", worker.number, worker.pid)
                if len(self.ready) == self._count:
                    self._all_ready.set()
            case {"news": str(topic), "said": list(said)}:
                self._keep_in_mind(topic, said, message)
                for other in self.ready:
                    if other is not worker:
                        other.send(message, spare=True)
            case _:
                LOG.error("worker %d said what is not known here", worker.number)

    def _keep_in_mind(self, topic: str, said: list[object], message: Message) -> None:
        """A worker that comes later has to know what is down, and which token is refused."""
        match topic, said:
            case "upstream", [str(origin), "down", _]:
                self._known["upstream", origin] = message
            case "upstream", [str(origin), "back", _]:
                self._known.pop(("upstream", origin), None)
            case "token", [str(ecosystem), str(mark), bool(refused)]:
                self._known.pop(("token", ecosystem, mark), None)
                if refused:
                    self._known["token", ecosystem, mark] = message
            case _:
                pass  # what lasts for seconds only
        while len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]


def _was_well(worker: Worker) -> bool:
    now = asyncio.get_running_loop().time()
    return worker.ready_at is not None and now - worker.ready_at >= SETTLED


def _ended(code: int) -> str:
    if code >= 0:
        return f"has ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was ended by {name}"


def _alone(ended: str, number: int) -> str:
    """As one process would have said it."""
    start, _, reason = ended.partition("cannot start: ")
    return reason if reason and not start else f"worker {number} {ended}"
