"""How a log line looks: JSON or text, always one line of printable ASCII. Pure.

Purpose: whatever a client, an upstream or an exception puts into a field, it stays inside its
field and its line. Two formats, each a small class with the same two methods.

Reading: RFC 8259 (JSON), RFC 3339 (time stamps), OWASP "log injection".
Non-goals: colours, templates, configurable fields.
"""

from __future__ import annotations

import logging
import traceback
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import NamedTuple, Protocol, TypeAlias

from proxy.observe.alike import Alike
from proxy.observe.redaction import Redactor

MAX_MESSAGE = 8192
"""Characters of a message that are written."""
MAX_EXCEPTION = 16384
"""Characters of a traceback that are written: its end, which says what happened."""
MAX_PATH = 1024
MAX_USER_AGENT = 200
MAX_ERROR = 600
MAX_READ = 65536
"""Characters of a message or traceback that are looked at: redaction comes before cutting, so that
no half of a secret escapes it, and this bounds its work."""

_WORDS = 1024
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F)}


class AccessRecord(NamedTuple):
    """One answered request. `time` in seconds since the epoch, `duration` in seconds.

    `error`: why it was refused or failed, for a person; empty where it was not.
    """

    time: float
    request_id: str
    principal: str
    peer: str
    method: str
    path: str
    ecosystem: str
    status: int
    sent: int
    duration: float
    cache: str
    user_agent: str
    error: str = ""


class Later(Protocol):
    """An answer that becomes a record when its line is written: what is done once for many in a row
    costs less than half of the same between other work (measured)."""

    def accessed(self) -> AccessRecord:
        """The record. MUST NOT depend on when it is asked."""
        ...


# The same answer once more: `time`, `request_id` (one of ours), `duration`, and all the rest.
# A plain tuple: it is made with every hit.
Repeat: TypeAlias = tuple[float, str, float, Alike[AccessRecord]]


class LineFormat(Protocol):
    """Makes one line, with its line feed, of ASCII."""

    def access(self, record: AccessRecord) -> str:
        """The line of an answered request."""
        ...

    def repeat(self, repeat: Repeat) -> str:
        """The line that `access` would make of it."""
        ...

    def message(self, record: logging.LogRecord) -> str:
        """The line of a log record whose message is complete (`args` is None)."""
        ...


class JsonFormat:
    """One JSON object a line. `worker`: which one of several processes writes; empty: the only
    one."""

    def __init__(self, redactor: Redactor, worker: str = "") -> None:
        self._redactor = redactor
        self._worker = {"worker": worker} if worker else {}

    def access(self, record: AccessRecord) -> str:
        """Fields of `AccessRecord`; `duration_ms` in milliseconds, `bytes` of body.

        `error` only where there is one.
        """
        before, after = self._pieces(record)
        return (
            f'{{"time":"{timestamp(record[0])}","level":"info","logger":"access"'
            f',"request_id":{json_string(record[1])}{before}{record[9] * 1000:.2f}{after}'
        )

    def repeat(self, repeat: Repeat) -> str:
        """See `LineFormat`."""
        time, request_id, duration, alike = repeat
        before, after = alike.pieces(self._redactor.generation, self._pieces)
        return (
            f'{{"time":"{timestamp(time)}","level":"info","logger":"access"'
            f',"request_id":"{request_id}"{before}{duration * 1000:.2f}{after}'
        )

    def _pieces(self, record: AccessRecord) -> tuple[str, str]:
        """What stands between the id and the duration, and behind it."""
        clean = self._redactor.redact_cached  # the audit log has the same path; agents are few
        _, _, who, peer, method, path, ecosystem, status, sent, _, cache, agent, error = record
        said = f',"error":{json_string(clean(error)[:MAX_ERROR])}' if error else ""
        before = (
            f',"principal":{json_word(who)},"peer":{json_word(peer)}'
            f',"method":{json_word(method)},"path":{json_string(clean(path)[:MAX_PATH])}'
            f',"ecosystem":{json_word(ecosystem)},"status":{status:d},"bytes":{sent:d}'
            ',"duration_ms":'
        )
        after = (
            f',"cache":{json_word(cache)}'
            f',"user_agent":{json_word(clean(agent)[:MAX_USER_AGENT])}{said}}}\n'
        )
        return before, after

    def message(self, record: logging.LogRecord) -> str:
        """`time`, `level`, `logger`, `message`, and `worker`, `request_id` and `exception` where
        known."""
        fields = {
            "time": timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._worker,
            "message": _message(record, self._redactor),
        }
        request_id = getattr(record, "request_id", None)
        if request_id is not None:
            fields["request_id"] = str(request_id)
        exception = _exception(record, self._redactor)
        if exception:
            fields["exception"] = exception
        return json_line(fields)


