"""`cgr-proxy check-config`: load the configuration as `serve` would, and say what is wrong.

Exit 0 and `configuration ok: FILE` on stdout, or 78 and every mistake on stderr. What may be put
right without touching the configuration is only a warning: a file that is not there now (it may be
mounted later), a pull token that has not the shape of one.

Non-goals: asking the upstream; showing anything of what a file holds.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from proxy.cli.configuration import Commands, add_config_option, report
from proxy.config import ConfigError, Settings, load, missing_files
from proxy.ecosystems import ECOSYSTEMS
from proxy.upstream.pairs import PairSource, Unusable, read_pair


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
    for line in (*missing_files(settings), *_tokens(settings)):
        print(f"warning: {line}", file=sys.stderr)
    print(f"configuration ok: {settings.file or 'built-in defaults'}")
    return 0


def _tokens(settings: Settings) -> Iterator[str]:
    """What keeps pull tokens from being used, as far as their files are there."""
    if not any(ecosystem.name in settings.credentials for ecosystem in ECOSYSTEMS):
        yield "no pull token is configured: nothing can be fetched from the vendor without one"
    from proxy.wiring.pull_tokens import credential_sources  # noqa: PLC0415  # late: many rooms

    users: dict[PairSource, list[str]] = {}
    for name, sources in credential_sources(settings).items():
        for source in sources:
            if isinstance(source, PairSource) and _can_be_read(source):
                # One file for several upstreams is one, unless it is searched for each of them.
                alike = source if _is_searched(source) else replace(source, host="")
                users.setdefault(alike, []).append(name)
    for source, names in users.items():
        try:
            read_pair(source)
        except Unusable as error:
            yield f"the pull token for {', '.join(names)} cannot be used: {error}"


def _can_be_read(source: PairSource) -> bool:
    """Whether its files are there, and it is known which host to search them for."""
    if _is_searched(source) and not source.host:
        return False
    halves = (source.username_file, source.password_file)
    files = (*halves, source.pair_file, source.docker_config, source.netrc)
    return all(_is_there(file) for file in files if file is not None)


def _is_searched(source: PairSource) -> bool:
    """Whether it is a file with the pairs of many hosts."""
    return source.docker_config is not None or source.netrc is not None


def _is_there(file: Path) -> bool:
    return os.path.exists(file)  # noqa: PTH110  # never raises
