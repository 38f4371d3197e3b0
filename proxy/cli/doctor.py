"""`cgr-proxy doctor`: ask everything that the proxy depends on, and say what is wrong.

Exit 0 where all is well, 1 where anything is not, 78 for a wrong configuration. A table on stdout,
coloured on a terminal; with `--json` an array of objects with the members `ecosystem`, `check`,
`ok`, `detail` and `fix`. What is being asked is shown on stderr, where that is a terminal.

Where clients are configured, `$CGR_PROXY_TOKEN` holds the token of one, for asking the running
proxy. Non-goals: asking (`proxy.doctor`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import shutil
import ssl
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol, TextIO

from proxy.cli.configuration import Commands, add_config_option, report
from proxy.config import ConfigError, Settings, load
from proxy.ecosystems.setups import VARIABLE
from proxy.secret import Secret

if TYPE_CHECKING:
    from proxy.doctor.findings import Finding

_GREEN, _RED, _DIM, _PLAIN = "\x1b[32m", "\x1b[1;31m", "\x1b[2m", "\x1b[0m"
_NARROW = 30  # characters; with less room lines are not broken
_ERASE = "\r\x1b[K"


def register(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "doctor",
        help="ask everything that the proxy depends on, and say what is wrong",
        description="Ask hosts, upstreams, the platform, the running proxy and the disk; say what"
        " is wrong and what to do. Exit code 1 if anything is. Where clients are configured,"
        f" ${VARIABLE} is the token to ask the proxy with.",
        allow_abbrev=False,
    )
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="one JSON array on stdout")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Ask, and print. Returns 0, 1 or 78."""
    environ = dict(os.environ)
    token = environ.pop(VARIABLE, "")
    try:
        settings = load(arguments.config, environ, {})
    except ConfigError as error:
        return report(error)
    # The rooms say in their log what is a finding here.
    logging.getLogger("proxy").addHandler(logging.NullHandler())
    findings = _examine(settings, Secret(token) if token else None)
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
        print(table(findings, colour=_colours(sys.stdout, environ), width=width), end="")
    return 0 if all(finding.ok for finding in findings) else 1


def table(findings: Sequence[Finding], *, colour: bool, width: int = 0) -> str:
    """One line a finding, and below it what to do; the number of what is wrong at the end.

    `width`: of the terminal, in characters; 0: no line is broken.
    """
    first = max((len(item.ecosystem) for item in findings), default=0)
    second = max((len(item.check) for item in findings), default=0)
    lines = []
    for item in findings:
        word, paint = ("ok  ", _GREEN) if item.ok else ("FAIL", _RED)
        start, room = f"{item.ecosystem:<{first}}  {item.check:<{second}}  ", first + second + 10
        detail, *more = _broken(item.detail, width - room)
        lines.append(f"{start}{_painted(word, paint, colour)}  {detail}")
        lines += [f"{'':<{room}}{line}" for line in more]
        for at, line in enumerate(_broken(item.fix, width - room)):
            said = f"{'fix:  ' if at == 0 else '':>{room}}{line}"
            lines.append(_painted(said, _DIM, colour))
    wrong = sum(not item.ok for item in findings)
    lines.append(f"{len(findings)} checks, {wrong} of them failed" if wrong else "all is well")
    return "".join(f"{line}\n" for line in lines)


def _broken(text: str, room: int) -> list[str]:
    """A text in lines of a terminal that has so much room beside the other columns."""
    if not text or room < _NARROW:
        return [text] if text else []
    return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)


def _painted(text: str, paint: str, wanted: bool) -> str:  # noqa: FBT001  # as the table has it
    return f"{paint}{text}{_PLAIN}" if wanted else text


def _colours(stream: TextIO, environ: dict[str, str]) -> bool:
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def _examine(settings: Settings, token: Secret | None) -> list[Finding]:
    from proxy.doctor.findings import ALL, bad  # noqa: PLC0415  # late: many rooms
    from proxy.doctor.rounds import Rounds  # noqa: PLC0415
    from proxy.upstream.tls import client_context  # noqa: PLC0415

    try:
        tls = client_context(settings.upstream.ca_bundle)
    except (OSError, ssl.SSLError) as error:
        words = getattr(error, "strerror", None) or getattr(error, "reason", None)
        detail = f"[upstream] ca_bundle cannot be read: {words or 'no PEM certificates'}"
        return [bad(ALL, "tls", detail, "Name a PEM file that this user may read.")]
    progress = Progress(sys.stderr)
    try:
        return asyncio.run(Rounds(settings, tls, token, watcher=progress).make())
    finally:
        progress.clear()


class Screen(Protocol):
    """What can be written to, and knows whether it is a terminal."""

    def isatty(self) -> bool:
        """Whether it is one."""
        ...

    def write(self, text: str, /) -> int:
        """Write."""
        ...

    def flush(self) -> None:
        """Show what was written."""
        ...


class Progress:
    """One line on a terminal that says what is still being asked; elsewhere nothing."""

    def __init__(self, stream: Screen) -> None:
        self._stream = stream if stream.isatty() else None
        self._waiting: list[str] = []
        self._done = 0

    def begun(self, what: str) -> None:
        """See `proxy.doctor.rounds.Watcher`."""
        self._waiting.append(what)
        self._show()

    def ended(self, what: str) -> None:
        """See `proxy.doctor.rounds.Watcher`."""
        self._waiting.remove(what)
        self._done += 1
        self._show()

    def clear(self) -> None:
        """Take the line away."""
        if self._stream is not None:
            print(_ERASE, end="", file=self._stream, flush=True)

    def _show(self) -> None:
        if self._stream is None or not self._waiting:
            return
        whole = self._done + len(self._waiting)
        line = f"{self._done} of {whole} done, asking {', '.join(self._waiting)}"
        print(f"{_ERASE}{line[:78]}", end="", file=self._stream, flush=True)
