"""Log lines: one a record, without secrets, never in a request's way."""

from __future__ import annotations

import base64
import errno
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.observe.alike import Alike
from proxy.observe.formats import AccessRecord, JsonFormat, TextFormat
from proxy.observe.logs import AccessLog, Format, Logs, start_logs
from proxy.observe.redaction import LINGER, MASK, Redactor
from proxy.observe.request_id import RequestIds
from proxy.observe.sink import DescriptorSink, NoSink, open_sink
from proxy.observe.writer import MAX_ACCESS, MAX_MESSAGES, Writer

JWT = (
    "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIn0."
    "c2lnbmF0dXJlLWNhbmFyeS1zaWduYXR1cmUtY2FuYXJ5"
)
PASSWORD = 'can/ary+p"ss=w\\rd\u00e9-0123456789'


class Kept:
    """A sink that keeps what it is given, refuses while `broken`, and waits while shut."""

    def __init__(self) -> None:
        self.data = b""
        self.broken = 0
        self.writes = 0
        self.entered = threading.Event()
        self.open = threading.Event()
        self.open.set()

    def write(self, lines: bytes) -> None:
        self.writes += 1
        self.entered.set()
        self.open.wait(10)
        if self.broken:
            raise OSError(self.broken, os.strerror(self.broken))
        self.data += lines

    def close(self) -> None:
        pass

    @property
    def lines(self) -> list[str]:
        return self.data.decode("ascii").splitlines()


@pytest.fixture
def sink() -> Kept:
    return Kept()


@pytest.fixture
def start(sink: Kept) -> Iterator[Callable[..., Logs]]:
    running: list[Logs] = []

    def starter(line_format: Format = "json", *, access: bool = True) -> Logs:
        running.append(start_logs("info", line_format, access=access, sink=sink))
        return running[-1]

    yield starter
    sink.open.set()
    for logs in reversed(running):
        logs.stop()


def note(log: AccessLog, path: str = "/python/simple/", user_agent: str = "pip/26.0") -> None:
    log.append(
        "id1", "farm", "192.0.2.1", "GET", path, "python", 200, 1234, 0.0015, "hit", user_agent
    )


def fail(text: str) -> None:
    raise ValueError(text)


# --- the lines -----------------------------------------------------------------------------


def test_an_access_line_is_a_json_object_with_the_named_fields(
    start: Callable[..., Logs], sink: Kept
) -> None:
    logs = start()
    note(logs.access)
    assert logs.flush()
    fields = json.loads(sink.lines[0])
    moment = fields.pop("time")
    assert len(moment) == len("2026-10-01T12:00:00.123Z")
    assert moment.endswith("Z")
    assert fields == {
        "level": "info",
        "logger": "access",
        "request_id": "id1",
        "principal": "farm",
        "peer": "192.0.2.1",
        "method": "GET",
        "path": "/python/simple/",
        "ecosystem": "python",
        "status": 200,
        "bytes": 1234,
        "duration_ms": 1.5,
        "cache": "hit",
        "user_agent": "pip/26.0",
    }


def test_a_message_carries_its_request_id_and_its_exception(
    start: Callable[..., Logs], sink: Kept
) -> None:
    logs = start()
    try:
        fail("Authorization: Basic " + "x" * 20)
    except ValueError:
        logging.getLogger("proxy.x").exception("broke %s", "it", extra={"request_id": "id9"})
    assert logs.flush()
    fields = json.loads(sink.lines[0])
    assert (fields["level"], fields["logger"], fields["message"], fields["request_id"]) == (
        "error",
        "proxy.x",
        "broke it",
        "id9",
    )
    assert "Traceback" in fields["exception"]
    assert fields["exception"].rstrip().endswith(f"ValueError: Authorization: {MASK}")


