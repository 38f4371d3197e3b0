"""One pair of user name and password, read from files or given, and checked.

Purpose: what is half-written, empty, too large or no plain text is told apart from a pair, in
words that hold nothing of the content. `read_pair` blocks: call it in a thread. This module is the
one place that reveals a secret.

Reading: RFC 7617 section 2 (no colon in a user name, no control characters). Non-goals: when to
read, and what to do with a pair (see `credentials`).
"""

from __future__ import annotations

import base64
import os
import re
import stat
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import final

from proxy.secret import Secret
from proxy.upstream.credential_files import NoEntry, from_docker_config, from_netrc
from proxy.upstream.lifetime import Lifetime, lifetime_of

MAX_BYTES = 64 * 1024
_IDENTITY = re.compile(r"[0-9a-f]+(?:[/_][0-9a-f]+)+")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class PairSource:
    """Where one pair comes from. Exactly one of each half, or one file with both.

    `host`: the upstream's as in its URL, which `docker_config` and `netrc` are searched for.
    `vendors`: the upstream takes pull tokens of the vendor, under whatever host they are kept.
    """

    username: str = ""
    username_file: Path | None = None
    password: Secret | None = None
    password_file: Path | None = None
    pair_file: Path | None = None
    docker_config: Path | None = None
    netrc: Path | None = None
    host: str = ""
    vendors: bool = True


@dataclass(frozen=True, slots=True)
class Pair:
    """A complete pair, both halves checked."""

    username: str
    password: Secret

    @property
    def authorization(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        return "Basic " + self._basic

    @property
    def lifetime(self) -> Lifetime | None:
        """What the password states of it; None where it is no JWT."""
        return lifetime_of(self.password.reveal())

    @property
    def spellings(self) -> tuple[str, ...]:
        """Every text by which the pair may turn up where it must not.

        Inside a URL the slash of an identity may be written as an underscore. A user name that is
        no identity is any word, that of a package perhaps, which the logs must name.
        """
        password = self.password.reveal()
        names: dict[str, None] = {}
        if _IDENTITY.fullmatch(self.username):
            names = dict.fromkeys((self.username, self.username.replace("/", "_")))
        return (password, *names, f"{self.username}:{password}", self._basic)

    @property
    def _basic(self) -> str:
        raw = f"{self.username}:{self.password.reveal()}".encode()
        return base64.b64encode(raw).decode("ascii")


@final
class Unusable(Exception):
    """There is no complete pair; the text says why, for a log."""


def read_pair(source: PairSource) -> Pair:
    """Read a pair. Raises Unusable."""
    from_docker = partial(from_docker_config, vendors=source.vendors)
    for path, find in ((source.docker_config, from_docker), (source.netrc, from_netrc)):
        if path is not None:
            try:
                username, password = find(read_text(path), source.host)
            except NoEntry as error:
                raise Unusable(str(error)) from None
            return Pair(_username(username), Secret(checked(password)))
    if source.pair_file is not None:
        lines = read_text(source.pair_file).splitlines()
        if len(lines) != 2:
            raise Unusable("a pair file holds two lines: user name, password")
        return Pair(_username(lines[0]), Secret(checked(lines[1])))
    username = source.username
    if source.username_file is not None:
        username = read_text(source.username_file)
    if source.password is not None:
        checked(source.password.reveal())
        return Pair(_username(username), source.password)
    if source.password_file is None:
        raise Unusable("no password is configured")
    return Pair(_username(username), Secret(checked(read_text(source.password_file))))


def read_text(path: Path) -> str:
    """The text of a file without its last line end. A byte order mark at its begin is dropped.

    Raises Unusable.
    """
    try:
        raw = _read_bytes(path)
    except OSError as error:
        raise Unusable(f"{path.name}: {error.strerror or type(error).__name__}") from None
    if len(raw) > MAX_BYTES:
        raise Unusable("the file is larger than 64 KiB")
    raw = raw.removeprefix(_BOM)
    if not raw.isascii():
        raise Unusable("the file is not plain text")
    return raw.decode("ascii").removesuffix("\n").removesuffix("\r")


def _read_bytes(path: Path) -> bytes:
    # A pipe in the file's place must not hold up whoever reads.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123  # pathlib opens no descriptors
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Unusable("it is no regular file")
        return file.read(MAX_BYTES + 1)


def _username(half: str) -> str:
    if ":" in half:
        raise Unusable("a user name holds no colon")
    return checked(half)


def checked(half: str) -> str:
    """One half of a pair, or a token, as it is. Raises Unusable unless it is one visible word."""
    if not half:
        raise Unusable("a half of it is empty")
    if not half.isascii() or not half.isprintable() or " " in half:
        raise Unusable("it holds spaces or control characters")
    return half
