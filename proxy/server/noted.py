"""What the log may say of a request target that nobody has understood yet. Pure.

Purpose: before a client is known, a target is whatever somebody sent: an address with its token in
the query, in a parameter of the path, percent-encoded once or more. The log needs the path, to tell
a client with a wrong token from a scanner, and nothing else. So everything behind a `?`, `#`, `&`
or `;` goes, in any encoding; what stands behind a `=` and what looks like a token is masked.

Reading: RFC 3986 section 3; RFC 6819 section 4.4.2.2 (tokens in logs). Non-goals: targets that were
understood (their path has no query, `observe.redaction` masks what it knows); hexadecimal tokens
without a name: paths of artifacts are full of such digits.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

LONGEST: Final = 512  # characters
ROUNDS: Final = 4  # of percent-encoding, one in the other
MASK: Final = "***"
_READ: Final = 2048  # characters; what comes behind would be cut off anyway
_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/{1,2}[^/?#]*|[^/]*@[^/]*")
_END = re.compile(r"[?#&;]")
_VALUE = re.compile(r"=[^/]*")
# Long, without the dots and dashes of a file name, of all three kinds of characters.
_PLAIN_RUN = re.compile(r"[A-Za-z0-9]{20,}")
_LONG_RUN = re.compile(r"[A-Za-z0-9_~+-]{32,}")
_KINDS = (re.compile("[a-z]"), re.compile("[A-Z]"), re.compile("[0-9]"))


def noted_path(target: str) -> str:
    """The path of a raw request target, decoded as far as it goes, at most `LONGEST` characters."""
    text = target[:_READ]
    if not text.startswith("/"):
        text = _AUTHORITY.sub("", text, count=1)
    for _ in range(ROUNDS):
        text = _END.split(text, maxsplit=1)[0]
        decoded = unquote(text)
        if decoded == text:
            break
        text = decoded
    else:
        # Encoded again and again: what is in there is not shown.
        text = text.partition("%")[0] + MASK if "%" in text else text
    text = _END.split(text, maxsplit=1)[0]
    text = _VALUE.sub(f"={MASK}", text)
    for run in (_PLAIN_RUN, _LONG_RUN):
        text = run.sub(_masked, text)
    return text[:LONGEST]


def _masked(found: re.Match[str]) -> str:
    text = found[0]
    return MASK if all(kind.search(text) for kind in _KINDS) else text