def test_text_is_one_line_too_with_its_traceback(start: Callable[..., Logs], sink: Kept) -> None:
    logs = start("text")
    note(logs.access, user_agent='pip "x" y')
    try:
        fail("a\nb")
    except ValueError:
        logging.getLogger("proxy.x").exception("broke")
    assert logs.flush()
    assert len(sink.lines) == 2
    text = "\n".join(sink.lines)
    assert '"GET /python/simple/" 200 1234 1.50ms python hit "pip \\"x\\" y"' in text
    assert " error proxy.x: broke | Traceback" in text


def test_a_level_below_the_configured_is_not_written(
    start: Callable[..., Logs], sink: Kept
) -> None:
    logs = start()
    logging.getLogger("proxy.x").debug("quiet")
    assert logs.flush()
    assert sink.lines == []


def test_access_lines_can_be_turned_off(start: Callable[..., Logs], sink: Kept) -> None:
    logs = start(access=False)
    note(logs.access)
    assert logs.flush()
    assert sink.lines == []


def test_a_long_user_agent_is_cut_to_200_characters(start: Callable[..., Logs], sink: Kept) -> None:
    logs = start()
    note(logs.access, user_agent="u" * 9000)
    assert logs.flush()
    assert json.loads(sink.lines[0])["user_agent"] == "u" * 200


def test_a_record_with_wrong_arguments_is_written_all_the_same(
    start: Callable[..., Logs], sink: Kept
) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    logs = start()
    logging.getLogger("proxy.x").error("%d %d", *[1])
    logging.getLogger("proxy.x").error("%s", Broken())
    assert logs.flush()
    assert [json.loads(line)["level"] for line in sink.lines] == ["error", "error"]


def test_one_odd_access_record_does_not_end_the_log(sink: Kept) -> None:
    writer = Writer(sink, JsonFormat(Redactor()))
    odd = AccessRecord(1e30, "i", "p", "a", "GET", "/", "e", 200, 0, 0.0, "hit", "ua")
    writer.append_access(odd)
    writer.append_access(odd._replace(time=0.0))
    writer.stop()
    assert "could not be written" in sink.lines[0]
    assert json.loads(sink.lines[1])["time"] == "1970-01-01T00:00:00.000Z"


class Made:
    """Implements `Later`. `made` None: it fails."""

    def __init__(self, made: AccessRecord | None) -> None:
        self.made = made

    def accessed(self) -> AccessRecord:
        if self.made is None:
            raise ValueError("odd")
        return self.made


def test_an_access_record_that_is_made_late_stands_in_the_same_line(
    start: Callable[..., Logs], sink: Kept
) -> None:
    logs = start()
    one = AccessRecord(0.0, "i", "p", "a", "GET", "/", "e", 200, 0, 0.25, "hit", "ua")
    for item in (one, None, one):
        logs.access.later(Made(item))
    assert logs.flush()
    assert sink.lines[0] == sink.lines[2] == JsonFormat(Redactor()).access(one).strip()
    assert "could not be written: ValueError" in sink.lines[1]


def test_arguments_are_read_when_logged_not_when_written(
    start: Callable[..., Logs], sink: Kept
) -> None:
    logs = start()
    values = [1]
    sink.open.clear()
    logging.getLogger("proxy.x").warning("first")
    assert sink.entered.wait(5)
    logging.getLogger("proxy.x").warning("%s", values)
    values.append(2)
    sink.open.set()
    assert logs.flush()
    assert json.loads(sink.lines[1])["message"] == "[1]"


def test_stop_gives_the_root_logger_back(sink: Kept) -> None:
    root = logging.getLogger()
    before = (root.level, root.handlers[:])
    logs = start_logs("debug", "json", access=True, sink=sink)
    logs.stop()
    assert (root.level, root.handlers) == before


# --- injection -----------------------------------------------------------------------------

INJECTIONS = (
    "a\r\n2026 forged",
    "a\x1b[2J",
    "a\u2028b\u2029c\x85d",
    "a\udcff\ud800",
    "a\x00\x7f\x9b",
    "${jndi:ldap://x}%n",
    '"}\n{"level":"error"}',
)


