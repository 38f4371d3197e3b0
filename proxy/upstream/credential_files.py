"""Two files that other programs write too: Docker's `config.json` and `netrc`. Pure.

Purpose: find one host's user name and password in the text of such a file, or say in words that
hold nothing of it why there is none. Only what names the host counts: netrc's `default` and a
credential helper would make a guess, or start a program.

Reading: Docker's "config.json" reference (auths, credHelpers, credsStore), GNU Inetutils "The
.netrc file", Python's `netrc` (quoting). Non-goals: reading files, judging the pair.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from typing import final
from urllib.parse import urlsplit

REGISTRY = "cgr.dev"  # what `chainctl` saves a pull token under, whatever it is for


@final
class NoEntry(Exception):
    """The file has no pair for the host; the text says why, for a log."""


def from_docker_config(text: str, host: str, *, vendors: bool = True) -> tuple[str, str]:
    """User name and password in `auths`, of `host` (as in a URL), else of the vendor's registry
    where the host is one of the vendor's (`vendors`).

    Raises NoEntry.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise NoEntry("it is not JSON") from None
    if not isinstance(data, dict):
        raise NoEntry("it is no Docker config.json")
    for name in dict.fromkeys((host, REGISTRY) if vendors else (host,)):
        if name in _table(data, "credHelpers"):
            raise NoEntry("it names a credential helper, which is not run: write auths instead")
        entry = _entry(_table(data, "auths"), name)
        if entry is not None:
            return _pair_of(entry, stored="credsStore" in data)
    other = " nor cgr.dev" if vendors else ""
    raise NoEntry(f"its auths name {'neither' if vendors else 'not'} the upstream's host{other}")


def _table(data: dict[str, object], name: str) -> dict[str, object]:
    table = data.get(name)
    return table if isinstance(table, dict) else {}


def _entry(auths: dict[str, object], host: str) -> dict[str, object] | None:
    """The entry of a host: its name alone, or a URL of it, as older programs write it."""
    for name, entry in auths.items():
        bare = name.partition("://")[2] or name
        if bare.partition("/")[0].lower() == host.lower() and isinstance(entry, dict):
            return entry
    return None


def _pair_of(entry: dict[str, object], *, stored: bool) -> tuple[str, str]:
    if auth := entry.get("auth"):
        try:
            pair = base64.b64decode(str(auth), validate=True).decode("ascii")
        except (binascii.Error, ValueError):
            raise NoEntry("its auth is not base64") from None
        username, colon, password = pair.rstrip("\0").partition(":")
        if not colon:
            raise NoEntry("its auth is not user:password")
        return username, password
    name, word = entry.get("username"), entry.get("password")
    if isinstance(name, str) and isinstance(word, str):
        return name, word
    if stored:
        raise NoEntry("it leaves the password to a credential store, which is not asked")
    raise NoEntry("its entry holds neither auth nor username and password")


def from_netrc(text: str, host: str) -> tuple[str, str]:
    """Login and password of the first `machine` that is `host` (as in a URL). Raises NoEntry."""
    names = (host.lower(), urlsplit(f"//{host}").hostname)
    wanted = False
    found: dict[str, str] = {}
    for word, value in _statements(text):
        if word in ("machine", "default"):
            if wanted:
                break
            wanted = word == "machine" and value.lower() in names
        elif wanted:
            found.setdefault(word, value)
    if not wanted:
        raise NoEntry("no machine in it is the upstream's host")
    if "login" not in found or "password" not in found:
        raise NoEntry("its machine has no login or no password")
    return found["login"], found["password"]


def _statements(text: str) -> Iterator[tuple[str, str]]:
    """Words with their values; comments and macros are passed over."""
    words = _words(text)
    for word in words:
        match word:
            case "default":
                yield word, ""
            case "machine" | "login" | "user" | "account" | "password":
                yield ("login" if word == "user" else word), next(words, "")
            case _:
                raise NoEntry("it is no netrc file")


def _words(text: str) -> Iterator[str]:
    lines = iter(text.splitlines())
    for line in lines:
        rest = line.lstrip(" \t")
        while rest and not rest.startswith("#"):
            word, rest = _word(rest)
            if word == "macdef":
                for body in lines:  # a macro ends at an empty line
                    if not body.strip():
                        break
                break
            yield word
            rest = rest.lstrip(" \t")


def _word(line: str) -> tuple[str, str]:
    """The first word of a line, its quotes and backslashes resolved, and what follows it."""
    quoted = line.startswith('"')
    word: list[str] = []
    signs = iter(range(int(quoted), len(line)))
    for at in signs:
        sign = line[at]
        if sign == "\\" and at + 1 < len(line):
            word.append(line[next(signs)])
        elif sign == '"' if quoted else sign in " \t":
            return "".join(word), line[at + 1 :]
        else:
            word.append(sign)
    if quoted:
        raise NoEntry("a quote in it does not end")
    return "".join(word), ""
