"""`cgr-proxy serve`: load the configuration and run the proxy until it is told to stop.

Exit 0 after a clean stop, 78 for a wrong configuration. The ready line goes to stdout, logs to
stderr. Non-goals: wiring (that is `proxy.app`, imported only when there is something to run).
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.cli.configuration import Commands, add_config_option, report
from proxy.config import ConfigError, load

if TYPE_CHECKING:
    from proxy.server.notify import Notifier

_TOKEN_VARIABLE = re.compile(r"CHAINGUARD_[A-Z]+_TOKEN")


def register(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "serve",
        help="run the proxy",
        description="Run the proxy until SIGTERM. When it is ready, one line on stdout names"
        " its addresses; logs go to stderr.",
        allow_abbrev=False,
    )
    add_config_option(parser)
    parser.add_argument("--listen", metavar="HOST:PORT", help="where clients connect")
    parser.add_argument("--admin-listen", metavar="HOST:PORT", help='metrics and probes; "" = off')
    parser.add_argument("--workers", metavar="N", help="processes that answer clients")
    # How a supervisor starts its workers: the descriptor of the socket between them.
    parser.add_argument("--worker-channel", type=int, help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Load, then serve. Returns the exit code."""
    if arguments.worker_channel is not None:
        from proxy.workers.member import run_worker  # noqa: PLC0415  # the supervisor has loaded

        return run_worker(arguments.worker_channel)
    options = {
        "server.listen": arguments.listen,
        "server.admin_listen": arguments.admin_listen,
        "server.workers": arguments.workers,
    }
    overrides = {key: text for key, text in options.items() if text is not None}
    environ = dict(os.environ)  # a reload sees what the start saw, pull tokens too
    try:
        settings = load(arguments.config, environ, overrides)
    except ConfigError as error:
        return report(error)
    _forget_tokens()
    # The very file of the start: if it goes, a search could find another, or none at all.
    file = settings.file or arguments.config
    # Late: a wrong configuration is told first.
    from proxy.server.notify import VARIABLE, Notifier  # noqa: PLC0415

    notifier = Notifier(os.environ.pop(VARIABLE, ""))  # not for our children
    if settings.server.workers > 1:
        return _supervise(file, environ, overrides, notifier)
    from proxy.app import run as run_app  # noqa: PLC0415

    return run_app(settings, lambda: load(file, environ, overrides), notifier)


def _supervise(
    file: Path | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, str],
    notifier: Notifier,
) -> int:
    from proxy.workers.supervisor import supervise  # noqa: PLC0415  # late, as above
    from proxy.workers.terms import Loading  # noqa: PLC0415  # the same

    try:
        return supervise(Loading(file, environ, overrides), notifier)
    except ConfigError as error:
        return report(error)  # it has changed since it was looked at


def _forget_tokens() -> None:
    """Take the pull tokens out of the environment, so that no child process inherits them."""
    for name in [name for name in os.environ if _TOKEN_VARIABLE.fullmatch(name)]:
        del os.environ[name]
