"""What the index asks of the entries themselves, to compare with what it is told.

Non-goals: looking (`reconcile.Standing`); when to ask (`index`).
"""

from __future__ import annotations

from typing import Protocol, final


class Look(Protocol):
    """How the entries are at this moment. Both raise OSError when that cannot be told just now."""

    def is_there(self, key: str) -> bool:
        """Tell, at little cost, whether there is an entry. False: perhaps, ask for its body."""
        ...

    def body(self, key: str) -> tuple[str, int] | None:
        """SHA-256 and size of the body that an entry has; None: there is no entry."""
        ...


@final
class News:
    """Implements `Look` for what nobody else can have told of: what was stored is there."""

    def __init__(self, look: Look) -> None:
        self._inner = look

    def is_there(self, key: str) -> bool:  # noqa: ARG002  # the port's shape
        """See `Look.is_there`."""
        return True

    def body(self, key: str) -> tuple[str, int] | None:
        """See `Look.body`."""
        return self._inner.body(key)
