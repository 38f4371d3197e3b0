"""What an operator sees of the entitlements: `/api/v1/entitlements` and the numbers.

Purpose: the same facts in both, whichever implementation answers the door.
Non-goals: deciding anything; changing anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from proxy.access.entitlements import Entitlements, StaticEntitlements, Verdict
from proxy.access.known import NAMES, TIER
from proxy.access.learning import PlatformEntitlements
from proxy.ecosystems.base import Ecosystem
from proxy.model import PUBLIC
from proxy.observe.entitlements import EntitlementNumbers, Reading

PATH = "/api/v1/entitlements"


@final
class EntitlementView:
    """`source`: as configured."""

    def __init__(
        self, source: str, entitlements: Entitlements, ecosystems: Sequence[Ecosystem]
    ) -> None:
        self._source = source
        self._entitlements = entitlements
        self._scopes = tuple(
            (ecosystem.name, scope)
            for ecosystem in ecosystems
            for scope in sorted({mount.scope for mount in ecosystem.mounts} - {PUBLIC})
        )

    def numbers(self) -> EntitlementNumbers:
        """For the metrics."""
        names = [*NAMES.values(), *(name + TIER for name in NAMES.values())]
        return EntitlementNumbers(self._scopes, names, self._allowed, self._reading)

    def describe(self) -> dict[str, Any]:
        """For the admin listener."""
        known = self._entitlements
        platform = known.describe() if isinstance(known, PlatformEntitlements) else {"items": []}
        verdicts: dict[str, dict[str, str]] = {}
        for ecosystem, scope in self._scopes:
            verdicts.setdefault(ecosystem, {})[scope] = known.allowed(ecosystem, scope).value
        state = self._reading().state
        return {"source": self._source, "state": state, **platform, "verdicts": verdicts}

    def _allowed(self, ecosystem: str, scope: str) -> bool:
        return self._entitlements.allowed(ecosystem, scope) is Verdict.ALLOWED

    def _reading(self) -> Reading:
        known = self._entitlements
        if not isinstance(known, PlatformEntitlements):
            return Reading("static" if isinstance(known, StaticEntitlements) else "assumed")
        items = known.answer.items if known.answer is not None else ()
        return Reading(
            known.state,
            known.age,
            {item.ecosystem: item.policy for item in items},
            {item.ecosystem: days for item in items if (days := item.cooldown_days) is not None},
            {str(outcome): count for outcome, count in known.outcomes.items()},
        )