@pytest.mark.parametrize("hostile", INJECTIONS)
@pytest.mark.parametrize("line_format", ["json", "text"])
def test_hostile_text_stays_in_one_printable_line(
    start: Callable[..., Logs], sink: Kept, hostile: str, line_format: Format
) -> None:
    logs = start(line_format)
    note(logs.access, path=hostile, user_agent=hostile)
    logging.getLogger("proxy.x").warning("saw %s", hostile)
    assert logs.flush()
    assert sink.data.count(b"\n") == 2
    assert all(32 <= byte < 127 for byte in sink.data.replace(b"\n", b""))
    if line_format == "json":
        fields = {key for line in sink.lines for key in json.loads(line)}
        assert fields <= {"message", *AccessRecord._fields, *_FIELDS}


_FIELDS = ("time", "level", "logger", "bytes", "duration_ms")


@given(st.text(max_size=300))
def test_any_text_is_one_line_in_both_formats(text: str) -> None:
    redactor = Redactor()
    record = AccessRecord(0.0, "i", text, "p", "GET", text, "e", 200, 0, 0.0, "hit", text)
    message = logging.LogRecord("proxy.x", logging.INFO, "", 0, text, None, None)
    for formats in (JsonFormat(redactor), TextFormat(redactor)):
        for line in (formats.access(record), formats.message(message)):
            assert line.endswith("\n")
            assert line[:-1].isascii()
            assert line[:-1].isprintable()


@given(st.text(max_size=300))
def test_the_line_of_a_repeated_answer_is_that_of_any_other_in_both_formats(text: str) -> None:
    redactor = Redactor()
    record = AccessRecord(9.5, "id23", text, "p", "GET", text, "e", 200, 7, 0.25, "hit", text)
    repeat = (9.5, "id23", 0.25, Alike(record._replace(time=0.0, request_id="", duration=0.0)))
    for formats in (JsonFormat(redactor), TextFormat(redactor)):
        assert formats.repeat(repeat) == formats.access(record)
        assert formats.repeat(repeat) == formats.access(record)


# --- secrets -------------------------------------------------------------------------------


def forms(secret: str) -> list[str]:
    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    return [
        secret,
        quote(secret, safe=""),
        quote(secret),
        json.dumps(secret),
        encoded(secret),
        encoded(f"u:{secret}"),
        encoded(f"us:{secret}"),
        encoded(f"use:{secret}"),
        encoded(f"user:{secret};"),
        base64.urlsafe_b64encode(f"_:{secret}".encode()).decode(),
        quote(encoded(f"user:{secret}"), safe=""),
    ]


@pytest.mark.parametrize("secret", [PASSWORD, JWT, "0123456789abcdef/fedcba9876543210"])
def test_a_registered_secret_is_masked_in_every_form(secret: str) -> None:
    redactor = Redactor()
    redactor.register("test", secret)
    for form in forms(secret):
        shown = redactor.redact(f"before {form} after")
        assert shown.startswith("before ")
        assert shown.endswith(" after")
        assert MASK in shown
        kept = shown.replace(MASK, "")
        longest = max(len(part) for part in kept.split(" "))
        assert longest <= 14, shown  # at most the edges of a base64 text: `user:`


