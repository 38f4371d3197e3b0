"""The command line: one file a command, joined here.

Purpose: parse the arguments, choose the command, return its exit code. Exit codes: 0 done, 2 wrong
usage (argparse), 78 wrong configuration (EX_CONFIG of sysexits.h), others as `_CODES` has them.

This package is the only place that reads the process's environment. Non-goals: doing any work; a
command loads what it needs when it runs, so that `--version` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from proxy import __version__
from proxy.cli import audit, cache, check_config, client, doctor, health, serve, setup

_CODES = (
    "Exit codes: 0 done; 1 something was found (doctor, cache verify), a log cannot be read (audit)"
    " or the proxy is not well (health); 2 wrong usage; 66 there is no store; 69 an address is"
    " taken or the installation is incomplete; 75 the store cannot be had just now; 77 the store"
    " belongs to another user; 78 wrong configuration; 141 nobody reads what it prints."
)
EX_PIPE = 128 + 13  # as a shell has it for SIGPIPE
_COMMANDS = (serve, check_config, doctor, setup, client, audit, cache, health)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Raises SystemExit on --help and wrong usage."""
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        code = run(arguments)
        print(end="", flush=True)  # here, not when it is too late to be caught
    except BrokenPipeError:
        # Who reads our output has enough of it (`head`): as any other program, end without a word.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EX_PIPE
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cgr-proxy",
        description="A caching proxy in front of libraries.cgr.dev, cgr.dev and apk.cgr.dev.",
        epilog=_CODES,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"cgr-proxy {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.register(commands)
    return parser
