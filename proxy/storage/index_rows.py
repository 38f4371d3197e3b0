"""What stands in the rows of the index, as text. Pure.

Purpose: `index` says which rows there are; here is how one is written and read back.

Non-goals: their order; the row of a body, which is a number.
"""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Books:
    """`total`: bytes of all bodies, shared ones once. `complete`: all entries are in the index."""

    total: int = 0
    entries: int = 0
    complete: bool = False


def row(body_id: str, size: int) -> str:
    """The JSON of an entry's row: `json.dumps` takes several times as long."""
    return f'["{body_id}", {size}]'


def parse_row(value: object) -> tuple[str, int]:
    """The `layout.body_id` and the size (bytes) of an entry's body. Raises ValueError, TypeError
    and AttributeError."""
    body_id, size = json.loads(str(value))
    bytes.fromhex(body_id.replace(".", "", 1))
    return body_id, int(size)


def books_row(books: Books) -> str:
    """The JSON of the books."""
    value = {"total": books.total, "entries": books.entries, "complete": books.complete}
    return json.dumps(value)


def parse_books(value: object | None) -> Books:
    """Read them; None: there are none yet. Raises ValueError, KeyError and TypeError."""
    if value is None:
        return Books()
    given = json.loads(str(value))
    return Books(int(given["total"]), int(given["entries"]), bool(given["complete"]))
