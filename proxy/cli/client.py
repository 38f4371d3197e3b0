"""`cgr-proxy client`: make a client's token, list who may come in.

Purpose: `client new` prints a token once, on a line of its own, and the stanza that holds nothing
but its hash; nothing is written anywhere. `client list` shows the configured clients without their
hashes.

Exit 0; 2 for a name or ecosystem that is none; 78 for a wrong configuration.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Iterable

from proxy.cli.configuration import Commands, add_config_option, report, typed
from proxy.config import ECOSYSTEMS, ClientSettings, ConfigError, load
from proxy.config import values as checks

_BYTES = 32  # of randomness: 43 characters


def register(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "client", help="make client tokens, list clients", allow_abbrev=False
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    new = verbs.add_parser(
        "new",
        help="make a token and its stanza",
        description="Print a new client token, once, and the stanza for the configuration that"
        " holds its hash.",
        allow_abbrev=False,
    )
    new.add_argument("name", metavar="NAME", type=typed(checks.client_name), help="for the logs")
    new.add_argument(
        "--ecosystems",
        metavar="A,B",
        required=True,
        type=typed(_ecosystems),
        help=f"what it may use: {', '.join(ECOSYSTEMS)}",
    )
    new.set_defaults(run=run_new)
    listed = verbs.add_parser("list", help="show the clients", allow_abbrev=False)
    add_config_option(listed)
    listed.set_defaults(run=run_list)


def run_new(arguments: argparse.Namespace) -> int:
    """Print token and stanza. Returns 0."""
    token = f"cgrp_{secrets.token_urlsafe(_BYTES)}"
    digest = hashlib.sha256(token.encode()).hexdigest()
    print("Give the token to the client; it is shown only now.", file=sys.stderr)
    print(token)
    print("Add this to the configuration; a running proxy takes it by itself.", file=sys.stderr)
    # JSON and TOML spell texts and lists of them alike.
    print(
        "[[clients]]",
        f"name = {json.dumps(arguments.name)}",
        f"token_hashes = {json.dumps([f'sha256:{digest}'])}",
        f"ecosystems = {json.dumps(arguments.ecosystems)}",
        sep="\n",
    )
    return 0


def run_list(arguments: argparse.Namespace) -> int:
    """Print one line for each client. Returns 0 or 78."""
    try:
        settings = load(arguments.config, os.environ, {})
    except ConfigError as error:
        return report(error)
    rows = [("NAME", "KIND", "ECOSYSTEMS", "NETWORKS", "PACKAGES")]
    rows += [
        (
            item.name,
            _kind(item),
            _joined(item.ecosystems),
            _joined(item.networks),
            _joined(item.packages),
        )
        for item in settings.clients
    ]
    rows += [
        (job.name, f"oidc {job.issuer}", _joined(job.ecosystems), "-", _joined(job.packages))
        for job in settings.oidc
    ]
    if len(rows) == 1:
        print("no clients are configured: only this machine may use the proxy", file=sys.stderr)
        return 0
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    return 0


def _kind(client: ClientSettings) -> str:
    """What a request of this client has to show, all of it."""
    shown = {
        f"{len(client.token_hashes)} tokens": len(client.token_hashes) > 1,
        "token": len(client.token_hashes) == 1,
        "certificate": bool(client.subjects),
        "network": bool(client.networks),
    }
    return "+".join(name for name, wanted in shown.items() if wanted)


def _joined(items: Iterable[object]) -> str:
    return ",".join(sorted(map(str, items))) or "-"


def _ecosystems(text: str) -> list[str]:
    return list(dict.fromkeys(checks.ecosystem(item.strip()) for item in text.split(",")))
