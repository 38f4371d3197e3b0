"""`cgr-proxy health`: ask the proxy of this machine how it is, for whoever starts it.

Purpose: the health check of a container image that has neither a shell nor curl. It asks the
clients' listener that the configuration names, over loopback, and prints what `/healthz` (or, with
`--ready`, `/readyz`) says. Exit 0 when that is 200, 1 otherwise, 78 for a wrong configuration.

Non-goals: upstreams (they say nothing about whether this process lives); the certificate: the
listener is this machine's own, and it is sent no secret.
"""

from __future__ import annotations

import argparse
import http.client
import os
import ssl
import sys

from proxy.cli.configuration import Commands, add_config_option, report
from proxy.config import Address, ConfigError, Settings, load

_SECONDS = 5.0
_LONGEST = 4096


def register(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "health",
        help="ask the running proxy how it is",
        description="Ask the proxy that runs here with this configuration. Exit code 0 if it is"
        " well, 1 if it is not or does not answer.",
        allow_abbrev=False,
    )
    add_config_option(parser)
    parser.add_argument("--ready", action="store_true", help="ask whether it is ready to serve")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Ask and print. Returns 0, 1 or 78."""
    try:
        settings = load(arguments.config, os.environ, {})
    except ConfigError as error:
        return report(error)
    address = settings.server.listen.from_here
    if address.port == 0:
        print("server.listen has port 0: which one it has become is not known", file=sys.stderr)
        return 1
    try:
        status, said = _ask(settings, address, "/readyz" if arguments.ready else "/healthz")
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer from {address}: {error}", file=sys.stderr)
        return 1
    print(said)
    return 0 if status == 200 else 1


def _ask(settings: Settings, address: Address, path: str) -> tuple[int, str]:
    """The status and the body. Raises OSError, HTTPException."""
    host, port = address.host, address.port
    connection = http.client.HTTPConnection(host, port, timeout=_SECONDS)
    if settings.server.tls_certificate is not None:
        trust = ssl.create_default_context()
        trust.check_hostname = False
        trust.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=_SECONDS, context=trust)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read(_LONGEST).decode("utf-8", "replace")
    finally:
        connection.close()
