"""The port to what the organisation may pull, and its two simplest implementations. Pure.

Purpose: the door asks one question; where the answer comes from is a matter of configuration.

Reading: the vendor's entitlements (one per ecosystem, and one more per remediated tier).
Non-goals: what one client may do (`proxy.access.clients`), and what the upstream says about one
package (its own verdict, which is data).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Protocol


class Verdict(Enum):
    """The three answers. UNKNOWN is never taken for one of the others."""

    ALLOWED = "allowed"
    DENIED = "denied"
    UNKNOWN = "unknown"


ALLOWED = Verdict.ALLOWED
"""For who asks with every hit: an enumeration takes its time to give a member away."""


class Entitlements(Protocol):
    """What the organisation may pull."""

    def allowed(self, ecosystem: str, scope: str) -> Verdict:
        """Answer at once, from memory.

        MUST NOT block or raise; MUST say UNKNOWN where no answer within its grace is known.
        `scope`: an entitlement scope of one of the ecosystem's mounts.
        """
        ...


class StaticEntitlements:
    """What the operator wrote down: an ecosystem with all its scopes, or not at all."""

    def __init__(self, ecosystems: Iterable[str]) -> None:
        self._ecosystems = frozenset(ecosystems)

    def allowed(self, ecosystem: str, scope: str) -> Verdict:  # noqa: ARG002  # the port's shape
        """ALLOWED for a named ecosystem, else DENIED."""
        return ALLOWED if ecosystem in self._ecosystems else Verdict.DENIED


class AssumedEntitlements:
    """Everything: the upstream's own 403 decides, request by request."""

    def allowed(self, ecosystem: str, scope: str) -> Verdict:  # noqa: ARG002  # the port's shape
        """Always ALLOWED."""
        return ALLOWED
