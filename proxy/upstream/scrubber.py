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

from proxy.observe.redaction import forms_of

PIECE = 16  # characters in a row of a token: what is cut short or broken into lines is found too
_KEPT = 64  # credentials; a registry has a token for each of its repositories


@final
class Scrubber:
    """Knows what was sent. Belongs to one event loop."""

    def __init__(self) -> None:
        self._sent: OrderedDict[str, tuple[frozenset[str], frozenset[str]]] = OrderedDict()

    def sent(self, authorization: str) -> None:
        """Note the value of an Authorization header that goes out."""
        if authorization in self._sent:
            self._sent.move_to_end(authorization)
            return
        forms = {form for text in _spellings(authorization) for form in forms_of(text)}
        pieces = (piece for text in _secrets(authorization) for piece in _pieces(text))
        self._sent[authorization] = frozenset(forms.union(_names(authorization))), frozenset(pieces)
        if len(self._sent) > _KEPT:
            self._sent.popitem(last=False)

    def holds(self, text: str) -> bool:
        """Tell whether a text holds one, or a piece of one, spaces and line ends left out."""
        text = "".join(text.split())
        found = frozenset(_pieces(text))
        return any(
            not found.isdisjoint(pieces) or any(form in text for form in forms)
            for forms, pieces in self._sent.values()
        )


def _pieces(text: str) -> Iterator[str]:
    return (text[at : at + PIECE] for at in range(len(text) - PIECE + 1))


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
