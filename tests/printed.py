"""What `cgr-proxy setup` prints, taken apart for tests that give it to real clients.

Purpose: a client's texts for a proxy at an address, with the lines that only a token is for as they
stand, or put in. Non-goals: writing them where the client looks (the tests of each client do).
"""

from __future__ import annotations

import re

from proxy.cli.setup import setups
from proxy.ecosystems.setups import GUARDED, VARIABLE, Place


def printed(client: str, url: str) -> tuple[str, ...]:
    """The texts for a client, in their order."""
    return tuple(snippet.text for snippet in setups()[client].snippets(Place(url)))


def with_token(text: str, token: str) -> str:
    """A text with the lines that are for a token put in; where a file takes no variable, with the
    token in it."""
    lines: list[str] = []
    below = False
    for line in text.splitlines():
        put_in = below and line.startswith("# ")
        if put_in:
            lines.append(re.sub(r"\bTOKEN\b", token, line[2:]))
        else:
            lines.append(line)
        below = put_in or GUARDED in line
    return "\n".join(lines) + "\n"


def token_variables(text: str, token: str) -> dict[str, str]:
    """The environment variables that a text names for a token, with the token in them."""
    named = re.findall(rf"\b([A-Z_]+)=(any|\${VARIABLE})", text)
    assert named
    return {name: token if value.startswith("$") else value for name, value in named}
