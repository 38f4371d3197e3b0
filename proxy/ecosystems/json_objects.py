"""JSON objects of an upstream: read as clients read them, or only as everybody must. Pure.

Purpose: the one place that tells a JSON object from anything else. `json_object` reads one; how
strictly, its `read` says: Python's own reader, `standard` without what is no JSON though Python
reads it (NaN), `strict` where two readers could see two things (duplicate names, numbers out of
range).

Reading: RFC 8259 (section 4 on names, section 6 on numbers), RFC 7493 (I-JSON). Non-goals: what the
members of an object mean.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, Final

from proxy.errors import Malformed

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def standard(body: bytes) -> object:
    """Read JSON as it is specified: without NaN and Infinity. Of two members of one name the last
    counts, as with every client. Raises ValueError, RecursionError.
    """
    return json.loads(body, parse_constant=_refuse)


def strict(body: bytes) -> object:
    """Read with `DECODER`, as UTF-8. Raises ValueError, RecursionError, Malformed."""
    return DECODER.decode(body.decode("utf-8"))


def json_object(body: bytes, read: Callable[[bytes], object] = json.loads) -> dict[str, Any]:
    """Read a JSON object. `read` raises ValueError or RecursionError for what is no JSON.

    Raises Malformed.
    """
    top = json_value(body, read)
    if not isinstance(top, dict):
        raise Malformed("The upstream's document is no JSON object.")
    return top


def json_value(body: bytes, read: Callable[[bytes], object] = json.loads) -> object:
    """Read JSON of any kind, like `json_object`. Raises Malformed."""
    try:
        return read(body)
    except (ValueError, RecursionError) as error:
        raise Malformed("The upstream's document is no valid JSON.") from error


def check_text(text: str, value: object) -> None:
    """Raise ValueError when the JSON text of a value holds half a character."""
    if _SURROGATE.search(text):
        json.dumps(value, ensure_ascii=False).encode("utf-8")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Of two members of one name some readers take the first, some the last."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("The upstream's document has two members of one name.")
    return members


def _refuse(constant: str) -> object:
    raise ValueError(constant)


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError("number out of range")
    return value


DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite
)
"""Reads only what two readers cannot understand in two ways. Raises ValueError, RecursionError;
Malformed for two members of one name."""