def test_each_segment_of_a_token_is_masked_alone() -> None:
    redactor = Redactor()
    redactor.register("test", JWT)
    for segment in JWT.split("."):
        assert segment not in redactor.redact(f"x {segment} y")


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Basic Y2FuYXJ5",
        "authorization: Bearer CANARY",
        "{'Authorization': 'Basic CANARY'}",
        '{"Authorization": "Bearer CANARY"}',
        '{\\"Authorization\\": \\"Bearer CANARY\\"}',
        "(b'Authorization', b'Basic CANARY')",
        "<CIMultiDict('Proxy-Authorization': 'Basic CANARY')>",
        "sent Basic CANARYCANARYCANARY==",
        "https://store.example/x?X-Amz-Signature=CANARY&X-Amz-Credential=CANARY%2Fx",
        "https://store.example/x?X-Amz-Security-Token=CANARY&a=b",
        "/x?token=CANARY",
        "/x?access_token=CANARY",
        "http://user:CANARY@registry.example/x",
        "http://CANARY@registry.example/x",
        "cgrp_CANARYCANARYCANARYCANARYCANARYCANARYCANARY0",
        "eyJDQU5BUlkiOiJDQU5BUlkifQ.eyJDQU5BUlkiOiJDQU5BUlkifQ.CANARY",
        "eyJDQU5BUlkiOiJDQU5BUlkifQ",
    ],
)
def test_what_looks_like_a_credential_is_masked_unregistered(text: str) -> None:
    shown = Redactor().redact(text)
    assert MASK in shown
    assert "CANARY" not in shown
    assert "Y2FuYXJ5" not in shown
    assert "DQU5BUlk" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "AUTHORIZATION: whatever CANARY",
        "PROXY-aUTHORIZATION=CANARY",
        "BASIC CANARYCANARYCANARY==",
        "bEARER\tCANARYCANARYCANARY",
        "?X-AMZ-SECURITY-TOKEN=CANARY",
        "?x-GOOG-signature=CANARY",
        "?PassWord=CANARY",
        # Letters that fold to those of ASCII when case is ignored: long s, Kelvin's K, dotted I.
        "ba\u017fic CANARYCANARYCANARY",
        "?to\u212aen=CANARY",
        "author\u0130zation: CANARY",
    ],
)
def test_a_credential_is_masked_in_whatever_case_it_is_named(text: str) -> None:
    assert "CANARY" not in Redactor().redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "GET /python/simple/flask/ 200",
        "basic authentication is required",
        "the Authorization header is missing",
        "/javascript/@scope/name",
        "http://127.0.0.1:8080/x",
        "/files/a1/b2/flask/flask-3.0.3-py3-none-any.whl",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    redactor = Redactor()
    redactor.register("test", "short", "", PASSWORD)
    assert redactor.redact(text) == text


def test_no_canary_reaches_the_sink_by_any_field(start: Callable[..., Logs], sink: Kept) -> None:
    for line_format in ("json", "text"):
        logs = start(line_format)
        logs.redactor.register("test", PASSWORD, JWT)
        for form in (*forms(PASSWORD), *forms(JWT)):
            note(logs.access, path="/x/" + form, user_agent=form)
            try:
                fail(form)
            except ValueError:
                logging.getLogger("proxy.x").exception("saw %s", form)
        assert logs.flush()
    for form in (*forms(PASSWORD), *forms(JWT), *JWT.split(".")):
        stable = form.encode("ascii", "ignore")[8:32]
        assert stable not in sink.data
    assert sink.data.count(MASK.encode()) > 100


def test_a_secret_across_the_cut_is_not_half_shown(start: Callable[..., Logs], sink: Kept) -> None:
    logs = start()
    logs.redactor.register("test", "canary-canary-canary-canary")
    note(logs.access, user_agent="u" * 190 + "canary-canary-canary-canary")
    logging.getLogger("proxy.x").warning("%s", "m" * 8185 + "canary-canary-canary-canary")
    assert logs.flush()
    assert b"canary" not in sink.data


def test_a_text_seen_before_its_secret_was_registered_is_masked_from_then_on(
    start: Callable[..., Logs], sink: Kept
) -> None:
    logs = start()
    note(logs.access, user_agent="agent canary-canary")
    assert logs.flush()
    logs.redactor.register("test", "canary-canary")
    sink.data = b""
    note(logs.access, user_agent="agent canary-canary")
    assert logs.flush()
    assert json.loads(sink.lines[0])["user_agent"] == f"agent {MASK}"


