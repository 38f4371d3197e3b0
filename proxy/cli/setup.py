"""`cgr-proxy setup CLIENT`: what to paste into a client's configuration.

Exit 0, and the texts on stdout, an empty line between them; 2 for a client that is not known, with
the names of those that are. The texts are the ecosystems' own (`proxy.ecosystems.setups`).

Non-goals: writing files; asking whether there is a proxy at the address.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Final

from proxy.cli.configuration import Commands, typed
from proxy.cli.pipelines import pipelines
from proxy.config import values as checks
from proxy.ecosystems import ECOSYSTEMS
from proxy.ecosystems.base import Introducing
from proxy.ecosystems.setups import Place, Setup

DEFAULT_URL: Final = "http://127.0.0.1:8080"
_PLAIN = re.compile(r"[A-Za-z0-9._~:/\[\]@+,=-]+")


def register(commands: Commands) -> None:
    """Add the command to the parser."""
    known = ", ".join(setups())
    parser = commands.add_parser(
        "setup",
        help="print what to paste into a client's configuration",
        description=f"Print what to paste into a client's configuration. Clients: {known}.",
        allow_abbrev=False,
    )
    parser.add_argument("client", metavar="CLIENT", type=typed(_client), help="which one")
    parser.add_argument(
        "--url",
        metavar="URL",
        type=typed(_url),
        default=DEFAULT_URL,
        help=f"where clients find the proxy (default: {DEFAULT_URL})",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the texts. Returns 0."""
    place = Place(arguments.url)
    print("\n".join(snippet.text for snippet in arguments.client.snippets(place)), end="")
    return 0


def setups() -> Mapping[str, Setup]:
    """Every client that is known, by name."""
    clients = [
        item
        for ecosystem in ECOSYSTEMS
        if isinstance(ecosystem, Introducing)
        for item in ecosystem.setups
    ]
    return {item.client: item for item in (*clients, *pipelines(clients))}


def _url(text: str) -> str:
    """Where the proxy is. Only of signs that mean themselves to every shell and in every file: the
    texts are pasted as they are."""
    url = checks.url(text)
    if not _PLAIN.fullmatch(url):
        raise ValueError("the path of the URL holds a sign that shells read in their own way")
    return url


def _client(name: str) -> Setup:
    known = setups()
    if name not in known:
        raise ValueError(f"there is no client {name!r}; known are {', '.join(known)}")
    return known[name]
