"""Lines of one log that differ in moment, id and duration only: the rest of them is made once.

Purpose: an answer that is repeated a thousand times a second leaves as many lines in the access
log, and for an artifact in the audit log. Making each from its fields took a third of what the
whole answer did; nearly all of it is the same every time.

What was made is good until the redactor is told of another secret.

Reading: `formats`, `audit`, which say what stands in a line. Non-goals: lines of single answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar, final

R = TypeVar("R")
_NEVER = -1


@final
class Alike(Generic[R]):
    """What many records have in common, in the form of one: `record`."""

    __slots__ = ("_generation", "_pieces", "record")

    def __init__(self, record: R) -> None:
        self.record = record
        self._generation = _NEVER
        self._pieces: tuple[str, ...] = ()

    def pieces(self, generation: int, make: Callable[[R], tuple[str, ...]]) -> tuple[str, ...]:
        """The pieces of the line that `make` makes. For one thread only, the one that writes.

        `generation`: of the redactor, read before `make` asks it: so nothing is kept for too long.
        """
        if self._generation != generation:
            self._pieces = make(self.record)
            self._generation = generation
        return self._pieces
