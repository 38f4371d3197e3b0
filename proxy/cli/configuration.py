"""What every command does with the configuration: the option, the load, the mistakes.

Purpose: `--config` is declared once and mistakes are printed once, on stderr, one a line.
Non-goals: any command.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, TypeVar

from proxy.config import ConfigError

# argparse has no public name for what add_subparsers returns.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001
Checked = TypeVar("Checked")
EX_CONFIG = 78  # sysexits.h


def add_config_option(parser: argparse.ArgumentParser) -> None:
    """Declare `--config FILE`."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help="configuration file (default: $CGR_PROXY_CONFIG, ./cgr-proxy.toml,"
        " /etc/cgr-proxy/cgr-proxy.toml, built-in defaults)",
    )


def typed(check: Callable[[str], Checked]) -> Callable[[str], Checked]:
    """Let a parser of configuration values parse an argument, its sentence for a person kept."""

    def parse(text: str) -> Checked:
        try:
            return check(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


def report(error: ConfigError) -> int:
    """Print every mistake and return the exit code for a wrong configuration."""
    for mistake in error.mistakes:
        print(mistake, file=sys.stderr)
    return EX_CONFIG
