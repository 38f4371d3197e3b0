"""Does a text that came from the upstream hold a secret that was sent to it?

Purpose: an upstream, or what stands in between, may echo a request's credential in a reason or a
header. Such a text must reach neither a client nor the store. Only what was sent can come back, so
the scrubber is told of each Authorization value as it goes out; the last ones stay known, for an
answer may come after a rotation.

Reading: RFC 7617 (Basic), RFC 6750 (Bearer). Non-goals: log lines (`proxy.observe.redaction` has
nets for those); texts that hold less than a piece of `PIECE` characters of a secret.
"""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from collections.abc import Iterator
from typing import final
from urllib.parse import unquote

from proxy.observe.redaction import forms_of

PIECE = 16  # characters in a row of a token: what is cut short or broken into lines is found too
HALF = PIECE // 2
ROUNDS = 4  # of percent-encoding, one in the other
_KEPT = 64  # credentials; a registry has a token for each of its repositories


@final
class _Known:
    """How one Authorization value may turn up. Made once: values come again and again."""

    def __init__(self, authorization: str) -> None:
        secrets = _secrets(authorization)
        self.pieces = frozenset(piece for text in secrets for piece in _pieces(text))
        self.halves = frozenset(half for text in secrets for half in _pieces(text, HALF))
        forms = {form for text in _spellings(authorization) for form in forms_of(text)}
        forms.update(_names(authorization))
        # What holds a piece of a secret is found by that piece.
        self.forms = tuple(form for form in forms if self.pieces.isdisjoint(_pieces(form)))
        self.shortest = min(map(len, self.forms), default=0)
        # Of Basic the password alone: its forms are in the pair's base64, at any alignment.
        cores = set(forms_of(_core(secrets[-1])))
        self.cores = frozenset(piece for core in cores for piece in _pieces(core))
        self.short_cores = frozenset(core for core in cores if len(core) < PIECE)


@final
class Secrets:
    """What was sent up to some moment; it does not change."""

    __slots__ = ("_known",)

    def __init__(self, known: tuple[_Known, ...] = ()) -> None:
        self._known = known

    def holds(self, text: str) -> bool:
        """Tell whether a text holds one, or a piece of one, spaces and line ends left out."""
        text = "".join(text.split())
        # Whatever piece is in it covers one of these whole: most texts are done with that.
        halves = {text[at : at + HALF] for at in range(0, len(text), HALF)}
        for known in self._known:
            if not halves.isdisjoint(known.halves) and not known.pieces.isdisjoint(_pieces(text)):
                return True
            if len(text) < known.shortest:
                continue
            for form in known.forms:  # no `any`: this is done for each answer
                if form in text:
                    return True
        return False


@final
class Scrubber:
    """Knows what was sent. Belongs to one event loop.

    `secrets`: what it knows now. An answer that is judged later than it came is judged by those of
    the moment when it came: what was sent for it may be forgotten here since.
    """

    def __init__(self) -> None:
        self.secrets = Secrets()
        self._sent: OrderedDict[str, _Known] = OrderedDict()
        self._last = ""

    def sent(self, authorization: str) -> None:
        """Note the value of an Authorization header that goes out."""
        if authorization == self._last:  # as mostly
            return
        self._last = authorization
        if authorization in self._sent:
            # Among the last again: what rotates beside it must not push it out.
            self._sent.move_to_end(authorization)
            return
        self._sent[authorization] = _Known(authorization)
        if len(self._sent) > _KEPT:
            self._sent.popitem(last=False)
        self.secrets = Secrets(tuple(self._sent.values()))

    def holds(self, text: str) -> bool:
        """See `Secrets.holds`."""
        return self.secrets.holds(text)

    def carries(self, url: str) -> bool:
        """Tell whether a URL carries one on, or the part of it that makes it worth having.

        User names do not count (a store may sort by organisation), nor do the first parts of a
        token: other tokens of the same issuer begin so too. Any percent-encoding is looked through.
        """
        for _ in range(ROUNDS):
            found = frozenset(_pieces(url))
            for known in self._sent.values():
                if not found.isdisjoint(known.cores):
                    return True
                if any(core in url for core in known.short_cores):
                    return True
            decoded = unquote(url)
            if decoded == url:
                return False
            url = decoded
        return True  # nobody encodes that often who has nothing to hide


def _pieces(text: str, size: int = PIECE) -> Iterator[str]:
    return (text[at : at + size] for at in range(len(text) - size + 1))


def _core(secret: str) -> str:
    """A token's signature, without which the rest is no token; of anything else all of it."""
    signature = secret.rpartition(".")[2]
    return signature if len(signature) >= PIECE else secret


def _secrets(authorization: str) -> tuple[str, ...]:
    """The credential itself, and the password in it (RFC 7617 section 2)."""
    scheme, _, credential = authorization.partition(" ")
    if scheme != "Basic":
        return (credential,)
    return credential, _pair(credential)[1]


def _spellings(authorization: str) -> tuple[str, ...]:
    """Those, and the user name: inside of a URL its slash may be written as an underscore."""
    secrets = _secrets(authorization)
    if len(secrets) == 1:
        return secrets
    user, password = _pair(secrets[0])
    return (*secrets, user, user.replace("/", "_"), f"{user}:{password}")


def _names(authorization: str) -> tuple[str, ...]:
    """A user name with a slash, however short: no ordinary word looks like it."""
    spellings = _spellings(authorization)
    return spellings[2:4] if len(spellings) > 1 and "/" in spellings[2] else ()


def _pair(credential: str) -> tuple[str, str]:
    try:
        user, _, password = base64.b64decode(credential).decode("utf-8", "replace").partition(":")
    except binascii.Error:
        return "", ""
    return user, password
