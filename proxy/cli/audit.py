"""`cgr-proxy audit`: questions to the audit log.

Purpose: `audit who-pulled PURL` says who got a package, when, from where, which file and bytes. A
PURL is matched by whole segments, as a client's `packages` are: `pkg:pypi/flask` is flask in every
version, `pkg:pypi/flask@3.0.3` that one, a star at the end whatever begins so.

Exit 0, also when nobody did; 1 when the log cannot be read; 78 for a wrong configuration.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from proxy.access.packages import covers
from proxy.cli.configuration import Commands, add_config_option, report, typed
from proxy.config import ConfigError, load
from proxy.config import values as checks
from proxy.observe.audit import read_records

_COLUMNS = ("time", "principal", "peer", "purl", "status", "digest", "path")


def register(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("audit", help="ask the audit log", allow_abbrev=False)
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    who = verbs.add_parser(
        "who-pulled",
        help="who got a package",
        description="Say who got a package, from the audit log; the oldest first.",
        allow_abbrev=False,
    )
    who.add_argument("purl", metavar="PURL", type=typed(checks.package), help="pkg:pypi/flask@3.0")
    who.add_argument("--json", action="store_true", help="an array of the whole records")
    add_config_option(who)
    who.set_defaults(run=run_who_pulled)


def run_who_pulled(arguments: argparse.Namespace) -> int:
    """Print who did. Returns 0, 1 or 78."""
    try:
        settings = load(arguments.config, os.environ, {})
    except ConfigError as error:
        return report(error)
    log = settings.log.audit or settings.cache.directory / "audit.jsonl"

    def wanted(record: dict[str, Any]) -> bool:
        purl = str(record.get("purl", ""))
        return record.get("decision") == "served" and covers(arguments.purl, purl)

    try:
        found = list(read_records(log, wanted))
    except OSError as error:
        print(f"the audit log cannot be read: {error.strerror}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(found, indent=2))
        return 0
    for record in found:
        print("  ".join(str(record.get(column, "")) or "-" for column in _COLUMNS))
    if not found:
        print(f"nobody, as far as {log} goes back", file=sys.stderr)
    return 0
