"""Set up logging: levels, one handler on the root logger, the access log.

Purpose: `start_logs` turns the standard library's logging into lines on standard error that
never wait and never leak; `AccessLog` is the cheap way in for one line a request.

Reading: the logging cookbook's chapter on handlers that block; design of `proxy.observe.writer`.
Non-goals: a configuration language for loggers; syslog; per-module levels.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Literal

from proxy.observe.alike import Alike
from proxy.observe.audit import AuditFile, AuditLog
from proxy.observe.formats import AccessRecord, JsonFormat, Later, LineFormat, Repeat, TextFormat
from proxy.observe.redaction import Redactor
from proxy.observe.sink import Sink, open_sink
from proxy.observe.writer import Writer

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "text", "json"]

STANDARD_ERROR = 2
_KEPT_USER_AGENT = 1024  # more than is written: redaction comes before the last cut
_KEPT_METHOD = 32
_KEPT_PATH = 2048
_KEPT_ERROR = 2048


def access_record(  # noqa: PLR0913, PLR0917  # by position: of every request
    time: float,
    request_id: str,
    principal: str,
    peer: str,
    method: str,
    path: str,
    ecosystem: str,
    status: int,
    sent: int,
    duration: float,
    cache: str,
    user_agent: str,
    error: str = "",
) -> AccessRecord:
    """A record whose texts are cut to what is kept of them. See `AccessLog.append`."""
    return AccessRecord(
        time,
        request_id,
        principal,
        peer,
        method[:_KEPT_METHOD],
        path[:_KEPT_PATH],
        ecosystem,
        status,
        sent,
        duration,
        cache,
        user_agent[:_KEPT_USER_AGENT],
        error[:_KEPT_ERROR],
    )


def alike(  # noqa: PLR0913, PLR0917  # the same as of `append`
    principal: str,
    peer: str,
    path: str,
    ecosystem: str,
    status: int,
    sent: int,
    cache: str,
    user_agent: str,
) -> Alike[AccessRecord]:
    """What all repetitions of a GET's answer have alike, cut to what is kept of it."""
    return Alike(
        access_record(
            0.0, "", principal, peer, "GET", path, ecosystem, status, sent, 0.0, cache, user_agent
        )
    )


class AccessLog:
    """One line a request. `append` costs about a microsecond and never waits."""

    def __init__(self, writer: Writer | None, clock: Callable[[], float] = time.time) -> None:
        """`writer` None: the access log is off."""
        self._writer = writer
        self._clock = clock

    def append(  # noqa: PLR0913, PLR0917  # by position: this is the hot path
        self,
        request_id: str,
        principal: str,
        peer: str,
        method: str,
        path: str,
        ecosystem: str,
        status: int,
        sent: int,
        duration: float,
        cache: str,
        user_agent: str,
        error: str = "",
    ) -> None:
        """Note an answered request.

        `path`: canonical, or as sent where it has no canonical form. `sent`: bytes of body.
        `duration`: seconds. `cache`: hit, miss, ...; empty where the cache was not asked.
        `error`: why it was refused or failed; empty where it was not.
        """
        if self._writer is None:
            return
        self._writer.append_access(
            access_record(
                self._clock(),
                request_id,
                principal,
                peer,
                method,
                path,
                ecosystem,
                status,
                sent,
                duration,
                cache,
                user_agent,
                error,
            )
        )

    def later(self, answer: Later) -> None:
        """Note an answered request that says itself what stands in its line."""
        if self._writer is not None:
            self._writer.append_access(answer)

    def repeat(self, repeat: Repeat) -> None:
        """Note that an answer was given once more."""
        if self._writer is not None:
            self._writer.append_access(repeat)


class _QueueingHandler(logging.Handler):
    """Hands records to the writer, their arguments resolved, the traceback not yet formatted."""

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record. Never raises: a log line must not fail the request that logs."""
        try:
            # Here, not in the thread: arguments may change once the caller goes on.
            message = record.getMessage()
        except Exception as error:  # noqa: BLE001  # a wrong number of arguments, a broken __str__
            message = f"log record with broken arguments ({type(error).__name__}): {record.msg!r}"
        # A copy: other handlers (a test's) may still want the arguments. The traceback's text is
        # left to the thread: it reads source files.
        queued = logging.makeLogRecord(record.__dict__)
        queued.msg = message
        queued.args = None
        self._writer.append_message(queued)


class Logs:
    """The running log. Made by `start_logs`; `stop` puts the root logger back as it was."""

    def __init__(self, writer: Writer, redactor: Redactor, level: int, *, access: bool) -> None:
        self.access = AccessLog(writer if access else None)
        self.audit = AuditLog(redactor)
        self.redactor = redactor
        self._writer = writer
        self._handler = _QueueingHandler(writer)
        root = logging.getLogger()
        self._before = (root.level, root.handlers[:])
        root.setLevel(level)
        root.handlers[:] = [self._handler]
        logging.captureWarnings(capture=True)

    @property
    def dropped(self) -> int:
        """Log lines lost so far, for the metric."""
        return self._writer.dropped + self.audit.dropped

    def keep_audit(self, file: AuditFile) -> None:
        """Keep an audit log from now on. Call it once, at start."""
        self.audit = AuditLog(self.redactor, file)
        self.audit.start()
        self._writer.also(self.audit.drain)  # so that a flush is one of both

    def flush(self, timeout: float = 2.0) -> bool:
        """Block until what was logged before is written; False when that takes too long."""
        return self._writer.flush(timeout)

    def stop(self, timeout: float = 2.0) -> None:
        """Write the rest and end. Blocks up to `timeout` seconds; call it last."""
        logging.captureWarnings(capture=False)
        root = logging.getLogger()
        root.setLevel(self._before[0])
        root.handlers[:] = self._before[1]
        self._writer.stop(timeout)
        self.audit.close()


def start_logs(
    level: Level, line_format: Format, *, access: bool, sink: Sink | None = None, worker: str = ""
) -> Logs:
    """Log to standard error, or to `sink`; `auto` is text on a terminal, else JSON. `worker`: which
    one of several processes this is, for its messages."""
    if sink is None:
        standard_error = open_sink(STANDARD_ERROR)
        text = line_format == "text" or (line_format == "auto" and standard_error.is_terminal)
        sink = standard_error
    else:
        text = line_format == "text"
    redactor = Redactor()
    lines: LineFormat = (TextFormat if text else JsonFormat)(redactor, worker)
    number = logging.getLevelNamesMapping()[level.upper()]
    return Logs(Writer(sink, lines), redactor, number, access=access)
