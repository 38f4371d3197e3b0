"""What a worker is told at its start, and how settings are loaded from it.

Purpose: a worker that is started again after an hour must have the settings that the others run
with, whatever the file says by then: those of the start, and of what can change meanwhile the last
that was taken. So the supervisor keeps the text of both, and workers read no configuration file.

Non-goals: sending it (`channel`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from proxy.config import Address, Settings, load
from proxy.config.sources import read_content
from proxy.reloads import taking
from proxy.workers.channel import Message


@final
class Loading:
    """How the settings are loaded: from a file (None: there is none), an environment and options.

    `text`: what the file held when it was last loaded.
    """

    def __init__(
        self, file: Path | None, environ: Mapping[str, str], overrides: Mapping[str, str]
    ) -> None:
        self.file = file
        self.environ = environ
        self.overrides = overrides
        self.text = b""

    def load(self) -> Settings:
        """Load them anew. Raises ConfigError."""
        if self.file is not None:
            self.text = read_content(self.file)
        return self.load_from(self.text)

    def load_from(self, text: bytes) -> Settings:
        """Load them as if the file held that. Raises ConfigError."""
        return load(self.file, self.environ, self.overrides, text)

    def at(self, listen: Address) -> Loading:
        """The same for an address that was chosen meanwhile."""
        overrides = {**self.overrides, "server.listen": str(listen)}
        return Loading(self.file, self.environ, overrides)


@dataclass(frozen=True, slots=True)
class Terms:
    """`number` of `count` workers, from 1. `first`: the file's text at the start; `last`: the one
    whose clients count. `opens`: see `Live`. `disorder`: a worker has died without telling the
    index what it had stored."""

    number: int
    count: int
    loading: Loading
    first: bytes
    last: bytes
    opens: bool
    disorder: bool

    def message(self) -> Message:
        """As it is sent. It holds the pull tokens of the environment."""
        return {
            "number": self.number,
            "count": self.count,
            "file": str(self.loading.file) if self.loading.file is not None else None,
            "environ": dict(self.loading.environ),
            "overrides": dict(self.loading.overrides),
            "first": to_text(self.first),
            "last": to_text(self.last),
            "opens": self.opens,
            "disorder": self.disorder,
        }

    def settings(self) -> Settings:
        """This worker's: its part of what is shared, without the admin listener. ConfigError."""
        settings = taking(self.loading.load_from(self.first), self.loading.load_from(self.last))
        server, limits = settings.server, settings.limits
        return replace(
            settings,
            server=replace(server, admin_listen=None, admin_token_file=None),
            limits=replace(
                limits,
                max_connections=-(-limits.max_connections // self.count),
                max_upstream_connections=limits.max_upstream_connections // self.count,
            ),
        )


def to_text(content: bytes) -> str:
    """What the configuration's file holds, as it is sent, whatever bytes they are."""
    return content.decode("utf-8", "surrogateescape")


def to_content(text: str) -> bytes:
    """Read it back."""
    return text.encode("utf-8", "surrogateescape")


def terms_of(message: Message) -> Terms:
    """Read them back."""
    file = Path(message["file"]) if message["file"] is not None else None
    return Terms(
        message["number"],
        message["count"],
        Loading(file, message["environ"], message["overrides"]),
        to_content(message["first"]),
        to_content(message["last"]),
        message["opens"],
        message["disorder"],
    )
