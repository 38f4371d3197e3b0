"""`cgr-proxy check-config`: load the configuration as `serve` would, and say what is wrong.

Exit 0 and `configuration ok: FILE` on stdout, or 78 and every mistake on stderr. A file that the
configuration names but that is not there now is only a warning: it may be mounted later.
"""

from __future__ import annotations

import argparse
import os
import sys

from proxy.cli.configuration import Commands, add_config_option, report
from proxy.config import ConfigError, load, missing_files


def register(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "check-config",
        help="check the configuration",
        description="Check the configuration: every mistake on stderr, exit code 78 on any.",
        allow_abbrev=False,
    )
    add_config_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check and report. Returns 0 or 78."""
    try:
        settings = load(arguments.config, os.environ, {})
    except ConfigError as error:
        return report(error)
    for line in missing_files(settings):
        print(f"warning: {line}", file=sys.stderr)
    print(f"configuration ok: {settings.file or 'built-in defaults'}")
    return 0
