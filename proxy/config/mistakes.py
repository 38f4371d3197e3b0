"""Mistakes in a configuration: gathered, never echoed when they could hold a secret.

Purpose: one list for a whole load, so that a person sees everything at once, and the only place
that decides how a foreign text is shown. A mistake is one line `place: message`; the place is
`FILE:key`, `environment:NAME` or `command line:--option`.

Non-goals: knowing any key (see `proxy.config.schema`).
"""

from __future__ import annotations

import json
import re

from proxy.secret import MASK

# The base64 of a JSON object (every JWT starts so), one of our client tokens, a private key.
_SECRET = re.compile(
    r"ey[A-Z][A-Za-z0-9_\-.=]{6,}|cgrp_[A-Za-z0-9_-]{16,}|-----BEGIN .*", re.DOTALL
)
_LONGEST_SHOWN = 60


class ConfigError(Exception):
    """The configuration cannot be used. `mistakes`: every one of them, secrets masked."""

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class Mistakes:
    """The list of one load; `broken` are the keys whose value must not be judged any further."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self.broken: set[str] = set()

    def add(self, place: str, message: str, *, key: str = "") -> None:
        """Note one mistake; `key` marks that key as broken."""
        self._lines.append(f"{masked(place)}: {masked(message)}")
        if key:
            self.broken.add(key)

    def __len__(self) -> int:
        return len(self._lines)

    def raise_if_any(self) -> None:
        """End the load with ConfigError if anything was noted."""
        if self._lines:
            raise ConfigError(tuple(self._lines))


def looks_secret(text: str) -> bool:
    """Tell whether a text looks like a token or a key. A plain password cannot be recognised."""
    return _SECRET.search(text) is not None


def masked(text: str) -> str:
    """Make a text fit for one line: secrets masked, everything unprintable escaped."""
    line = _SECRET.sub(MASK, text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def shown(text: str) -> str:
    """Quote a foreign text for a message: ASCII, bounded, masked where it looks secret."""
    if looks_secret(text):
        return MASK
    if len(text) > _LONGEST_SHOWN:
        text = text[:_LONGEST_SHOWN] + "..."
    return json.dumps(text)
