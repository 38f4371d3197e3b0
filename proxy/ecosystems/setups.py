"""What a client has to be told, so that it asks the proxy: the words for it.

Purpose: an ecosystem's clients, each with a few texts that can be pasted as they are. Which clients
there are, and what they want, stands in `<ecosystem>_setup`, one of each ecosystem that has
clients; `cgr-proxy setup` prints it, README.md shows it and the tests give it to real clients.

Rules of every text: one index only, for a second one gives what this one refuses; no token, only
the name of the variable or the placeholder (`TOKEN`) that stands for it. Lines that are of use only
with a token are commented out, below a comment that holds the words of `GUARDED`.

Non-goals: writing anything to a disk; knowing how the proxy is configured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

GUARDED: Final = "where clients are configured"
VARIABLE: Final = "CGR_PROXY_TOKEN"
"""What the environment variable with the client's token is called in all texts."""

_COMMENTS = {"groovy": ("// ", ""), "xml": ("<!-- ", " -->")}


@dataclass(frozen=True, slots=True)
class Place:
    """Where clients find the proxy. `url`: scheme, host and maybe path, no slash at the end."""

    url: str

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return urlsplit(self.url).scheme

    @property
    def host(self) -> str:
        """The host, with the port where it is not the usual one."""
        return urlsplit(self.url).netloc

    @property
    def name(self) -> str:
        """The host without a port."""
        return urlsplit(self.url).hostname or ""

    @property
    def below(self) -> str:
        """Host and path, as npm scopes credentials."""
        return self.url.partition("://")[2]

    @property
    def secure(self) -> bool:
        """Whether what is sent there can be read by nobody."""
        return self.scheme == "https"

    @property
    def trusted(self) -> bool:
        """Whether clients go there that want TLS: by https, or to this machine itself."""
        here = self.name in {"localhost", "::1"} or self.name.startswith("127.")
        return self.secure or here


@dataclass(frozen=True, slots=True)
class Snippet:
    """One text. `title`: the file that it belongs into, and of which program; `language`: of the
    text, as fenced blocks of Markdown name it."""

    title: str
    language: str
    body: str

    @property
    def text(self) -> str:
        """Title and body, the title as a comment; it ends in a line feed."""
        before, behind = _COMMENTS.get(self.language, ("# ", ""))
        return f"{before}{self.title}{behind}\n{self.body.strip()}\n"


def no_variables(place: Place) -> Mapping[str, str]:  # noqa: ARG001  # takes what the others take
    """Of a client that cannot be told by environment variables."""
    return {}


@dataclass(frozen=True, slots=True)
class Setup:
    """What one client wants. `variables`: the same as environment variables, as far as there are
    any, for jobs that have no files of their own."""

    client: str
    snippets: Callable[[Place], tuple[Snippet, ...]]
    variables: Callable[[Place], Mapping[str, str]] = no_variables


def netrc(place: Place) -> Snippet:
    """The file in which many clients look for a user name and a password."""
    return Snippet(
        f"~/.netrc, mode 0600, {GUARDED}; TOKEN is what `cgr-proxy client new` printed",
        "sh",
        f"# machine {place.name} login any password TOKEN",
    )
