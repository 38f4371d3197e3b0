"""The verdict over an artifact that no digest vouches for: its ecosystem looks at all of it.

Purpose: before the last byte goes out, and before it is stored, the ecosystem is given what it asks
for of the body that is here; what the body says of its neighbours is compared with those that
clients get. Wrong is wrong, whoever finds it: the same as a wrong digest.

Reading: `Judging` of the ecosystems. Non-goals: what an artifact looks like; fetching.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping
from typing import TypeAlias

from proxy.cache.flight import Flight
from proxy.cache.keys import beside
from proxy.ecosystems.base import Ecosystem, Judging, Span
from proxy.errors import DigestMismatch, Malformed
from proxy.model import Source
from proxy.storage.base import Storage

LOG = logging.getLogger(__name__)
BUDGET = 48 << 20  # bytes that may be asked for
Judge: TypeAlias = Callable[[int], Generator[Span, bytes, Mapping[str, str]]]


def judge_of(ecosystem: Ecosystem, source: Source) -> Judge | None:
    """How an artifact is judged, given its size; None: its digest is what tells."""
    if source.promise is not None or source.seal or not isinstance(ecosystem, Judging):
        return None
    judging = ecosystem
    return lambda size: judging.judge(source, size)


def look(flight: Flight, size: int, judge: Judge) -> Mapping[str, str]:
    """Judge all that a flight has received; what it says of its neighbours. Blocking.

    Raises DigestMismatch when it is not what it has to be, OSError.
    """
    steps, left = judge(size), BUDGET
    try:
        start, end = next(steps)
        while (left := left - (end - start)) >= 0:
            start, end = steps.send(_read(flight, start, end))
    except StopIteration as done:
        said: Mapping[str, str] = done.value
        return said
    except Malformed as error:
        raise DigestMismatch(f"{error.detail} Nothing was kept.") from error
    finally:
        steps.close()
    raise DigestMismatch("More of it would have to be looked at than is sensible.")


def compare_stored(storage: Storage, key: str, said: Mapping[str, str]) -> None:
    """Compare what an artifact says of its neighbours with those that are stored.

    Raises DigestMismatch. Which of the two is wrong cannot be told: neither is kept, and whoever
    asks next gets both anew.
    """
    for path, sha256 in said.items():
        neighbour = storage.lookup(beside(key, path))
        if neighbour is not None and neighbour.sha256 != sha256:
            LOG.warning("two artifacts of one version contradict each other; neither is kept")
            storage.remove(neighbour.key)
            raise DigestMismatch(
                "The upstream's artifact contradicts another one of its version. Neither was kept;"
                " try again."
            )


def _read(flight: Flight, start: int, end: int) -> bytes:
    pieces = []
    while start < end:
        piece = flight.copy(start, end - start)
        if not piece:
            raise OSError("the body is shorter than it was")
        pieces.append(piece)
        start += len(piece)
    return b"".join(pieces)