class Hours:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_secret_in_use_is_masked_however_often_others_rotate_theirs() -> None:
    clock = Hours()
    redactor = Redactor(clock)
    redactor.register("a", "live-live-live")
    for number in range(1000):
        clock.now += 60
        redactor.register("b", f"rotated-{number:08}")
    assert redactor.redact("x live-live-live rotated-00000999") == f"x {MASK} {MASK}"


def test_a_secret_that_was_replaced_is_masked_for_a_while_and_then_forgotten() -> None:
    clock = Hours()
    redactor = Redactor(clock)
    redactor.register("a", "first-first", "shared-shared")
    redactor.register("b", "shared-shared")
    redactor.register("a", "second-second")
    clock.now += LINGER - 1
    redactor.register("c")
    assert redactor.redact("first-first") == MASK
    clock.now += 1
    redactor.register("c")
    assert redactor.redact("first-first") == "first-first"
    assert redactor.redact("second-second shared-shared") == f"{MASK} {MASK}"


def test_a_secret_that_comes_back_is_masked_again_for_good() -> None:
    clock = Hours()
    redactor = Redactor(clock)
    for value in ("first-first", "second-second", "first-first"):
        redactor.register("a", value)
    clock.now += 2 * LINGER
    redactor.register("b", "other-other")
    assert redactor.redact("first-first second-second") == f"{MASK} second-second"


@given(st.text(min_size=8, max_size=60), st.text(max_size=20), st.text(max_size=20))
def test_a_registered_value_never_survives(secret: str, before: str, after: str) -> None:
    redactor = Redactor()
    redactor.register("test", secret)
    shown = redactor.redact(before + secret + after)
    assert secret not in shown.replace(MASK, "") or secret in before + MASK + after


# --- the writer ----------------------------------------------------------------------------


def test_a_blocked_sink_holds_up_nobody_and_drops_are_counted(
    start: Callable[..., Logs], sink: Kept
) -> None:
    logs = start()
    sink.open.clear()
    logging.getLogger("proxy.x").warning("first")
    assert sink.entered.wait(5)
    for _ in range(MAX_MESSAGES + 7):
        logging.getLogger("proxy.x").warning("flood")
    for _ in range(MAX_ACCESS + 5):
        note(logs.access)
    assert logs.dropped == 12
    sink.open.set()
    assert logs.flush(10)
    assert len(sink.lines) == 1 + MAX_MESSAGES + MAX_ACCESS + 1
    notes = [line for line in sink.lines if "12 log lines dropped" in line]
    assert len(notes) == 1


def test_many_lines_go_out_in_few_writes(start: Callable[..., Logs], sink: Kept) -> None:
    logs = start()
    sink.open.clear()
    logging.getLogger("proxy.x").warning("first")
    assert sink.entered.wait(5)
    for _ in range(5000):
        note(logs.access)
    sink.open.set()
    assert logs.flush(10)
    assert len(sink.lines) == 5001
    assert sink.writes <= 12


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EPIPE, errno.EBADF])
def test_a_failing_sink_is_counted_and_tried_again(
    start: Callable[..., Logs], sink: Kept, code: int
) -> None:
    logs = start()
    sink.broken = code
    note(logs.access)
    logging.getLogger("proxy.x").error("lost")
    assert logs.flush()
    assert logs.dropped == 2
    sink.broken = 0
    note(logs.access)
    assert logs.flush()
    assert logs.dropped == 2
    assert "2 log lines dropped" in sink.lines[1]


def test_stop_writes_what_is_queued(sink: Kept) -> None:
    logs = start_logs("info", "json", access=True, sink=sink)
    for _ in range(1200):
        note(logs.access)
    logs.stop()
    assert len(sink.lines) == 1200