class TextFormat:
    """One line for a person at a terminal. `worker`: as for `JsonFormat`."""

    def __init__(self, redactor: Redactor, worker: str = "") -> None:
        self._redactor = redactor
        self._worker = f"/{worker}" if worker else ""

    def access(self, record: AccessRecord) -> str:
        """`time access id who peer "METHOD path" status bytes ms ecosystem cache "agent" error`."""
        clean = self._redactor.redact_cached
        request = _quoted(f"{record.method} {clean(record.path)[:MAX_PATH]}")
        user_agent = _quoted(clean(record.user_agent)[:MAX_USER_AGENT])
        error = f" {_quoted(clean(record.error)[:MAX_ERROR])}" if record.error else ""
        return text_line(
            f"{timestamp(record.time)} access {record.request_id} {record.principal or '-'} "
            f"{record.peer} {request} {record.status} {record.sent} "
            f"{record.duration * 1000:.2f}ms {record.ecosystem or '-'} {record.cache or '-'} "
            f"{user_agent}{error}"
        )

    def repeat(self, repeat: Repeat) -> str:
        """See `LineFormat`."""
        time, request_id, duration, alike = repeat
        return self.access(
            alike.record._replace(time=time, request_id=request_id, duration=duration)
        )

    def message(self, record: logging.LogRecord) -> str:
        """`time level logger [id]: message`, the traceback behind it on the same line."""
        request_id = getattr(record, "request_id", None)
        tag = "" if request_id is None else f" [{request_id}]"
        exception = _exception(record, self._redactor).rstrip("\n").replace("\n", " | ")
        text = _message(record, self._redactor) + (f" | {exception}" if exception else "")
        where = f"{record.name}{self._worker}{tag}"
        return text_line(f"{timestamp(record.created)} {record.levelname.lower()} {where}: {text}")


def json_line(fields: dict[str, str]) -> str:
    """A JSON object of strings as one line."""
    members = ",".join(f"{json_string(name)}:{json_string(text)}" for name, text in fields.items())
    return f"{{{members}}}\n"


def json_string(text: str) -> str:
    """A JSON string of printable ASCII: DEL is the one control that JSON leaves raw."""
    return encode_basestring_ascii(text).replace("\x7f", "\\u007f")


@lru_cache(maxsize=_WORDS)
def json_word(text: str) -> str:
    """The same of what comes in line after line: names, addresses, agents."""
    return json_string(text)


def text_line(text: str) -> str:
    """Printable ASCII and a line feed: everything else becomes a backslash escape."""
    escaped = text.translate(_CONTROLS)
    return escaped.encode("ascii", "backslashreplace").decode("ascii") + "\n"


def _quoted(text: str) -> str:
    """In double quotes that the text cannot end: who is quoted writes no fields of ours."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def timestamp(seconds: float) -> str:
    """RFC 3339, UTC, milliseconds: `2026-10-01T12:00:00.123Z`."""
    return _moment(int(seconds * 1000))


@lru_cache(maxsize=16)  # where it matters, many lines are of one millisecond
def _moment(milliseconds: int) -> str:
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=4)  # a batch has two or three
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _message(record: logging.LogRecord, redactor: Redactor) -> str:
    text = redactor.redact(record.getMessage()[:MAX_READ])
    return text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + "..."


def _exception(record: logging.LogRecord, redactor: Redactor) -> str:
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    text = redactor.redact("".join(traceback.format_exception(record.exc_info[1]))[-MAX_READ:])
    return text if len(text) <= MAX_EXCEPTION else "..." + text[-MAX_EXCEPTION:]
