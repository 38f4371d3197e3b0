"""Which ecosystem a path belongs to. Pure, resolved once at start.

Purpose: a map from mount prefixes to ecosystems, made from the ecosystems' own `mounts`; the
longest prefix wins. Non-goals: understanding the rest of the path (`classify` does).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from proxy.ecosystems.base import Ecosystem
from proxy.errors import UnknownPath


@final
class Mounts:
    """Prefix segments to ecosystem. Raises ValueError when two ecosystems claim one prefix."""

    def __init__(self, ecosystems: Iterable[Ecosystem]) -> None:
        self._table: dict[tuple[str, ...], Ecosystem] = {}
        self._scopes: dict[str, frozenset[str]] = {}
        for ecosystem in ecosystems:
            self._scopes[ecosystem.name] = frozenset(mount.scope for mount in ecosystem.mounts)
            for mount in ecosystem.mounts:
                if self._table.setdefault(mount.prefix, ecosystem) is not ecosystem:
                    raise ValueError(f"two ecosystems claim /{'/'.join(mount.prefix)}")
        # Of prefixes, the longest first.
        self._lengths = sorted({len(prefix) for prefix in self._table}, reverse=True)
        self._longest = max(self._lengths, default=0)

    def find(self, segments: tuple[str, ...]) -> Ecosystem | None:
        """The ecosystem of a path, by its longest mounted prefix."""
        table = self._table
        for length in self._lengths:
            found = table.get(segments[:length])
            if found is not None:
                return found
        return None

    def require(self, segments: tuple[str, ...]) -> Ecosystem:
        """As `find`. Raises UnknownPath."""
        found = self.find(segments)
        if found is None:
            raise UnknownPath("Nothing is served at this path; see the README for the URL space.")
        return found

    def guess(self, target: str) -> Ecosystem | None:
        """Whose words to use for an error about a target that could not be canonicalised."""
        return self.find(tuple(target.partition("?")[0].split("/")[1 : self._longest + 1]))

    def scopes(self, ecosystem: Ecosystem) -> frozenset[str]:
        """All entitlement scopes of an ecosystem."""
        return self._scopes[ecosystem.name]
