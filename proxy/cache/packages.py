"""Packages that the upstream shows us at present.

Purpose: some artifacts belong to a package as a whole (a layer to its repository). Having once got
one from there, we may serve it on for as long as the upstream shows us anything of that package;
asking for each of them would be a request a layer, and say no more. A refusal of anything there
puts all of it in question.

Reading: design rule 3. Non-goals: persistence (after a restart somebody asks once).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from proxy.cache.decisions import Decisions
from proxy.model import ArtifactTarget, DocumentTarget, upstream_name


@final
class Packages:
    """`ttl`: seconds for which an answer counts. `clock`: seconds since the epoch."""

    def __init__(self, ttl: float, clock: Callable[[], float]) -> None:
        self._ttl = ttl
        self._clock = clock
        self._open: Decisions[bool] = Decisions()
        self._tell: Callable[[str], None] = _tell_nobody

    def shown(self, ecosystem: str, target: DocumentTarget | ArtifactTarget) -> None:
        """The upstream has just shown something of the target's package."""
        self._open.remember(_key(ecosystem, target), True, self._clock(), self._ttl)  # noqa: FBT003  # a set

    def refused(self, ecosystem: str, target: DocumentTarget | ArtifactTarget) -> None:
        """The upstream has refused something of the target's package."""
        key = _key(ecosystem, target)
        if self._open.find(key, self._clock()) is not None:
            self._tell(key)
        self._open.forget(key)

    def on_news(self, tell: Callable[[str], None]) -> None:
        """Have other processes told of a package that was open and is not any more."""
        self._tell = tell

    def hear(self, key: str) -> None:
        """Another process was refused something of that package."""
        self._open.forget(key)

    def forget_all(self) -> None:
        """What is known counts no more."""
        self._open.forget_all()

    def is_open(self, ecosystem: str, target: ArtifactTarget) -> bool:
        """Tell whether something of the target's package was shown within the ttl."""
        return self._open.find(_key(ecosystem, target), self._clock()) is not None


def _tell_nobody(_: str) -> None:
    """There is one process."""


def _key(ecosystem: str, target: DocumentTarget | ArtifactTarget) -> str:
    return f"{upstream_name(ecosystem, target.upstream)}\0{target.package}"