def test_stop_gives_up_on_a_pipe_that_nobody_reads() -> None:
    reading, writing = os.pipe()
    stuck = DescriptorSink(writing)
    logs = start_logs("info", "json", access=True, sink=stuck)
    for _ in range(2000):
        note(logs.access)
    started = time.monotonic()
    logs.stop(0.3)
    assert time.monotonic() - started < 5
    os.close(reading)  # frees the thread: its write fails with EPIPE
    os.close(writing)
    logs.stop(5)
    assert logs.dropped > 0


def test_idle_lines_go_out_without_a_flush(sink: Kept) -> None:
    writer = Writer(sink, JsonFormat(Redactor()), period=0.01)
    writer.append_access(
        AccessRecord(0.0, "i", "p", "a", "GET", "/", "e", 200, 0, 0.0, "hit", "ua")
    )
    assert sink.entered.wait(5)
    writer.stop()
    assert len(sink.lines) == 1


def test_lines_of_a_pipe_arrive_whole_and_in_order() -> None:
    reading, writing = os.pipe()
    sink = DescriptorSink(writing)
    os.close(writing)  # the sink has its own
    received: list[bytes] = []

    def read_all() -> None:
        with os.fdopen(reading, "rb") as stream:
            received.append(stream.read())

    reader = threading.Thread(target=read_all)
    reader.start()
    sent = b"".join(b"%d " % n + b"x" * (n * 37 % 9000) + b"\n" for n in range(200))
    sink.write(sent)
    sink.close()
    reader.join(10)
    assert received == [sent]


def test_a_non_blocking_pipe_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    sink = DescriptorSink(writing)
    sent = b"line\n" * 60_000
    writer = threading.Thread(target=sink.write, args=(sent,))
    writer.start()
    received = b""
    while len(received) < len(sent):
        received += os.read(reading, 65536)
    writer.join(10)
    assert received == sent
    sink.close()
    os.close(reading)
    os.close(writing)


def test_a_full_device_and_a_closed_descriptor_raise_nothing_but_os_errors() -> None:
    with Path("/dev/full").open("wb") as full:
        sink = DescriptorSink(full.fileno())
    with pytest.raises(OSError, match="space"):
        sink.write(b"x\n")
    sink.close()
    sink.close()
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    absent = open_sink(writing)
    assert isinstance(absent, NoSink)
    with pytest.raises(OSError, match="standard error"):
        absent.write(b"x\n")


def test_standard_error_that_is_no_terminal_gets_json(capfd: pytest.CaptureFixture[str]) -> None:
    logs = start_logs("info", "auto", access=True)
    note(logs.access)
    logs.stop()
    assert json.loads(capfd.readouterr().err)["status"] == 200


# --- request ids ---------------------------------------------------------------------------


def test_request_ids_are_unique_short_and_of_one_alphabet() -> None:
    ids = RequestIds()
    seen = {ids.next() for _ in range(50_000)}
    assert len(seen) == 50_000
    assert all(
        len(one) == 16 and set(one) <= set("abcdefghijklmnopqrstuvwxyz234567") for one in seen
    )


def test_request_ids_of_two_processes_differ_by_their_seed() -> None:
    first, second = RequestIds(b"\x00\x00\x00\x00\x01"), RequestIds(b"\x00\x00\x00\x00\x02")
    assert first.next() != second.next()
    assert RequestIds(b"\x00\x00\x00\x00\x01").next()[:8] == first.next()[:8]


def test_a_message_says_which_of_several_processes_has_written_it(sink: Kept) -> None:
    logs = start_logs("info", "json", access=True, sink=sink, worker="3")
    logging.getLogger("proxy.x").warning("hello")
    assert logs.flush()
    logs.stop()
    assert json.loads(sink.lines[-1])["worker"] == "3"
    logs = start_logs("info", "text", access=True, sink=sink, worker="3")
    logging.getLogger("proxy.x").warning("hello")
    assert logs.flush()
    logs.stop()
    assert sink.lines[-1].endswith(" warning proxy.x/3: hello")
